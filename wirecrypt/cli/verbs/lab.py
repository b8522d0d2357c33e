"""`wirecrypt lab`: a cluster on this machine, for trying things out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from wirecrypt.lab import commands
from wirecrypt.lab.machine.kernels import VEHICLES
from wirecrypt.lab.telling import Teller
from wirecrypt.lab.wire.network import CNIS

_name = click.option(
    "--name", default=commands.DEFAULT_NAME, show_default=True, help="Which lab, when several are up; of a-z, 0-9 and -."
)


@click.group()
def lab() -> None:
    """Run a small cluster on this machine: a real API server, a kernel with ESP, nodes as network namespaces. Needs root."""


@lab.command()
@_name
@click.option("--nodes", default=3, show_default=True, type=click.IntRange(1, 16))
@click.option("--cni", default="bridge", show_default=True, type=click.Choice(CNIS))
@click.option(
    "--vehicle", default="auto", show_default=True, type=click.Choice(VEHICLES), help="What carries the nodes' kernel."
)
@click.option("--kernel", default="", help="Version of user-mode Linux, e.g. 6.1 (prebuilt) or 7.2 (own build).")
@click.option("--installed", is_flag=True, help="With the product: its manifests, controllers and agents.")
@click.option("--enabled", is_flag=True, help="With --installed: label all nodes, and wait until they are protected.")
def up(name: str, **wanted: Any) -> None:  # noqa: ANN401 - click's, as `LabOptions` has them
    """Start a lab that stays up in the background, and print the KUBECONFIG to use."""
    with Teller(sys.stderr) as teller:
        running = commands.up(commands.LabOptions(name=name, **wanted), teller.say)
    click.echo(f"export KUBECONFIG={running.record['kubeconfig']}")


@lab.command()
@_name
@click.option("-o", "--output", default="table", type=click.Choice(["table", "json"]))
def status(name: str, output: str) -> None:
    """Show nodes, pods and everything that `exec` can enter."""
    known = commands.status(name)
    if output == "json":
        click.echo(json.dumps(known, indent=2))
        return
    click.echo(f"lab {known['name']}: Linux {known['release']}, KUBECONFIG={known['kubeconfig']}")
    for node in known["nodes"]:
        click.echo(f"  {node['name']:28} {' '.join(node['addresses'])}  pods in {' '.join(node['podCIDRs'])}")
    for pod in known["pods"]:
        click.echo(f"  {'pod/' + pod['node'] + '/' + pod['name']:28} {pod['ip4']} {pod['ip6']}")
    for container in known["names"]:
        if container.startswith("container/"):
            click.echo(f"  {container}")


@lab.command(name="exec", context_settings={"ignore_unknown_options": True})
@_name
@click.argument("where")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(name: str, where: str, command: tuple[str, ...]) -> None:
    """Run COMMAND inside WHERE: node-1, pod/node-1/a, container/POD/NAME, or guest. Exits with its status."""
    code = commands.execute(name, where, command)
    sys.exit(code if code >= 0 else 128 - code)


@lab.command()
@_name
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--seconds", default=10.0, show_default=True, type=click.FloatRange(min=0))
@click.option("--filter", "expression", default="", help="pcap expression, e.g. 'esp or udp port 8472'.")
def capture(name: str, file: Path, seconds: float, expression: str) -> None:
    """Record every frame between the nodes into FILE (pcap)."""
    click.echo(commands.capture(name, file, seconds, expression))


@lab.command()
@_name
def down(name: str) -> None:
    """End the lab; nothing of it is left. What no lab made is left alone, whatever its name."""
    commands.down(name)
