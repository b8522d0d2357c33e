"""Wait for a cluster to come where it was asked to go, and show how far it is.

What was begun goes on without us, so an API server that is away, busy or unwell ends no wait: it is asked again, when it
says if it says so, until the command's own time is over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from wirecrypt.cli.output import count, say
from wirecrypt.cli.tools import tools
from wirecrypt.cluster.answer import ServerError, Throttled
from wirecrypt.errors import ClusterError, Unreachable

EVERY: Final = 1.0
PASSING: Final = (Unreachable, Throttled, ServerError)  # what time may heal
_SHOWN: Final = 5


def wait_until(missing: Callable[[], Sequence[str]], *, seconds: float) -> list[str]:
    """Ask *missing* once a second until it names nothing, and return what it named last; changes are told."""
    clock = tools()
    end = clock.monotonic() + seconds
    shown: list[str] | None = None
    while True:
        left, pause = _ask(missing)
        if left != shown and left:
            more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
            say(f"waiting for {count(len(left), 'node')}: {'; '.join(left[:_SHOWN])}{more}")
        shown = left
        if not left or clock.monotonic() >= end:
            return left
        clock.sleep(min(pause, end - clock.monotonic()))


def pause_after(error: ClusterError) -> float:
    """Return how many seconds to wait before the next question: as long as the server asks for, else as always."""
    return max(EVERY, error.after) if isinstance(error, Throttled) else EVERY


def _ask(missing: Callable[[], Sequence[str]]) -> tuple[list[str], float]:
    try:
        return list(missing()), EVERY
    except PASSING as error:
        return [f"the API server: {error.answer}"], pause_after(error)
