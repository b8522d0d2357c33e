"""The agent's loop: one thread owns the netlink sockets and decides; everything else only says "look again"."""

from __future__ import annotations

import contextlib
import math
import os
import select
import time
from collections.abc import Callable
from typing import Final, Protocol

from wirecrypt import logs
from wirecrypt.agent.reconciler import Reconciler
from wirecrypt.errors import WirecryptError
from wirecrypt.model.xfrm import SaKey
from wirecrypt.ports import ControlChannel, Watcher

log = logs.get(__name__)
SHORTEST: Final = 0.01  # between two looks: events that come together are one reason to look
AFTER_ERROR: Final = 1.0
LONGEST_AFTER_ERROR: Final = 30.0


class KernelEvents(Protocol):
    """The kernel's events that an agent waits for."""

    def files(self) -> list[int]:
        """Return the descriptors to wait on."""

    def expired(self) -> list[SaKey]:
        """Return the SAs that reached a limit since the last call."""

    def links_changed(self) -> bool:
        """Return whether links, addresses or routes changed since the last call."""

    def touched(self) -> bool:
        """Return whether somebody else changed IPsec objects since the last call."""


class Runner:
    """Run passes until told to stop. Stopping touches nothing in the kernel: it goes on without the agent."""

    def __init__(self, agent: Reconciler, watcher: Watcher, events: KernelEvents, channel: ControlChannel) -> None:
        self._agent = agent
        self._watcher = watcher
        self._events = events
        self._channel = channel
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._stopping = False
        self._listening = 0.0  # not before: what arrives at once is read in parts, with time for all else between them
        self.passed: Callable[[float, bool], None] = lambda _seconds, _failed: None
        self.alive: Callable[[], None] = lambda: None

    def wake(self) -> None:
        """Have the next pass now; may be called from any thread."""
        with contextlib.suppress(BlockingIOError):  # full: it will be woken anyway
            os.write(self._writer, b"x")

    def stop(self) -> None:
        """End after the current pass; may be called from a signal handler."""
        self._stopping = True
        self.wake()

    def run(self) -> None:
        """Watch and pass until `stop`."""
        self._watcher.start(self.wake)
        failures = 0
        try:
            while not self._stopping:
                started = time.monotonic()
                failed, due = self._pass(started, failures)
                failures = failures + 1 if failed else 0
                self.passed(time.monotonic() - started, failed)
                self._wait(due, time.monotonic() + self._agent.rest)
        finally:
            self._watcher.stop()
            self._channel.close()

    def _pass(self, now: float, failures: int) -> tuple[bool, float]:
        try:
            return False, self._agent.step(now)
        except WirecryptError as error:
            log.error("pass failed", error=str(error), kind=type(error).__name__)  # noqa: TRY400 - the message says all
            self._agent.failed(error, now)
            return True, now + min(LONGEST_AFTER_ERROR, AFTER_ERROR * 2 ** min(failures, 5))

    def _wait(self, due: float, rested: float) -> None:
        """Wait until *due*, or until something happened that a pass has to look at; what the last pass itself did is none.

        What others say is looked at when the loop has *rested*.
        """
        while True:
            due = min(due, self._happened(min(due, self._agent.tending_due), rested))
            if self._stopping or time.monotonic() >= due or self._tended():
                return

    def _tended(self) -> bool:
        """Do what is due between two passes; return whether it calls for one."""
        now = time.monotonic()
        if now < self._agent.tending_due:
            return False
        self.alive()
        try:
            return self._agent.tend(now)
        except WirecryptError as error:
            log.warning("a pass is called for", error=str(error))
            return True

    def _happened(self, due: float, rested: float) -> float:
        """Wait until *due* or until something happens; return when a pass is to look at it, *rested* for what others say."""
        now = time.monotonic()
        quiet = self._listening - now
        channel = self._channel.files() if quiet <= 0 else []
        files = [self._reader, *self._events.files(), *channel]
        timeout = max(SHORTEST, due - now) if quiet <= 0 else quiet
        poll = select.poll()
        for fd in files:
            poll.register(fd, select.POLLIN)
        ready = {fd for fd, _ in poll.poll(timeout * 1000)}
        with contextlib.suppress(BlockingIOError):
            while os.read(self._reader, 4096):
                pass
        expired, links, touched = self._events.expired(), self._events.links_changed(), self._events.touched()
        self._agent.expired(expired)
        if links:
            self._agent.links_changed()
        heard = bool(ready & {*channel}) and self._hear()
        if expired or links or touched:
            return now
        return rested if heard or self._reader in ready else math.inf

    def _hear(self) -> bool:
        """Take in some of the datagrams that have come; return whether they call for a pass."""
        now = time.monotonic()
        self._listening = now + SHORTEST
        return self._agent.hear(now)
