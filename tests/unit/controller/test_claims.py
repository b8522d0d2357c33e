"""Claims on prefixes, addresses and node IDs: who gets what, whatever the order."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirecrypt.controller.claims import Reserved, allocate, resting, settle
from wirecrypt.errors import ObjectError
from wirecrypt.model.objects import Node, NodePeer, NodeState, SeedSecret
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Epoch
from wirecrypt.rotation.phases import carried_on

START = datetime(2024, 1, 1, tzinfo=UTC)
FREE = Reserved()


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


def seed(number: int, released: tuple[int, ...] = (), carried: tuple[int, ...] = ()) -> SeedSecret:
    """Return the Secret of an epoch."""
    return SeedSecret(Epoch(number, f"{number:032x}"), SecretBytes(bytes(32)), released, carried)


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
        ("2002:c000:201::/48", "no node can own it"),
        ("10.96.3.0/24", "Service range 10.96.0.0/16"),
        ("203.0.113.9", "API server 203.0.113.9"),
        ("203.0.113.0/24", "API server 203.0.113.9"),
    ],
)
def test_what_no_node_may_have_is_refused(claim: str, why: str) -> None:
    """Service ranges, API servers, link-local, loopback, multicast and prefixes that are not one node's."""
    reserved = Reserved((ip_network("10.96.0.0/16"),), (ip_address("203.0.113.9"),))
    settled = settle([node("a", claim)], [], reserved)["a"]
    assert (settled.endpoints, settled.pod_cidrs) == ((), ())
    assert why in settled.refused[0]


def test_a_held_claim_is_kept_whatever_the_configuration_says() -> None:
    """A Service range or API server that covers what a NodePeer holds takes nothing away; new claims are refused as ever."""
    reserved = Reserved((ip_network("10.0.0.0/8"),), (ip_address("192.0.2.1"), ip_address("192.0.2.2")))
    holder, new = node("a", "192.0.2.1", "10.1.0.0/24"), node("b", "192.0.2.2", "10.2.0.0/24", age=1)
    settled = settle([holder, new], [peer(holder)], reserved)
    assert (settled["a"].endpoints, settled["a"].pod_cidrs) == (holder.endpoints, holder.pod_cidrs)
    assert settled["a"].refused == ()
    assert settled["a"].kept == (
        "10.1.0.0/24: overlaps the Service range 10.0.0.0/8",
        "192.0.2.1: contains the API server 192.0.2.1",
    )
    assert (settled["b"].endpoints, settled["b"].pod_cidrs) == ((), ())


def test_an_endpoint_that_is_held_is_no_held_prefix() -> None:
    """A node with an API server's address as its own cannot get that address as a pod prefix."""
    reserved = Reserved(api_servers=(ip_address("192.0.2.1"),))
    claims = replace(node("a", "192.0.2.1", "192.0.2.1/32"), control_plane=True)
    holds = replace(peer(claims), pod_cidrs=())
    assert settle([claims], [holds], reserved)["a"].pod_cidrs == ()


def test_only_a_control_plane_node_has_an_api_servers_address() -> None:
    """An API server listens on its own node's address: such a Node gets it as an endpoint, never as a prefix; no other does."""
    reserved = Reserved(api_servers=(ip_address("192.0.2.1"),))
    claims = node("a", "192.0.2.1", "192.0.2.0/24")
    granted = settle([replace(claims, control_plane=True)], [], reserved)["a"]
    assert (granted.endpoints, granted.pod_cidrs) == (claims.endpoints, ())
    assert granted.kept == ()
    assert settle([claims], [], reserved)["a"].endpoints == ()


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


def test_the_lowest_free_node_id_is_given_out() -> None:
    """IDs begin at 16 and fill gaps, up to the highest that an SPI has room for."""
    assert allocate([], []) == 16
    assert allocate([16, 18], []) == 17
    assert allocate(range(16, 65535), []) == 65535


def test_a_released_node_id_rests_until_a_full_epoch_has_passed() -> None:
    """An ID given up in epoch 1 is free again only when epoch 2, which began with it, is gone as well."""
    first = seed(1, released=(16,))
    assert allocate([], [first]) == 17
    second = seed(2, carried=carried_on([first]))
    assert resting([first, second]) == {16}
    assert allocate([], [second]) == 17
    third = seed(3, carried=carried_on([second]))
    assert allocate([], [second, third]) == 17
    assert allocate([], [third]) == 16


def test_no_free_node_id_is_an_error_with_a_next_step() -> None:
    """Nothing is given out twice, even when all are used."""
    with pytest.raises(ObjectError, match="rotate"):
        allocate(range(16, 65536), [])
