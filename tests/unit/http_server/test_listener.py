"""The listening thread, by real sockets: slow clients, floods, hang-ups; nobody holds up the others, or a place for long."""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from wirecrypt.errors import ConfigError
from wirecrypt.http_server import Answerer, HttpRequest, Limits, Listener, Reply, serve, serve_local
from wirecrypt.http_server.listener import LATE

LONG = 60.0
GET = b"GET / HTTP/1.1\r\n\r\n"
WIDE = Limits(read=LONG, answer=LONG, write=LONG, accepts=1e6, rate=1e6, burst=1e6, rate_each=1e6, burst_each=1e6)


def told(request: HttpRequest, reply: Reply) -> None:
    """Answer with who asked for what."""
    reply((200, "text/plain", f"{request.page} {request.client} {request.local}".encode()))


@contextmanager
def serving(limits: Limits | None = None, answer: Answerer = told, address: str = "127.0.0.1") -> Iterator[Listener]:
    """Yield a server; all clients have one address here, so that without *limits* one may have all there is."""
    with closing(serve(0, address, answer, limits=limits or WIDE)) as listener:
        yield listener


def connected(listener: Listener, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", listener.port), timeout=LONG, source_address=(source, 0))


def everything(client: socket.socket) -> bytes:
    """Return what comes until the server hangs up, by whatever way."""
    found = b""
    try:
        while data := client.recv(65536):
            found += data
    except ConnectionError:
        pass
    return found


def ask(listener: Listener, source: str = "127.0.0.1", content: bytes = GET) -> bytes:
    with connected(listener, source) as client:
        try:
            client.sendall(content)
        except ConnectionError:
            return b""
        return everything(client)


def test_a_request_is_answered_and_the_connection_ends() -> None:
    """With the address of who asked; also when the request comes in pieces."""
    with serving() as listener, connected(listener) as client:
        assert ask(listener).endswith(b"\r\n\r\n/ 127.0.0.1 False")
        for piece in (b"GET /x HT", b"TP/1.1\r\nA: ", b"b\r\n", b"\r\n"):
            client.sendall(piece)
        assert everything(client).endswith(b"/x 127.0.0.1 False")


def test_both_families_are_served_by_one_port() -> None:
    """An IPv4 client is known by its IPv4 address."""
    with serving(address="::") as listener:
        assert ask(listener).endswith(b"/ 127.0.0.1 False")
        with socket.create_connection(("::1", listener.port), timeout=LONG) as client:
            client.sendall(GET)
            assert everything(client).endswith(b"/ ::1 False")


def test_slow_clients_hold_up_nobody() -> None:
    """Sixty-four that say half of a request and nothing more, and one that asks: it is answered, and they are there still."""
    with serving(replace(WIDE, places_each=100)) as listener, ExitStack() as stack:
        slow = [stack.enter_context(connected(listener)) for _ in range(64)]
        for client in slow:
            client.sendall(b"GET /plan HTTP/1.1\r\n")
        assert b"200 OK" in ask(listener)
        for client in slow:
            client.sendall(b"\r\n")
            assert b"200 OK" in everything(client)


def test_a_request_has_a_deadline_however_it_trickles() -> None:
    """A client that sends a byte now and then is hung up on all the same."""
    with serving(replace(WIDE, read=0.3)) as listener, connected(listener) as client:
        client.sendall(b"GET /")
        client.settimeout(0.02)
        until(lambda: hung_up_on(client))


def hung_up_on(client: socket.socket) -> bool:
    """Send one more byte; return whether the server has ended the connection."""
    try:
        client.sendall(b"x")
        return not client.recv(1)
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_an_answer_that_nobody_takes_has_a_deadline() -> None:
    """A client that does not read is hung up on, and the answer is cut."""
    large = b"x" * 50_000_000
    limits = replace(WIDE, write=0.3)
    with (
        serving(limits, lambda _request, reply: reply((200, "text/plain", large))) as listener,
        connected(listener) as client,
    ):
        client.sendall(GET)
        assert client.recv(1, socket.MSG_PEEK)
        until(lambda: not listener.taken)
        assert 0 < len(everything(client)) < len(large)


def test_an_answer_that_does_not_come_in_time_is_refused() -> None:
    """503, and what comes later is of no consequence."""
    replies: list[Reply] = []
    with serving(replace(WIDE, answer=0.2), lambda _request, reply: replies.append(reply)) as listener:
        found = ask(listener)
        assert b" 503 " in found
        assert LATE.encode() in found
        replies[0]((200, "text/plain", b"late"))
        assert listener.port


def test_an_answer_may_come_from_another_thread() -> None:
    """While one waits, others are answered."""
    replies: list[tuple[str, Reply]] = []

    def answer(request: HttpRequest, reply: Reply) -> None:
        if request.page == "/later":
            replies.append((request.page, reply))
        else:
            told(request, reply)

    with serving(answer=answer) as listener, connected(listener) as client:
        client.sendall(b"GET /later HTTP/1.1\r\n\r\n")
        until(lambda: replies)
        assert ask(listener).endswith(b"/ 127.0.0.1 False")
        replies[0][1]((200, "text/plain", b"now"))
        assert everything(client).endswith(b"now")


def until(true: Callable[[], object]) -> None:
    """Wait until something is true."""
    end = time.monotonic() + LONG
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_request_that_is_too_long_is_refused() -> None:
    """Before all of it is there."""
    with serving(replace(WIDE, most_bytes=1000)) as listener:
        assert b" 431 " in ask(listener, content=b"GET /" + b"x" * 2000)
        assert b" 431 " in ask(listener, content=b"GET / HTTP/1.1\r\nA: " + b"x" * 2000 + b"\r\n\r\n")
        assert b" 200 " in ask(listener, content=b"GET / HTTP/1.1\r\nA: " + b"x" * 900 + b"\r\n\r\n")


def test_who_has_all_its_places_loses_the_oldest_to_its_own_newest() -> None:
    """One that opens and says nothing cannot keep itself out, nor anybody else."""
    with serving(replace(WIDE, places_each=2)) as listener, connected(listener) as first, connected(listener) as second:
        assert b"200 OK" in ask(listener)
        assert everything(first) == b""
        second.sendall(GET)
        assert b"200 OK" in everything(second)


def test_where_all_places_are_taken_the_greediest_gives_way() -> None:
    """Another client is served, and one that has a single place keeps it."""
    with serving(replace(WIDE, places=4, places_each=4)) as listener, ExitStack() as stack:
        modest = stack.enter_context(connected(listener, "127.0.0.2"))
        greedy = [stack.enter_context(connected(listener, "127.0.0.3")) for _ in range(3)]
        assert b"200 OK" in ask(listener, "127.0.0.4")
        assert everything(greedy[0]) == b""
        modest.sendall(GET)
        assert b"200 OK" in everything(modest)


def test_who_has_asked_and_waits_keeps_its_place() -> None:
    """A newcomer is turned away when all that could give way have asked already."""
    replies: list[Reply] = []
    only = replace(WIDE, places_each=1)
    with serving(only, lambda _request, reply: replies.append(reply)) as listener, connected(listener) as client:
        client.sendall(GET)
        until(lambda: replies)
        assert ask(listener) == b""
        replies[0]((200, "text/plain", b"first"))
        assert everything(client).endswith(b"first")


def test_a_client_that_comes_too_often_is_hung_up_on_and_others_are_served() -> None:
    """Its burst is answered; then nothing, while another address is."""
    with serving(replace(WIDE, rate_each=1e-6, burst_each=3)) as listener:
        assert [b"200 OK" in ask(listener) for _ in range(5)] == [True] * 3 + [False] * 2
        assert b"200 OK" in ask(listener, "127.0.0.2")


def test_connections_are_taken_in_no_faster_than_the_rate_and_none_is_lost() -> None:
    """Beyond the burst they wait in the kernel's queue."""
    with serving(replace(WIDE, accepts=50.0, burst=2)) as listener:
        assert [b"200 OK" in ask(listener) for _ in range(6)] == [True] * 6


def test_a_client_that_goes_frees_its_place() -> None:
    """Also while its answer is made."""
    replies: list[Reply] = []
    with serving(answer=lambda _request, reply: replies.append(reply)) as listener:
        with connected(listener) as client:
            client.sendall(GET)
            until(lambda: replies)
            assert listener.taken == 1
        until(lambda: not listener.taken)


def test_a_local_socket_is_the_own_users_alone() -> None:
    """Its mode says so; requests by it are marked; one that was left behind is replaced."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.sock"
        path.touch()
        with closing(serve_local(path, told)), socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(GET)
            assert everything(client).endswith(b"/ local True")
            assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(ConfigError, match="open a local socket"):
            serve_local(Path(folder) / "none" / "x.sock", told)


def test_a_reply_after_the_end_is_nobodys() -> None:
    """It is written to no descriptor, which may be another file's by now."""
    replies: list[Reply] = []
    with ExitStack() as stack:
        with serving(answer=lambda _request, reply: replies.append(reply)) as listener:
            client = stack.enter_context(connected(listener))
            client.sendall(GET)
            until(lambda: replies)
        pairs = [stack.enter_context(each) for _ in range(4) for each in socket.socketpair()]
        replies[0]((200, "text/plain", b"late"))
        for each in pairs:
            each.settimeout(0)
            with pytest.raises(BlockingIOError):
                each.recv(1)


def test_closing_ends_all_and_frees_the_port() -> None:
    """A client that waits is hung up on."""
    with ExitStack() as stack:
        with serving() as listener:
            port = listener.port
            client = stack.enter_context(connected(listener))
            assert b"200 OK" in ask(listener)
        assert everything(client) == b""
    with closing(serve(port, "127.0.0.1", told)) as again:
        assert again.port == port
