"""The control protocol's sockets: one that is refused something stops nobody else."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import pytest
from structlog.testing import capture_logs

from wirecrypt.errors import FeatureError, KernelError
from wirecrypt.kernel.net.control_socket import SO_MARK, KernelControlChannel
from wirecrypt.model.xfrm import Address

OWN, GONE, OTHER = ip_address("192.0.2.1"), ip_address("192.0.2.2"), ip_address("fd00::1")
PEER, FAR = ip_address("192.0.2.9"), ip_address("192.0.2.10")
REFUSALS = [
    getattr(errno, name) for name in ("EPERM", "EINVAL", "EACCES", "ENETDOWN", "EADDRNOTAVAIL", "EHOSTUNREACH", "ENOBUFS")
]


class Socket:
    """A socket in memory; *refuses* is the errno that sending, or setting the mark, answers with."""

    def __init__(self, refuses: int = 0, *, marks: int = 0) -> None:
        self.refuses, self.marks = refuses, marks
        self.sent: list[tuple[bytes, object]] = []
        self.closed = False

    def setsockopt(self, _level: int, option: int, _value: int) -> None:
        """Take an option, or refuse the mark."""
        if option == SO_MARK and self.marks:
            raise OSError(self.marks, os.strerror(self.marks))

    def sendto(self, data: bytes, to: object) -> None:
        """Keep what is sent, or refuse it."""
        if self.refuses:
            raise OSError(self.refuses, os.strerror(self.refuses))
        self.sent.append((data, to))

    def fileno(self) -> int:
        """Return a number."""
        return 7

    def close(self) -> None:
        """Note that it is closed."""
        self.closed = True


class Sockets:
    """What binds: an address of which nothing is known is refused."""

    def __init__(self, **by: Socket | KernelError) -> None:
        self.by: dict[Address, Socket | KernelError] = {}
        for name, made in by.items():
            self.by[{"own": OWN, "gone": GONE, "other": OTHER}[name]] = made

    def __call__(self, address: Address, _port: int) -> socket.socket:
        """Return the socket of an address, or refuse it."""
        made = self.by[address]
        if isinstance(made, KernelError):
            raise made
        return made  # type: ignore[return-value]  # what the channel uses of one


@contextmanager
def listening(sockets: Sockets) -> Iterator[KernelControlChannel]:
    channel = KernelControlChannel(sockets)
    channel.listen(sockets.by, 4900)
    yield channel
    channel.close()


@pytest.mark.parametrize("number", REFUSALS, ids=errno.errorcode.__getitem__)
@pytest.mark.parametrize("what", ["refuses", "marks"])
def test_whatever_the_kernel_refuses_to_send_is_an_answer(number: int, what: str) -> None:
    """No errno of a send ends the pass: the datagram is refused."""
    with listening(Sockets(own=Socket(**{what: number}))) as channel:
        assert channel.send(OWN, PEER, 1, b"x") is False


def test_a_refusal_is_logged_once_a_peer_and_reason() -> None:
    """The same refusal of the same peer stands once in the log, with its words; another peer's or reason's does too."""
    with listening(Sockets(own=(sock := Socket(errno.EINVAL)))) as channel, capture_logs() as lines:
        for peer in (PEER, PEER, FAR, PEER):
            channel.send(OWN, peer, 1, b"x")
        sock.refuses = errno.ENETDOWN
        channel.send(OWN, PEER, 1, b"x")
    said = [(line["address"], line["reason"].partition(": ")[2]) for line in lines]
    assert said == [
        (str(PEER), "Invalid argument"),
        (str(FAR), "Invalid argument"),
        (str(PEER), "Network is down"),
    ]


@pytest.mark.parametrize("kind", [KernelError, FeatureError])
def test_an_address_without_a_socket_stops_no_other(kind: type[KernelError]) -> None:
    """One address that cannot be bound is named with its error; the others are listened on."""
    refused = kind("listen for control datagrams", what=str(GONE), answer="no")
    with listening(Sockets(own=(sock := Socket()), gone=refused, other=Socket())) as channel:
        assert channel.failed() == {GONE: refused}
        assert len(channel.files()) == 2
        assert channel.send(OWN, PEER, 1, b"x") is True
        assert channel.send(GONE, PEER, 1, b"x") is False
    assert sock.sent == [(b"x", (str(PEER), 4900))]
    assert sock.closed


def test_an_address_without_a_socket_is_tried_again() -> None:
    """Each pass tries it anew, says it once in the log, and is content when it is there."""
    refused = KernelError("listen for control datagrams", what=str(GONE), answer="no")
    with capture_logs() as lines, listening(sockets := Sockets(own=Socket(), gone=refused)) as channel:
        assert channel.listen(sockets.by, 4900) == {GONE: refused}
        sockets.by[GONE] = Socket()
        assert channel.listen(sockets.by, 4900) == {}
        assert len(channel.files()) == 2
    assert [line["address"] for line in lines] == [str(GONE)]
