"""The guard next to the kernel's own IPsec: ESP leaves and enters, and what an SA decrypted passes by its mark."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address

import pytest

from tests.kernel.guard.conftest import HERE, SEALED, SETTINGS
from tests.kernel.guard.wire import inside, run
from wirecrypt.kernel.bpf.guard import KernelGuard
from wirecrypt.kernel.xfrm.adapter import KernelXfrm
from wirecrypt.model.mark import MarkLayout
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.spi import Spi
from wirecrypt.model.xfrm import Algorithm, Sa

LAYOUT = MarkLayout(SETTINGS.mark_shift)
PEER, NODE = "192.0.2.13", "192.0.2.11"
PODS = {4: ("10.244.2.7", "10.244.1.5"), 6: ("fd00:12::7", "fd00:11::5")}
PREFIXES = {4: ("10.244.2.0/24", "10.244.1.0/24"), 6: ("fd00:12::/64", "fd00:11::/64")}
KEY = "0x" + "5a" * 36
MARKED, UNMARKED = int(Spi(1, 1, SEALED, 0)), int(Spi(1, 1, SEALED, 1))
BACK, KEEPING = int(Spi(1, 1, HERE, 0)), int(Spi(1, 1, HERE, 1))  # the first takes a pod's mark off


class Pair:
    """Two namespaces that are peer and node, with an address of a pod each; the node has the guard on its link."""

    def __init__(self, prefix: str, family: int) -> None:
        self.peer, self.node = f"{prefix}peer", f"{prefix}host"
        self.family = family
        self._stack = ExitStack()

    def up(self) -> None:
        """Make namespaces, addresses, SAs and the policies of the node."""
        for namespace in (self.peer, self.node):
            run(f"ip netns add {namespace}")
            self._stack.callback(run, f"ip netns del {namespace}")
        run(f"ip -n {self.node} link add wire0 type veth peer name wire0 netns {self.peer}")
        far, near = PODS[self.family]
        self._address(self.peer, PEER, far, PREFIXES[self.family][1], NODE)
        self._address(self.node, NODE, near, PREFIXES[self.family][0], PEER)
        mark = LAYOUT.decrypted(1, 0)
        for namespace in (self.peer, self.node):
            self._sa(namespace, PEER, NODE, MARKED, f"output-mark {mark.value:#x} mask {mark.mask:#x}")
            self._sa(namespace, PEER, NODE, UNMARKED, "")
            self._sending(namespace)
            self._sa(namespace, NODE, PEER, KEEPING, "")
        self._policy(self.node, NODE, PEER, BACK)
        self._accept(self.node, PEER, NODE)
        self._accept(self.peer, NODE, PEER)

    def _address(self, namespace: str, own: str, pod: str, others: str, gateway: str) -> None:
        pool = 128 if self.family == 6 else 32
        run(f"ip -n {namespace} link set dev lo up")
        run(f"ip -n {namespace} link set dev wire0 up")
        run(f"ip -n {namespace} addr add {own}/24 dev wire0")
        run(f"ip -n {namespace} addr add {pod}/{pool} dev lo" + (" nodad" if self.family == 6 else ""))
        run(f"ip -n {namespace} route add {others} " + (f"via {gateway}" if self.family == 4 else "dev wire0"))

    def _sa(self, namespace: str, src: str, dst: str, spi: int, mark: str) -> None:
        run(
            f"ip -n {namespace} xfrm state add src {src} dst {dst} proto esp spi {spi:#x} reqid {spi} mode tunnel "
            f"flag af-unspec aead rfc4106(gcm(aes)) {KEY} 128 {mark}"
        )

    def _sending(self, namespace: str) -> None:
        """Add the SA by which the product sends: iproute2 leaves an output mark of zero out."""
        ends = ip_address(NODE), ip_address(PEER)
        key = SecretBytes(bytes.fromhex(KEY.removeprefix("0x")))
        with inside(namespace), KernelXfrm() as xfrm:
            sa = Sa(*ends, BACK, BACK, Algorithm.AES_256_GCM, key, set_mark=LAYOUT.unmarked())
            assert not xfrm.add_sas([sa])

    def _policy(self, namespace: str, src: str, dst: str, spi: int) -> None:
        mine, others = PREFIXES[self.family] if src == PEER else PREFIXES[self.family][::-1]
        run(
            f"ip -n {namespace} xfrm policy update src {mine} dst {others} dir out "
            f"tmpl src {src} dst {dst} proto esp spi {spi:#x} reqid {spi} mode tunnel"
        )

    def _accept(self, namespace: str, src: str, dst: str) -> None:
        """Have the kernel's own policy take both ESP and cleartext, so that the guard alone decides."""
        others, mine = PREFIXES[self.family] if src == PEER else PREFIXES[self.family][::-1]
        template = f"tmpl src {src} dst {dst} proto esp reqid 0 mode tunnel level use"
        run(f"ip -n {namespace} xfrm policy add src {others} dst {mine} dir in {template}")

    def send_by(self, spi: int) -> None:
        """Send the peer's pod's packets through this SA from now on."""
        self._policy(self.peer, PEER, NODE, spi)

    def answer_by(self, spi: int) -> None:
        """Send the node's pod's packets through this SA from now on."""
        self._policy(self.node, NODE, PEER, spi)

    def down(self) -> None:
        """Remove the namespaces, and all that is in them."""
        self._stack.close()


@pytest.fixture(params=[4, 6], ids=["inner IPv4", "inner IPv6"])
def pair(request: pytest.FixtureRequest, guard: KernelGuard) -> Iterator[Pair]:
    pair = Pair(f"wc{os.getpid()}", request.param)
    try:
        pair.up()
        with inside(pair.node):
            guard.attach_guard("wire0")
        yield pair
        with inside(pair.node):
            guard.detach("wire0")  # a namespace ends some time after its name, and what it still says would be counted
    finally:
        pair.down()


def pod(namespace: str, family: int, address: str) -> socket.socket:
    with inside(namespace):
        s = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(60)
    s.bind((address, 5000))
    return s


@pytest.mark.L7
def test_pods_talk_through_esp_and_only_by_the_mark_of_the_receiving_sa(guard: KernelGuard, pair: Pair) -> None:
    """Datagrams pass both ways inside ESP; the same SA without set-mark delivers nothing, for nothing vouches for it."""
    far, near = PODS[pair.family]
    with pod(pair.peer, pair.family, far) as there, pod(pair.node, pair.family, near) as here:
        pair.send_by(UNMARKED)
        there.sendto(b"unmarked", (near, 5000))
        pair.send_by(MARKED)
        there.sendto(b"marked", (near, 5000))
        assert here.recv(100) == b"marked"
        here.sendto(b"answer", (far, 5000))
        assert there.recv(100) == b"answer"
    assert [d.reason for d in guard.drops()] == ["ingress_peer_cleartext"]


@pytest.mark.L1
def test_what_an_sa_encrypted_leaves_without_a_pods_mark(guard: KernelGuard, pair: Pair) -> None:
    """A pod's packet leaves by an SA that takes its mark off; by one that does not, its ESP is as one that a pod wrote."""
    far, near = PODS[pair.family]
    with pod(pair.peer, pair.family, far) as there, pod(pair.node, pair.family, near) as here:
        here.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, LAYOUT.encrypt(3).value)
        pair.answer_by(KEEPING)
        here.sendto(b"kept", (far, 5000))
        pair.answer_by(BACK)
        here.sendto(b"taken off", (far, 5000))
        assert there.recv(100) == b"taken off"
    assert [d.reason for d in guard.drops()] == ["egress_node_cleartext"]
