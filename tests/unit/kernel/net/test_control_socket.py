"""The control protocol's sockets: one that is refused something stops nobody else."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address

import pytest
from structlog.testing import capture_logs

from tests.unit.held import held
from wirecrypt.errors import BpfError, FeatureError, KernelError
from wirecrypt.kernel.net.control_socket import REPEAT_SECONDS, SO_MARK, KernelControlChannel
from wirecrypt.model.mark import MarkLayout
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

    def sendmsg(self, parts: list[bytes], _ancillary: object, _flags: int, to: object) -> None:
        """Keep what is sent, or refuse it."""
        if self.refuses:
            raise OSError(self.refuses, os.strerror(self.refuses))
        self.sent.append((b"".join(parts), to))

    def fileno(self) -> int:
        """Return a number."""
        return 7

    def close(self) -> None:
        """Note that it is closed."""
        self.closed = True


class Node:
    """A node with the port in memory: *own* and *six* are its sockets by version, *gone* is the address that it has not got."""

    def __init__(self, own: Socket | None = None, *, gone: KernelError | None = None, taken: KernelError | None = None) -> None:
        self.sockets = {4: own or Socket(), 6: Socket()}
        self.gone, self.taken = gone, taken

    def take(self, _address: Address, _port: int) -> Mapping[int, socket.socket]:
        """Return the sockets of the port, unless somebody has it."""
        if self.taken is not None:
            raise self.taken
        return self.sockets  # type: ignore[return-value]  # what the channel uses of one

    def require_own(self, address: Address) -> None:
        """Refuse the address that is gone."""
        if address == GONE and self.gone is not None:
            raise self.gone


ADDRESSES = (OWN, GONE, OTHER)


@contextmanager
def listening(node: Node) -> Iterator[KernelControlChannel]:
    channel = KernelControlChannel(node.take, node.require_own)
    channel.listen(ADDRESSES, 4900)
    yield channel
    channel.close()


@pytest.mark.parametrize("number", REFUSALS, ids=errno.errorcode.__getitem__)
@pytest.mark.parametrize("what", ["refuses", "marks"])
def test_whatever_the_kernel_refuses_to_send_is_an_answer(number: int, what: str) -> None:
    """No errno of a send ends the pass: the datagram is refused."""
    with listening(Node(Socket(**{what: number}))) as channel:
        assert channel.send(OWN, PEER, 1, b"x") is False


def test_a_refusal_is_logged_once_a_peer_and_reason() -> None:
    """The same refusal of the same peer stands once in the log for a while, with its words; another peer's or reason's too."""
    with listening(Node(sock := Socket(errno.EINVAL))) as channel, capture_logs() as lines:
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


def test_a_refusal_that_goes_on_is_logged_again_after_a_while() -> None:
    """Whoever looks into the log of today finds what began last month; of peers that are gone nothing is kept."""
    now = [0.0]
    node = Node(Socket(errno.EINVAL))
    channel = KernelControlChannel(node.take, node.require_own, clock=lambda: now[0])
    with capture_logs() as lines:
        for now[0] in (0.0, REPEAT_SECONDS - 1, REPEAT_SECONDS + 1):
            channel.listen(ADDRESSES, 4900)
            channel.send(OWN, PEER, 1, b"x")
    channel.close()
    assert [line["address"] for line in lines] == [str(PEER)] * 2


def test_what_was_logged_of_ten_thousand_peers_is_forgotten() -> None:
    """They come and go, each refused once: what is kept is what was logged of late."""
    now = [0.0]
    node = Node(Socket(errno.EINVAL))
    channel = KernelControlChannel(node.take, node.require_own, clock=lambda: now[0])
    most = 0
    with capture_logs() as lines:
        for number in range(10_000):
            now[0] += 60.0
            channel.listen([OWN], 4900)
            channel.send(OWN, ip_address(f"198.18.{number // 250}.{number % 250}"), 1, b"x")
            most = max(most, sum(held(channel).values()))
    channel.close()
    assert (len(lines), most < 100) == (10_000, True)


def test_an_address_that_is_not_the_nodes_stops_no_other() -> None:
    """One address that the node has not got is named with its error; the others are listened on and sent from."""
    refused = KernelError("listen for control datagrams", what=str(GONE), answer="no")
    with listening(node := Node(sock := Socket(), gone=refused)) as channel:
        assert channel.failed() == {GONE: refused}
        assert channel.send(OWN, PEER, 1, b"x") is True
        assert channel.send(GONE, PEER, 1, b"x") is False
    assert sock.sent == [(b"x", (str(PEER), 4900))]
    assert [each.closed for each in node.sockets.values()] == [True, True]


@pytest.mark.parametrize("kind", [KernelError, FeatureError])
def test_a_port_that_cannot_be_had_is_told_for_each_address(kind: type[KernelError]) -> None:
    """Nothing is listened on or sent then, and nothing fails; each address has the error."""
    taken = kind("listen for control datagrams", what="UDP port 4900", answer="no")
    with listening(Node(taken=taken)) as channel:
        assert channel.failed() == dict.fromkeys(ADDRESSES, taken)
        assert (channel.files(), channel.receive()) == ([], [])
        assert channel.send(OWN, PEER, 1, b"x") is False


@pytest.mark.parametrize("what", ["gone", "taken"])
def test_an_address_that_cannot_be_listened_on_is_tried_again(what: str) -> None:
    """Each pass tries it anew, says it once in the log, and is content when it can be."""
    refused = KernelError("listen for control datagrams", answer="no")
    with capture_logs() as lines, listening(node := Node(**{what: refused})) as channel:
        failed = channel.listen(ADDRESSES, 4900)
        assert failed == dict.fromkeys([GONE] if what == "gone" else ADDRESSES, refused)
        setattr(node, what, None)
        assert channel.listen(ADDRESSES, 4900) == {}
        assert len(channel.files()) == 2
        assert channel.send(GONE, PEER, 1, b"x") is True
    assert [line["address"] for line in lines] == [str(address) for address in failed]


def test_an_address_that_left_the_node_is_listened_on_no_more() -> None:
    """Nothing is sent from it; the port stays the agent's."""
    with listening(Node()) as channel:
        channel.listen([OWN], 4900)
        assert channel.send(OTHER, PEER, 1, b"x") is False
        assert len(channel.files()) == 2


class Only:
    """A filter in memory, which refuses what *refuses* names."""

    def __init__(self, refuses: str = "") -> None:
        self.refuses = refuses
        self.attached = 0
        self.senders: dict[Address, int] = {}

    def attach(self, sockets: Iterable[socket.socket]) -> None:
        """Filter that many sockets."""
        self._may("attach")
        self.attached = len(list(sockets))

    def admit(self, senders: Iterable[Address], mark_shift: int) -> None:
        """Keep who is heard."""
        self._may("admit")
        self.senders = dict.fromkeys(senders, mark_shift)

    def detach(self, sockets: Iterable[socket.socket]) -> None:
        """Filter none of the sockets."""
        self.attached -= len(list(sockets)) if self.attached else 0

    def close(self) -> None:
        """Forget."""
        self.attached = 0

    def _may(self, what: str) -> None:
        if what == self.refuses:
            raise BpfError(what, answer="no")


@pytest.mark.parametrize("what", ["attach", "admit"])
def test_without_its_filter_the_port_takes_everything_and_says_so(what: str) -> None:
    """A port that heard nobody would stop joins and rotations: it hears all, the log says so once, each pass tries again."""
    node, only = Node(), Only(what)
    channel = KernelControlChannel(node.take, node.require_own, only=only)
    with capture_logs() as lines:
        for _ in range(3):
            assert channel.listen(ADDRESSES, 4900) == {}
            channel.admit([PEER], MarkLayout(20))
            assert (channel.unfiltered(), only.attached) == (f"{what}: no", 0)
    assert [(line["event"], line["error"]) for line in lines] == [("control port not filtered", f"{what}: no")]
    only.refuses = ""
    channel.listen(ADDRESSES, 4900)
    channel.admit([PEER], MarkLayout(20))
    assert (channel.unfiltered(), only.attached, only.senders) == ("", 2, {PEER: 20})
    channel.close()


def test_a_port_that_is_not_had_needs_no_filter() -> None:
    """What failed there is told for each address, and nothing more."""
    node, only = Node(taken=KernelError("listen for control datagrams", answer="no")), Only("attach")
    channel = KernelControlChannel(node.take, node.require_own, only=only)
    channel.listen(ADDRESSES, 4900)
    channel.admit([PEER], MarkLayout(20))
    assert (channel.unfiltered(), only.senders) == ("", {})
