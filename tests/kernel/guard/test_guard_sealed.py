"""What passes to and from a sealed peer's address next to ESP: neighbour discovery and what goes to a group, nothing else."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from tests.kernel.guard import frames as f
from tests.kernel.guard.conftest import HERE, SEALED
from tests.kernel.guard.counting import cases, counted
from tests.kernel.guard.ways import AT, DATA, OWN, PEER, WORLD, Packet, Way, icmp_proto, rows, ways
from tests.kernel.guard.wire import Wire
from wirecrypt.kernel.bpf.guard import KernelGuard

HERE6, SEALED6, LINK6 = AT[HERE][6], AT[SEALED][6], "fe80::1"


CLEARTEXT: dict[str, Packet] = {
    "TCP": lambda s, d: f.ip(s, d, f.TCP, f.tcp(DATA)),
    "UDP": lambda s, d: f.ip(s, d, f.UDP, f.udp(DATA)),
    "control datagram": lambda s, d: f.ip(s, d, f.UDP, f.udp(DATA, dport=7700)),
    "ICMP echo": lambda s, d: f.ip(s, d, icmp_proto(s), f.icmp(128 if ":" in s else 8, DATA)),
    "ICMP error": lambda s, d: f.ip(s, d, icmp_proto(s), f.icmp(1 if ":" in s else 3, DATA)),
    "first fragment": lambda s, d: f.fragment(s, d, f.UDP, f.udp(DATA), offset=0, more=True),
    "later fragment": lambda s, d: f.fragment(s, d, f.TCP, DATA),
    "VXLAN": lambda s, d: f.ip(s, d, f.UDP, f.vxlan(f.ether(f.ip(s, d, f.UDP, f.udp(DATA))))),
    "GRE": lambda s, d: f.ip(s, d, f.GRE, f.gre(f.ip(WORLD[4], WORLD[4], f.UDP, f.udp(DATA)), kind=f.IPV4)),
    "authentication header": lambda s, d: f.ip(s, d, f.AH, struct.pack("!BBHII", f.TCP, 1, 0, 1, 1) + f.tcp(DATA)),
    "unknown protocol": lambda s, d: f.ip(s, d, 97, DATA),
    "ESP in UDP": lambda s, d: f.ip(s, d, f.UDP, f.udp(struct.pack("!I", 300) + DATA, sport=4500, dport=4500)),
    "cut ESP": lambda s, d: f.ip(s, d, f.ESP, b"\1\1"),
}


@pytest.mark.L1
@pytest.mark.L7
@ways
@rows("packet", CLEARTEXT)
def test_nothing_in_clear_passes_between_sealed_nodes(guard: KernelGuard, wire: Wire, way: Way, packet: Packet) -> None:
    """Between this node and a sealed peer no cleartext passes, whatever it is made of, and it counts as one packet."""
    before = dict(guard.counters())
    assert not way.crosses(wire, packet(*way.ends(SEALED)))
    assert counted(guard, before) == {way.reason("node_cleartext"): 1}


@ways
def test_the_observers_see_cleartext_of_nodes_when_there_is_no_entry(guard: KernelGuard, wire: Wire, way: Way) -> None:
    """Without entries all of that cleartext passes and is seen: the observers are not blind."""
    guard.delete_entries([entry.prefix for entry in guard.entries()])
    unseen = [name for name, packet in CLEARTEXT.items() if not way.crosses(wire, packet(*way.ends(SEALED)))]
    assert unseen == []


def of_pod(way: Way, peer: int) -> tuple[str, str]:
    """Return source and destination where this node's end is a pod of its own."""
    src, dst = way.ends(peer)
    return (OWN[way.family], dst) if way.out else (src, OWN[way.family])


@pytest.mark.L1
@pytest.mark.L7
@ways
@pytest.mark.parametrize("proto", [f.UDP, f.ESP], ids=["UDP", "ESP"])
def test_a_pod_and_a_sealed_node_do_not_speak_in_clear(guard: KernelGuard, wire: Wire, way: Way, proto: int) -> None:
    """Between a pod of this node and a sealed peer's address nothing passes, not even what a pod calls ESP of the pair."""
    payload = f.esp(way.source(SEALED), DATA) if proto == f.ESP else f.udp(DATA)
    before = dict(guard.counters())
    assert not way.crosses(wire, f.ip(*of_pod(way, SEALED), proto, payload))
    assert counted(guard, before) == {way.reason("node_cleartext"): 1}


INSIDE: dict[str, Callable[[bytes, Way], bytes]] = {
    "IPIP": lambda inner, way: f.ip(*outside(way), f.IPIP if way.family == 4 else f.IPV6_IN, inner),
    "VXLAN": lambda inner, way: f.ip(*outside(way), f.UDP, f.vxlan(f.ether(inner))),
}


def outside(way: Way) -> tuple[str, str]:
    """Return source and destination of a packet between this node and the world."""
    here, there = AT[HERE][way.family], WORLD[way.family]
    return (here, there) if way.out else (there, here)


@pytest.mark.L1
@pytest.mark.L7
@ways
@rows("around", INSIDE)
@pytest.mark.parametrize("proto", [f.UDP, f.ESP], ids=["UDP", "ESP"])
def test_a_sealed_node_is_not_spoken_to_in_a_tunnel_of_others(
    guard: KernelGuard, wire: Wire, way: Way, around: Callable[[bytes, Way], bytes], proto: int
) -> None:
    """Inside a tunnel between others nothing passes to or from a sealed peer, ESP included."""
    inner = f.ip(*way.ends(SEALED), proto, f.esp(way.source(SEALED), DATA) if proto == f.ESP else f.udp(DATA))
    before = dict(guard.counters())
    assert not way.crosses(wire, around(inner, way))
    assert counted(guard, before) == {way.reason("node_cleartext"): 1}


@ways
def test_a_sealed_node_as_the_near_end_changes_nothing(guard: KernelGuard, wire: Wire, way: Way) -> None:
    """Cleartext from a sealed peer's address that leaves for the world, and that enters from there for it, passes."""
    near, far = AT[SEALED][way.family], WORLD[way.family]
    before = dict(guard.counters())
    assert way.crosses(wire, f.ip(*((near, far) if way.out else (far, near)), f.UDP, f.udp(DATA)))
    assert counted(guard, before) == {"passed": 1}


def neighbour(kind: int, length: int = 32, *, hops: int = 255, code: int = 0, src: str = "", dst: str = "") -> bytes:  # noqa: PLR0913 - what is varied
    """Return a message of neighbour discovery, of *length* bytes, from this node to the sealed peer unless told otherwise."""
    message = f.icmp(kind, bytes(length - 8), code=code)
    return f.ip(src or HERE6, dst or SEALED6, f.ICMPV6, message, hops=hops)


NEIGHBOURS = {
    "solicitation": neighbour(135),
    "advertisement": neighbour(136),
    "longest": neighbour(135, 64),
}
NO_NEIGHBOURS = {
    "too long": neighbour(135, 65),
    "with a trailer": neighbour(135, 64) + b"\0",
    "forwarded": neighbour(135, hops=64),
    "of another code": neighbour(136, code=1),
    "router solicitation": neighbour(133),
    "router advertisement": neighbour(134),
    "redirect": neighbour(137, src=LINK6),
    "behind options": f.ip(HERE6, SEALED6, f.OPTIONS, f.extension(f.ICMPV6, f.icmp(135, bytes(16))), hops=255),
    "first fragment": f.fragment(HERE6, SEALED6, f.ICMPV6, f.icmp(135, bytes(16)), offset=0, more=True, hops=255),
    "later fragment": f.fragment(HERE6, SEALED6, f.ICMPV6, f.icmp(135, bytes(16)), hops=255),
}


@rows("packet", NEIGHBOURS)
def test_neighbour_discovery_passes_between_sealed_nodes(guard: KernelGuard, wire: Wire, packet: bytes) -> None:
    """Solicitations and advertisements pass to a sealed peer."""
    before = dict(guard.counters())
    assert wire.leaves(f.ether(packet))
    assert counted(guard, before) == {"passed_neighbour": 1}


def test_neighbour_discovery_of_a_sealed_node_enters(guard: KernelGuard, wire: Wire) -> None:
    """A solicitation of a sealed peer enters, tagged or not."""
    packet = neighbour(135, src=SEALED6, dst=HERE6)
    before = dict(guard.counters())
    assert wire.enters(f.ether(packet))
    assert counted(guard, before) == {"passed_neighbour": 1}
    assert wire.enters(f.ether(packet, tags=((0x8100, 5),)))


@pytest.mark.L1
@rows("packet", NO_NEIGHBOURS)
def test_what_only_looks_like_neighbour_discovery_does_not_pass(guard: KernelGuard, wire: Wire, packet: bytes) -> None:
    """What could carry something or was forwarded is cleartext to a sealed peer, and so are routers' messages."""
    before = dict(guard.counters())
    assert not wire.leaves(f.ether(packet))
    assert counted(guard, before) == {"egress_node_cleartext": 1}


@pytest.mark.parametrize("kind", [133, 134, 137])
def test_routers_messages_pass_where_no_entry_speaks(guard: KernelGuard, wire: Wire, kind: int) -> None:
    """Routers' messages between addresses of the link and groups pass as all that no entry speaks of."""
    before = dict(guard.counters())
    assert wire.enters(f.ether(neighbour(kind, src=LINK6, dst="ff02::1")))
    assert counted(guard, before) == {"passed": 1}


FOUR = AT[SEALED][4]
GROUPS = {
    "VRRP": f.ip(FOUR, "224.0.0.18", 112, DATA, hops=255),
    "OSPF": f.ip(FOUR, "239.255.255.255", 89, DATA),
    "mDNS": f.ip(FOUR, "224.0.0.251", f.UDP, f.udp(DATA, sport=5353, dport=5353)),
    "mDNS, IPv6": f.ip(SEALED6, "ff02::fb", f.UDP, f.udp(DATA, sport=5353, dport=5353)),
    "broadcast": f.ip(FOUR, "255.255.255.255", f.UDP, f.udp(DATA)),
}
NO_GROUPS = {
    "below the groups": (f.ip(FOUR, "223.255.255.255", f.UDP, f.udp(DATA)), "ingress_node_cleartext"),
    "above the groups": (f.ip(FOUR, "240.0.0.1", f.UDP, f.udp(DATA)), "ingress_node_cleartext"),
    "broadcast of a subnet": (f.ip(FOUR, "192.0.2.255", f.UDP, f.udp(DATA)), "ingress_node_cleartext"),
    "no group of IPv6": (f.ip(SEALED6, "fe80::ffff", f.UDP, f.udp(DATA)), "ingress_node_cleartext"),
    "a group inside a tunnel": (
        f.ip(WORLD[4], AT[HERE][4], f.IPIP, f.ip(FOUR, "224.0.0.18", 112, DATA)),
        "ingress_node_cleartext",
    ),
    "a pod's frame to a group of VXLAN": (
        f.ip(FOUR, "239.1.1.1", f.UDP, f.vxlan(f.ether(f.ip(PEER[4], OWN[4], f.UDP, f.udp(DATA))))),
        "ingress_peer_cleartext",
    ),
}


@rows("packet", GROUPS)
def test_a_group_hears_a_sealed_node(guard: KernelGuard, wire: Wire, packet: bytes) -> None:
    """What a sealed peer says to a group or to everyone on the link enters."""
    before = dict(guard.counters())
    assert wire.enters(f.ether(packet))
    assert counted(guard, before) == {"passed": 1}


@pytest.mark.L7
@cases(NO_GROUPS)
def test_what_goes_to_no_group_of_this_link_does_not_enter(guard: KernelGuard, wire: Wire, frame: bytes, reason: str) -> None:
    """Cleartext of a sealed peer for single addresses, in tunnels, and of its pods in a group's tunnel does not enter."""
    before = dict(guard.counters())
    assert not wire.enters(f.ether(frame))
    assert counted(guard, before) == {reason: 1}
