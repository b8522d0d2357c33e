"""Where the API server is, and whether it answers: known without waiting, against an HTTP server that plays it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any, Self

import pytest
from kubernetes.client.configuration import Configuration
from structlog.testing import capture_logs

from wirecrypt.cluster import paths
from wirecrypt.cluster.api import Api
from wirecrypt.cluster.connection import REMEMBERED_SECONDS, AnsweringPeers, Connection
from wirecrypt.cluster.server_reach import EVERY, ServerReach
from wirecrypt.errors import ClusterError, Forbidden, Unreachable
from wirecrypt.model.xfrm import Address

PATIENCE = 60.0
HERE = ip_address("127.0.0.1")
ONE, TWO, SIX = ip_address("192.0.2.1"), ip_address("192.0.2.2"), ip_address("2001:db8::6")


MALFORMED = {"metadata": {"name": "kubernetes"}, "addressType": "IPv4", "endpoints": [{"addresses": ["x"]}]}


def endpoint_slice(*addresses: Address, kind: str = "IPv4") -> dict[str, Any]:
    return {"metadata": {"name": "kubernetes"}, "addressType": kind, "endpoints": [{"addresses": [str(a) for a in addresses]}]}


class Server:
    """Answers each GET with *status* and a list of *slices*; with *hold* set it answers only once that is."""

    def __init__(self) -> None:
        self.slices: list[dict[str, Any]] = []
        self.status = 200
        self.hold: threading.Event | None = None
        self.asked: list[str] = []
        handler = type("Handler", (_Handler,), {"server_of_test": self})
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def api(self, name: str = "127.0.0.1") -> Api:
        """Return the API that this server plays, known by *name*."""
        configuration = Configuration()
        configuration.host = f"http://{name}:{self.http.server_port}"
        return Api(Connection(configuration))

    def close(self) -> None:
        """Stop serving."""
        if self.hold is not None:
            self.hold.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of_test: Server

    def do_GET(self) -> None:
        server = self.server_of_test
        server.asked.append(self.path)
        if server.hold is not None:
            server.hold.wait(PATIENCE)
        body = json.dumps({"metadata": {}, "items": server.slices}).encode()
        self.send_response(server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    """Yield the server."""
    made = Server()
    yield made
    made.close()


class Reach:
    """A `ServerReach` whose clock the test moves."""

    def __init__(self, server: Server, name: str = "127.0.0.1") -> None:
        self.now = 1000.0
        self.api = server.api(name)
        self.reach = ServerReach(self.api, clock=lambda: self.now)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.settle()
        self.api.close()

    def settle(self) -> None:
        """Wait until no question is under way."""
        for thread in threading.enumerate():
            if thread.name.startswith("api-"):
                thread.join(PATIENCE)

    def later(self, seconds: float) -> frozenset[Address]:
        """Return what is known after *seconds*, once the look that was begun is over."""
        self.now += seconds
        self.reach.addresses()
        self.settle()
        return self.reach.addresses()


def test_an_address_in_the_url_is_known_before_any_connection(server: Server) -> None:
    """Of either family; a host's name says nothing, and nobody is asked for it."""
    assert server.api().addresses() == {HERE}
    assert server.api("[2001:db8::6]").addresses() == {SIX}
    assert server.api("kubernetes.default.svc").addresses() == frozenset()
    assert server.asked == []


def test_the_peer_of_a_connection_by_name_is_known_once_it_answered(server: Server) -> None:
    """Whatever it answered: the address is where the packets go."""
    api = server.api("localhost")
    server.status = 403
    assert api.addresses() == frozenset()
    with pytest.raises(Forbidden):
        api.get("/x")
    assert api.addresses() == {HERE}
    api.close()
    assert api.addresses() == {HERE}  # the next attempt goes there


def test_peers_that_answer_no_more_are_forgotten_but_the_newest() -> None:
    """An address stays as long as a watch by which it is reached may live; the last one for ever."""
    peers = AnsweringPeers()
    assert peers.known(0.0) == frozenset()
    peers.heard(ONE, 0.0)
    peers.heard(TWO, 100.0)
    assert peers.known(REMEMBERED_SECONDS - 1) == {ONE, TWO}
    assert peers.known(REMEMBERED_SECONDS) == {TWO}
    assert peers.known(10 * REMEMBERED_SECONDS) == {TWO}
    peers.heard(ONE, 11 * REMEMBERED_SECONDS)
    assert peers.known(11 * REMEMBERED_SECONDS) == {ONE}


def test_what_is_behind_the_service_is_known_at_the_first_question(server: Server) -> None:
    """A Service's address is replaced before a packet leaves the node: the addresses of its slices count, of both families."""
    server.slices = [endpoint_slice(ONE, TWO), endpoint_slice(SIX, kind="IPv6")]
    server.slices.append({"metadata": {"name": "x"}, "addressType": "FQDN", "endpoints": [{"addresses": ["api.example"]}]})
    with Reach(server) as it:
        assert it.reach.addresses() == {HERE, ONE, TWO, SIX}
        assert [path.partition("&limit")[0] for path in server.asked] == [paths.API_SLICES]


def test_the_slices_are_read_again_after_a_minute_and_not_before(server: Server) -> None:
    """However often somebody asks."""
    server.slices = [endpoint_slice(ONE)]
    with Reach(server) as it:
        it.reach.addresses()
        server.slices = [endpoint_slice(TWO)]
        assert it.later(EVERY - 1) == {HERE, ONE}
        assert len(server.asked) == 1
        assert it.later(1) == {HERE, TWO}
        assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("status", "slices"),
    [(403, []), (500, []), (200, [MALFORMED])],
    ids=["refused", "broken", "malformed"],
)
def test_slices_that_cannot_be_read_are_said_once_and_end_nothing(server: Server, status: int, slices: list[Any]) -> None:
    """What was known stays, and the next minute tries again."""
    server.slices = [endpoint_slice(ONE)]
    with Reach(server) as it, capture_logs() as said:
        assert it.reach.addresses() == {HERE, ONE}
        server.status, server.slices = status, slices
        assert it.later(EVERY) == {HERE, ONE}
        assert it.later(EVERY) == {HERE, ONE}
        assert [entry["log_level"] for entry in said] == ["warning"]
        server.status, server.slices = 200, [endpoint_slice(TWO)]
        assert it.later(EVERY) == {HERE, TWO}


def test_only_a_request_that_begins_later_counts_as_an_answer(server: Server) -> None:
    """Without one a question is sent, once, and nobody waits for its answer; a refusal is an answer."""
    server.status, server.hold = 403, threading.Event()
    with Reach(server) as it:
        assert it.api.answered == float("-inf")
        assert not it.reach.answered(0.0)
        assert not it.reach.answered(0.0)
        server.hold.set()
        it.settle()
        assert it.reach.answered(0.0)
        assert server.asked == [paths.CONFIG]
        before = it.api.answered
        assert not it.reach.answered(before)
        it.settle()
        assert it.api.answered > before


def test_a_server_that_is_gone_is_no_error_for_who_asks() -> None:
    """Neither question raises; what the URL says stays known."""
    server = Server()
    server.close()
    with Reach(server) as it, capture_logs() as said:
        assert it.reach.addresses() == {HERE}
        assert not it.reach.answered(0.0)
        it.settle()
        assert not it.reach.answered(0.0)
    assert [entry["log_level"] for entry in said] == ["warning"]


@pytest.mark.parametrize(
    ("verb", "status", "call"),
    [
        ("get", 403, lambda api: api.get(paths.CONFIG)),
        ("list", 403, lambda api: api.items(paths.NODES)),
        ("list", 409, lambda api: api.named(paths.NODES, "a")),
        ("watch", 500, lambda api: api.stream(paths.NODES, version="1", seconds=1).__enter__()),
    ],
)
def test_who_counts_refused_requests_hears_of_each(
    server: Server, verb: str, status: int, call: Callable[[Api], object]
) -> None:
    """By the verb that the API server calls it, and what it answered; of a good answer nobody hears."""
    api, heard = server.api(), []
    api.failed = lambda verb, error: heard.append((verb, type(error)))
    api.items(paths.NODES)
    assert heard == []
    server.status = status
    with pytest.raises(ClusterError) as caught:
        call(api)
    assert heard == [(verb, caught.type)]
    api.close()


def test_an_api_server_that_does_not_answer_counts_as_well() -> None:
    """As unreachable, whatever was asked."""
    configuration = Configuration()
    configuration.host = "http://127.0.0.1:1"
    api, heard = Api(Connection(configuration)), []
    api.failed = lambda verb, error: heard.append((verb, type(error)))
    with pytest.raises(Unreachable):
        api.patch(paths.NODES, {})
    assert heard == [("patch", Unreachable)]
    api.close()
