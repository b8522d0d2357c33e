"""Watches against an HTTP server that misbehaves: never hot, never silent, never on a frozen copy."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import pytest
from kubernetes.client.configuration import Configuration
from structlog.testing import capture_logs

from wirecrypt.cluster.api import Api
from wirecrypt.cluster.connection import Connection
from wirecrypt.cluster.reflector import Reflector
from wirecrypt.errors import ClusterError

PATIENCE = 30.0
ENOUGH = 4
GONE = {"type": "ERROR", "object": {"code": 410, "reason": "Expired", "message": "too old"}}


def thing(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}}


def line(event: object) -> bytes:
    return json.dumps(event).encode() + b"\n"


class Server:
    """A collection: *lists* and *watches* say what the n-th answer holds; a watch of None stays open, with nothing in it."""

    def __init__(self) -> None:
        self.watches: Callable[[int], bytes | None] = lambda _: None
        self.lists: Callable[[int], list[dict[str, Any]]] = lambda _: [thing("a", 5)]
        self.asked: list[str] = []
        self.closing = threading.Event()
        handler = type("Handler", (_Handler,), {"server_of_test": self})
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def count(self, *, watching: bool) -> int:
        """Return how many streams were opened, or lists given."""
        return sum(("watch=1" in path) is watching for path in self.asked)

    def answer(self, path: str) -> bytes | None:
        """Return the body of the next answer."""
        self.asked.append(path)
        watching = "watch=1" in path
        number = self.count(watching=watching)
        if watching:
            return self.watches(number)
        return line({"metadata": {"resourceVersion": "5"}, "items": self.lists(number)})

    def api(self) -> Api:
        """Return the API that this server plays."""
        configuration = Configuration()
        configuration.host = f"http://127.0.0.1:{self.http.server_port}"
        return Api(Connection(configuration))

    def close(self) -> None:
        """Stop serving."""
        self.closing.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


class _Handler(BaseHTTPRequestHandler):
    server_of_test: Server

    def do_GET(self) -> None:
        body = self.server_of_test.answer(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body or b"")
        self.wfile.flush()
        if body is None:
            self.server_of_test.closing.wait()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    """Yield the server."""
    made = Server()
    yield made
    made.close()


class Watch:
    """A reflector whose pauses are counted and not slept; after some it stands still until it is stopped."""

    def __init__(self, server: Server, read: Callable[[Any], Any]) -> None:
        self.api = server.api()
        self.pauses: list[float] = []
        self.rested = threading.Event()
        self.stopping = threading.Event()
        self.changed = threading.Condition()
        self.shown: list[list[Any]] = []
        self.reflector = Reflector(self.api, "Thing", "/things", read, pause=self._pause)

    def __enter__(self) -> Self:
        self.reflector.start(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.reflector.stop()
        self.api.close()

    def until(self, *shown: list[str]) -> None:
        """Wait until there were as many changes, and compare what the copy showed at each."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.shown) >= len(shown), PATIENCE)
            assert self.shown == list(shown)

    def _note(self) -> None:
        with self.changed:
            self.shown.append(list(self.reflector.objects()))
            self.changed.notify_all()

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if len(self.pauses) >= ENOUGH:
            self.rested.set()
            self.stopping.wait()


def name_of(raw: dict[str, Any]) -> str:
    return str(raw["metadata"]["name"])


@pytest.mark.parametrize(
    ("body", "lists"),
    [(b"", 1), (line(GONE), ENOUGH), (b"<html>\n", 1), (b"[]\n", 1), (line({"type": "ADDED", "object": []}), 1)],
    ids=["ends at once", "410", "no JSON", "no object", "no object in it"],
)
def test_a_watch_that_ends_at_once_is_opened_again_after_a_pause(server: Server, body: bytes, lists: int) -> None:
    """However a stream ends early there is a pause before the next, longer each time; only 410 means a new list."""
    server.watches = lambda _: body
    with Watch(server, name_of) as watch:
        assert watch.rested.wait(PATIENCE)
        assert (server.count(watching=True), server.count(watching=False)) == (ENOUGH, lists)
        assert all(pause > 0 for pause in watch.pauses)
        assert watch.pauses[-1] > watch.pauses[0]
        assert watch.reflector.objects() == ["a"]


def test_pauses_are_spread_by_chance(server: Server) -> None:
    """Watches that a server ends together do not come back together."""
    server.watches = lambda _: line(GONE)
    first = set()
    for _ in range(3):
        with Watch(server, name_of) as watch:
            assert watch.rested.wait(PATIENCE)
            first.add(watch.pauses[0])
    assert len(first) == 3


@pytest.mark.parametrize("junk", [b"<html>bad gateway</html>\n", b"[]\n", line({"type": "ADDED", "object": None})])
def test_a_line_that_is_no_event_loses_nothing(server: Server, junk: bytes) -> None:
    """A page of a proxy in a stream is an error of ours, and the watch goes on with the event after it."""
    streams = [junk, line({"type": "ADDED", "object": thing("b", 6)})]
    server.watches = lambda number: streams[number - 1] if number <= len(streams) else None
    with Watch(server, name_of) as watch:
        watch.until(["a"], ["a", "b"])
    server.watches = lambda _: junk
    with server.api().stream("/things", version="5", seconds=1) as stream, pytest.raises(ClusterError, match="GET /things"):
        list(stream.events())


def test_an_unexpected_error_is_logged_and_means_a_new_list(server: Server) -> None:
    """A fault of ours in one event ends no thread: the copy stays as it was until it is listed anew; no value is logged."""
    server.lists = lambda number: [thing("a", 5)] if number == 1 else [thing("a", 7), thing("c", 8)]
    server.watches = lambda number: line({"type": "MODIFIED", "object": thing("a", 6)}) if number == 1 else None

    def read(raw: dict[str, Any]) -> str:
        if raw["metadata"]["resourceVersion"] == "6":
            raise TypeError("a value that may be a secret")
        return f"{name_of(raw)}{raw['metadata']['resourceVersion']}"

    with capture_logs() as said, Watch(server, read) as watch:
        watch.until(["a5"], ["a7", "c8"])
    assert ["TypeError" in entry["error"] for entry in said if entry["log_level"] == "error"] == [True]
    assert "secret" not in str(said)


def test_an_error_while_listing_keeps_the_copy(server: Server) -> None:
    """A list that cannot be read changes nothing of what was there: nobody takes objects for deleted."""
    server.lists = lambda number: [thing("a", 5)] if number == 1 else [thing("b", 6), thing("bad", 7)]
    server.watches = lambda _: line(GONE)

    def read(raw: dict[str, Any]) -> str:
        if raw["metadata"]["name"] == "bad":
            raise TypeError("unexpected")
        return name_of(raw)

    with Watch(server, read) as watch:
        assert watch.rested.wait(PATIENCE)
        assert (watch.reflector.objects(), server.count(watching=False)) == (["a"], ENOUGH)
