"""Wait for a cluster to come where it was asked to go, and show how far it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from wirecrypt.cli.output import count, say
from wirecrypt.cli.tools import tools
from wirecrypt.errors import Unreachable

EVERY: Final = 1.0
_SHOWN: Final = 5


def wait_until(missing: Callable[[], Sequence[str]], *, seconds: float) -> list[str]:
    """Ask *missing* once a second until it names nothing, and return what it named last; changes are told.

    An API server that does not answer is asked again: what was begun goes on without us.
    """
    clock = tools()
    end = clock.monotonic() + seconds
    told: list[str] | None = None
    while True:
        left = _ask(missing)
        if left != told and left:
            more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
            say(f"waiting for {count(len(left), 'node')}: {'; '.join(left[:_SHOWN])}{more}")
        told = left
        if not left or clock.monotonic() >= end:
            return left
        clock.sleep(EVERY)


def _ask(missing: Callable[[], Sequence[str]]) -> list[str]:
    try:
        return list(missing())
    except Unreachable as error:
        return [f"the API server: {error.answer}"]
