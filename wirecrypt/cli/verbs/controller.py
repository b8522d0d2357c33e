"""`wirecrypt controller`: the Deployment's container."""

from __future__ import annotations

import resource
from pathlib import Path

import click

from wirecrypt import logs
from wirecrypt.cluster.api import Api
from wirecrypt.cluster.controller_client import ControllerClient
from wirecrypt.cluster.lease import ClusterLease
from wirecrypt.controller import ControllerEndpoints
from wirecrypt.controller.run import run


@click.command()
@click.option("--kubeconfig", type=click.Path(path_type=Path), default=None, help="Only outside a pod.")
@click.option("--log-format", type=click.Choice(["auto", "json", "console"]), default="auto", show_default=True)
def controller(kubeconfig: Path | None, log_format: str) -> None:
    """Turn node labels into keys and objects, rotate, retire (started by the Deployment, not by hand)."""
    logs.setup("info", log_format)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold keys
    api = Api.connect(kubeconfig)
    run(ControllerClient(api), ClusterLease(api), endpoints=ControllerEndpoints())
