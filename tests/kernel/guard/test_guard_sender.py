"""Who speaks for whom inside ESP: a node's SA carries what that node owns, and nothing of another node's."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from ipaddress import ip_network

import pytest

from tests.kernel.guard.conftest import SETTINGS
from tests.kernel.guard.wire import inside, run
from wirecrypt.kernel.bpf.guard import KernelGuard
from wirecrypt.model.guard import GuardAction, GuardEntry
from wirecrypt.model.mark import MarkLayout
from wirecrypt.model.spi import Spi

LAYOUT = MarkLayout(SETTINGS.mark_shift)
KEY = "0x" + "5a" * 36
REASON = "ingress_wrong_sender"
PORT = 5000


@dataclass(frozen=True, eq=False)
class End:
    """One node: its ID, and by family its outer address, its pods' prefix, and one pod."""

    node_id: int
    outer: dict[int, str]
    prefix: dict[int, str]
    pod: dict[int, str]

    @property
    def spi(self) -> int:
        """Return the SPI of the SA by which it sends to B."""
        return int(Spi(1, 1, self.node_id, 0))


def end(number: int) -> End:
    return End(
        0x1000 + number,
        {4: f"192.0.2.{10 + number}", 6: f"fd00:2::{10 + number}"},
        {4: f"10.244.{number}.0/24", 6: f"fd00:1{number}::/64"},
        {4: f"10.244.{number}.7", 6: f"fd00:1{number}::7"},
    )


B, A, C = end(1), end(2), end(3)


def full(address: str) -> str:
    return f"{address}/{128 if ':' in address else 32}"


class Three:
    """Node B with the guard on its link, and its peers A and C on one wire; C also holds addresses of A's."""

    def __init__(self, prefix: str, outer: int, inner: int) -> None:
        self.outer, self.inner = outer, inner
        self.names = {A: f"{prefix}peer", B: f"{prefix}host", C: f"{prefix}third"}
        self._wire = f"{prefix}between"
        self._batches: dict[str, list[str]] = {name: [] for name in (*self.names.values(), self._wire)}
        self.stack = ExitStack()

    def up(self) -> None:
        """Make namespaces, addresses, SAs and required policies."""
        for namespace in (self._wire, *self.names.values()):
            run(f"ip netns add {namespace}")
            self.stack.callback(run, f"ip netns del {namespace}")
        self._batches[self._wire] += ["link add br0 type bridge forward_delay 0 mcast_snooping 0", "link set dev br0 up"]
        for number, node in enumerate(self.names):
            self._plug(node, f"port{number}")
        for peer in (A, C):
            self._receive(peer)
            self._send(peer, peer.pod[self.inner])
        for stolen in (A.pod[self.inner], A.outer[self.inner]):
            self._own(C, stolen)
            self._send(C, stolen)
        for name, lines in self._batches.items():
            run(f"ip -n {name} -batch -", "\n".join(lines) + "\n")

    def _plug(self, node: End, port: str) -> None:
        self._ip(node, f"link add wire0 type veth peer name {port} netns {self._wire}")
        self._batches[self._wire].append(f"link set dev {port} master br0 up")
        self._ip(node, "link set dev lo up")
        self._ip(node, "link set dev wire0 up")
        length = 64 if self.outer == 6 else 24
        self._ip(node, f"addr add {node.outer[self.outer]}/{length} dev wire0" + self._nodad(self.outer))
        self._own(node, node.pod[self.inner])
        for other in (A, B, C):
            if other is not node:
                self._ip(node, f"route add {other.prefix[self.inner]} dev wire0")

    def _ip(self, node: End, line: str) -> None:
        """Have a line of `ip` run in the namespace of *node*, with all others of it at once."""
        self._batches[self.names[node]].append(line)

    def _own(self, node: End, address: str) -> None:
        self._ip(node, f"addr add {full(address)} dev lo" + self._nodad(self.inner))

    def _nodad(self, family: int) -> str:
        return " nodad" if family == 6 else ""

    def _state(self, node: End, sender: End, more: str) -> None:
        self._ip(
            node,
            f"xfrm state add src {sender.outer[self.outer]} dst {B.outer[self.outer]} proto esp "
            f"spi {sender.spi:#x} reqid {sender.spi} mode tunnel flag af-unspec aead rfc4106(gcm(aes)) {KEY} 128 {more}",
        )

    def _receive(self, peer: End) -> None:
        mark = LAYOUT.decrypted(0, 0)
        self._state(B, peer, f"output-mark {mark.value:#x} mask {mark.mask:#x}")
        tunnel = f"tmpl src {peer.outer[self.outer]} dst {B.outer[self.outer]} proto esp mode tunnel"
        for source in (peer.prefix[self.inner], full(peer.outer[self.inner])):
            for direction in ("in", "fwd"):
                self._ip(B, f"xfrm policy add src {source} dst {B.prefix[self.inner]} dir {direction} {tunnel}")
        self._state(peer, peer, "")

    def _send(self, node: End, source: str) -> None:
        self._ip(
            node,
            f"xfrm policy add src {full(source)} dst {B.prefix[self.inner]} dir out priority 9 tmpl "
            f"src {node.outer[self.outer]} dst {B.outer[self.outer]} proto esp spi {node.spi:#x} reqid {node.spi} mode tunnel",
        )

    def pod(self, node: End, address: str) -> socket.socket:
        """Return a socket of a program on *node* that has this address."""
        with inside(self.names[node]):
            s = self.stack.enter_context(
                socket.socket(socket.AF_INET6 if self.inner == 6 else socket.AF_INET, socket.SOCK_DGRAM)
            )
        s.settimeout(60)
        s.bind((address, PORT))
        return s

    def entries(self) -> list[GuardEntry]:
        """Return what B's guard knows of its peers."""
        pods = [GuardEntry(ip_network(p.prefix[self.inner]), *[GuardAction.DROP] * 2, p.node_id) for p in (A, C)]
        nodes = [GuardEntry(ip_network(full(p.outer[self.inner])), *[GuardAction.SEALED] * 2, p.node_id) for p in (A, C)]
        return [*pods, *nodes]


@pytest.fixture(params=[(6, 4), (4, 4), (6, 6)], ids=["4in6", "4in4", "6in6"])
def three(request: pytest.FixtureRequest, guard: KernelGuard) -> Iterator[Three]:
    three = Three(f"wc{os.getpid()}", *request.param)
    try:
        three.up()
        with inside(three.names[B]):
            guard.attach_guard("wire0")
        guard.set_entries(three.entries())
        yield three
        with inside(three.names[B]):
            guard.detach("wire0")  # a namespace ends some time after its name, and what it still says would be counted
    finally:
        three.stack.close()


@pytest.mark.L7
@pytest.mark.parametrize("claim", ["pod", "outer"])
def test_an_sa_carries_only_what_its_sender_owns(guard: KernelGuard, three: Three, claim: str) -> None:
    """What C sends by its own SA under an address of A's is dropped and told; what A and C send under their own arrives."""
    family = three.inner
    stolen, near = getattr(A, claim)[family], (B.pod[family], PORT)
    here = three.pod(B, B.pod[family])
    before = guard.counters()
    three.pod(C, stolen).sendto(b"stolen", near)
    three.pod(C, C.pod[family]).sendto(b"own of C", near)
    assert here.recv(100) == b"own of C"
    three.pod(A, A.pod[family]).sendto(b"own of A", near)
    assert here.recv(100) == b"own of A"
    after = guard.counters()
    assert {name: after[name] - before[name] for name in (REASON, "passed_decrypted")} == {REASON: 1, "passed_decrypted": 2}
    (drop,) = guard.drops()
    assert (drop.reason, str(drop.src), str(drop.dst), drop.proto, drop.sport) == (REASON, stolen, near[0], 17, PORT)


@pytest.mark.L7
def test_permissive_counts_a_wrong_sender(guard: KernelGuard, three: Three) -> None:
    """In permissive mode a packet of the wrong sender is counted and told, and the kernel's own policy has the last word."""
    guard.configure(replace(SETTINGS, strict=False))
    family = three.inner
    here, near = three.pod(B, B.pod[family]), (B.pod[family], PORT)
    before = guard.counters()[REASON]
    three.pod(C, A.pod[family]).sendto(b"stolen", near)
    three.pod(C, C.pod[family]).sendto(b"own of C", near)
    arrived = [here.recv(100)]
    if arrived[-1] == b"stolen":
        arrived.append(here.recv(100))
    # __xfrm_policy_check compares the template's addresses by the inner family: 4 bytes of an IPv6 address say nothing.
    compared_whole = three.inner >= three.outer
    assert arrived == [b"own of C"] if compared_whole else [b"stolen", b"own of C"]
    assert guard.counters()[REASON] == before + 1
    assert [drop.reason for drop in guard.drops()] == [REASON]


@pytest.mark.L7
def test_a_mark_without_an_sa_of_ours_vouches_for_nobody(guard: KernelGuard, three: Three) -> None:
    """A packet that says it was decrypted, and came out of an SA that is none of ours, is nobody's: it is dropped."""
    family = three.inner
    ends = f"src {A.outer[three.outer]} dst {B.outer[three.outer]}"
    stranger = f"proto esp spi {A.spi + 1:#x} reqid 7 mode tunnel"
    mark = LAYOUT.decrypted(0, 1)
    for node, more in ((A, ""), (B, f"output-mark {mark.value:#x} mask {mark.mask:#x}")):
        cipher = f"flag af-unspec aead rfc4106(gcm(aes)) {KEY} 128 {more}"
        run(f"ip -n {three.names[node]} xfrm state add {ends} {stranger} {cipher}")
    flow = f"src {full(A.pod[family])} dst {B.prefix[family]} proto udp dport {PORT + 1}"
    run(f"ip -n {three.names[A]} xfrm policy add {flow} dir out priority 5 tmpl {ends} {stranger}")
    here, there = three.pod(B, B.pod[family]), three.pod(A, A.pod[family])
    there.sendto(b"of a stranger", (B.pod[family], PORT + 1))
    there.sendto(b"own of A", (B.pod[family], PORT))
    assert here.recv(100) == b"own of A"
    assert [(drop.reason, drop.dport) for drop in guard.drops()] == [(REASON, PORT + 1)]
