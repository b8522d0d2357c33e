"""Trying again: which errors, how often and for how long is always said; jitter is on unless it is turned off.

The only import of tenacity. `retry` waits inside one call; `Backoff` never waits: it says when one object is due again, so
that one bad peer does not hold up the others.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, ParamSpec, TypeVar

import tenacity

Params = ParamSpec("Params")
Result = TypeVar("Result")
On = type[Exception] | tuple[type[Exception], ...]

_MOST_DOUBLINGS: Final = 64  # beyond it every delay is capped anyway, and a float would overflow


@dataclass(frozen=True, slots=True)
class Delays:
    """How long to wait after the n-th failure in a row, in seconds: *first*, then twice as long, at most *most*.

    *jitter* is the share of a delay that chance decides: 0.5 gives 50 to 100 % of it, 0 always all of it.
    """

    first: float = 0.5
    most: float = 60.0
    jitter: float = 0.5

    def after(self, failures: int, chance: Callable[[], float]) -> float:
        """Return the delay after *failures* (1 or more; 0 gives 0); *chance* gives numbers from 0 up to 1."""
        if failures <= 0:
            return 0.0
        full = min(self.most, self.first * 2.0 ** min(failures - 1, _MOST_DOUBLINGS))
        return full * (1 - self.jitter * chance())


@dataclass(frozen=True, slots=True)
class Backoff:
    """The failures of one object in a row, and from when on it may be tried again (seconds of the caller's clock)."""

    delays: Delays = field(default_factory=Delays)
    failures: int = 0
    not_before: float = 0.0

    def due(self, now: float) -> bool:
        """Return whether the object may be tried."""
        return now >= self.not_before

    def failed(self, now: float, chance: Callable[[], float] = random.random) -> Backoff:
        """Return the back-off after one more failure."""
        failures = self.failures + 1
        return replace(self, failures=failures, not_before=now + self.delays.after(failures, chance))

    def succeeded(self, *, until: float = 0.0) -> Backoff:
        """Return the back-off of an object without failures, which need not be tried before *until*."""
        return replace(self, failures=0, not_before=until)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryLimits:
    """Caps of one `retry`: at most *attempts* tries, and none that would begin later than *seconds* after the first."""

    attempts: int = 5
    seconds: float = 30.0
    delays: Delays = field(default_factory=lambda: Delays(first=0.2, most=5.0))


def retry(
    *,
    on: On,
    limits: RetryLimits | None = None,
    sleep: Callable[[float], None] = time.sleep,
    asked: Callable[[Exception], float] = lambda _: 0.0,
) -> Callable[[Callable[Params, Result]], Callable[Params, Result]]:
    """Return a decorator that calls again when an error of *on* is raised; after the caps the last error is raised itself.

    *sleep* waits; give the wait of an event to be able to stop. *asked* are the seconds that an error itself asks for: no wait
    is shorter.
    """
    caps = limits or RetryLimits()

    def wait(call: tenacity.RetryCallState) -> float:
        error = call.outcome.exception() if call.outcome else None
        least = asked(error) if isinstance(error, Exception) else 0.0
        return max(least, caps.delays.after(call.attempt_number, random.random))

    return tenacity.retry(
        retry=tenacity.retry_if_exception_type(on),
        stop=tenacity.stop_after_attempt(caps.attempts) | tenacity.stop_before_delay(caps.seconds),
        wait=wait,
        sleep=sleep,
        reraise=True,
    )
