"""Where the API server is, and whether it still answers, for who must not wait for it.

Pods reach it by a Service, whose address is replaced before a packet leaves the node: the guard sees what stands behind it, so
the slices of that Service have to be known. Both questions are asked in threads of their own. Only the first look is waited
for: who asks for the first time has just heard of the server, and may put a guard before what is not known by then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from wirecrypt import logs
from wirecrypt.cluster import paths
from wirecrypt.cluster.api import Api
from wirecrypt.cluster.codec import decode
from wirecrypt.errors import ClusterError, WirecryptError
from wirecrypt.model.xfrm import Address

EVERY: Final = 60.0  # seconds between two looks at the slices
FIRST_SECONDS: Final = 30.0  # how long the first look is waited for at most: longer than a request can take
_log = logs.get(__name__)


class ServerReach:
    """What one process knows of its way to the API server; *clock* is the monotonic one."""

    def __init__(self, api: Api, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._clock = clock
        self._due = float("-inf")
        self._behind: frozenset[Address] = frozenset()
        self._refused = ""
        self._look = _Errand("api-slices", self._read_slices)
        self._question = _Errand("api-question", self._ask)

    def addresses(self) -> frozenset[Address]:
        """Return the addresses of API servers: those that connections go to, and those behind the Service `kubernetes`.

        The slices are read again after a minute. What was known stays while they cannot be read.
        """
        now, first = self._clock(), self._due == float("-inf")
        if now >= self._due:
            self._due = now + EVERY
            self._look.begin()
        if first:
            self._look.wait(FIRST_SECONDS)
        return self._api.addresses() | self._behind

    def answered(self, since: float) -> bool:
        """Return whether a request that began after *since* was answered; without one, another is under way."""
        if self._api.answered > since:
            return True
        self._question.begin()
        return False

    def _read_slices(self) -> None:
        """Read the slices; a refusal is logged once, and ends nothing."""
        try:
            slices, _ = self._api.items(paths.API_SLICES)
            self._behind = frozenset(address for raw in slices for address in decode.slice_addresses(raw))
            self._refused = ""
        except WirecryptError as error:
            if str(error) != self._refused:
                _log.warning("addresses of API servers not read", error=str(error))
            self._refused = str(error)

    def _ask(self) -> None:
        with suppress(ClusterError):  # a refusal is an answer, and silence is told by `answered`
            self._api.get(paths.CONFIG)


class _Errand:
    """Work in a thread of its own, never twice at a time."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self._name = name
        self._work = work
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Start, unless it is under way."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()

    def wait(self, seconds: float) -> None:
        """Wait until it is done, at most *seconds*."""
        if self._thread is not None:
            self._thread.join(seconds)
