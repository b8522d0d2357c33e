"""How much anybody gets of the server: places, requests a second, bytes and seconds. Pure; the clock is an argument.

The limits of one client bind before those of all, so that one that floods is turned away and others are served. What is let in
all together is what a program can answer next to its own work: a request takes Python's one lock for about 0.2 ms, and to hang
up on one that comes too often a tenth of that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds: *read* for a whole request, *answer* until one is there, *write* for taking it, *linger* for hanging up.

    *places* are connections at once, *places_each* those of one client. *accepts* are connections a second that are looked at,
    *rate* those that are served, of one client *rate_each*; *burst* and *burst_each* how many may come at once. *most_bytes*
    is the length of a request.
    """

    read: float = 5.0
    answer: float = 45.0  # the longest verification, and the one before it that it waits for
    write: float = 20.0
    linger: float = 1.0
    places: int = 128
    places_each: int = 32
    accepts: float = 2000.0
    rate: float = 300.0
    burst: float = 200.0
    rate_each: float = 20.0
    burst_each: float = 40.0
    most_bytes: int = 16 * 1024  # as many API servers allow for all headers


@dataclass(slots=True)
class Rate:
    """A bucket that fills with *rate* tokens a second, up to *burst*."""

    rate: float
    burst: float
    _left: float = field(init=False)
    _at: float = field(init=False, default=float("-inf"))

    def __post_init__(self) -> None:
        self._left = self.burst

    def take(self, now: float) -> bool:
        """Take a token; False when there is none."""
        left = self._at_time(now)
        taken = left >= 1
        self._left, self._at = (left - 1 if taken else left), now
        return taken

    def give_back(self) -> None:
        """Put a token back that was taken."""
        self._left = min(self.burst, self._left + 1)

    def any_left(self, now: float) -> bool:
        """Return whether there is a token."""
        return self._at_time(now) >= 1

    def seconds(self, now: float) -> float:
        """Return how long it is until there is a token."""
        return max(0.0, (1 - self._at_time(now)) / self.rate)

    def full(self, now: float) -> bool:
        """Return whether nothing was taken of late."""
        return self._at_time(now) >= self.burst

    def _at_time(self, now: float) -> float:
        return min(self.burst, self._left + max(0.0, now - self._at) * self.rate)


@dataclass(slots=True)
class ClientRates:
    """A bucket for each client; those that are full again are forgotten once there are *most*."""

    rate: float
    burst: float
    most: int = 1024
    _of: dict[str, Rate] = field(default_factory=dict)

    def of(self, client: str, now: float) -> Rate:
        """Return the bucket of *client*; where too many have taken of late, that of the client known longest is forgotten."""
        if client not in self._of and len(self._of) >= self.most:
            self._of = {name: each for name, each in self._of.items() if not each.full(now)}
            while len(self._of) >= self.most:
                del self._of[next(iter(self._of))]
        return self._of.setdefault(client, Rate(self.rate, self.burst))


def gives_way(holders: Iterable[str], newcomer: str, limits: Limits) -> str | None:
    """Return whose place *newcomer* gets, where there is none left for it: its own, or that of the client with most places.

    *holders*: the client of each place, oldest first. None: there is room.
    """
    counted = Counter([*holders, newcomer])
    if counted[newcomer] > limits.places_each:
        return newcomer
    return counted.most_common(1)[0][0] if counted.total() > limits.places else None
