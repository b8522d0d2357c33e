"""`python -m wirecrypt.lab.attack`: called by scripts/attack, which installs what is missing first."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from wirecrypt.lab.attack.playing import session
from wirecrypt.lab.attack.scoreboard import HELD, Score
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

    with (
        tempfile.TemporaryDirectory(prefix="wirecrypt-attack-") as folder,
        Lab.up(nodes=3, kernel=kernels.find(vehicle, kernel), progress=say) as lab,
    ):
        board = session(lab, Path(folder) / "wire", say, scored)
    console.print(board.table())
    console.print(board.sentence, highlight=False)
    if report:
        report.write_text(board.markdown())
    sys.exit(board.status)


if __name__ == "__main__":
    attack()
