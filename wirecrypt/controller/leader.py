"""Leadership by a Lease, as Kubernetes' own controllers do it (docs/adr/0003 says why it is ours).

Whoever holds the Lease renews it; another takes it over when it has not *seen* it change for its whole duration, by its own
monotonic clock. A leader stops believing in itself well before that, so two never act at once, whatever the clocks say.

A Lease can go back in time, with an API server that is restored from a backup, or be deleted: then it names who led once, or
nobody, while another leads. So one that went back is nobody's for a whole duration, but for who leads by it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from wirecrypt import logs
from wirecrypt.errors import ClusterError, Conflict, ObjectError
from wirecrypt.model.objects import Lease
from wirecrypt.ports import LeaseStore

_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds: how long a Lease counts, how long a leader acts without a renewal, and between two tries."""

    lease: int = 15
    deadline: float = 10.0
    retry: float = 2.0


DEFAULT: Final = Timings()


class Elector:
    """One candidate. `tick` tries once; `run` does so until it is stopped."""

    def __init__(
        self,
        store: LeaseStore,
        identity: str,
        *,
        timings: Timings = DEFAULT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.identity = identity
        self._store = store
        self._timings = timings
        self._clock = clock
        self._seen: tuple[Lease | None, float] = (None, 0.0)  # and since when by our clock
        self._own = ""  # version of what this candidate wrote last, while nothing else was seen since
        self._doubted = float("-inf")  # when the Lease was seen to go back
        self._until = float("-inf")
        self._term = 0

    @property
    def term(self) -> int:
        """Return how often the Lease came to this candidate, 0 for never: another may have led between two terms."""
        return self._term

    def leads(self) -> bool:
        """Return whether this candidate may act now."""
        return self._clock() < self._until

    def tick(self) -> bool:
        """Try once to take or renew the Lease, and say whether this candidate leads."""
        began = self._clock()
        try:
            lease = self._store.read()
            goes_on = self._goes_on(lease)
            if goes_on or self._may_take(lease, began):
                written = self._store.write(self._mine(lease))
                self._seen, self._own = (written, began), written.version
                self._term += not goes_on
                self._until = began + self._timings.deadline
            elif lease is not None and lease.holder != self.identity:
                self._until = float("-inf")
        except Conflict:
            pass  # another was faster
        except (ClusterError, ObjectError) as error:
            _log.warning("lease not renewed", error=str(error))
        return self.leads()

    def release(self) -> None:
        """Give the Lease up, so that another need not wait."""
        if not self.leads():
            return
        self._until = float("-inf")
        try:
            lease = self._store.read()
            if lease and lease.holder == self.identity:
                self._store.write(replace(lease, holder="", renewed=datetime.now(UTC), seconds=1))
        except ClusterError as error:
            _log.warning("lease not given up", error=str(error))

    def run(self, stop: threading.Event, changed: Callable[[], None]) -> None:
        """Try until *stop*, then give it up; *changed* is called whenever leadership was won or lost."""
        led = False
        while not stop.is_set():
            leads = self.tick()
            if leads != led:
                _log.info("leadership changed", state="leader" if leads else "follower", object=self.identity)
                led = leads
                changed()
            stop.wait(self._timings.retry)
        self.release()
        changed()

    def _goes_on(self, lease: Lease | None) -> bool:
        """Return whether nobody else can have led since this candidate wrote *lease*."""
        return lease is not None and lease.holder == self.identity and (lease.version == self._own or self.leads())

    def _may_take(self, lease: Lease | None, now: float) -> bool:
        """Return whether nobody else leads: given up, never there, this candidate's, or not changed for its whole duration."""
        self._own = ""
        seen, since = self._seen
        if lease != seen:
            if seen is not None and (lease is None or _older(lease.version, seen.version)):
                self._doubted = now
                _log.warning("the lease went back: nobody leads by it for a while", seconds=self._timings.lease)
            self._seen = seen, since = lease, now
        if now - self._doubted < self._timings.lease:
            return False
        return lease is None or lease.holder in ("", self.identity) or now - since >= lease.seconds

    def _mine(self, lease: Lease | None) -> Lease:
        now = datetime.now(UTC)
        if lease is None:
            return Lease(self.identity, now, now, self._timings.lease, 0)
        fresh = replace(lease, holder=self.identity, renewed=now, seconds=self._timings.lease)
        if lease.holder == self.identity:
            return fresh
        return replace(fresh, acquired=now, transitions=lease.transitions + 1)


def _older(version: str, than: str) -> bool:
    return version.isdigit() and than.isdigit() and int(version) < int(than)
