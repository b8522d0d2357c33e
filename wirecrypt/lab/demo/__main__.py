"""`python -m wirecrypt.lab.demo`: called by scripts/demo, which installs what is missing first."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import click
from rich.console import Console

from wirecrypt import outputs
from wirecrypt.errors import WirecryptError
from wirecrypt.lab import operations
from wirecrypt.lab.demo import outlook, steps
from wirecrypt.lab.demo.ending import INTERRUPTED, LOGS, Ending, conclude, fresh, interrupt_once, keep_logs
from wirecrypt.lab.demo.outlook import PodPrefixes
from wirecrypt.lab.demo.record import EVIDENCE, Record
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.machine import kernels
from wirecrypt.lab.machine.kernels import Kernel
from wirecrypt.lab.telling import Teller

LEAST_NODES = 3
WIDTH = 100  # columns of what is no terminal


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
    interrupt_once()
    try:
        shown = _Shown(kernels.find(vehicle, kernel), nodes, keep, fresh(out))
    except WirecryptError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    with Teller(sys.stdout) as teller:
        ending = conclude(shown.record, lambda: shown.tell(teller))
    shown.end(ending)
    sys.exit(ending.status)


@dataclass(slots=True)
class _Shown:
    """One run of the demo."""

    kernel: Kernel
    nodes: int
    keep: bool
    record: Record
    prefixes: PodPrefixes = field(default_factory=PodPrefixes)

    def tell(self, teller: Teller) -> None:
        """Start a lab, install the product, and tell the story."""
        record = self.record
        with Lab.up(nodes=self.nodes, kernel=self.kernel, progress=teller.say) as lab:
            record.figures["lab_up_seconds"] = round(teller.seconds, 1)
            self.prefixes = PodPrefixes(*(_pods(lab, node) for node in steps.PAIR))
            try:
                teller.say("wirecrypt is installed, as overlays/example has it")
                operations.deploy(lab)
                record.figures["deployed_seconds"] = round(teller.seconds, 1)
                steps.run(lab, record, teller)
            except Exception:
                keep_logs(lab, record, teller.say)
                raise
            finally:
                record.figures["total_seconds"] = round(teller.seconds, 1)
            if self.keep or not record.held:
                keep_logs(lab, record, teller.say)

    def end(self, ending: Ending) -> None:
        """Print what was proved, where the evidence is, and what to do next."""
        out, logs = self.record.folder, self.record.folder / LOGS
        if self.record.claims:
            self.record.show(Console(width=None if sys.stdout.isatty() else WIDTH))
        click.echo("\nEvidence")
        for name in EVIDENCE:
            if (out / name).exists():
                click.echo(f"  {out / name}")
        if ending.error:
            click.echo(f"\nerror: {ending.error}")
        if ending.status != INTERRUPTED:
            failure = outlook.after_failure(out, logs if logs.exists() else None)
            click.echo("\n" + "\n".join(failure if ending.status else outlook.after_success(out, self.prefixes)))


def _pods(lab: Lab, node: str) -> list[str]:
    place = lab.nodes[node].addresses
    return [str(place.pods4), str(place.pods6)]


if __name__ == "__main__":
    outputs.run(demo)
