"""`python -m wirecrypt.lab.demo`: called by scripts/demo, which installs what is missing first."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from wirecrypt.lab import operations
from wirecrypt.lab.demo import steps
from wirecrypt.lab.demo.ending import TRACEBACK, conclude, interrupt_once, keep_logs
from wirecrypt.lab.demo.record import CAPTURE, RESULT, TIMELINE, Record
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.machine import kernels

LEAST_NODES = 3


@click.command()
@click.option(
    "--vehicle", type=click.Choice(kernels.VEHICLES), default="auto", show_default=True, help="What carries the nodes."
)
@click.option("--kernel", default="", help="Version of the user-mode kernel; the newest prebuilt one if not given.")
@click.option("--nodes", type=click.IntRange(LEAST_NODES, 8), default=LEAST_NODES, show_default=True)
@click.option("--keep", is_flag=True, help="Keep the lab's logs in DIR, also when all held.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("demo-out"), show_default=True)
def demo(vehicle: str, kernel: str, nodes: int, keep: bool, out: Path) -> None:  # noqa: FBT001 - click's flags
    """Show wirecrypt at work, and prove it: exit status 0 only if everything held."""
    console = Console()
    started = time.monotonic()

    def say(text: str) -> None:
        console.print(f"[bold]{time.monotonic() - started:6.1f} s[/]  {escape(text)}", highlight=False)

    def story() -> None:
        with Lab.up(nodes=nodes, kernel=kernels.find(vehicle, kernel), progress=say) as lab:
            record.figures["lab_up_seconds"] = round(time.monotonic() - started, 1)
            try:
                say("the manifests, by the overlay overlays/example; then a controller and an agent on every node")
                operations.deploy(lab)
                record.figures["deployed_seconds"] = round(time.monotonic() - started, 1)
                steps.run(lab, record, say)
            except Exception:
                keep_logs(lab, record, say)
                raise
            finally:
                record.figures["total_seconds"] = round(time.monotonic() - started, 1)
            if keep or not record.held:
                keep_logs(lab, record, say)

    record = _fresh(out)
    interrupt_once()
    ending = conclude(record, story)
    record.show(console)
    if ending.error:
        console.print(f"[red]error:[/] {escape(ending.error)}", highlight=False)
    console.print(f"evidence: {out / CAPTURE}, {out / TIMELINE}, {out / RESULT}", highlight=False)
    sys.exit(ending.status)


def _fresh(out: Path) -> Record:
    out.mkdir(parents=True, exist_ok=True)
    for name in (CAPTURE, TIMELINE, RESULT, TRACEBACK):
        (out / name).unlink(missing_ok=True)
    return Record(out)


if __name__ == "__main__":
    demo()
