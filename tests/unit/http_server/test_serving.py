"""Opening ports: one that cannot be had is one clear error and is tried again; health says what the loop says."""

from __future__ import annotations

import socket
from contextlib import closing
from http.client import HTTPConnection

import pytest

from wirecrypt.errors import ConfigError
from wirecrypt.http_server import KeptPort, Listener, LoopHealth, dispatch, serve, serve_health


def opened(port: int) -> Listener:
    return serve(port, "127.0.0.1", dispatch({}))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def get(port: int, path: str) -> tuple[int, str]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_a_taken_port_is_one_clear_error() -> None:
    """The error names address and port; and after closing, the port is free again."""
    first = opened(0)
    port = first.port
    with pytest.raises(ConfigError, match=f"127.0.0.1 port {port}.*in use"):
        opened(port)
    first.close()
    with closing(opened(port)) as again:
        assert again.port == port


@pytest.mark.parametrize(("port", "address"), [(70000, "127.0.0.1"), (0, "nowhere"), (0, "192.0.2.77")])
def test_a_bad_port_or_address_is_one_clear_error(port: int, address: str) -> None:
    """What cannot be opened is a ConfigError with the next step."""
    with pytest.raises(ConfigError, match=r"Next: choose another metrics\.port"):
        serve(port, address, dispatch({}))


def test_a_port_is_kept_as_it_is_wanted() -> None:
    """Another when another is wanted, none for 0; one that cannot be had is told once, and tried again half a minute later."""
    now = 0.0
    kept = KeptPort(opened, clock=lambda: now)
    for port in (free_port(), free_port()):
        assert kept.want(port) is None
        assert kept.port == port
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = int(other.getsockname()[1])
        assert isinstance(kept.want(taken), ConfigError)
        assert (kept.port, kept.want(taken)) == (0, None)
    assert (kept.want(taken), kept.port) == (None, 0)
    now = 31.0
    assert (kept.want(taken), kept.port) == (None, taken)
    assert (kept.want(0), kept.port) == (None, 0)


def test_health_and_readiness_are_two_things() -> None:
    """A loop that hangs is not alive; one whose passes fail is alive and not ready."""
    now = 0.0
    loop = LoopHealth(lambda: 60.0, clock=lambda: now)
    with closing(serve_health(port := free_port(), loop)):
        assert [get(port, page) for page in ("/healthz", "/readyz")] == [(200, "ok\n"), (503, "no pass has ended well yet\n")]
        loop.passed(failed=False)
        now = 61.0
        loop.passed(failed=True)
        assert [get(port, page)[0] for page in ("/healthz", "/readyz")] == [200, 503]
        now = 122.0
        assert get(port, "/healthz") == (503, "no pass for 61 s\n")
        assert get(port, "/metrics")[0] == 404


def test_health_is_not_told_to_other_machines() -> None:
    """It listens on loopback alone."""
    with closing(serve_health(free_port(), LoopHealth(lambda: 60.0))) as listener, socket.socket() as client:
        client.settimeout(60)
        with pytest.raises(ConnectionRefusedError):
            client.connect(("127.0.0.2", listener.port))


@pytest.mark.parametrize(("failed", "unready"), [(False, ""), (True, "no pass has ended well for 90 s")])
def test_a_loop_that_comes_round_without_a_pass_is_as_well_as_its_last_one(failed: bool, unready: str) -> None:  # noqa: FBT001
    """It does not hang; it is ready where that pass ended well, and nowhere else: neither before the first one."""
    now = 0.0
    loop = LoopHealth(lambda: 60.0, clock=lambda: now)
    loop.alive()
    assert loop.unready() == "no pass has ended well yet"
    loop.passed(failed=False)
    for now in (45.0, 90.0):
        if now == 45.0 and failed:
            loop.passed(failed=True)
        loop.alive()
    assert (loop.problem(), loop.unready()) == ("", unready)
    now = 151.0
    assert loop.problem() == "no pass for 61 s"
