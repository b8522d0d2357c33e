"""`wirecrypt controller`: the Deployment's container."""

from __future__ import annotations

from pathlib import Path

import click

from wirecrypt.cli.beginning import begin
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
    begin(log_format)
    api, endpoints = Api.connect(kubeconfig), ControllerEndpoints()
    api.failed = endpoints.metrics.api_error
    run(ControllerClient(api), ClusterLease(api), endpoints=endpoints)
