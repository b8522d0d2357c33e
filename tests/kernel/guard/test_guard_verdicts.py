"""What the guard lets through and what it drops, frame by frame; a packet socket on the other side judges."""

from __future__ import annotations

import struct
from ipaddress import ip_network

import pytest

from tests.kernel.guard import frames as f
from tests.kernel.guard.conftest import EXEMPT, HERE
from tests.kernel.guard.counting import cases, counted
from tests.kernel.guard.wire import Wire
from wirecrypt.kernel.bpf.guard import KernelGuard
from wirecrypt.model.guard import GuardAction, GuardEntry

OWN4, OWN6 = "10.244.1.5", "fd00:11::5"
PEER4, PEER6 = "10.244.2.7", "fd00:12::7"
PLAIN4, NOBODY4, NOBODY6 = "10.244.3.9", "10.244.77.1", "fd00:1f::1"
HERE4, HERE6, THERE4, THERE6 = "192.0.2.11", "fd00:99::11", "192.0.2.12", "fd00:99::12"
WORLD4, WORLD6 = "203.0.113.5", "2001:db8::5"
DATA = b"readable words of a pod"


def to_peer(inner: bytes, proto: int = f.UDP) -> bytes:
    """From this node's address to the peer's."""
    return f.ether(f.ip(HERE4, THERE4, proto, inner))


def pod(src: str = OWN4, dst: str = PEER4) -> bytes:
    return f.ip(src, dst, f.UDP, f.udp(DATA))


def esp_in_udp(spi: int) -> bytes:
    return f.udp(struct.pack("!I", spi) + DATA, sport=40001, dport=4500)


EGRESS_DROPPED = {
    "IPv4": (f.ether(pod()), "egress_peer_cleartext"),
    "IPv6": (f.ether(pod(OWN6, PEER6)), "egress_peer_cleartext"),
    "TCP": (f.ether(f.ip(OWN4, PEER4, f.TCP, f.tcp(DATA))), "egress_peer_cleartext"),
    "from the node itself": (f.ether(pod(HERE4)), "egress_peer_cleartext"),
    "ESP made by a pod": (f.ether(f.ip(OWN4, PEER4, f.ESP, b"\0\0\1\0" + DATA)), "egress_peer_cleartext"),
    "ESP in UDP made by a pod": (f.ether(f.ip(OWN4, PEER4, f.UDP, esp_in_udp(300))), "egress_peer_cleartext"),
    "VLAN": (f.ether(pod(), tags=((0x8100, 5),)), "egress_peer_cleartext"),
    "two VLANs": (f.ether(pod(OWN6, PEER6), tags=((0x88A8, 6), (0x8100, 5))), "egress_peer_cleartext"),
    "IPv4 options": (f.ether(f.ipv4(OWN4, PEER4, f.UDP, f.udp(DATA), options=b"\1" * 8)), "egress_peer_cleartext"),
    "first fragment": (f.ether(f.ipv4(OWN4, PEER4, f.UDP, f.udp(DATA), more=True)), "egress_peer_cleartext"),
    "later fragment": (f.ether(f.ipv4(OWN4, PEER4, f.UDP, DATA, offset=185)), "egress_peer_cleartext"),
    "IPv6 fragment": (
        f.ether(f.ip(OWN6, PEER6, f.FRAGMENT, struct.pack("!BBHI", f.UDP, 0, 185 << 3, 9) + DATA)),
        "egress_peer_cleartext",
    ),
    "IPv6 extensions": (
        f.ether(f.ip(OWN6, PEER6, 0, f.extension(f.OPTIONS, f.extension(f.UDP, f.udp(DATA), words=2)))),
        "egress_peer_cleartext",
    ),
    "VXLAN": (to_peer(f.vxlan(f.ether(pod()))), "egress_peer_cleartext"),
    "VXLAN on the other port, IPv6 in IPv6": (
        f.ether(f.ip(HERE6, THERE6, f.UDP, f.vxlan(f.ether(pod(OWN6, PEER6)), port=8472))),
        "egress_peer_cleartext",
    ),
    "VXLAN with an inner VLAN": (to_peer(f.vxlan(f.ether(pod(), tags=((0x8100, 5),)))), "egress_peer_cleartext"),
    "VXLAN to a stranger": (f.ether(f.ip(HERE4, WORLD4, f.UDP, f.vxlan(f.ether(pod())))), "egress_peer_cleartext"),
    "Geneve with options": (
        to_peer(f.geneve(f.ether(pod()), kind=f.BRIDGING, options=b"\0" * 12)),
        "egress_peer_cleartext",
    ),
    "Geneve without Ethernet": (to_peer(f.geneve(pod(OWN6, PEER6), kind=f.IPV6)), "egress_peer_cleartext"),
    "IPIP": (to_peer(pod(), f.IPIP), "egress_peer_cleartext"),
    "6in4": (to_peer(pod(OWN6, PEER6), f.IPV6_IN), "egress_peer_cleartext"),
    "IPv4 in IPv6": (f.ether(f.ip(HERE6, THERE6, f.IPIP, pod())), "egress_peer_cleartext"),
    "GRE": (to_peer(f.gre(pod(), kind=f.IPV4), f.GRE), "egress_peer_cleartext"),
    "GRE with every word": (
        to_peer(f.gre(pod(OWN6, PEER6), kind=f.IPV6, checksum=True, key=True, sequence=True), f.GRE),
        "egress_peer_cleartext",
    ),
    "GRE with Ethernet": (to_peer(f.gre(f.ether(pod()), kind=f.BRIDGING, key=True), f.GRE), "egress_peer_cleartext"),
    "IPIP in VXLAN": (to_peer(f.vxlan(f.ether(f.ip(HERE4, THERE4, f.IPIP, pod())))), "egress_peer_cleartext"),
    "authentication header": (
        to_peer(struct.pack("!BBHII", f.IPIP, 1, 0, 1, 1) + pod(), f.AH),
        "egress_peer_cleartext",
    ),
    "pod to the peer's address": (f.ether(pod(OWN4, THERE4)), "egress_pod_node"),
    "pod to the peer's address, IPv6": (f.ether(pod(OWN6, THERE6)), "egress_pod_node"),
    "pod to the peer's address in VXLAN": (to_peer(f.vxlan(f.ether(pod(OWN4, THERE4)))), "egress_pod_node"),
    "ESP of a pod to the peer's address": (f.ether(f.ip(OWN4, THERE4, f.ESP, f.esp(HERE, DATA))), "egress_pod_node"),
    "unclaimed pod to the peer's address": (f.ether(pod(NOBODY4, THERE4)), "egress_unknown"),
    "unclaimed address": (f.ether(pod(OWN4, NOBODY4)), "egress_unknown"),
    "unclaimed address, IPv6": (f.ether(pod(OWN6, NOBODY6)), "egress_unknown"),
    "unclaimed address in VXLAN": (to_peer(f.vxlan(f.ether(pod(OWN4, NOBODY4)))), "egress_unknown"),
    "own pods' prefix": (f.ether(pod(HERE4, "10.244.1.77")), "egress_own_prefix"),
    "control datagram in clear": (to_peer(f.udp(DATA, dport=7700)), "egress_control"),
    "later fragment between nodes": (f.ether(f.ipv4(HERE4, THERE4, f.UDP, DATA, offset=185)), "egress_unreadable"),
    "unknown protocol between nodes": (to_peer(DATA, 137), "egress_unreadable"),
    "GRE with routing": (to_peer(b"\x40\0\x08\0" + pod(), f.GRE), "egress_unreadable"),
    "four network headers": (
        to_peer(f.ip(HERE4, THERE4, f.IPIP, f.ip(HERE4, THERE4, f.IPIP, f.ip(HERE4, THERE4, f.UDP, f.udp(DATA)))), f.IPIP),
        "egress_unreadable",
    ),
    "VXLAN with an unknown frame": (to_peer(f.vxlan(f.ether(DATA, kind=0x8847))), "egress_unreadable"),
    "cut VXLAN": (to_peer(f.vxlan(f.ether(pod()[:12]))), "egress_unreadable"),
    "endless IPv6 extensions": (
        f.ether(f.ip(HERE6, THERE6, f.OPTIONS, b"".join(f.extension(f.OPTIONS, b"") for _ in range(9)))),
        "egress_unreadable",
    ),
    "IPv6 routing header": (
        f.ether(f.ip(HERE6, THERE6, f.ROUTING, struct.pack("!BBBBI", f.UDP, 0, 4, 1, 0) + f.udp(DATA))),
        "egress_unreadable",
    ),
    "forwarded neighbour discovery": (f.ether(f.ip(OWN6, PEER6, f.ICMPV6, b"\x88\0" + DATA)), "egress_peer_cleartext"),
    "neighbour discovery in VXLAN": (
        to_peer(f.vxlan(f.ether(f.ip(OWN6, PEER6, f.ICMPV6, b"\x88\0" + DATA, hops=255)))),
        "egress_peer_cleartext",
    ),
}

EGRESS_PASSED = {
    "ESP": (to_peer(f.esp(HERE, DATA), f.ESP), "passed_esp"),
    "ESP, IPv6": (f.ether(f.ip(HERE6, THERE6, f.ESP, f.esp(HERE, DATA))), "passed_esp"),
    "fragment of ESP": (f.ether(f.ipv4(HERE4, THERE4, f.ESP, DATA, offset=185)), "passed_esp"),
    "ESP to the world": (f.ether(f.ip(OWN4, WORLD4, f.ESP, DATA)), "passed_esp"),
    "ESP in UDP to the world": (f.ether(f.ip(HERE6, WORLD6, f.UDP, esp_in_udp(300))), "passed_esp"),
    "ESP to a plain pod": (f.ether(f.ip(HERE4, PLAIN4, f.ESP, DATA)), "passed_esp"),
    "ESP in UDP": (to_peer(esp_in_udp(300)), "node_to_node"),
    "IKE next to ESP in UDP": (to_peer(esp_in_udp(0)), "node_to_node"),
    "ESP in VLAN": (f.ether(f.ip(HERE4, THERE4, f.ESP, f.esp(HERE, DATA)), tags=((0x8100, 5),)), "passed_esp"),
    "node to node": (to_peer(f.udp(DATA)), "node_to_node"),
    "later fragment of TCP between nodes": (f.ether(f.ipv4(HERE4, THERE4, f.TCP, DATA, offset=185)), "node_to_node"),
    "plain pod": (f.ether(pod(OWN4, PLAIN4)), "passed_plain"),
    "plain pod in VXLAN": (to_peer(f.vxlan(f.ether(pod(OWN4, PLAIN4)))), "node_to_node"),
    "the world": (f.ether(pod(OWN4, WORLD4)), "passed"),
    "the world, IPv6": (f.ether(pod(OWN6, WORLD6)), "passed"),
    "later fragment for the world": (f.ether(f.ipv4(OWN4, WORLD4, f.UDP, DATA, offset=185)), "passed_unreadable"),
    "ARP": (f.ether(b"\0\1\x08\0\6\4\0\1" + DATA, kind=f.ARP), "passed_not_ip"),
    "ARP in VXLAN": (to_peer(f.vxlan(f.ether(b"\0\1\x08\0\6\4\0\1" + DATA, kind=f.ARP))), "node_to_node"),
    "neighbour solicitation": (f.ether(f.ip(HERE6, THERE6, f.ICMPV6, b"\x87\0" + DATA, hops=255)), "passed_neighbour"),
    "neighbour advertisement": (f.ether(f.ip(HERE6, PEER6, f.ICMPV6, b"\x88\0" + DATA, hops=255)), "passed_neighbour"),
}

INGRESS_DROPPED = {
    "IPv4": (f.ether(pod(PEER4, OWN4)), "ingress_peer_cleartext"),
    "IPv6": (f.ether(pod(PEER6, OWN6)), "ingress_peer_cleartext"),
    "to the node itself": (f.ether(pod(PEER4, HERE4)), "ingress_peer_cleartext"),
    "VLAN": (f.ether(pod(PEER4, OWN4), tags=((0x8100, 5),)), "ingress_peer_cleartext"),
    "later fragment": (f.ether(f.ipv4(PEER4, OWN4, f.UDP, DATA, offset=185)), "ingress_peer_cleartext"),
    "VXLAN": (f.ether(f.ip(THERE4, HERE4, f.UDP, f.vxlan(f.ether(pod(PEER4, OWN4))))), "ingress_peer_cleartext"),
    "VXLAN from a stranger": (
        f.ether(f.ip(WORLD4, HERE4, f.UDP, f.vxlan(f.ether(pod(PEER6, OWN6))))),
        "ingress_peer_cleartext",
    ),
    "IPIP": (f.ether(f.ip(THERE4, HERE4, f.IPIP, pod(PEER4, OWN4))), "ingress_peer_cleartext"),
    "peer's address to a pod": (f.ether(pod(THERE4, OWN4)), "ingress_pod_node"),
    "peer's address to a pod, IPv6": (f.ether(pod(THERE6, OWN6)), "ingress_pod_node"),
    "unclaimed source": (f.ether(pod(NOBODY4, OWN4)), "ingress_unknown"),
    "our own pod from outside": (f.ether(pod("10.244.1.9", OWN4)), "ingress_own_prefix"),
    "control datagram in clear": (f.ether(f.ip(THERE4, HERE4, f.UDP, f.udp(DATA, dport=7700))), "ingress_control"),
    "unknown tunnel from a peer": (f.ether(f.ip(THERE4, HERE4, 97, DATA)), "ingress_unreadable"),
}

INGRESS_PASSED = {
    "ESP": (f.ether(f.ip(THERE4, HERE4, f.ESP, f.esp(EXEMPT, DATA))), "passed_esp"),
    "node to node": (f.ether(pod(THERE4, HERE4)), "node_to_node"),
    "plain pod": (f.ether(pod(PLAIN4, OWN4)), "passed_plain"),
    "the world": (f.ether(pod(WORLD4, OWN4)), "passed"),
    "ARP": (f.ether(b"\0\1\x08\0\6\4\0\1" + DATA, kind=f.ARP), "passed_not_ip"),
    "neighbour solicitation": (f.ether(f.ip(THERE6, HERE6, f.ICMPV6, b"\x87\0" + DATA, hops=255)), "passed_neighbour"),
}


@pytest.mark.L1
@cases(EGRESS_DROPPED)
def test_what_must_not_leave_in_clear_is_not_seen_on_the_wire(
    guard: KernelGuard, wire: Wire, frame: bytes, reason: str
) -> None:
    """A frame that must not leave is not seen on the wire, and counts as exactly one packet of its reason."""
    before = dict(guard.counters())
    assert not wire.leaves(frame)
    assert counted(guard, before) == {reason: 1}


@cases(EGRESS_PASSED)
def test_what_may_leave_is_seen_on_the_wire(guard: KernelGuard, wire: Wire, frame: bytes, reason: str) -> None:
    """A frame that may leave is seen on the wire, and counts as exactly one packet of its reason."""
    before = dict(guard.counters())
    assert wire.leaves(frame)
    assert counted(guard, before) == {reason: 1}


@pytest.mark.L7
@cases(INGRESS_DROPPED)
def test_what_claims_to_come_from_a_peer_does_not_enter(guard: KernelGuard, wire: Wire, frame: bytes, reason: str) -> None:
    """Cleartext that claims to come from an encrypted peer does not pass the uplink, and counts as one packet."""
    before = dict(guard.counters())
    assert not wire.enters(frame)
    assert counted(guard, before) == {reason: 1}


@cases(INGRESS_PASSED)
def test_what_may_enter_enters(guard: KernelGuard, wire: Wire, frame: bytes, reason: str) -> None:
    """A frame that may enter passes the uplink, and counts as exactly one packet of its reason."""
    before = dict(guard.counters())
    assert wire.enters(frame)
    assert counted(guard, before) == {reason: 1}


@pytest.mark.L1
def test_the_observer_sees_cleartext_when_there_is_no_entry(guard: KernelGuard, wire: Wire) -> None:
    """Without entries every frame of the dropped ones is seen on the wire: the observer is not blind."""
    guard.delete_entries([entry.prefix for entry in guard.entries()])
    unseen = [name for name, (frame, _) in EGRESS_DROPPED.items() if not wire.leaves(frame)]
    assert unseen == []


@pytest.mark.L1
@pytest.mark.parametrize(("own", "address", "around"), [(OWN4, PEER4, "10.244.2.6/31"), (OWN6, PEER6, "fd00:12::6/127")])
def test_the_longest_prefix_decides_also_where_it_is_one_address(
    guard: KernelGuard, wire: Wire, own: str, address: str, around: str
) -> None:
    """An address goes before every prefix around it, both ways, a longer prefix before a shorter; each falls back."""
    there, back = f.ether(pod(own, address)), f.ether(pod(address, own))
    assert not wire.leaves(there)
    guard.set_entries([GuardEntry(ip_network(around), GuardAction.PASS, GuardAction.PASS)])
    assert wire.leaves(there)
    assert wire.enters(back)
    guard.set_entries([GuardEntry(ip_network(address), GuardAction.DROP, GuardAction.DROP)])
    assert not wire.leaves(there)
    assert not wire.enters(back)
    guard.set_entries([GuardEntry(ip_network(address), GuardAction.PASS, GuardAction.PASS)])
    guard.delete_entries([ip_network(around)])
    assert wire.leaves(there)
    assert wire.enters(back)
    guard.delete_entries([ip_network(address)])
    assert not wire.leaves(there)
    assert not wire.enters(back)
