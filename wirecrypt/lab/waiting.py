"""Wait for a condition with a deadline, never for a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, TypeVar

from wirecrypt.errors import TimedOut, WirecryptError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
DEADLINE: Final = 120.0  # seconds for what a lab does at once, on a loaded machine: who waits for more says how long


def until(
    probe: Callable[[], T],
    *,
    what: str | Callable[[], str],
    seconds: float,
    ignore: type[WirecryptError] | None = None,
    every: float = 0.05,
) -> T:
    """Call *probe* until it gives something true, and return that.

    An error of the type *ignore* counts as not yet. TimedOut, which tells the last such error, after *seconds*. A *what* that
    has to be found out is a function: it is called when there is something to tell, not before the first look.
    """
    end = time.monotonic() + seconds
    last = ""
    while True:
        try:
            if found := probe():
                return found
        except WirecryptError as error:
            if ignore is None or not isinstance(error, ignore):
                raise
            last = str(error)
        if time.monotonic() > end:
            raise TimedOut(f"gave up after {seconds:.0f} s", what=what if isinstance(what, str) else what(), answer=last)
        time.sleep(every)
