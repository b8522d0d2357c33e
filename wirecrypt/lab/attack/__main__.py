"""`python -m wirecrypt.lab.attack`: called by scripts/attack, which installs what is missing first."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from wirecrypt import outputs
from wirecrypt.errors import LabError, WirecryptError
from wirecrypt.lab.attack.playing import session
from wirecrypt.lab.attack.scoreboard import ERROR, HELD, STATUS, Score
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.machine import kernels

WIDTH = 160  # columns of what is written to a file


@click.command()
@click.option(
    "--vehicle", type=click.Choice(kernels.VEHICLES), default="auto", show_default=True, help="What carries the nodes."
)
@click.option("--kernel", default="", help="Version of the user-mode kernel; the newest prebuilt one if not given.")
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="Also write the scoreboard as Markdown.")
def attack(vehicle: str, kernel: str, report: Path | None) -> None:
    """Attack a fresh lab and keep the score: exit status 0 if all held, 1 if something fell, 2 if something was not tried."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    started = time.monotonic()

    def say(text: str) -> None:
        console.print(f"[bold]{time.monotonic() - started:6.1f} s[/]  {escape(text)}", highlight=False, soft_wrap=True)

    def scored(score: Score) -> None:
        evidence = "" if score.result == HELD else f": {score.evidence}"
        say(f"{score.result:5}  {score.attacker}: {score.attack}{evidence}")

    try:
        if report:
            _try(report)
        with (
            tempfile.TemporaryDirectory(prefix="wirecrypt-attack-") as folder,
            Lab.up(nodes=3, kernel=kernels.find(vehicle, kernel), progress=say) as lab,
        ):
            board = session(lab, Path(folder) / "wire", say, scored)
    except WirecryptError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(STATUS[ERROR])
    console.print(board.table())
    console.print(board.sentence, highlight=False)
    if report:
        report.write_text(board.markdown())
    sys.exit(board.status)


def _try(report: Path) -> None:
    """Raise LabError when *report* cannot be written: better now than after all attacks."""
    try:
        report.open("a").close()
    except OSError as error:
        raise LabError("cannot write the report", what=str(report), answer=str(error)) from error


if __name__ == "__main__":
    outputs.run(attack)
