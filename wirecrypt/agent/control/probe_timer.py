"""Who is to be probed when: a heap, so that one peer's probe costs nothing of the others."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from typing import Final

from wirecrypt.agent.view import configuration

NEVER: Final = float("inf")


class ProbeTimer:
    """The moments, in monotonic seconds, from which on the peers' next probes are due, by node UID."""

    def __init__(self, moments: Mapping[str, float] | None = None) -> None:
        self._heap = [(at, uid) for uid, at in (moments or {}).items()]
        heapq.heapify(self._heap)

    @property
    def due(self) -> float:
        """Return when the first one is due."""
        return self._heap[0][0] if self._heap else NEVER

    def run(self, now: float, probe: Callable[[str], float]) -> None:
        """Have each peer that is due probed; *probe* returns when its next one is due."""
        while self.due <= now:
            _, uid = self._heap[0]
            heapq.heapreplace(self._heap, (max(probe(uid), now + SHORTEST), uid))


class ProbeBudget:
    """Turns of probes that look whether a path still works: so many a second of all pairs together, and no two at once."""

    def __init__(self) -> None:
        self._next = -NEVER

    def turn(self, now: float) -> float:
        """Take the first turn that is free, and return when it is."""
        turn = max(now, self._next)
        self._next = turn + 1 / configuration.PROBES
        return turn


SHORTEST: Final = 0.01  # seconds between two probes of a peer that are not sent together
