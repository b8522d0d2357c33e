"""What a Node stops to mention is held, entry by entry, until its agent's word or its successor ends it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.controller.watched import FREE
from wirecrypt.controller.claims.settle import Settled, settle
from wirecrypt.model.objects import Node, NodePeer, NodeState

START = datetime(2024, 1, 1, tzinfo=UTC)
CLAIMS = ("192.0.2.1", "198.51.100.1", "fd00::1", "10.1.0.0/24", "10.9.0.0/24", "fd00:1::/64")


def node(*claims: str, name: str = "a") -> Node:
    """Return a Node that mentions *claims*: a prefix has a slash, an endpoint has none."""
    endpoints = tuple(ip_address(c) for c in claims if "/" not in c)
    return Node(name, f"uid-{name}", "enabled", endpoints, tuple(ip_network(c) for c in claims if "/" in c), START)


def peer(*claims: str, proposed: tuple[str, ...] | None = None, addresses: tuple[str, ...] = ()) -> NodePeer:
    """Return the NodePeer that holds *claims* and *addresses*; *proposed*: what its agent says, None while it has not."""
    of = node(*claims)
    made = NodePeer(of.name, "o", 16, of.uid, of.endpoints, of.pod_cidrs, NodeState.ACTIVE, of.created)
    said = None if proposed is None else tuple(map(ip_address, proposed))
    return replace(made, proposed=said, addresses=tuple(map(ip_address, addresses)))


def words(found: Settled) -> tuple[list[str], list[str], list[str]]:
    """Return endpoints, other addresses and prefixes as text."""
    return ([*map(str, found.endpoints)], [*map(str, found.addresses)], [*map(str, found.pod_cidrs)])


@given(st.sets(st.sampled_from(CLAIMS)), st.sampled_from([None, (), ("192.0.2.1", "198.51.100.1", "fd00::1")]))
def test_whatever_part_of_its_lists_a_node_mentions_it_keeps_the_whole(
    shown: set[str], proposed: tuple[str, ...] | None
) -> None:
    """◆R16 Each entry in its place, while the agent says nothing of endpoints, or that they are there; what misses is told."""
    mentioned = [claim for claim in CLAIMS if claim in shown]
    found = settle([node(*mentioned)], [peer(*CLAIMS, proposed=proposed)], FREE)["a"]
    whole = settle([node(*CLAIMS)], [peer(*CLAIMS, proposed=proposed)], FREE)["a"]
    assert (found.endpoints, found.addresses, found.refused) == (whole.endpoints, whole.addresses, ())
    assert {*found.pod_cidrs} == {*whole.pod_cidrs}
    assert len(found.kept) == len(CLAIMS) - len(mentioned)


def test_an_order_that_changes_is_followed_where_nothing_is_missing() -> None:
    """The first address is the tunnel's, and which one that is the Node says."""
    found = settle([node("fd00::1", "192.0.2.1")], [peer("192.0.2.1", "fd00::1")], FREE)["a"]
    assert words(found) == (["fd00::1", "192.0.2.1"], [], [])


@pytest.mark.parametrize("proposed", [("fd00::1", "198.51.100.9"), ("fd00::1",)])
def test_by_its_agents_word_an_endpoint_is_one_no_more(proposed: tuple[str, ...]) -> None:
    """An agent that tells of the others and not of this one: it stays an address of the node, so nothing to it is readable."""
    found = settle([node("fd00::1")], [peer("192.0.2.1", "fd00::1", proposed=proposed)], FREE)["a"]
    assert words(found)[:2] == (["fd00::1"], ["192.0.2.1", *(a for a in proposed if "." in a)])


def test_a_new_address_of_the_family_replaces_one_that_is_not_mentioned() -> None:
    """Where the agent tells of no endpoint, as those of before and one whose node has new addresses alone."""
    for proposed in (None, ("192.0.2.9",)):
        found = settle([node("192.0.2.9", "fd00::1")], [peer("192.0.2.1", "fd00::2", proposed=proposed)], FREE)["a"]
        assert words(found)[:2] == (["192.0.2.9", "fd00::1"], ["192.0.2.1", "fd00::2"])


def test_a_new_address_of_the_other_family_replaces_nothing() -> None:
    """A node that gets IPv6 while its IPv4 address is not mentioned for a moment."""
    allowed = replace(peer("192.0.2.1"), allowed=(ip_network("fd00::/64"),))
    found = settle([node("fd00::1")], [allowed], FREE)["a"]
    assert words(found)[:2] == (["192.0.2.1", "fd00::1"], [])


def test_nobody_gets_what_is_only_not_mentioned() -> None:
    """◆R16 A Node that mentions another's missing address or prefix is refused it: a kubelet could wait for that moment."""
    thief = node("192.0.2.1", "10.1.0.0/24", name="b")
    found = settle([node("fd00::1", "fd00:1::/64"), thief], [peer(*CLAIMS)], FREE)
    assert words(found["b"]) == ([], [], [])
    assert len(found["b"].refused) == 2


def test_a_former_endpoint_is_the_next_ones_at_once() -> None:
    """An address that moves with a new address for its former node: both have one, and no tunnel ends at the old place."""
    found = settle([node("192.0.2.9"), node("192.0.2.1", name="b")], [peer("192.0.2.1")], FREE)
    assert (words(found["a"])[:2], words(found["b"])[:2]) == ((["192.0.2.9"], []), (["192.0.2.1"], []))


def test_an_endpoint_that_comes_back_is_one_again() -> None:
    """It was an address in between."""
    before = peer("192.0.2.9", addresses=("192.0.2.1",))
    found = settle([node("192.0.2.9", "192.0.2.1")], [before], FREE)["a"]
    assert words(found)[:2] == (["192.0.2.9", "192.0.2.1"], [])
