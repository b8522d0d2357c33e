"""One connection: a request is read, an answer awaited, written, and then the other side hangs up. Each step has a deadline."""

from __future__ import annotations

import selectors
import socket
from contextlib import suppress
from enum import Enum
from http import HTTPStatus
from typing import Final

from wirecrypt.http_server.limits import Limits
from wirecrypt.http_server.messages import END, HttpRequest, Response, parse, refused

_CHUNK: Final = 64 * 1024


class _Step(Enum):
    """What a connection is at."""

    READ = "read"
    WAIT = "wait"
    WRITE = "write"
    LINGER = "linger"
    ENDED = "ended"


class ClientConnection:
    """A client's connection; whoever has it watches its socket for `events`, and calls `go_on` when they come."""

    def __init__(self, number: int, accepted: socket.socket, client: str, limits: Limits, now: float) -> None:
        accepted.settimeout(0)
        self.number, self.socket, self.client = number, accepted, client
        self.deadline = now + limits.read
        self._limits = limits
        self._step = _Step.READ
        self._head = bytearray()
        self._rest = memoryview(b"")

    @property
    def events(self) -> int:
        """Return what to watch the socket for; while the answer is awaited, that is whether the client has gone."""
        return selectors.EVENT_WRITE if self._step is _Step.WRITE else selectors.EVENT_READ

    @property
    def waits(self) -> bool:
        """Return whether it has asked and has no answer yet."""
        return self._step is _Step.WAIT

    @property
    def ended(self) -> bool:
        """Return whether there is nothing more to do."""
        return self._step is _Step.ENDED

    def go_on(self, now: float, *, local: bool) -> HttpRequest | Response | None:
        """Read or write what can be without waiting; return what was asked, or the refusal of what was not well asked."""
        try:
            if self._step is _Step.WRITE:
                self._write(now)
                return None
            return self._read(now, local=local)
        except BlockingIOError:
            return None
        except OSError:
            self._step = _Step.ENDED
            return None

    def send(self, answer: bytes, now: float) -> None:
        """Begin to write the answer."""
        self._step, self._rest, self.deadline = _Step.WRITE, memoryview(answer), now + self._limits.write
        self.go_on(now, local=False)

    def close(self) -> None:
        """End it, whatever it is at."""
        self._step = _Step.ENDED
        self.socket.close()

    def _read(self, now: float, *, local: bool) -> HttpRequest | Response | None:
        data = self.socket.recv(_CHUNK)
        if not data or self._step is _Step.WAIT:  # gone, or asks for more than one thing
            self._step = _Step.ENDED
        if self._step is not _Step.READ:
            return None
        self._head += data
        end = self._head.find(END)
        if max(end, len(self._head) if end < 0 else 0) > self._limits.most_bytes:
            return refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"more than {self._limits.most_bytes} bytes")
        if end < 0:
            return None
        found = parse(bytes(self._head[:end]), self.client, local=local)
        self._head.clear()
        self._step, self.deadline = _Step.WAIT, now + self._limits.answer
        return found

    def _write(self, now: float) -> None:
        """Write; when all is written, hang up and give the client a moment to do so: data left unread would cut the answer."""
        self._rest = self._rest[self.socket.send(self._rest[:_CHUNK]) :]
        if not self._rest:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)
            self._step, self.deadline = _Step.LINGER, now + self._limits.linger
