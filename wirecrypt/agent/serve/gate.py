"""Who asks, and may they? As a kubelet does it: the API server is asked for whom a token speaks, and what that one may.

What the API server said is kept for a while, also a refusal, so that it is not asked at each request. Of tokens that turn out
to be worth nothing only a few are asked about, for each client and for all: a flood of them stays here. By the local socket
everybody may ask: only root can open it.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from queue import Empty, Full, Queue
from typing import Final

from wirecrypt import logs
from wirecrypt.errors import ClusterError
from wirecrypt.http_server import Answerer, HttpRequest, Reply, Response, refused
from wirecrypt.http_server.limits import ClientRates, Rate
from wirecrypt.model.access import ALLOWED, TokenVerdict
from wirecrypt.model.secret import SecretBytes

log = logs.get(__name__)
KEPT: Final = {True: 60.0, False: 30.0}  # seconds that a permission, and a refusal, are good for
MOST_KEPT: Final = 1024
MOST_WAITING: Final = 32
CLOSING: Final = 2.0  # seconds to wait for the API server's last answer
_NEXT: Final = "send a token for this agent: `wirecrypt verify` does, and `--local` on the node needs none"

Review = Callable[[SecretBytes, str], TokenVerdict]  # token, page → verdict; raises `ClusterError`


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request whose token is to be reviewed, and where it goes then."""

    request: HttpRequest
    token: SecretBytes
    key: bytes
    page: str
    let_in: Answerer
    reply: Reply


class Gate:
    """Lets those pass to a page that may see it; its own thread asks the API server."""

    def __init__(self, node: str, review: Review, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._node, self._review, self._clock = node, review, clock
        self._known: OrderedDict[bytes, tuple[float, TokenVerdict]] = OrderedDict()
        self._lock = threading.Lock()
        self._bad = Rate(1 / 5, 20.0)  # reviews of tokens that are refused: of all clients together, and of each
        self._bad_each = ClientRates(1 / 60, 5.0)
        self._queue: Queue[_Asked | None] = Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name="gate", daemon=True)
        self._thread.start()

    def before(self, page: str, let_in: Answerer) -> Answerer:
        """Return the answerer that hands requests for *page* to *let_in* if who asks may see it, and refuses them otherwise."""

        def answer(request: HttpRequest, reply: Reply) -> None:
            if request.local:
                let_in(request, reply)
            elif request.token is None:
                reply(self._refusal(HTTPStatus.UNAUTHORIZED, f"no token; {_NEXT}"))
            else:
                key = hashlib.sha256(page.encode() + b"\0" + request.token.reveal()).digest()
                self._asked(_Asked(request, request.token, key, page, let_in, reply))

        return answer

    def close(self) -> None:
        """End after the review that is under way; who waits gets no answer."""
        while not self._offer(None):
            with suppress(Empty):
                self._queue.get_nowait()
        self._thread.join(CLOSING)

    def _asked(self, asked: _Asked) -> None:
        """Answer by what is known, or have the token reviewed."""
        if self._known_or_spent(asked) or self._offer(asked):
            return
        asked.reply(self._refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"{MOST_WAITING} tokens wait to be reviewed; ask again"))

    def _run(self) -> None:
        while (asked := self._queue.get()) is not None:
            if not self._known_or_spent(asked):  # those before it may have had the same token, or been worth nothing
                self._act(asked, self._reviewed(asked))

    def _known_or_spent(self, asked: _Asked) -> bool:
        """Answer, if the API server need not or must not be asked; return whether it is so."""
        verdict = self._remembered(asked.key)
        if verdict is not None:
            self._act(asked, verdict)
        elif self._spent(asked.request.client):
            asked.reply(self._refusal(HTTPStatus.TOO_MANY_REQUESTS, "too many tokens that were refused; ask again in a minute"))
        else:
            return False
        return True

    def _act(self, asked: _Asked, verdict: TokenVerdict) -> None:
        if verdict.status == ALLOWED:
            asked.let_in(asked.request, asked.reply)
        else:
            asked.reply(self._refusal(verdict.status, verdict.why))

    def _reviewed(self, asked: _Asked) -> TokenVerdict:
        """Ask the API server; what it says is kept, and of what comes to nothing the client and all have only so much."""
        try:
            verdict = self._review(asked.token, asked.page)
        except ClusterError as error:
            log.warning("token not reviewed", error=str(error))
            self._spend(asked.request.client)
            why = f"the API server cannot be asked about your token: {error.answer}"
            return TokenVerdict(HTTPStatus.SERVICE_UNAVAILABLE, why)
        allowed = verdict.status == ALLOWED
        if not allowed:
            self._spend(asked.request.client)
        with self._lock:
            self._known[asked.key] = (self._clock() + KEPT[allowed], verdict)
            self._known.move_to_end(asked.key)
            while len(self._known) > MOST_KEPT:
                self._known.popitem(last=False)
        return verdict

    def _remembered(self, key: bytes) -> TokenVerdict | None:
        with self._lock:
            until, verdict = self._known.get(key, (float("-inf"), None))
        return verdict if self._clock() < until else None

    def _spent(self, client: str) -> bool:
        now = self._clock()
        with self._lock:
            return not (self._bad.any_left(now) and self._bad_each.of(client, now).any_left(now))

    def _spend(self, client: str) -> None:
        now = self._clock()
        with self._lock:
            self._bad.take(now)
            self._bad_each.of(client, now).take(now)

    def _offer(self, asked: _Asked | None) -> bool:
        try:
            self._queue.put_nowait(asked)
        except Full:
            return False
        return True

    def _refusal(self, status: int, why: str) -> Response:
        return refused(status, f"agent of {self._node}: {why}")
