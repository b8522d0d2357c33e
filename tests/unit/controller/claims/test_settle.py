"""Claims on prefixes and addresses: who gets what, whatever the order."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.controller.watched import FREE
from wirecrypt.controller.claims.settle import settle
from wirecrypt.model.objects import Node, NodePeer, NodeState

START = datetime(2024, 1, 1, tzinfo=UTC)


def node(name: str, *claims: str, age: int = 0, uid: str = "") -> Node:
    """Return a Node; a claim with a slash is a pod prefix, else an endpoint; *age* counts seconds after START."""
    return Node(
        name,
        uid or f"uid-{name}",
        "enabled",
        tuple(ip_address(c) for c in claims if "/" not in c),
        tuple(ip_network(c) for c in claims if "/" in c),
        START + timedelta(seconds=age),
    )


def peer(of: Node) -> NodePeer:
    """Return the NodePeer that holds all that *of* claims."""
    return NodePeer(of.name, "o", 16, of.uid, of.endpoints, of.pod_cidrs, NodeState.ACTIVE, of.created)


def test_claims_that_nobody_else_has_are_granted_in_the_nodes_own_order() -> None:
    """Both families, endpoints first as the Node lists them."""
    settled = settle([node("a", "fd00::1", "192.0.2.1", "10.1.0.0/24", "fd00:1::/64")], [], FREE)["a"]
    assert [str(e) for e in settled.endpoints] == ["fd00::1", "192.0.2.1"]
    assert [str(p) for p in settled.pod_cidrs] == ["10.1.0.0/24", "fd00:1::/64"]
    assert settled.refused == ()


def test_the_older_node_keeps_an_overlapping_prefix() -> None:
    """A younger node that claims a part of another's prefix is refused that prefix and keeps its others."""
    settled = settle([node("b", "10.1.0.128/25", "10.2.0.0/24", age=5), node("a", "10.1.0.0/24")], [], FREE)
    assert [str(p) for p in settled["b"].pod_cidrs] == ["10.2.0.0/24"]
    assert settled["b"].refused == ("10.1.0.128/25: overlaps 10.1.0.0/24 of a, which had it first",)
    assert settled["a"].refused == ()


def test_a_holder_keeps_its_claim_against_an_older_node_that_claims_it_later() -> None:
    """What a NodePeer holds already outweighs the age of the Nodes."""
    holder, thief = node("a", "10.1.0.0/24", age=5), node("b", "10.1.0.0/24")
    assert settle([holder, thief], [peer(holder)], FREE)["b"].pod_cidrs == ()


def test_an_endpoint_inside_anothers_pod_prefix_is_refused() -> None:
    """Addresses and prefixes are claims of one space."""
    assert settle([node("a", "10.1.0.0/24"), node("b", "10.1.0.7", age=1)], [], FREE)["b"].endpoints == ()


def test_claims_of_a_vanished_node_are_held_until_its_peer_object_goes() -> None:
    """A new Node with the address of one that just disappeared has to wait."""
    gone, new = node("a", "192.0.2.1", uid="old"), node("a2", "192.0.2.1")
    assert settle([new], [peer(gone)], FREE)["a2"].endpoints == ()
    assert settle([new], [], FREE)["a2"].endpoints == new.endpoints


@pytest.mark.parametrize(
    ("claim", "why"),
    [
        ("10.0.0.0/15", "too short"),
        ("fd00::/47", "too short"),
        ("169.254.1.1", "no node can own it"),
        ("fe80::1", "no node can own it"),
        ("127.0.0.0/24", "no node can own it"),
        ("::1", "no node can own it"),
        ("224.0.0.5", "no node can own it"),
        ("240.0.0.1", "no node can own it"),
        ("255.255.255.255", "no node can own it"),
        ("::ffff:192.0.2.1", "no node can own it"),
        ("64:ff9b::c000:201", "no node can own it"),
        ("64:ff9b:1::c000:201", "no node can own it"),
        ("::c000:201", "no node can own it"),
        ("2001:0:c000:201::/64", "no node can own it"),
        ("2002:c000:201::/48", "no node can own it"),
        ("10.96.3.0/24", "Service range 10.96.0.0/16"),
        ("203.0.113.9", "API server 203.0.113.9"),
        ("203.0.113.0/24", "API server 203.0.113.9"),
    ],
)
def test_what_no_node_may_have_is_refused(claim: str, why: str) -> None:
    """Service ranges, API servers, link-local, loopback, multicast and prefixes that are not one node's."""
    allowed = replace(FREE, services=(ip_network("10.96.0.0/16"),), api_servers=(ip_address("203.0.113.9"),))
    settled = settle([node("a", claim)], [], allowed)["a"]
    assert (settled.endpoints, settled.pod_cidrs) == ((), ())
    assert why in settled.refused[0]


def test_a_held_claim_is_kept_whatever_the_configuration_says() -> None:
    """A Service range or API server that covers what a NodePeer holds takes nothing away; new claims are refused as ever."""
    allowed = replace(
        FREE, services=(ip_network("10.0.0.0/8"),), api_servers=(ip_address("192.0.2.1"), ip_address("192.0.2.2"))
    )
    holder, new = node("a", "192.0.2.1", "10.1.0.0/24"), node("b", "192.0.2.2", "10.2.0.0/24", age=1)
    settled = settle([holder, new], [peer(holder)], allowed)
    assert (settled["a"].endpoints, settled["a"].pod_cidrs) == (holder.endpoints, holder.pod_cidrs)
    assert settled["a"].refused == ()
    assert settled["a"].kept == (
        "10.1.0.0/24: overlaps the Service range 10.0.0.0/8",
        "192.0.2.1: contains the API server 192.0.2.1",
    )
    assert (settled["b"].endpoints, settled["b"].pod_cidrs) == ((), ())


def test_an_endpoint_that_is_held_is_no_held_prefix() -> None:
    """A node with an API server's address as its own cannot get that address as a pod prefix."""
    allowed = replace(FREE, api_servers=(ip_address("192.0.2.1"),))
    claims = replace(node("a", "192.0.2.1", "192.0.2.1/32"), control_plane=True)
    holds = replace(peer(claims), pod_cidrs=())
    assert settle([claims], [holds], allowed)["a"].pod_cidrs == ()


def test_only_a_control_plane_node_has_an_api_servers_address() -> None:
    """An API server listens on its own node's address: such a Node gets it as an endpoint, never as a prefix; no other does."""
    allowed = replace(FREE, api_servers=(ip_address("192.0.2.1"),))
    claims = node("a", "192.0.2.1", "192.0.2.0/24")
    granted = settle([replace(claims, control_plane=True)], [], allowed)["a"]
    assert (granted.endpoints, granted.pod_cidrs) == (claims.endpoints, ())
    assert granted.kept == ()
    assert settle([claims], [], allowed)["a"].endpoints == ()


def test_what_a_node_does_not_mention_any_more_is_still_held() -> None:
    """A Node whose address or prefix list became empty keeps what its NodePeer holds, and no other node gets it."""
    before = node("a", "192.0.2.1", "10.1.0.0/24", age=5)
    settled = settle([node("a", age=5), node("b", "192.0.2.1", "10.1.0.0/24")], [peer(before)], FREE)
    assert (settled["a"].endpoints, settled["a"].pod_cidrs) == (before.endpoints, before.pod_cidrs)
    assert (settled["b"].endpoints, settled["b"].pod_cidrs) == ((), ())


@given(st.permutations(range(8)), st.permutations(range(8)))
def test_the_result_does_not_depend_on_the_order(objects: list[int], other: list[int]) -> None:
    """Nodes in any order settle alike, equal ages included."""
    nodes = [node(f"n{i}", f"10.{i // 2}.0.0/{20 + i}", f"10.{i}.0.{i}", f"fd00:{i % 3}::/64", age=i % 2) for i in range(8)]
    peers = [peer(n) for n in nodes[::3]]
    assert settle([nodes[i] for i in objects], peers, FREE) == settle([nodes[i] for i in other], peers[::-1], FREE)


@given(st.lists(st.tuples(st.integers(0, 2**12 - 1), st.integers(20, 32), st.integers(0, 3)), max_size=12))
def test_no_address_ever_has_two_owners(claims: list[tuple[int, int, int]]) -> None:
    """Whatever is claimed, what is granted to different nodes is disjoint, and a sole claimant loses nothing."""
    text = [(f"10.0.{a >> 8}.{a & 255}/{length}", who) for a, length, who in claims]
    prefixes = [(ip_network(t, strict=False), who) for t, who in text]
    nodes = [node(f"n{w}", *{str(p) for p, who in prefixes if who == w}, age=w) for w in range(4)]
    settled = settle(nodes, [], FREE)
    granted = [(p, name) for name, s in settled.items() for p in s.pod_cidrs]
    assert not [(p, q) for p, n in granted for q, m in granted if n != m and p.overlaps(q)]
    for who in range(4):
        mine = {p for p, w in prefixes if w == who}
        if not any(p.overlaps(q) for p in mine for q, w in prefixes if w != who):
            assert set(settled[f"n{who}"].pod_cidrs) == mine


def test_a_joined_node_takes_nothing_that_a_younger_node_has_before_it_joins() -> None:
    """What it asks for anew comes after what Nodes have, granted or not: an address of its pods, its own, its prefix."""
    joined, young = peer(node("a", "192.0.2.1")), node("b", "192.0.2.2", "10.2.0.0/24", age=9)
    for claim in ("10.2.0.7", "192.0.2.2", "10.2.0.0/25", "10.2.0.0/16"):
        settled = settle([node("a", "192.0.2.1", claim), young], [joined], FREE)
        assert (settled["b"].endpoints, settled["b"].pod_cidrs, settled["b"].refused) == (young.endpoints, young.pod_cidrs, ())
        assert (settled["a"].endpoints, settled["a"].pod_cidrs) == (joined.endpoints, ())
        assert "which had it first" in settled["a"].refused[0]


SPACE = st.integers(0, 2**6 - 1)
PREFIXES = st.builds(
    lambda first, length: str(ip_network((f"10.0.0.{first}", length), strict=False)), SPACE, st.integers(28, 32)
)
OF_A_NODE = st.tuples(
    st.lists(SPACE.map("10.0.0.{}".format), max_size=6, unique=True),
    st.lists(PREFIXES, max_size=3, unique=True),
    st.integers(0, 3),  # age
    st.sampled_from([None, *NodeState]),  # has a NodePeer
    st.sets(st.integers(0, 8)),  # which of its claims that one holds
)


@given(st.lists(OF_A_NODE, max_size=4))
def test_who_holds_a_claim_keeps_it_whoever_asks_for_it(
    drawn: list[tuple[list[str], list[str], int, NodeState | None, set[int]]],
) -> None:
    """Whatever nodes of whatever age claim, of addresses and prefixes: nobody loses what it holds, and nobody gets it, too."""
    nodes, peers, taken = [], [], set[str]()
    for number, (addresses, prefixes, age, state, which) in enumerate(drawn):
        nodes.append(node(f"n{number}", *addresses, *prefixes, age=age))
        claims = [claim for place, claim in enumerate((*addresses, *prefixes)) if place in which]
        free = [c for c in claims if taken.isdisjoint(map(str, ip_network(c)))][:4]
        taken |= {str(a) for c in free for a in ip_network(c)}
        if state:
            peers.append(replace(peer(node(f"n{number}", *free)), state=state))
    settled = settle(nodes, peers, FREE)
    for held in peers:
        mine = settled[held.name]
        assert {*held.endpoints} <= {*mine.endpoints}
        assert {*held.pod_cidrs} <= {*mine.pod_cidrs}
        others = [s for name, s in settled.items() if name != held.name]
        granted = [n for s in others for n in (*map(ip_network, s.endpoints), *s.pod_cidrs)]
        assert not [n for n in (*map(ip_network, held.endpoints), *held.pod_cidrs) if any(n.overlaps(g) for g in granted)]


def test_a_full_node_keeps_the_addresses_and_prefixes_that_it_has() -> None:
    """◆R19 A Node that mentions more than the object holds, new ones first: what is held stays, in the Node's order."""
    addresses = [f"192.0.2.{n}" for n in range(9)]
    prefixes = [f"10.1.{n}.0/24" for n in range(70)]
    held = peer(node("a", addresses[-1], prefixes[-1]))
    mine = settle([node("a", *addresses, *prefixes)], [held], FREE)["a"]
    assert [str(a) for a in mine.endpoints] == [*addresses[:3], addresses[-1]]
    assert [str(p) for p in mine.pod_cidrs] == [*prefixes[:63], prefixes[-1]]
    assert len(mine.refused) == 5 + 6
