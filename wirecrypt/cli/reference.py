"""Reference pages that are made of the program itself: `python -m wirecrypt.cli.reference cli|exit-codes|doctor|reasons`."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from typing import Final

import click

from wirecrypt.cli.main import EXITS, VERBS, cli
from wirecrypt.cli.tools import EXIT_TITLE
from wirecrypt.model.conditions import Reason

_EXIT: Final = re.compile(r"^  (\d+) +(.*)$", re.MULTILINE)
_WIDTH: Final = 100


def cli_page() -> Iterator[str]:
    """Yield the lines of docs/reference/cli.md."""
    yield from ("# The command line", "")
    yield "`wirecrypt`, or `kubectl wirecrypt` where `kubectl-wirecrypt` is on the PATH. Exit codes of all verbs together:"
    yield from ("[exit-codes.md](exit-codes.md).", "", *_help("wirecrypt", cli, _root()))
    parent = _root()
    for verb, command in commands():
        yield from ("", f"## {verb}")
        yield from ("", *_help(f"wirecrypt {verb}", command, parent))
        if isinstance(command, click.Group):
            group = click.Context(command, info_name=verb, parent=parent)
            for name, inner in sorted(command.commands.items()):
                yield from ("", f"### {verb} {name}", "", *_help(f"wirecrypt {verb} {name}", inner, group))


def exit_page() -> Iterator[str]:
    """Yield the lines of docs/reference/exit-codes.md."""
    yield from ("# Exit codes", "", "What all verbs share; a verb with codes of its own says so in `--help`.", "")
    yield from _table(EXITS)
    for verb, command in commands():
        codes = exit_codes(command)
        if codes:
            yield from ("", f"## {verb}", "", *_table(codes))
    yield from ("", "## scripts/check-encryption.sh", "")
    yield from _table(
        {
            0: "ESP was seen, and no cleartext",
            1: "cleartext was seen",
            2: "neither was seen, which proves nothing",
            64: "wrong usage",
            69: "tcpdump is missing or could not do it",
        }
    )
    yield from ("", "## The other programs in scripts/", "")
    yield from _table({77: "it needs root, and this is another user: nothing was done"})


def doctor_page() -> Iterator[str]:
    """Yield the lines of docs/reference/doctor.md."""
    from wirecrypt.doctor.reference import page  # noqa: PLC0415 - imports the kernel's adapters

    return page()


def reasons_page() -> Iterator[str]:
    """Yield the lines of docs/reference/reasons.md."""
    yield from ("# Reasons", "")
    yield "What conditions, Events, `wirecrypt status` and logs give as the reason. `wirecrypt explain REASON` says the same,"
    yield "and knows the [counters](doctor.md#guard-counters), too."
    yield from ("", "| reason | means | next |", "| --- | --- | --- |")
    yield from (f"| `{r.value}` | {r.meaning.sentence} | {r.meaning.next_step} |" for r in sorted(Reason))


PAGES: Final[dict[str, Callable[[], Iterator[str]]]] = {
    "cli": cli_page,
    "exit-codes": exit_page,
    "doctor": doctor_page,
    "reasons": reasons_page,
}


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield the verbs that are there with their commands."""
    for verb, (place, _) in sorted(VERBS.items()):
        if importlib.util.find_spec(place.partition(":")[0]) is None:
            continue
        command = cli.get_command(click.Context(cli), verb)
        if command is not None:
            yield verb, command


def exit_codes(command: click.Command) -> dict[int, str]:
    """Return the exit codes that a command's help names."""
    _, found, text = (command.epilog or "").partition(EXIT_TITLE)
    return {int(code): words for code, words in _EXIT.findall(text)} if found else {}


def _root() -> click.Context:
    return click.Context(cli, info_name="wirecrypt", **cli.context_settings)


def _help(name: str, command: click.Command, parent: click.Context) -> Iterator[str]:
    info = name.rpartition(" ")[2]
    inner = click.Context(command, info_name=info, parent=parent, terminal_width=_WIDTH, max_content_width=_WIDTH)
    context = parent if command is cli else inner
    context.terminal_width = context.max_content_width = _WIDTH
    yield "```"
    yield from (line.rstrip() for line in command.get_help(context).splitlines())
    yield "```"


def _table(codes: dict[int, str]) -> Iterator[str]:
    yield from ("| code | meaning |", "| --- | --- |")
    yield from (f"| {code} | {words} |" for code, words in sorted(codes.items()))


def text(page: str) -> str:
    """Return a page as it stands in docs/reference."""
    note = f"<!-- Made by `python -m wirecrypt.cli.reference {page}`: change the commands, not this page. -->"
    return "\n".join((note, "", *PAGES[page]())) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text(sys.argv[1]))
