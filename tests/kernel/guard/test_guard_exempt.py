"""What passes in clear between exempt nodes: nothing of a pod, and no ICMP, whose errors quote packets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from tests.kernel.guard import frames as f
from tests.kernel.guard.conftest import EXEMPT, HERE, SEALED, SETTINGS
from tests.kernel.guard.counting import counted
from tests.kernel.guard.ways import ALL_WAYS, DATA, Packet, Way, icmp_proto, rows, ways
from tests.kernel.guard.wire import Wire
from wirecrypt.kernel.bpf.guard import KernelGuard
from wirecrypt.model.mark import MarkLayout

LAYOUT = MarkLayout(SETTINGS.mark_shift)


TYPES = {4: (0, 3, 4, 5, 8, 11, 12), 6: (1, 2, 3, 4, 127, 128, 129, 137)}


def of_icmp(types: Mapping[int, tuple[int, ...]]) -> pytest.MarkDecorator:
    listed = [(way, kind, f"{name}-{kind}") for name, way in ALL_WAYS.items() for kind in types[way.family]]
    return pytest.mark.parametrize(("way", "kind"), [row[:2] for row in listed], ids=[row[2] for row in listed])


@pytest.mark.L1
@pytest.mark.L7
@of_icmp(TYPES)
def test_no_icmp_passes_in_clear_between_exempt_nodes(guard: KernelGuard, wire: Wire, way: Way, kind: int) -> None:
    """ICMP goes by ESP between exempt nodes, too: an error quotes what was decrypted. In clear it does not pass."""
    src, dst = way.ends(EXEMPT)
    before = dict(guard.counters())
    assert not way.crosses(wire, f.ip(src, dst, icmp_proto(src), f.icmp(kind, DATA)))
    assert counted(guard, before) == {way.reason("node_cleartext"): 1}


SILENT: dict[str, Packet] = {
    "later fragment": lambda s, d: f.fragment(s, d, icmp_proto(s), DATA),
    "cut": lambda s, d: f.ip(s, d, icmp_proto(s), b""),
}


@pytest.mark.L1
@pytest.mark.L7
@ways
@rows("packet", SILENT)
def test_icmp_that_does_not_say_what_it_is_does_not_pass_between_exempt_nodes(
    guard: KernelGuard, wire: Wire, way: Way, packet: Packet
) -> None:
    """A later fragment of ICMP, and one without a type, do not pass between exempt nodes."""
    before = dict(guard.counters())
    assert not way.crosses(wire, packet(*way.ends(EXEMPT)))
    assert counted(guard, before) == {way.reason("node_cleartext"): 1}


outward = pytest.mark.parametrize("way", [w for w in ALL_WAYS.values() if w.out], ids=["IPv4", "IPv6"])
MARKED: dict[str, Packet] = {
    "UDP": lambda s, d: f.ip(s, d, f.UDP, f.udp(DATA)),
    "ESP of another sender": lambda s, d: f.ip(s, d, f.ESP, f.esp(EXEMPT, DATA)),
    "VXLAN": lambda s, d: f.ip(s, d, f.UDP, f.vxlan(f.ether(f.ip(s, d, f.UDP, f.udp(DATA))))),
}


@pytest.mark.L1
@outward
@rows("packet", MARKED)
@pytest.mark.parametrize("lane", [0, 3])
def test_a_pods_packet_under_its_nodes_address_does_not_leave(
    guard: KernelGuard, wire: Wire, way: Way, packet: Packet, lane: int
) -> None:
    """A packet marked as a pod's does not leave for an exempt peer's address, even with this node's address as its source."""
    before = dict(guard.counters())
    assert not wire.leaves(f.ether(packet(*way.ends(EXEMPT))), mark=LAYOUT.encrypt(lane).value)
    assert counted(guard, before) == {"egress_pod_node": 1}


@outward
@pytest.mark.parametrize("peer", [EXEMPT, SEALED], ids=["exempt", "sealed"])
@pytest.mark.parametrize("lane", [0, 15])
def test_esp_that_a_pod_wrote_itself_does_not_leave(guard: KernelGuard, wire: Wire, way: Way, peer: int, lane: int) -> None:
    """A sending SA takes the pod's mark off: ESP of the pair that still has it came out of no SA, and does not leave."""
    packet = f.ip(*way.ends(peer), f.ESP, f.esp(HERE, DATA))
    before = dict(guard.counters())
    assert not wire.leaves(f.ether(packet), mark=LAYOUT.encrypt(lane).value)
    assert counted(guard, before) == {"egress_pod_node" if peer == EXEMPT else "egress_node_cleartext": 1}


@outward
@pytest.mark.parametrize("peer", [EXEMPT, SEALED], ids=["exempt", "sealed"])
def test_the_esp_of_sas_of_before_leaves(guard: KernelGuard, wire: Wire, way: Way, peer: int) -> None:
    """While there are sending SAs that take no mark off, ESP of the pair leaves with the mark of the packet that it carries."""
    guard.configure(replace(SETTINGS, esp_keeps_mark=True))
    packet = f.ip(*way.ends(peer), f.ESP, f.esp(HERE, DATA))
    before = dict(guard.counters())
    assert wire.leaves(f.ether(packet), mark=LAYOUT.encrypt(1).value)
    assert counted(guard, before) == {"passed_esp": 1}


@outward
@pytest.mark.parametrize(
    "mark", [LAYOUT.control(0, 0).value, LAYOUT.decrypted(0, 0).value, 0x1], ids=["CONTROL", "DECRYPTED", "other"]
)
def test_no_other_mark_makes_a_packet_a_pods(guard: KernelGuard, wire: Wire, way: Way, mark: int) -> None:
    """Cleartext of this node to an exempt peer leaves under any mark but that of pods."""
    before = dict(guard.counters())
    assert wire.leaves(f.ether(f.ip(*way.ends(EXEMPT), f.UDP, f.udp(DATA))), mark=mark)
    assert counted(guard, before) == {"node_to_node": 1}


@outward
def test_the_mark_of_pods_opens_nothing(guard: KernelGuard, wire: Wire, way: Way) -> None:
    """A packet marked as a pod's does not pass to a sealed peer either."""
    before = dict(guard.counters())
    assert not wire.leaves(f.ether(f.ip(*way.ends(SEALED), f.UDP, f.udp(DATA))), mark=LAYOUT.encrypt(0).value)
    assert counted(guard, before) == {"egress_node_cleartext": 1}


@pytest.mark.L9
@ways
def test_cleartext_between_exempt_nodes_is_counted_by_peer(guard: KernelGuard, wire: Wire, way: Way) -> None:
    """A packet in clear counts for the peer that it goes to or comes from; ESP, and what is dropped, for nobody."""
    before = dict(guard.exempt())
    assert way.crosses(wire, f.ip(*way.ends(EXEMPT), f.UDP, f.udp(DATA)))
    assert way.crosses(wire, f.ip(*way.ends(EXEMPT), f.ESP, f.esp(way.source(EXEMPT), DATA)))
    assert not way.crosses(wire, f.ip(*way.ends(EXEMPT), icmp_proto(way.ends(EXEMPT)[0]), f.icmp(3, DATA)))
    assert not way.crosses(wire, f.ip(*way.ends(SEALED), f.UDP, f.udp(DATA)))
    assert counted_by_peer(guard, before) == {EXEMPT: 1}


def counted_by_peer(guard: KernelGuard, before: Mapping[int, int]) -> dict[int, int]:
    return {peer: now - before.get(peer, 0) for peer, now in guard.exempt().items() if now != before.get(peer, 0)}
