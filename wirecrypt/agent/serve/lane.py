"""A page that takes time: one thread makes it, and all who wait for the same share one answer that was begun after they came.

However many ask, it takes its *share* of a thread's time at most: between two runs it rests, and whoever comes shares the next.
So nobody who reads can keep the loop from its work.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

from wirecrypt import logs
from wirecrypt.http_server import HttpRequest, Reply, Response, refused

log = logs.get(__name__)
MOST_WAITING: Final = 64
Key = tuple[tuple[str, str], ...]


class Lane:
    """Makes one page; `ask` may be called by any thread, and waits for nothing."""

    def __init__(self, name: str, work: Callable[[Mapping[str, str]], Response], *, share: float = 1.0) -> None:
        self._name, self._work, self._share = name, work, share
        self._waiting: deque[tuple[Key, Reply]] = deque()
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Return how many wait for a run that has not begun."""
        return len(self._waiting)

    def ask(self, request: HttpRequest, reply: Reply) -> None:
        """Have a request answered by the next run; at once when too many wait already."""
        with self._changed:
            full = len(self._waiting) >= MOST_WAITING
            if not full:
                self._waiting.append((tuple(sorted(request.query.items())), reply))
                self._changed.notify()
        if full:
            reply(refused(HTTPStatus.SERVICE_UNAVAILABLE, f"{MOST_WAITING} requests for {self._name} wait already; ask again"))

    def close(self) -> None:
        """End after the run that is under way; who waits gets no answer."""
        self._closing.set()
        with self._changed:
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (taken := self._next()) is not None:
            query, replies = taken
            began = time.monotonic()
            response = self._made(dict(query))
            for reply in replies:
                reply(response)
            self._closing.wait((time.monotonic() - began) * (1 / self._share - 1))

    def _next(self) -> tuple[Key, list[Reply]] | None:
        """Wait for requests; return the query that has waited longest, with all who ask for it. None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing.is_set())
            if self._closing.is_set():
                return None
            first = self._waiting[0][0]
            taken = [reply for key, reply in self._waiting if key == first]
            self._waiting = deque(each for each in self._waiting if each[0] != first)
            return first, taken

    def _made(self, query: Mapping[str, str]) -> Response:
        try:
            return self._work(query)
        except Exception as error:  # whoever waits must hear of it, whatever it is
            log.exception("page not made", object=self._name, kind=type(error).__name__)
            return refused(HTTPStatus.INTERNAL_SERVER_ERROR, f"{self._name} failed: see the agent's log")
