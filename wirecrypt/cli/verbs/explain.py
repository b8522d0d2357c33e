"""`wirecrypt explain`: what a reason or a counter means, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from wirecrypt.cli.output import Grid, Json, emit
from wirecrypt.cli.tools import exits, formatted
from wirecrypt.doctor.meanings import KINDS, alike, explained
from wirecrypt.errors import InputError
from wirecrypt.model.conditions import Meaning


@click.command(
    epilog=exits(
        {
            0: "explained",
            2: "nothing is called that",
        }
    )
)
@click.argument("names", nargs=-1, metavar="[REASON|COUNTER]...")
@formatted
def explain(names: tuple[str, ...]) -> None:
    """Say what a reason of a status or an Event means, or a counter of the guard or the kernel, and what to do next.

    Names are those that status, verify, doctor, kubectl, logs and metrics show. Without one all are listed. It asks nobody:
    it works without a cluster.
    """
    found = [document(kind, name, meaning) for kind, name, meaning in (_all() if not names else _named(names))]
    emit({"meanings": found}, lambda: _lines(found, brief=not names))


def document(kind: str, name: str, meaning: Meaning) -> Json:
    """Return a meaning, for programs."""
    return {"name": name, "kind": kind, "means": meaning.sentence, "next": meaning.next_step}


def _all() -> Iterator[tuple[str, str, Meaning]]:
    return ((kind, name, meaning) for kind, meanings in KINDS.items() for name, meaning in sorted(meanings.items()))


def _named(names: Sequence[str]) -> list[tuple[str, str, Meaning]]:
    """Return what is called by these names; raises `InputError` for a name that nothing has."""
    for name in names:
        if not explained(name):
            close = alike(name)
            hint = f"did you mean {' or '.join(close)}?" if close else "`wirecrypt explain` lists all names"
            raise InputError("explain", what=name, answer="no reason and no counter of ours is called that", hint=hint)
    return [each for name in names for each in explained(name)]


def _lines(found: Sequence[Json], *, brief: bool) -> Iterator[Grid | str]:
    if brief:
        yield Grid(("NAME", "KIND", "MEANS"), [(d["name"], d["kind"], d["means"]) for d in found])
        return
    for number, each in enumerate(found):
        if number:
            yield ""
        yield from (f"{each['name']}, a {each['kind']}", f"  {each['means']}", f"  Next: {each['next']}.")
