"""One thread that listens, reads requests and writes answers, and waits for nobody.

A client that is slow costs a place and no thread, and the place only until a deadline: for the whole of a request, for its
answer, for taking it; and it gives its place to who comes later and is quicker. Pages are made elsewhere: an answerer is called
in this thread, and replies at once or later from another.
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from wirecrypt.errors import ConfigError
from wirecrypt.http_server.client_connection import ClientConnection
from wirecrypt.http_server.limits import ClientRates, Limits, Rate, gives_way
from wirecrypt.http_server.messages import Answerer, HttpRequest, Response, refused, render

_AT_ONCE: Final = 32  # connections taken in before those that are there are looked at again
_OUT_OF_FILES: Final = 0.2  # seconds until connections are taken in again
LATE: Final = "not answered in time; ask again"


class Listener:
    """An open port or local socket with its thread; `close` frees it and joins the thread."""

    def __init__(self, server: socket.socket, answer: Answerer, *, limits: Limits, name: str, local: bool = False) -> None:
        server.settimeout(0)
        self._server, self._answer, self._limits, self._local = server, answer, limits, local
        self._selector = selectors.DefaultSelector()
        self._selector.register(server, selectors.EVENT_READ)
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._reader, selectors.EVENT_READ)
        self._connections: dict[int, ClientConnection] = {}
        self._replies: deque[tuple[int, Response]] = deque()
        self._numbers = 0
        self._accepts, self._rate = Rate(limits.accepts, limits.burst), Rate(limits.rate, limits.burst)
        self._clients = ClientRates(limits.rate_each, limits.burst_each)
        self._paused_until: float | None = None
        self._lock = threading.Lock()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Return the TCP port, also when 0 was asked for."""
        return int(self._server.getsockname()[1])

    @property
    def taken(self) -> int:
        """Return how many connections there are."""
        return len(self._connections)

    def close(self) -> None:
        """Stop listening and end all connections; replies that come later are nobody's."""
        with self._lock:
            self._closing = True
            self._wake()
        self._thread.join()
        for connection in self._connections.values():
            connection.close()
        self._selector.close()
        self._server.close()
        os.close(self._reader)
        os.close(self._writer)

    def _run(self) -> None:
        while not self._closing:
            for key, _ in self._selector.select(self._patience(time.monotonic())):
                self._look(key)
            self._deliver()
            now = time.monotonic()
            self._expire(now)
            self._resume(now)

    def _look(self, key: selectors.SelectorKey) -> None:
        if key.fileobj is self._server:
            self._take_in()
        elif key.fd == self._reader:
            with suppress(BlockingIOError):
                while os.read(self._reader, 4096):
                    pass
        elif (connection := self._connections.get(key.data)) is not None:
            self._go_on(connection)

    def _patience(self, now: float) -> float | None:
        """Return the seconds until something is due, None for nothing."""
        due = [each.deadline for each in self._connections.values()]
        if self._paused_until is not None:
            due.append(self._paused_until)
        return max(0.0, min(due) - now) if due else None

    # Taking in ------------------------------------------------------------------------------------------------------------

    def _take_in(self) -> None:
        now = time.monotonic()
        for _ in range(_AT_ONCE):
            if not self._accepts.take(now):
                self._pause(now + self._accepts.seconds(now))
                return
            try:
                accepted, address = self._server.accept()
            except (BlockingIOError, ConnectionError):
                self._accepts.give_back()
                return
            except OSError:  # no file descriptor, no memory: those who are there may end meanwhile
                self._pause(now + _OUT_OF_FILES)
                return
            self._place(accepted, _client(address, local=self._local), now)

    def _place(self, accepted: socket.socket, client: str, now: float) -> None:
        """Give a client a place, or hang up on one that has had its share."""
        if not (self._clients.of(client, now).take(now) and self._rate.take(now) and self._room(client)):
            accepted.close()
            return
        self._numbers += 1
        connection = ClientConnection(self._numbers, accepted, client, self._limits, now)
        self._connections[connection.number] = connection
        self._selector.register(accepted, connection.events, connection.number)

    def _room(self, client: str) -> bool:
        """Make room for one more of *client*; False where all that would have to go have asked already, and wait."""
        loser = gives_way([each.client for each in self._connections.values()], client, self._limits)
        if loser is None:
            return True
        slow = (each for each in self._connections.values() if each.client == loser and not each.waits)
        if (oldest := next(slow, None)) is None:
            return False
        self._drop(oldest)
        return True

    def _pause(self, until: float) -> None:
        self._paused_until = until
        self._selector.unregister(self._server)

    def _resume(self, now: float) -> None:
        if self._paused_until is not None and now >= self._paused_until:
            self._paused_until = None
            self._selector.register(self._server, selectors.EVENT_READ)

    # Going on -------------------------------------------------------------------------------------------------------------

    def _go_on(self, connection: ClientConnection) -> None:
        """Read or write what can be; a request that is complete is handed over."""
        found = connection.go_on(time.monotonic(), local=self._local)
        if isinstance(found, HttpRequest):
            number = connection.number
            self._answer(found, lambda response: self._reply(number, response))
        elif found is not None:
            self._send(connection, found)
        self._settle(connection)

    def _reply(self, number: int, response: Response) -> None:
        with self._lock:
            if not self._closing:  # afterwards the descriptor may be another file's
                self._replies.append((number, response))
                self._wake()

    def _deliver(self) -> None:
        while self._replies:
            number, response = self._replies.popleft()
            if (connection := self._connections.get(number)) is not None and connection.waits:
                self._send(connection, response)
                self._settle(connection)

    def _send(self, connection: ClientConnection, response: Response) -> None:
        connection.send(render(response), time.monotonic())

    def _settle(self, connection: ClientConnection) -> None:
        """Wait for what a connection waits for now; one that has ended goes."""
        if connection.ended:
            self._drop(connection)
        elif connection.number in self._connections:
            self._selector.modify(connection.socket, connection.events, connection.number)

    def _expire(self, now: float) -> None:
        for connection in list(self._overdue(now)):
            if connection.waits:
                self._send(connection, refused(HTTPStatus.SERVICE_UNAVAILABLE, LATE))
                self._settle(connection)
            else:
                self._drop(connection)

    def _overdue(self, now: float) -> Iterator[ClientConnection]:
        return (each for each in self._connections.values() if now >= each.deadline)

    def _drop(self, connection: ClientConnection) -> None:
        if self._connections.pop(connection.number, None) is not None:
            self._selector.unregister(connection.socket)
            connection.close()

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # full: it is awake anyway
            os.write(self._writer, b"x")


def serve(port: int, address: str, answer: Answerer, *, limits: Limits | None = None, name: str = "pages") -> Listener:
    """Listen on *address* and TCP *port*; ``::`` is both families. Raises `ConfigError` when it cannot be opened."""
    server = None
    try:
        family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET  # noqa: PLR2004 - IPv6
        server = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not while another listens; right after it has ended
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind((address, port))
        server.listen(512)
    except (OSError, OverflowError, ValueError) as error:
        if server is not None:
            server.close()
        what, hint = f"{address} port {port}", "choose another metrics.port, or stop what has it (`ss -ltnp`)"
        raise ConfigError("open a TCP port", what=what, answer=str(error), hint=hint) from error
    return Listener(server, answer, limits=limits or Limits(), name=name)


def serve_local(path: Path, answer: Answerer, *, name: str = "local") -> Listener:
    """Listen on a socket in the file system that only the own user can open, taking the place of one that was left behind.

    Raises `ConfigError` when it cannot be opened.
    """
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with suppress(FileNotFoundError):
            path.unlink()
        server.bind(str(path))
        path.chmod(0o600)
        server.listen(16)  # before this nobody gets in, whatever the mode was
    except OSError as error:
        server.close()
        hint = "the folder must be there, and belong to who runs this"
        raise ConfigError("open a local socket", what=str(path), answer=str(error), hint=hint) from error
    return Listener(server, answer, limits=Limits(), name=name, local=True)


def _client(address: object, *, local: bool) -> str:
    """Return the address of who connects, an IPv4 one as such."""
    if local or not isinstance(address, tuple):
        return "local"
    return str(address[0]).partition("%")[0].removeprefix("::ffff:")
