"""How answers look: tables for users, JSON and YAML of the same values for programs.

What comes from the API server is text of others: control characters are shown, never sent to the terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import click
import yaml
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from wirecrypt.cli.tools import clean, output_format

Json = dict[str, Any]
_WIDE: Final = 10_000  # columns of what is no terminal: nothing is cut off
_UNITS: Final = (("d", 86400), ("h", 3600), ("m", 60))


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: column names, and rows of texts; a cell may be (text, style)."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str | tuple[str, str]]]


def emit(document: Json, show: Callable[[], Iterable[Grid | str]]) -> None:
    """Print *document* as the option -o says, as a table by what *show* returns."""
    match output_format():
        case "json":
            click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        case "yaml":
            click.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), nl=False)
        case _:
            for part in show():
                click.echo(clean(part) if isinstance(part, str) else drawn(part))


def console(*, err: bool = False) -> Console:
    """Return the terminal, or what stands in for it, as wide as it is."""
    stream = sys.stderr if err else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else _WIDE, soft_wrap=True, emoji=False)


def table(grid: Grid) -> Table:
    """Return *grid* as a table without lines, as kubectl's are."""
    made = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="", show_header=any(grid.columns))
    for name in grid.columns:
        made.add_column(name, overflow="fold")
    for row in grid.rows:
        made.add_row(*(_cell(cell) for cell in row))
    return made


def grouped(parts: Iterable[Grid | str]) -> Group:
    """Return tables and lines as one thing to show."""
    return Group(*(Text(p) if isinstance(p, str) else table(p) for p in parts))


def drawn(grid: Grid) -> str:
    """Return *grid* as text, with colours where they can be seen."""
    terminal = console()
    with terminal.capture() as capture:
        terminal.print(table(grid))
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def _cell(cell: str | tuple[str, str]) -> Text:
    return Text(clean(cell)) if isinstance(cell, str) else Text(clean(cell[0]), style=cell[1])


def say(text: str) -> None:
    """Print a line for users: on standard error when the answer is for a program."""
    click.echo(clean(text), err=output_format() != "table")


def age(since: datetime | None, now: datetime) -> str:
    """Return how long ago *since* is, in the largest unit that is not zero."""
    if since is None:
        return ""
    seconds = max(0, int((now - since).total_seconds()))
    return next((f"{seconds // size}{unit}" for unit, size in _UNITS if seconds >= size), f"{seconds}s")


def stamp(when: datetime | None) -> str | None:
    """Return a time as the API writes it."""
    return when.isoformat().replace("+00:00", "Z") if when else None


def count(number: int, one: str, many: str = "") -> str:
    """Return *number* with its noun."""
    return f"{number} {one if number == 1 else many or one + 's'}"
