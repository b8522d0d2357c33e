"""A port that is to be open: the one that is wanted now, tried again later while it cannot be had."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from wirecrypt.errors import ConfigError
from wirecrypt.http_server.listener import Listener
from wirecrypt.retry import Backoff, Delays

AGAIN: Final = Delays(first=30.0, most=30.0, jitter=0.0)


class KeptPort:
    """Opens a port by *opened*, and another one when that is wanted. One thread uses it."""

    def __init__(self, opened: Callable[[int], Listener], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._opened, self._clock = opened, clock
        self._listener: Listener | None = None
        self._port = 0
        self._backoff = Backoff(AGAIN)

    @property
    def port(self) -> int:
        """Return the TCP port that is open, 0 for none."""
        return self._listener.port if self._listener else 0

    def want(self, port: int) -> ConfigError | None:
        """Have *port* open, 0 for none; return why it cannot be when that was just tried."""
        now = self._clock()
        if port == self._port or not self._backoff.due(now):
            return None
        self.close()
        try:
            self._listener = self._opened(port) if port else None
        except ConfigError as error:
            self._backoff = self._backoff.failed(now)
            return error
        self._port = port
        return None

    def close(self) -> None:
        """Close what is open."""
        if self._listener is not None:
            self._listener.close()
        self._listener, self._port = None, 0
