"""What must be dropped is dropped, what must be refused is refused, and both are counted with a reason."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest

from tests.e2e import product
from wirecrypt.lab.capture import Capture
from wirecrypt.lab.demo import cluster
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.waiting import until

NEWEST_KERNEL = True  # what is judged here does not depend on the kernel; joining and rotating are tried on all

PORT = 21999
FOREIGN = "10.5.0.9"  # inside the cluster's ranges, nobody's


@pytest.mark.L6
def test_a_packet_to_an_unknown_address_in_the_cluster_ranges_is_dropped_and_counted(protected: Lab, observer: Capture) -> None:
    """Nobody claims the address, so nobody knows a key for it: nothing of it is on the wire, the guard says why."""
    lab = protected
    lab.exec("node-1", ["ip", "route", "replace", FOREIGN, "via", "192.0.2.13"])
    before = product.guard_counters(lab, "node-1").get("egress_unknown", 0)
    lab.exec("pod/node-1/a", ["ping", "-c", "3", "-i", "0.2", "-W", "1", FOREIGN], check=False)
    lab.exec("node-1", ["ip", "route", "del", FOREIGN])
    until(
        lambda: product.guard_counters(lab, "node-1").get("egress_unknown", 0) >= before + 3,
        what="three drops are counted",
        seconds=product.SECONDS,
        every=0.5,
    )
    seen = observer.observe()
    assert [h for f in seen.frames for h in f.headers if str(h.target) == FOREIGN] == []
    assert FOREIGN in lab.kubelet.pod("wirecrypt-agent", "node-1").log()


@pytest.mark.L7
def test_cleartext_on_the_wire_that_claims_to_be_a_peers_pod_is_dropped_and_counted(protected: Lab) -> None:
    """A frame injected on the wire with a peer's pod as source reaches no pod; a frame of the plain node does."""
    lab = protected
    target = lab.pods["pod/node-1/a"].ip4
    receiver = lab.spawn("pod/node-1/a", ["python3", "-c", _RECEIVE, target, str(PORT)])
    until(lambda: "ready" in receiver.output(), what="the receiver is ready", seconds=product.SECONDS)
    mac = lab.exec("node-1", ["cat", "/sys/class/net/upl/address"]).stdout.strip()
    before = product.guard_counters(lab, "node-1").get("ingress_peer_cleartext", 0)
    spoofed, honest = lab.pods["pod/node-2/a"].ip4, lab.pods["pod/node-3/a"].ip4
    frames = [_frame(mac, source, target) for source in (spoofed, honest) for _ in range(3)]
    lab.channel.frame("guest", "wire", *frames)
    until(lambda: receiver.output().count(honest) >= 3, what="the plain node's frames arrive", seconds=product.SECONDS)
    until(
        lambda: product.guard_counters(lab, "node-1").get("ingress_peer_cleartext", 0) >= before + 3,
        what="three drops are counted",
        seconds=product.SECONDS,
        every=0.5,
    )
    assert spoofed not in receiver.output()
    receiver.kill(9)


@pytest.mark.L7
def test_a_third_node_cannot_speak_for_a_peers_pod_inside_its_own_sa(deployed: Lab) -> None:
    """Node C sends a packet with B's pod as source through C's own SA to A: the template pins both ends, A drops it."""
    lab = deployed
    product.protect(lab, "node-1", "node-2", "node-3")
    target, spoofed = lab.pods["pod/node-1/a"].ip4, lab.pods["pod/node-2/a"].ip4
    honest = str(lab.nodes["node-3"].addresses.pods4[250])
    receiver = lab.spawn("pod/node-1/a", ["python3", "-c", _RECEIVE, target, str(PORT)])
    until(lambda: "ready" in receiver.output(), what="the receiver is ready", seconds=product.SECONDS)
    before = _mismatches(lab)
    for source in (spoofed, honest):
        lab.exec("node-3", ["python3", "-c", _SEND_RAW, _packet(source, target).hex(), target])
    until(lambda: honest in receiver.output(), what="C's own pods are heard", seconds=product.SECONDS)
    assert spoofed not in receiver.output()
    assert _mismatches(lab) == before + 3
    receiver.kill(9)


@pytest.mark.K3
def test_a_pod_that_forges_control_datagrams_is_refused_and_changes_nothing(protected: Lab, observer: Capture) -> None:
    """A pod's datagrams come out of the same SAs; without the control key they are counted as refused and nothing more."""
    lab = protected
    node = str(lab.nodes["node-2"].addresses.wire4.ip)
    before = product.states(lab, "node-2")
    lab.exec("pod/node-1/a", ["python3", "-c", _FORGE, node])
    until(lambda: _refused(lab, "node-2") > 0, what="forged datagrams are refused", seconds=product.SECONDS, every=0.5)
    assert product.states(lab, "node-2") == before
    assert lab.kubelet.pod("wirecrypt-agent", "node-2").running


@pytest.mark.C3
def test_foreign_states_policies_and_filters_stay_untouched(exposed: Lab) -> None:
    """A host's own IPsec and filters are the same before, during and after encryption."""
    lab = exposed
    for words in _FOREIGN:
        lab.exec("node-1", words)
    before = _foreign(lab)
    product.protect(lab, *product.PAIR)
    during = _foreign(lab)
    cleanup = [["ip", "xfrm", "state", "delete", "src", "192.0.2.11", "dst", "192.0.2.99", "proto", "esp", "spi", "0x1234"]]
    cleanup += [["ip", "xfrm", "policy", "delete", "src", "203.0.113.0/24", "dst", "198.51.100.0/24", "dir", "out"]]
    cleanup += [["tc", "qdisc", "del", "dev", "upl", "clsact"]]
    cluster.unlabel(lab, *product.PAIR)
    cluster.wait_removed(lab, product.PAIR, product.SECONDS)
    after = _foreign(lab)
    for words in cleanup:
        lab.exec("node-1", words, check=False)
    assert before == during == after
    assert "0x00001234" in before[0]


_FOREIGN = (
    ["ip", "xfrm", "state", "add", "src", "192.0.2.11", "dst", "192.0.2.99", "proto", "esp", "spi", "0x1234", "reqid", "7",
     "mode", "tunnel", "aead", "rfc4106(gcm(aes))", "0x" + "11" * 36, "128"],
    ["ip", "xfrm", "policy", "add", "src", "203.0.113.0/24", "dst", "198.51.100.0/24", "dir", "out", "priority", "4242",
     "tmpl", "src", "192.0.2.11", "dst", "192.0.2.99", "proto", "esp", "reqid", "7", "mode", "tunnel"],
    ["tc", "qdisc", "add", "dev", "upl", "clsact"],
    ["tc", "filter", "add", "dev", "upl", "ingress", "prio", "777", "protocol", "ip",
     "u32", "match", "u32", "0", "0", "action", "ok"],
)  # fmt: skip


def _foreign(lab: Lab) -> tuple[str, str, str]:
    state = lab.exec(
        "node-1", ["ip", "xfrm", "state", "get", "src", "192.0.2.11", "dst", "192.0.2.99", "proto", "esp", "spi", "0x1234"]
    )
    policy = lab.exec(
        "node-1", ["ip", "xfrm", "policy", "get", "src", "203.0.113.0/24", "dst", "198.51.100.0/24", "dir", "out"]
    )
    filters = lab.exec("node-1", ["tc", "filter", "show", "dev", "upl", "ingress", "prio", "777"])
    return state.stdout, policy.stdout, filters.stdout


def _mismatches(lab: Lab) -> int:
    text = lab.exec("node-1", ["cat", "/proc/net/xfrm_stat"]).stdout
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("XfrmInTmplMismatch"))


def _refused(lab: Lab, node: str) -> float:
    text = lab.exec(node, ["python3", "-c", product._FETCH]).stdout  # noqa: SLF001 - the tests' own helper
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("wirecrypt_control_refused_total"))


def _packet(source: str, target: str) -> bytes:
    """Return an IPv4/UDP packet from *source* to *target* whose payload is its source address."""
    payload = source.encode() + b"\n"
    udp = struct.pack("!HHHH", 1234, PORT, 8 + len(payload), 0) + payload
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 7, 0, 64, 17, 0, ip_address(source).packed, ip_address(target).packed
    )
    return head[:10] + struct.pack("!H", _checksum(head)) + head[12:] + udp


def _frame(mac: str, source: str, target: str) -> bytes:
    return bytes.fromhex(mac.replace(":", "")) + bytes.fromhex("0277630000ee") + b"\x08\x00" + _packet(source, target)


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
_FORGE = """
import socket, sys, os
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for size in (0, 1, 16, 255, 256, 257, 1200):
    s.sendto(os.urandom(size), (sys.argv[1], 14500))
s.sendto(bytes([1, 1]) + bytes(254), (sys.argv[1], 14500))
"""
