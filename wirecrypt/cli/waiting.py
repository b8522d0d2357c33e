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

EVERY: Final = 1.0  # seconds between two questions, at most where all is well
SOONEST: Final = 0.2  # and at least
PART: Final = 0.1  # of what was waited already: who waits for seconds hears of the end soon, and who waits for long asks seldom
PASSING: Final = (Unreachable, Throttled, ServerError)  # what time may heal
_SHOWN: Final = 5


def wait_until(missing: Callable[[], Sequence[str]], *, seconds: float) -> list[str]:
    """Ask *missing* until it names nothing, once a second at most, and return what it named last; changes are told."""
    clock = tools()
    began = clock.monotonic()
    end = began + seconds
    shown: list[str] | None = None
    while True:
        left, pause = _ask(missing)
        if left != shown and left:
            more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
            say(f"waiting for {count(len(left), 'node')}: {'; '.join(left[:_SHOWN])}{more}")
        shown = left
        if not left or clock.monotonic() >= end:
            return left
        clock.sleep(min(max(pause, pause_of(clock.monotonic() - began)), end - clock.monotonic()))


def pause_of(waited: float) -> float:
    """Return how many seconds to wait before the next question, where *waited* have passed."""
    return min(EVERY, max(SOONEST, PART * waited))


def pause_after(error: ClusterError) -> float:
    """Return how many seconds to wait at least before the next question: as long as the server asks for, else the longest."""
    return max(EVERY, error.after) if isinstance(error, Throttled) else EVERY


def _ask(missing: Callable[[], Sequence[str]]) -> tuple[list[str], float]:
    try:
        return list(missing()), 0.0
    except PASSING as error:
        return [f"the API server: {error.answer}"], pause_after(error)
