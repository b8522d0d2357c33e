"""What must be dropped is dropped, what must be refused is refused, and both are counted with a reason."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import pytest

from tests.e2e import product
from wirecrypt.lab import operations
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.machine.channel import Process
from wirecrypt.lab.waiting import until
from wirecrypt.lab.wire.capture import Capture

NEWEST_KERNEL = True  # what is judged here does not depend on the kernel; joining and rotating are tried on all
QUIET = True

PORT = 21999
CONTROL_PORT = 14500
FOREIGN, FOREIGN6 = "10.5.0.9", "fd00:15::9"  # inside the cluster's ranges, nobody's


@pytest.mark.L6
@pytest.mark.L1
def test_a_packet_to_an_unknown_address_in_the_cluster_ranges_is_dropped_and_counted(protected: Lab, observer: Capture) -> None:
    """Nobody claims the address, so nobody knows a key for it: nothing of it is on the wire, the guard says why."""
    lab = protected
    for target, gateway in ((FOREIGN, "192.0.2.13"), (FOREIGN6, "fd00:2::13")):
        before = product.guard_counters(lab, "node-1").get("egress_unknown", 0)
        with undone(lab, "node-1", ["ip", "route", "del", target]):
            lab.exec("node-1", ["ip", "route", "replace", target, "via", gateway])
            lab.exec("pod/node-1/a", ["ping", "-c", "3", "-i", "0.2", "-W", "1", target], check=False)
        until(
            lambda before=before: product.guard_counters(lab, "node-1").get("egress_unknown", 0) >= before + 3,
            what="three drops are counted",
            seconds=product.SECONDS,
            every=0.5,
        )
        seen = observer.observe()
        assert [h for f in seen.frames for h in f.headers if str(h.target) == target] == []
        assert target in lab.kubelet.pod("wirecrypt-agent", "node-1").log()


@pytest.mark.L7
@pytest.mark.L1
def test_cleartext_on_the_wire_that_claims_to_be_a_peers_pod_is_dropped_and_counted(protected: Lab) -> None:
    """A frame injected on the wire with a peer's pod as source reaches no pod; a frame of the plain node does."""
    lab = protected
    target = lab.pods["pod/node-1/a"].ip4
    mac = lab.exec("node-1", ["cat", "/sys/class/net/upl/address"]).stdout.strip()
    before = product.guard_counters(lab, "node-1").get("ingress_peer_cleartext", 0)
    spoofed, honest = lab.pods["pod/node-2/a"].ip4, lab.pods["pod/node-3/a"].ip4
    frames = [_frame(mac, source, target) for source in (spoofed, honest) for _ in range(3)]
    with receiving(lab, "pod/node-1/a", target) as receiver:
        lab.channel.frame("guest", "wire", *frames)
        until(lambda: receiver.output().count(honest) >= 3, what="the plain node's frames arrive", seconds=product.SECONDS)
        until(
            lambda: product.guard_counters(lab, "node-1").get("ingress_peer_cleartext", 0) >= before + 3,
            what="three drops are counted",
            seconds=product.SECONDS,
            every=0.5,
        )
        assert spoofed not in receiver.output()


@pytest.mark.L7
@pytest.mark.L1
def test_a_third_node_cannot_speak_for_a_peers_pod_inside_its_own_sa(all_protected: Lab) -> None:
    """Node C sends packets with B's pod as source through C's own SA to A: A drops them; those of C's own pods arrive."""
    lab = all_protected
    target, spoofed = lab.pods["pod/node-1/a"].ip4, lab.pods["pod/node-2/a"].ip4
    honest = str(lab.nodes["node-3"].addresses.pods4[250])
    before = _refused_inside(lab)
    with receiving(lab, "pod/node-1/a", target) as receiver:
        for source in (spoofed, honest):
            lab.exec("node-3", ["python3", "-c", _SEND_RAW, _packet(source, target).hex(), target])
        until(lambda: receiver.output().count(honest) >= 3, what="C's own pods are heard", seconds=product.SECONDS)
        until(lambda: _refused_inside(lab) >= before + 3, what="three refusals", seconds=product.SECONDS, every=0.5)
        assert spoofed not in receiver.output()


@pytest.mark.K3
@pytest.mark.L1
def test_a_pod_that_forges_control_datagrams_is_refused_and_changes_nothing(protected: Lab) -> None:
    """A pod's datagrams come out of the same SAs; without the control key they are counted as refused and nothing more."""
    lab = protected
    node = str(lab.nodes["node-2"].addresses.wire4.ip)
    states, policies = product.states(lab, "node-2"), product.policies(lab, "node-2")
    before = _refused(lab, "node-2")
    forged = [bytes(size) for size in (1, 16, 255, 256, 257, 1200)] + _well_formed()
    lab.exec("pod/node-1/a", ["python3", "-c", _SEND, node, *(datagram.hex() for datagram in forged)])
    until(
        lambda: _refused(lab, "node-2") >= before + len(forged),
        what="every forged datagram is refused",
        seconds=product.SECONDS,
        every=0.5,
    )
    assert (product.states(lab, "node-2"), product.policies(lab, "node-2")) == (states, policies)


@pytest.mark.K3
@pytest.mark.L1
def test_a_pod_that_takes_its_nodes_address_reaches_no_control_port(protected: Lab) -> None:
    """A datagram from a pod with its node's address as source meets the block that control traffic without a mark meets."""
    lab = protected
    own, peer = (str(lab.nodes[node].addresses.wire4.ip) for node in product.PAIR)
    lab.exec("node-1", ["sysctl", "-qw", "net.ipv4.conf.all.accept_local=1"])
    states, before = product.states(lab, "node-2"), _stat(lab, "node-1", "XfrmOutPolBlock")
    datagram = _packet(own, peer, payload=_well_formed()[0], port=CONTROL_PORT)
    lab.exec("pod/node-1/a", ["python3", "-c", _SEND_RAW, datagram.hex(), peer])
    until(
        lambda: _stat(lab, "node-1", "XfrmOutPolBlock") >= before + 3,
        what="three blocked datagrams",
        seconds=product.SECONDS,
        every=0.5,
    )
    assert product.states(lab, "node-2") == states


@pytest.mark.C3
def test_foreign_states_policies_and_filters_stay_untouched(exposed: Lab) -> None:
    """A host's own IPsec and filters are the same before, during and after encryption."""
    lab = exposed
    with undone(lab, "node-1", *_FOREIGN_AWAY):
        for words in _FOREIGN:
            lab.exec("node-1", words)
        before = _foreign(lab)
        product.protect(lab, *product.PAIR)
        during = _foreign(lab)
        operations.unlabel(lab, *product.PAIR)
        operations.wait_removed(lab, product.PAIR, product.SECONDS)
        after = _foreign(lab)
    assert before == during == after
    assert "0x00001234" in before[0]


@contextmanager
def undone(lab: Lab, where: str, *commands: list[str]) -> Iterator[None]:
    """Run *commands* when the block is left, however it is left."""
    try:
        yield
    finally:
        for words in commands:
            lab.exec(where, words, check=False)


@contextmanager
def receiving(lab: Lab, where: str, address: str) -> Iterator[Process]:
    """Have a program print what arrives at *address* on the tests' port, while the block lasts."""
    receiver = lab.spawn(where, ["python3", "-c", _RECEIVE, address, str(PORT)])
    try:
        until(lambda: "ready" in receiver.output(), what="the receiver is ready", seconds=product.SECONDS)
        yield receiver
    finally:
        receiver.kill(9)
        receiver.wait()


_FOREIGN = (
    ["ip", "xfrm", "state", "add", "src", "192.0.2.11", "dst", "192.0.2.99", "proto", "esp", "spi", "0x1234", "reqid", "7",
     "mode", "tunnel", "aead", "rfc4106(gcm(aes))", "0x" + "11" * 36, "128"],
    ["ip", "xfrm", "policy", "add", "src", "203.0.113.0/24", "dst", "198.51.100.0/24", "dir", "out", "priority", "4242",
     "tmpl", "src", "192.0.2.11", "dst", "192.0.2.99", "proto", "esp", "reqid", "7", "mode", "tunnel"],
    ["tc", "qdisc", "add", "dev", "upl", "clsact"],
    ["tc", "filter", "add", "dev", "upl", "ingress", "prio", "777", "protocol", "ip",
     "u32", "match", "u32", "0", "0", "action", "ok"],
)  # fmt: skip
_FOREIGN_AWAY = (
    ["ip", "xfrm", "state", "delete", "src", "192.0.2.11", "dst", "192.0.2.99", "proto", "esp", "spi", "0x1234"],
    ["ip", "xfrm", "policy", "delete", "src", "203.0.113.0/24", "dst", "198.51.100.0/24", "dir", "out"],
    ["tc", "qdisc", "del", "dev", "upl", "clsact"],
)


def _foreign(lab: Lab) -> tuple[str, str, str]:
    state = lab.exec(
        "node-1", ["ip", "xfrm", "state", "get", "src", "192.0.2.11", "dst", "192.0.2.99", "proto", "esp", "spi", "0x1234"]
    )
    policy = lab.exec(
        "node-1", ["ip", "xfrm", "policy", "get", "src", "203.0.113.0/24", "dst", "198.51.100.0/24", "dir", "out"]
    )
    filters = lab.exec("node-1", ["tc", "filter", "show", "dev", "upl", "ingress", "prio", "777"])
    return state.stdout, policy.stdout, filters.stdout


def _refused(lab: Lab, node: str) -> float:
    """Return how many control datagrams that arrived were refused."""
    lines = operations.metrics(lab, node).splitlines()
    counted = [line for line in lines if line.startswith("wirecrypt_control_refused_total") and "not sent" not in line]
    return sum(float(line.split()[-1]) for line in counted)


def _stat(lab: Lab, node: str, name: str) -> int:
    text = lab.exec(node, ["cat", "/proc/net/xfrm_stat"]).stdout
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(name))


def _refused_inside(lab: Lab) -> int:
    """Return how many packets node-1 has dropped that came out of one node's SA and named another node's pod as source."""
    guard = product.guard_counters(lab, "node-1").get("ingress_wrong_sender", 0)
    return guard + _stat(lab, "node-1", "XfrmInTmplMismatch")


def _well_formed() -> list[bytes]:
    """Return datagrams that are right in every byte but for the key of their MAC."""
    vectors = json.loads((operations.ROOT / "tests/vectors/keys/keys.json").read_text())["datagrams"]
    return [bytes.fromhex(vector["datagram"]) for vector in vectors if len(vector["datagram"]) == 2 * 256]


def _packet(source: str, target: str, *, payload: bytes = b"", port: int = PORT) -> bytes:
    """Return an IPv4/UDP packet from *source* to *target*; its payload is its source address if not given."""
    payload = payload or source.encode() + b"\n"
    udp = struct.pack("!HHHH", 1234, port, 8 + len(payload), 0) + payload
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 7, 0, 64, 17, 0, ip_address(source).packed, ip_address(target).packed
    )
    return head[:10] + struct.pack("!H", _checksum(head)) + head[12:] + udp


def _frame(mac: str, source: str, target: str) -> bytes:
    return bytes.fromhex(mac.replace(":", "")) + product.INJECTOR + b"\x08\x00" + _packet(source, target)


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


_RECEIVE = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
while True:
    print(s.recv(2048).decode(), flush=True)
"""
_SEND_RAW = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for _ in range(3):
    s.sendto(bytes.fromhex(sys.argv[1]), (sys.argv[2], 0))
"""
_SEND = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for datagram in sys.argv[2:]:
    s.sendto(bytes.fromhex(datagram), (sys.argv[1], 14500))
"""
