"""What a node may claim at all: inside the configured ranges; once it is Active, in its subnets or where a person says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from tests.unit.controller.claims.test_settle import node, peer
from wirecrypt.controller.claims.allowed import Allowed
from wirecrypt.controller.claims.settle import Settled, settle
from wirecrypt.model.objects import NodePeer, NodeState
from wirecrypt.model.ranges import ClaimRanges

OUTSIDE, ELSEWHERE, HERE = "203.0.113.53", "198.51.100.53", "192.0.2.53"
ALLOWED = Allowed(
    ranges=ClaimRanges(
        tuple(map(ip_network, ("10.0.0.0/13", "fd00:1::/48"))),
        tuple(map(ip_network, ("192.0.2.0/24", "198.51.100.0/24", "fd00:2::/64"))),
    )
)
OWN = ("192.0.2.1", "10.1.0.0/24")


def says(held: NodePeer, *claims: str, proposed: Sequence[str] = (), allowed: Sequence[str] = ()) -> Settled:
    """Return what the node of *held* gets that mentions *claims* next to its own, proposes and was allowed these."""
    said = tuple(map(ip_address, (*OWN[:1], *proposed)))
    given = replace(held, proposed=said, allowed=tuple(map(ip_network, allowed)))
    return settle([node("a", *OWN, *claims)], [given], ALLOWED)["a"]


def texts(found: Settled) -> list[str]:
    """Return all that was granted."""
    return [*map(str, (*found.endpoints, *found.addresses, *found.pod_cidrs))]


ACTIVE = peer(node("a", *OWN))
JOINING = replace(ACTIVE, state=NodeState.JOINING)


@pytest.mark.parametrize("held", [None, JOINING, ACTIVE])
@pytest.mark.parametrize(
    ("claim", "why"),
    [(OUTSIDE, "outside nodeCIDRs"), ("203.0.0.0/16", "outside clusterCIDRs"), ("10.1.0.7", "outside nodeCIDRs")],
)
def test_a_claim_outside_the_ranges_is_refused(held: NodePeer | None, claim: str, why: str) -> None:
    """Of a Node that joins, and of one that has joined; all else of it is granted."""
    found = settle([node("a", *OWN, claim)], [held] if held else [], ALLOWED)["a"]
    assert texts(found) == [*OWN]
    assert found.refused == (f"{claim}: {why}",)


@pytest.mark.parametrize("allowed", [[], ["0.0.0.0/0"]])
def test_what_an_agent_proposes_outside_the_ranges_is_refused(allowed: list[str]) -> None:
    """A second card's address, a virtual one; what a person allows of a node does not widen them."""
    found = says(ACTIVE, proposed=[OUTSIDE], allowed=allowed)
    assert (texts(found), found.refused) == ([*OWN], (f"{OUTSIDE}: outside nodeCIDRs",))


def test_a_new_address_of_an_active_node_in_another_subnet_waits_for_a_person() -> None:
    """Of its Node or its agent, named once where both have it; in its own subnet it is granted at once."""
    for found in (says(ACTIVE, ELSEWHERE), says(ACTIVE, proposed=[ELSEWHERE]), says(ACTIVE, ELSEWHERE, proposed=[ELSEWHERE])):
        assert (texts(found), found.refused) == ([*OWN], ())
        (words,) = found.waiting
        assert words.startswith(f"{ELSEWHERE}: waits, for the node has no address in 198.51.100.0/24")
        assert words.endswith(f"kubectl annotate np a --overwrite wirecrypt.io/allow-addresses={ELSEWHERE}")
    for found in (says(ACTIVE, HERE), says(ACTIVE, proposed=[HERE])):
        assert (sorted(texts(found)), found.waiting) == (sorted([*OWN, HERE]), ())


def test_what_a_person_allowed_is_granted() -> None:
    """The address, or a prefix that holds it; what was allowed before stands in the next command, too."""
    for words in ([ELSEWHERE], ["198.51.100.0/28", "198.51.100.48/28"]):
        assert ELSEWHERE in texts(says(ACTIVE, ELSEWHERE, allowed=words))
        assert ELSEWHERE in texts(says(ACTIVE, proposed=[ELSEWHERE], allowed=words))
    (words,) = says(ACTIVE, "fd00:2::7", allowed=[ELSEWHERE]).waiting
    assert words.endswith(f"={ELSEWHERE}/32,fd00:2::7")


def test_an_address_that_a_person_allowed_opens_no_subnet() -> None:
    """The next one of its range waits as that one did, held as an endpoint or as another address."""
    given = ip_address(ELSEWHERE)
    for held in (replace(ACTIVE, addresses=(given,)), replace(ACTIVE, endpoints=(*ACTIVE.endpoints, given))):
        found = says(held, "198.51.100.54", proposed=[ELSEWHERE], allowed=[ELSEWHERE])
        assert ELSEWHERE in texts(found)
        assert "198.51.100.54" not in texts(found)
        assert [words.partition(":")[0] for words in found.waiting] == ["198.51.100.54"]


@pytest.mark.parametrize("allowed", [ALLOWED, Allowed()], ids=["outside", "unset"])
def test_an_address_that_a_node_has_becomes_an_endpoint_again_whatever_the_ranges(allowed: Allowed) -> None:
    """It was one, was not found for a moment, and is held: nothing new comes to the node with it."""
    held = replace(ACTIVE, endpoints=(), addresses=(ip_address(OUTSIDE),))
    found = settle([node("a", OUTSIDE, OWN[1])], [held], allowed)["a"]
    assert ([str(a) for a in found.endpoints], found.addresses, found.refused) == ([OUTSIDE], (), ())
    assert found.kept == ((f"{OUTSIDE}: outside nodeCIDRs",) if allowed is ALLOWED else ())


def test_a_node_that_joins_waits_for_nobody_but_the_ranges() -> None:
    """It has no subnet yet; what it had when it became Active are its subnets from there on, one of other addresses too."""
    assert ELSEWHERE in texts(says(JOINING, ELSEWHERE))
    assert ELSEWHERE in texts(says(JOINING, proposed=[ELSEWHERE]))
    assert ELSEWHERE in texts(says(replace(ACTIVE, addresses=(ip_address("198.51.100.7"),)), ELSEWHERE))


def test_an_address_moves_to_a_node_of_the_same_subnet_without_a_person() -> None:
    """As a virtual address does; to a node of another subnet it does not, and stays where it is, blocked."""
    left = replace(ACTIVE, addresses=(ip_address(HERE),), proposed=())
    near, far = node("b", "192.0.2.2", age=1), node("c", "198.51.100.2", age=1)
    for other, moves in ((near, True), (far, False)):
        takes = replace(peer(other), proposed=(ip_address(HERE),))
        settled = settle([node("a", *OWN), other], [left, takes], ALLOWED)
        assert (HERE in texts(settled[other.name])) is moves
        assert HERE in texts(settled["a"])
        assert bool(settled[other.name].waiting) is not moves


@pytest.mark.parametrize("new", [OUTSIDE, ELSEWHERE])
@pytest.mark.parametrize("proposed", [None, ()])
def test_an_address_that_is_not_granted_replaces_none(new: str, proposed: tuple[()] | None) -> None:
    """◆R18 A Node that mentions another address than before: until it has that one, the old one ends its tunnels."""
    found = settle([node("a", new)], [replace(peer(node("a", "192.0.2.1")), proposed=proposed)], ALLOWED)["a"]
    assert texts(found) == ["192.0.2.1"]


def test_an_address_that_another_node_may_not_have_stays_with_its_former_node() -> None:
    """◆R18 It is no endpoint any more: held as one more address, though another Node, which cannot have it, mentions it."""
    moved = replace(peer(node("a", "192.0.2.1")), proposed=())
    other = node("b", "198.51.100.2", "192.0.2.1", age=1)
    settled = settle([node("a", "192.0.2.9"), other], [moved, peer(node("b", "198.51.100.2"))], ALLOWED)
    assert texts(settled["a"]) == ["192.0.2.9", "192.0.2.1"]
    assert texts(settled["b"]) == ["198.51.100.2"]
    assert settled["b"].waiting


def test_what_is_held_is_kept_when_the_ranges_become_narrower() -> None:
    """And told, with what is wrong; while a range is not set at all, no claim of it is."""
    narrow = Allowed(ranges=ClaimRanges((ip_network("10.2.0.0/16"),), (ip_network("198.51.100.0/24"),)))
    found = settle([node("a", *OWN)], [ACTIVE], narrow)["a"]
    assert (texts(found), found.refused) == ([*OWN], ())
    assert found.kept == ("10.1.0.0/24: outside clusterCIDRs", "192.0.2.1: outside nodeCIDRs")
    found = settle([node("a", *OWN)], [ACTIVE], Allowed())["a"]
    assert (texts(found), found.refused, found.kept) == ([*OWN], (), ())
