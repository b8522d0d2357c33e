"""Is the loop alive, and did it do its work of late? Told on a port of its own on loopback, that no configuration moves.

Whoever runs the program asks there, and ends it by the answer; so nothing else may fill this port, and who floods it is on the
node. Not alive is a loop that hangs: a new process may help. Not ready is one whose passes fail: a new process would not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from wirecrypt.http_server.limits import Limits
from wirecrypt.http_server.listener import Listener, serve
from wirecrypt.http_server.messages import at_once, dispatch, health

LOOPBACK: Final = "127.0.0.1"
_LIMITS: Final = Limits(places_each=128, rate=2000.0, burst=2000.0, rate_each=2000.0, burst_each=2000.0)  # all have one address


class LoopHealth:
    """What a loop says of itself by `passed`; *stuck*: seconds after which it hangs, as things are now."""

    def __init__(self, stuck: Callable[[], float], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stuck, self._clock = stuck, clock
        self._passed = clock()
        self._succeeded: float | None = None

    def alive(self) -> None:
        """Note that the loop came round without a pass: as good as the last one."""
        well = self._succeeded == self._passed
        self._passed = self._clock()
        if well:
            self._succeeded = self._passed

    def passed(self, *, failed: bool) -> None:
        """Note that a pass has ended."""
        self._passed = self._clock()
        if not failed:
            self._succeeded = self._passed

    def problem(self) -> str:
        """Return what is wrong with the loop, empty when nothing is."""
        silent = self._clock() - self._passed
        return f"no pass for {silent:.0f} s" if silent > self._stuck() else ""

    def unready(self) -> str:
        """Return why its work is not done, empty when it is."""
        if self._succeeded is None:
            return self.problem() or "no pass has ended well yet"
        silent = self._clock() - self._succeeded
        return f"no pass has ended well for {silent:.0f} s" if silent > self._stuck() else ""


def serve_health(port: int, loop: LoopHealth) -> Listener:
    """Serve ``/healthz`` and ``/readyz`` on loopback: 200, or 503 with the reason. Raises `ConfigError`."""
    pages = {"/healthz": at_once(lambda: health(loop.problem())), "/readyz": at_once(lambda: health(loop.unready()))}
    return serve(port, LOOPBACK, dispatch(pages), limits=_LIMITS, name="health")
