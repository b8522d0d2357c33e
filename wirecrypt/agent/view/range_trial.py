"""Whether the API server still answers once new cluster ranges are in the kernel.

Ranges that cover an API server which nobody claims make the guard drop the way to it, and with it the corrected document: what
came by that way must prove itself by that way. Only a request that begins after a whole pass under the new ranges counts: an
earlier one may have been answered before the kernel had them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

PROVED_SECONDS: Final = 60.0  # how long an answer is waited for: some requests long, and as long as an API server restarts

Reached = Callable[[float], bool]  # whether a request that began after this monotonic time was answered


class RangeTrial:
    """One trial; it begins with the pass that writes the ranges."""

    def __init__(self) -> None:
        self._written = False
        self._since: float | None = None

    def proved(self, now: float, reached: Reached) -> bool | None:
        """Return True when the API server answered, False when it did not for `PROVED_SECONDS`, None before either.

        To be asked once in each pass, at its monotonic time *now*.
        """
        if not self._written:
            self._written = True
            return None
        if self._since is None:
            self._since = now
        if reached(self._since):
            return True
        return False if now - self._since >= PROVED_SECONDS else None
