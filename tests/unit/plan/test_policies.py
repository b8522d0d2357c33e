"""Which policies a pair has: flow classes, lanes, families, control, and every state of joining and leaving."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest

from tests.unit.plan.made import AB, LAYOUT, MARKS, PORT, A, B, decision, end, g, sas
from wirecrypt.errors import ObjectError
from wirecrypt.model.mark import SLOTS
from wirecrypt.model.pair import End, Pair
from wirecrypt.model.xfrm import PRIORITY_BAND, Direction, Policy, PolicyAction, host
from wirecrypt.pairs.decide import Decision
from wirecrypt.pairs.inputs import Out, Receive
from wirecrypt.pairs.node_traffic import EXEMPT, SEALED, NodeTraffic
from wirecrypt.plan.flows import flows_in, flows_out
from wirecrypt.plan.policies import (
    PRIORITY_CONTROL,
    PRIORITY_CONTROL_BLOCK,
    PRIORITY_DATA,
    PRIORITY_LANE,
    PRIORITY_NODES,
    UDP,
    Senders,
    wanted,
)
from wirecrypt.plan.shared import GROUPS, is_shared, shared
from wirecrypt.plan.states import free_slot

GEN = g(2, 1)


def made(desired: Decision, *, pair: Pair = AB, lanes: int = 1, slot: int = 0) -> list[Policy]:
    return wanted(pair, desired, Senders({GEN: lanes}, {GEN: slot}), LAYOUT)


ANY4, ANY6 = ip_network("0.0.0.0/0"), ip_network("::/0")
TO_PODS = {(ANY4, ip_network("10.2.0.0/16")), (ANY6, ip_network("fd00:2::/64"))}
TO_NODE = {(ANY4, ip_network("192.0.2.2/32")), (ANY6, ip_network("2001:db8::2/128"))}
OWN_TO_NODE = {
    (ip_network("10.1.0.0/16"), ip_network("192.0.2.2/32")),
    (ip_network("fd00:1::/64"), ip_network("2001:db8::2/128")),
}


@pytest.mark.L4
def test_every_flow_class_is_encrypted_whatever_the_source() -> None:
    """To the peer's pods and to all its addresses from any source, one flow a destination; never across families."""
    flows = list(flows_out(AB, SEALED))
    assert {(f.selector.src, f.selector.dst) for f in flows} == TO_PODS | TO_NODE
    assert len(flows) == 4
    assert not any(f.stamped or f.selector.proto for f in flows)


@pytest.mark.L9
def test_what_is_encrypted_between_exempt_nodes() -> None:
    """What came from a pod's link or has an own pod's source, and ICMP, for its errors quote; nothing else."""
    flows = [f for f in flows_out(AB, EXEMPT) if (f.selector.src, f.selector.dst) not in TO_PODS]
    assert {(f.selector.src, f.selector.dst) for f in flows if f.stamped} == TO_NODE
    assert {(f.selector.src, f.selector.dst) for f in flows if not (f.stamped or f.selector.proto)} == OWN_TO_NODE
    icmp = [f.selector for f in flows if f.selector.proto]
    assert {(s.src, s.dst) for s in icmp} == TO_NODE
    assert {(s.dst.version, s.proto, s.sport) for s in icmp} == {(4, 1, 0), (6, 58, 0)}


@pytest.mark.parametrize("nodes", [SEALED, EXEMPT], ids=["sealed", "exempt"])
def test_flows_in_are_those_that_the_peer_sends(nodes: NodeTraffic) -> None:
    """What one end sends out, the other expects in, forwarded and for the node itself; own pods are apart where need be."""
    pods, addresses = set(B.pod_cidrs), {host(a) for a in B.endpoints}
    for direction in (Direction.FWD, Direction.IN):
        found = [f for f in flows_in(AB, nodes) if f.direction is direction]
        assert {f.selector.src for f in found} == pods | addresses
        assert {f.selector.dst for f in found if f.nodes} == {ANY4, ANY6}
        own = {f.selector.dst for f in found if f.selector.src in addresses and not f.nodes}
        assert own == (set() if nodes.requires else set(A.pod_cidrs))


def test_other_addresses_of_the_peer_are_its_own_too() -> None:
    """A virtual address takes the policies that the node's own addresses have, and the tunnel stays between endpoints."""
    more = Pair(A, replace(B, addresses=(ip_address("198.51.100.7"),)))
    found = wanted(more, decision(in_use=GEN), Senders({GEN: 1}, {GEN: 0}), LAYOUT)
    vip = ip_network("198.51.100.7/32")
    assert {p.direction for p in found if vip in (p.selector.src, p.selector.dst)} == set(Direction)
    assert more.outer() == AB.outer()


def test_a_pair_has_no_more_policies_than_when_nodes_were_in_clear() -> None:
    """One a destination and direction: as many as before with one own prefix of each family, and none more for each further."""
    data = [p for p in made(decision(in_use=GEN)) if p.selector.proto != UDP]
    assert len(data) == 12
    wide = Pair(replace(A, pod_cidrs=(*A.pod_cidrs, ip_network("10.9.0.0/16"), ip_network("fd00:9::/64"))), B)
    assert len(made(decision(in_use=GEN), pair=wide)) == len(made(decision(in_use=GEN)))


def test_what_is_refused_of_node_traffic_is_told_apart() -> None:
    """While the peer may send node→node in clear that is taken, and nothing in clear for own pods."""
    half = decision(in_use=GEN, nodes=NodeTraffic(sends=True))
    taken = {(p.priority, p.selector.dst.prefixlen == 0): p.templates[0].optional for p in made(half) if _from_node(p)}
    assert taken == {(PRIORITY_NODES, True): True, (PRIORITY_DATA, False): False}
    sealed = [p for p in made(decision(in_use=GEN)) if _from_node(p)]
    assert {(p.priority, p.templates[0].optional) for p in sealed} == {(PRIORITY_NODES, False)}


def _from_node(policy: Policy) -> bool:
    return policy.direction is not Direction.OUT and policy.selector.src == host(B.endpoints[0]) and not policy.selector.proto


def test_what_belongs_to_no_pair() -> None:
    """Neighbour solicitations and advertisements pass both ways, out only unmarked ones; what is for a group is taken."""
    found = list(shared(MARKS))
    assert all(is_shared(p) and p.priority in PRIORITY_BAND and p.priority < PRIORITY_CONTROL for p in found)
    out = [p for p in found if p.direction is Direction.OUT]
    assert {(p.selector.proto, p.selector.sport, p.mark) for p in out} == {(58, kind, MARKS.unmarked()) for kind in (135, 136)}
    assert {p.selector.dst for p in found if not p.selector.proto} == set(GROUPS)
    assert not any(is_shared(p) for p in made(decision(in_use=GEN)))


def test_every_policy_stands_in_our_band_and_has_its_own_name() -> None:
    """A priority outside the band would be foreign to ourselves; two with one name cannot coexist."""
    for desired in (decision(in_use=GEN), decision(Out.BLOCK), decision(in_use=GEN, receive=Receive.OPTIONAL)):
        found = made(desired, lanes=4)
        assert all(p.priority in PRIORITY_BAND for p in found)
        assert len({p.name for p in found}) == len(found)


@pytest.mark.parametrize("lanes", range(1, 17))
def test_each_flow_has_a_lane_of_the_pair_and_all_lanes_are_used_alike(lanes: int) -> None:
    """Of the sixteen numbers of flows each lane has as many as another, or twice as many where lanes are no power of two.

    However many lanes this node would have offered: what fits none of the marks takes lane 0.
    """
    found = [p for p in made(decision(in_use=GEN), lanes=lanes) if p.direction is Direction.OUT and not p.selector.proto]
    assert len(found) <= 4 * 2 * lanes  # two prefixes and two addresses
    for prefix in {p.selector for p in found}:
        used = Counter(_lane([p for p in found if p.selector == prefix], MARKS.encrypt(n).value) for n in range(16))
        assert used.keys() == set(range(lanes))
        assert max(used.values()) <= (1 if lanes & lanes - 1 == 0 else 2) * min(used.values())
        assert _lane([p for p in found if p.selector == prefix], 0) == 0


def _lane(policies: list[Policy], mark: int) -> int:
    """Return the lane that a packet with this mark takes by the one policy of the best priority that fits it."""
    best, *others = sorted(
        (p for p in policies if p.mark is None or mark & p.mark.mask == p.mark.value), key=lambda p: p.priority
    )
    assert best.priority == (PRIORITY_LANE if best.mark else PRIORITY_DATA)
    assert [p for p in others if p.priority == best.priority] == []
    (template,) = best.templates
    lane = template.spi & 0xF
    assert template.spi == template.reqid == GEN.spi(A.node_id, lane)
    assert not template.optional
    return lane


def test_templates_pin_the_addresses_of_the_tunnel() -> None:
    """Out: from own to peer by SPI; in: from peer to own, any SA, so no third node speaks for the peer's pods."""
    own, peer = AB.outer()
    for policy in made(decision(in_use=GEN)):
        for template in policy.templates:
            out = policy.direction is Direction.OUT
            assert (template.src, template.dst) == ((own, peer) if out else (peer, own))
            assert bool(template.spi) is out


def test_templates_fit_the_states() -> None:
    """Each OUT template names exactly one sending SA of the generation."""
    sending = {sa.spi for sa in sas(GEN, lanes=3) if not sa.receives}
    named = {t.spi for p in made(decision(in_use=GEN), lanes=3) if p.direction is Direction.OUT for t in p.templates}
    assert named == sending


def test_block_covers_the_same_flows() -> None:
    """Block has the names of the lane-0 policies: one update turns one into the other."""
    blocked = {p.name for p in made(decision(Out.BLOCK)) if p.direction is Direction.OUT and not p.selector.proto}
    encrypted = made(decision(in_use=GEN), lanes=1)
    assert blocked == {p.name for p in encrypted if p.direction is Direction.OUT and not p.selector.proto}
    assert all(p.verdict is PolicyAction.BLOCK and not p.templates for p in made(decision(Out.BLOCK)) if p.name in blocked)


def test_esp_without_a_generation_is_a_block() -> None:
    """A decision that says ESP and names nothing never leaves a hole."""
    found = [p for p in made(decision(Out.ESP, None)) if p.direction is Direction.OUT]
    assert found
    assert {p.verdict for p in found} == {PolicyAction.BLOCK}


@pytest.mark.parametrize(("receive", "optional"), [(Receive.OPTIONAL, True), (Receive.REQUIRED, False)])
def test_receiving_levels(receive: Receive, optional: bool) -> None:  # noqa: FBT001 - a table's column
    """Joining and leaving ends take ESP or plaintext, others ESP alone; control datagrams are ESP in every state."""
    found = [p for p in made(decision(in_use=GEN, receive=receive)) if p.direction is not Direction.OUT]
    assert {t.optional for p in found if not p.selector.proto for t in p.templates} == {optional}
    assert {t.optional for p in found if p.selector.proto for t in p.templates} == {False}


def test_plain_pair_has_control_only() -> None:
    """Joining, before the proof: no policy on traffic out, optional ones in, control in place."""
    found = made(decision(Out.PLAIN, receive=Receive.OPTIONAL, keep={GEN: (True, True)}))
    assert {p.selector.dport for p in found if p.direction is Direction.OUT} == {PORT}


def test_nothing_is_nothing() -> None:
    """Removed, or plaintext with nothing installed and nothing asked: no policy at all."""
    assert made(decision(Out.PLAIN, receive=Receive.NONE)) == []
    assert made(decision(in_use=GEN, remove_all=True)) == []


def test_control_by_exact_mark_and_blocked_without() -> None:
    """Each slot and lane has its own mark; without one, or with another, a control datagram is blocked ◆R12."""
    keep = {g(1, 1): (True, True), GEN: (True, True)}
    senders = Senders({g(1, 1): 1, GEN: 2}, {g(1, 1): 2, GEN: 0})
    found = [p for p in wanted(AB, decision(in_use=GEN, keep=keep), senders, LAYOUT) if p.selector.dport == PORT]
    out = {p.mark: p for p in found if p.direction is Direction.OUT}
    assert set(out) == {None, MARKS.control(2, 0), MARKS.control(0, 0), MARKS.control(0, 1)}
    assert out[None].verdict is PolicyAction.BLOCK
    assert out[None].priority == PRIORITY_CONTROL_BLOCK > PRIORITY_CONTROL
    assert out[MARKS.control(0, 1)].templates[0].spi == GEN.spi(A.node_id, 1)
    assert {(p.selector.src, p.selector.dst) for p in out.values()} == {
        (ip_network("192.0.2.1/32"), ip_network("192.0.2.2/32"))
    }


@pytest.mark.parametrize(("keep", "slot"), [((False, True), -1), ((True, False), 0)])
def test_no_control_without_slot_or_sending_sa(keep: tuple[bool, bool], slot: int) -> None:
    """A generation whose receiving SAs are gone has no slot, one without sending SAs no way out: neither gets a policy."""
    senders = Senders({GEN: 1}, {GEN: slot})
    found = wanted(AB, decision(in_use=GEN, keep={GEN: keep}), senders, LAYOUT)
    marks = {p.mark for p in found if p.selector.dport == PORT and p.mark is not None}
    assert marks == set()


def test_families_are_mixed() -> None:
    """IPv6 pods over an IPv4 tunnel: selectors of both families, templates of the one that both ends have."""
    both = Pair(A, end("b", 17, 2, v6=False))
    found = wanted(both, decision(in_use=GEN), Senders({GEN: 1}, {GEN: 0}), LAYOUT)
    assert {t.src.version for p in found for t in p.templates} == {4}
    assert {type(p.selector.dst) for p in made(decision(in_use=GEN))} == {IPv4Network, IPv6Network}


def test_both_ends_choose_the_same_tunnel() -> None:
    """The first endpoint of `lo` whose family `hi` has; without a common family there is no tunnel, and it is said."""
    assert AB.outer() == tuple(reversed(Pair(B, A).outer()))
    lonely = Pair(end("a", 16, 1, v6=False), End("b", 17, "uid-b", B.endpoints[1:], ()))
    with pytest.raises(ObjectError, match="no address family in common"):
        lonely.outer()


def test_states_of_a_generation() -> None:
    """Receiving ones first, marking and without limits; sending ones with limits, taking marks off; reqid is the SPI."""
    found = sas(GEN, lanes=3, slot=1)
    assert [sa.receives for sa in found] == [True] * 3 + [False] * 3
    assert {sa.set_mark for sa in found[3:]} == {MARKS.unmarked()}
    assert [sa.set_mark for sa in found[:3]] == [MARKS.decrypted(1, n) for n in range(3)]
    assert {sa.limits.soft_packets for sa in found[3:]} == {1000}
    assert all(sa.spi == sa.reqid for sa in found)
    assert len({(sa.spi, sa.key.fingerprint) for sa in found}) == 6
    assert {(sa.src, sa.dst) for sa in found[3:]} == {AB.outer()}


def test_both_ends_install_the_same_spis() -> None:
    """What one end sends on, the other receives on."""
    theirs = sas(GEN, pair=Pair(B, A), lanes=2)
    mine = sas(GEN, lanes=2)
    assert {s.name for s in mine if not s.receives} == {s.name for s in theirs if s.receives}


@pytest.mark.parametrize(("used", "expected"), [((), 0), ((0,), 1), ((1,), 0), ((0, 2), 1), ((0, 1, 2), None), ((-1, 0), 1)])
def test_free_slot(used: tuple[int, ...], expected: int | None) -> None:
    """The lowest slot that no receiving generation has; none when the pair is full."""
    assert free_slot(used) == expected
    assert expected is None or expected < SLOTS
