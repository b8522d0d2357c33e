"""Watches against an HTTP server that misbehaves: never hot, never silent, never on a frozen copy."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import struct
import threading
import time
import warnings
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

PATIENCE = 60.0
ENOUGH = 4
GONE = {"type": "ERROR", "object": {"code": 410, "reason": "Expired", "message": "too old"}}


def thing(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}}


def line(event: object) -> bytes:
    return json.dumps(event).encode() + b"\n"


def _question(path: str) -> bool:
    """Return whether this request is about one object."""
    return "limit=1" in re.split("[?&]", path)


class Server:
    """A collection: *lists* and *watches* say what the n-th answer holds; a watch of None stays open, with nothing in it.

    A question about one object is answered from *store*, by name, at *version*; lists are at it, too.
    """

    def __init__(self) -> None:
        self.store = {"a": 5}
        self.version = 5
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
        return sum(("watch=1" in path) is watching for path in self.asked if not _question(path))

    def questions(self) -> list[str]:
        """Return the names that were asked about."""
        return [path.partition("name%3D")[2].partition("&")[0] for path in self.asked if _question(path)]

    def answer(self, path: str) -> bytes | None:
        """Return the body of the next answer."""
        self.asked.append(path)
        if _question(path):
            name = self.questions()[-1]
            found = [thing(name, self.store[name])] if name in self.store else []
            return line({"metadata": {"resourceVersion": str(self.version)}, "items": found})
        watching = "watch=1" in path
        number = self.count(watching=watching)
        if watching:
            return self.watches(number)
        return line({"metadata": {"resourceVersion": str(self.version)}, "items": self.lists(number)})

    def shows(self, **store: int) -> None:
        """Have the store hold these objects by their versions, in lists as well."""
        self.store = store
        self.lists = lambda _: [thing(name, version) for name, version in sorted(self.store.items())]

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
        self.restores = 0
        self.reflector = Reflector(self.api, "Thing", "/things", read, pause=self._pause)

    def __enter__(self) -> Self:
        self.reflector.start(self._note, self._count)
        return self

    def _count(self, _before: float, _began: float) -> None:
        self.restores += 1

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


def wait_for(condition: Callable[[], bool]) -> bool:
    """Return whether *condition* came true in time."""
    end = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < end:
        threading.Event().wait(0.01)
    return condition()


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

    def watches(number: int) -> bytes | None:
        if number != 2:
            return junk if number == 1 else None
        server.version = 6
        server.shows(a=5, b=6)
        return added("b", 6)

    server.watches = watches
    with Watch(server, name_of) as watch:
        assert wait_for(lambda: server.count(watching=True) == 3)
        watch.until(["a"], ["a", "b"])
        assert watch.restores == 0
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


def versioned(raw: dict[str, Any]) -> str:
    return f"{name_of(raw)}{raw['metadata']['resourceVersion']}"


def added(name: str, version: int) -> bytes:
    return line({"type": "ADDED", "object": thing(name, version)})


@pytest.mark.parametrize(
    ("version", "store"),
    [(7, {"a": 5}), (40, {"a": 5, "b": 6}), (40, {"a": 5, "b": 8}), (40, {"a": 5})],
    ids=["the store is behind", "an object is older", "an object is another one of that time", "an object never was"],
)
def test_a_copy_that_is_newer_than_its_source_is_listed_anew(server: Server, version: int, store: dict[str, int]) -> None:
    """A store that went back is noticed when the stream ends, also when it has counted further since, and that is said.

    What never was is gone from the copy, and nobody waits for versions that were undone.
    """

    def watches(number: int) -> bytes | None:
        if number > 1:
            return None
        server.version = version
        server.shows(**store, c=4)
        return added("b", 9)

    server.watches = watches
    with capture_logs() as said, Watch(server, versioned) as watch:
        watch.until(["a5"], ["a5", "b9"], [f"{name}{v}" for name, v in sorted((store | {"c": 4}).items())])
        assert server.questions() == ["b"]
        assert watch.restores == 1
        assert watch.reflector.reached(version)
        assert not watch.reflector.reached(version + 1)
    assert [e["kind"] for e in said if e["event"].startswith("the API server went back")] == ["Thing"]


def test_an_object_that_was_deleted_and_is_there_again_shows_the_restore(server: Server) -> None:
    """A deletion that was undone is a past that was undone; no object is asked about but the one that changed last."""

    def watches(number: int) -> bytes | None:
        server.version = 40
        return line({"type": "DELETED", "object": thing("a", 8)}) if number == 1 else None

    server.watches = watches
    with Watch(server, versioned) as watch:
        watch.until(["a5"], [], ["a5"])
        assert (watch.restores, server.questions()) == (1, ["a"])


def test_what_happened_meanwhile_is_no_restore(server: Server) -> None:
    """A copy that is merely behind goes on by its watch: no list, and nothing is said."""

    def watches(number: int) -> bytes | None:
        server.version, server.store = 12, {"a": 11, "b": 12}
        return [added("b", 9), added("b", 12), None][min(number, 3) - 1]

    server.watches = watches
    with capture_logs() as said, Watch(server, versioned) as watch:
        watch.until(["a5"], ["a5", "b9"], ["a5", "b12"])
        assert (watch.restores, server.count(watching=False)) == (0, 1)
    assert "went back" not in str(said)


def test_a_copy_can_be_told_to_list_anew(server: Server) -> None:
    """A stream that is open is left for a new list at once, without a pause, and the age is that of the list."""
    with Watch(server, versioned) as watch:
        watch.until(["a5"])
        before = time.monotonic()
        server.shows(a=5, b=6)
        watch.reflector.list_anew()
        watch.until(["a5"], ["a5", "b6"])
        assert watch.pauses == []
        assert watch.restores == 0
        assert watch.reflector.listed_since(before)
        assert watch.reflector.age() <= time.monotonic() - before


def test_a_copy_is_listed_anew_now_and_then(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the versions say: a copy that is old enough is listed when its stream ends."""
    monkeypatch.setattr("wirecrypt.cluster.reflector.LIST_SECONDS", (0, 0))
    server.watches = lambda number: b"" if number == 1 else None
    server.lists = lambda number: [thing("a", 5)] if number == 1 else [thing("a", 5), thing("b", 6)]
    with Watch(server, versioned) as watch:
        watch.until(["a5"], ["a5", "b6"])
        assert server.questions() == []


def test_the_age_of_a_copy_grows_while_nobody_confirms_it(server: Server) -> None:
    """Streams that end at once are no confirmation, answers to the question are."""
    with Watch(server, versioned) as watch:
        watch.until(["a5"])
        first = watch.reflector.age()
        assert wait_for(lambda: watch.reflector.age() > first)


def test_only_sockets_that_were_reset_before_tls_may_be_left_open(pytestconfig: pytest.Config) -> None:
    """What the tests forgive is what the standard library leaves when a server is killed, and no open connection of ours."""
    _, forgiven = pytestconfig.getini("filterwarnings")
    action, message, category = forgiven.split(":", 2)
    assert (action, category) == ("ignore", "ResourceWarning")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as connected:
        accepted, _ = server.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close resets
        context = ssl.create_default_context()
        with context.wrap_socket(connected.dup(), server_hostname="x", do_handshake_on_connect=False) as alive:
            assert not re.match(message, f"unclosed {alive!r}")
        accepted.close()
        with warnings.catch_warnings(record=True) as left, contextlib.suppress(OSError):
            warnings.simplefilter("always")
            context.wrap_socket(connected, server_hostname="x")
    assert all(re.match(message, str(one.message)) for one in left)
    assert re.match(message, "unclosed <ssl.SSLSocket fd=47, family=2, type=1, proto=6, laddr=('127.0.0.1', 40856)>")
