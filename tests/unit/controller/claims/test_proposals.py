"""Addresses that agents propose: who is granted one, how it moves from node to node, and when it is given up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.builders import START, node
from tests.unit.controller.watched import FREE
from wirecrypt.controller.claims.allowed import Allowed
from wirecrypt.controller.claims.proposals import REST_SECONDS, withdrawn
from wirecrypt.controller.claims.settle import Settled, settle
from wirecrypt.controller.decide import ControllerMemory
from wirecrypt.model.objects import MOST_ADDRESSES, ControllerView, Node, NodePeer, NodeState
from wirecrypt.model.xfrm import Address
from wirecrypt.plan.holders import each_once

VIP, OTHER = "198.51.100.7", "fd00:5::7"


def peer(number: int, proposed: Sequence[str] | None = None, held: Sequence[str] = (), **more: object) -> NodePeer:
    """Return the NodePeer of n*number*: what its agent proposes, None for nothing said, and what it was granted."""
    of = node(number)
    said = None if proposed is None else tuple(map(ip_address, proposed))
    made = NodePeer(of.name, f"np-{number}", number + 16, of.uid, of.endpoints, of.pod_cidrs, NodeState.ACTIVE, of.created)
    return replace(made, addresses=tuple(map(ip_address, held)), proposed=said, **more)  # type: ignore[arg-type]  # as given


def settled(
    *peers: NodePeer, allowed: Allowed = FREE, rested: Sequence[tuple[str, str]] = (), **nodes: Node
) -> Mapping[str, Settled]:
    """Return what the nodes of *peers* get; *nodes*: those that are not as usual."""
    there = {p.name: node(p.node_id - 16) for p in peers} | nodes
    given = frozenset((uid, ip_address(address)) for uid, address in rested)
    return settle(there.values(), peers, allowed, given)


def granted(found: Mapping[str, Settled]) -> dict[str, list[str]]:
    """Return the addresses by node, of those that have any."""
    return {name: [str(a) for a in one.addresses] for name, one in found.items() if one.addresses}


def test_what_an_agent_proposes_and_nobody_else_has_is_granted() -> None:
    """Both families, sorted, next to the endpoints and never among them."""
    found = settled(peer(1, [OTHER, VIP], allowed=(ip_network("fd00:5::/64"),)), peer(2, []))
    assert granted(found) == {"n1": [VIP, OTHER]}
    assert [str(a) for a in found["n1"].endpoints] == ["192.0.2.1"]
    assert found["n1"].refused == ()


def test_a_node_without_a_nodepeer_gets_nothing() -> None:
    """Only what an agent said of its own node counts."""
    assert granted(settle([node(1)], [], FREE)) == {}


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("10.96.0.9", "overlaps the Service range 10.96.0.0/16"),
        ("203.0.113.9", "contains the API server 203.0.113.9"),
        ("169.254.7.7", "no node can own it"),
        ("10.1.2.5", "overlaps 10.1.2.0/24 of n2, which had it first"),
        ("192.0.2.2", "overlaps 192.0.2.2 of n2, which had it first"),
    ],
)
def test_what_no_node_or_another_one_may_have_is_refused_and_told(address: str, why: str) -> None:
    """As for claims of Nodes: ranges, API servers, nobody's addresses, other nodes' pods and endpoints."""
    allowed = replace(FREE, services=(ip_network("10.96.0.0/16"),), api_servers=(ip_address("203.0.113.9"),))
    found = settled(peer(1, [address]), peer(2, []), allowed=allowed)
    assert granted(found) == {}
    assert found["n1"].refused == (f"{address}: {why}",)


def test_a_claim_of_a_node_goes_before_a_proposal() -> None:
    """A Node that is not enabled, younger than the proposer: its address is its own."""
    plain = node(2, label=None)
    found = settle([node(1), plain], [peer(1, ["192.0.2.2"])], FREE)
    assert (granted(found), [str(a) for a in found["n2"].endpoints]) == ({}, ["192.0.2.2"])


def test_only_a_control_plane_node_is_granted_an_api_servers_address() -> None:
    """The virtual address of a control plane is on the node that API servers run on; no other gets it."""
    allowed = replace(FREE, api_servers=(ip_address(VIP),))
    first, second = node(1, control_plane=True), node(2)
    assert granted(settled(peer(1, [VIP]), allowed=allowed, n1=first)) == {"n1": [VIP]}
    moved = settled(peer(1, [], [VIP]), peer(2, [VIP]), allowed=allowed, n1=first, n2=second)
    assert granted(moved) == {"n1": [VIP]}
    assert "API server" in moved["n2"].refused[0]


def test_what_a_nodes_other_claims_hold_is_none_of_its_addresses() -> None:
    """Its endpoints, its pods' gateway: not granted a second time, and nothing to tell."""
    found = settled(peer(1, ["192.0.2.1", "10.1.1.1"]))
    assert (granted(found), found["n1"].refused) == ({}, ())


def test_an_address_that_became_an_endpoint_is_no_longer_listed_twice() -> None:
    """The Node lists it by now."""
    both = node(1, endpoints=(ip_address("192.0.2.1"), ip_address(VIP)))
    found = settled(peer(1, [], [VIP]), n1=both)["n1"]
    assert ([str(a) for a in found.endpoints], found.addresses) == (["192.0.2.1", VIP], ())


def test_an_address_that_two_nodes_propose_and_nobody_has_is_nobodys() -> None:
    """As each node's docker0 would be; told to both, and granted when only one is left."""
    found = settled(peer(1, [VIP]), peer(2, [VIP]))
    assert granted(found) == {}
    assert found["n1"].refused == (f"{VIP}: proposed by n2 as well, so nobody gets it",)
    assert found["n2"].refused == (f"{VIP}: proposed by n1 as well, so nobody gets it",)
    assert granted(settled(peer(1, [VIP]), peer(2, []))) == {"n1": [VIP]}


def test_a_holder_that_says_so_keeps_its_address() -> None:
    """Whoever proposes it next to it is refused and told whose it is."""
    found = settled(peer(1, [VIP], [VIP]), peer(2, [VIP]))
    assert granted(found) == {"n1": [VIP]}
    assert found["n2"].refused == (f"{VIP}: n1 has it, and says so still",)


def test_an_agent_that_said_nothing_withdraws_nothing() -> None:
    """One of an earlier version, or one that is just starting."""
    assert granted(settled(peer(1, None, [VIP]), peer(2, [VIP]))) == {"n1": [VIP]}


def moving(*peers: NodePeer, **nodes: Node) -> list[dict[str, list[str]]]:
    """Return what is granted pass after pass until nothing changes, each pass seeing what the one before wrote."""
    steps: list[dict[str, list[str]]] = []
    while not steps or len(steps) < 2 or steps[-1] != steps[-2]:
        found = settled(*peers, **nodes)
        steps.append(granted(found))
        peers = tuple(replace(p, addresses=found[p.name].addresses if p.name in found else p.addresses) for p in peers)
    return steps[:-1]


def test_an_address_moves_to_the_new_node_before_the_old_one_loses_it() -> None:
    """◆R20 At no moment nobody has it: for that moment it would be readable."""
    steps = moving(peer(1, [], [VIP]), peer(2, [VIP]))
    assert steps == [{"n1": [VIP], "n2": [VIP]}, {"n2": [VIP]}]


def test_while_both_list_it_everybody_takes_it_for_the_new_nodes() -> None:
    """◆R20 Agents come to the same node: the one that still says so, from a node that is Ready, in any order."""
    both = [peer(1, [], [VIP]), peer(2, [VIP], [VIP])]
    for peers in (both, both[::-1]):
        found = each_once(peers, {"uid-1", "uid-2"})
        assert {p.name: len(p.addresses) for p in found} == {"n1": 0, "n2": 1}
    dead = [peer(1, [VIP], [VIP]), peer(2, [VIP], [VIP])]
    assert {p.name: len(p.addresses) for p in each_once(dead, {"uid-2"})} == {"n1": 0, "n2": 1}


@pytest.mark.parametrize("proposed", [[VIP], None], ids=["says so still", "said nothing"])
def test_a_node_that_is_not_ready_gives_way_to_one_that_has_the_address(proposed: list[str] | None) -> None:
    """It died with the address, and another took over."""
    steps = moving(peer(1, proposed, [VIP]), peer(2, [VIP]), n1=node(1, ready=False))
    assert steps[-1] == {"n2": [VIP]}


def test_a_node_that_is_not_ready_keeps_what_nobody_else_has() -> None:
    """Blocked, not readable."""
    assert granted(settled(peer(1, [VIP], [VIP]), peer(2, []), n1=node(1, ready=False))) == {"n1": [VIP]}


def test_a_node_that_is_gone_gives_way_before_its_nodepeer_goes() -> None:
    """A virtual address does not wait for a grace period."""
    found = settle([node(2)], [peer(1, [VIP], [VIP]), peer(2, [VIP])], FREE)
    assert granted(found) == {"n2": [VIP]}


def test_a_proposal_of_a_node_that_is_not_ready_does_not_count() -> None:
    """Neither to get an address nor to keep one from another."""
    ready = node(1, ready=False)
    assert granted(settled(peer(1, [VIP]), n1=ready)) == {}
    assert granted(settled(peer(1, [VIP]), peer(2, [VIP]), n1=ready)) == {"n2": [VIP]}


def test_two_that_propose_what_was_withdrawn_leave_it_where_it_is() -> None:
    """Blocked until one of them gives in."""
    assert granted(settled(peer(1, [], [VIP]), peer(2, [VIP]), peer(3, [VIP]))) == {"n1": [VIP]}


def test_a_withdrawn_address_is_held_and_after_a_while_given_up() -> None:
    """Absence at one moment is an outage: it stays blocked until it has rested, or another node has it."""
    left = peer(1, [], [VIP])
    assert granted(settled(left)) == {"n1": [VIP]}
    assert granted(settled(left, rested=[("uid-1", VIP)])) == {}
    assert granted(settled(left, peer(2, [VIP]), rested=[("uid-1", VIP)])) == {"n1": [VIP], "n2": [VIP]}


def test_the_time_since_a_withdrawal_is_counted_and_begins_anew() -> None:
    """From the moment in which this process saw it; a proposal in between ends it."""

    def seen(memory: ControllerMemory, proposed: Sequence[str], now: float) -> ControllerMemory:
        return memory.seen(ControllerView({}, {"n1": peer(1, proposed, [VIP])}, {}, {}, (), (), None), now)

    held = ("uid-1", ip_address(VIP))
    memory = seen(seen(ControllerMemory(), [], 100.0), [], 200.0)
    assert memory.rested(99.0 + REST_SECONDS) == frozenset()
    assert memory.rested(100.0 + REST_SECONDS) == {held}
    again = seen(seen(memory, [VIP], 300.0), [], 400.0)
    assert again.rested(399.0 + REST_SECONDS) == frozenset()


def test_a_held_address_that_the_configuration_would_refuse_is_kept_and_told() -> None:
    """As every claim that is held."""
    found = settled(peer(1, [VIP], [VIP]), allowed=replace(FREE, services=(ip_network("198.51.100.0/24"),)))["n1"]
    assert found.addresses == (ip_address(VIP),)
    assert found.kept == (f"{VIP}: overlaps the Service range 198.51.100.0/24",)


def test_a_new_node_gets_no_endpoint_that_another_holds_as_an_address() -> None:
    """What is held is heard first."""
    found = settled(peer(1, [VIP], [VIP]), peer(2, []), n2=node(2, endpoints=(ip_address(VIP),), created=START))
    assert found["n2"].endpoints == ()
    assert granted(found) == {"n1": [VIP], "n2": ["192.0.2.2"]}  # its former endpoint, which nobody else has


def test_a_full_node_keeps_what_it_has_and_is_told_what_is_too_much() -> None:
    """No more than the object holds; the new one waits."""
    held = [f"198.51.100.{n}" for n in range(100, 100 + MOST_ADDRESSES)]
    found = settled(peer(1, ["198.51.100.1", *held[1:]], held))["n1"]
    assert [str(a) for a in found.addresses] == held
    assert found.refused == (f"198.51.100.1: more than {MOST_ADDRESSES} other addresses",)


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3), st.booleans(), st.booleans()), max_size=12),
    st.sets(st.integers(1, 4)),
)
def test_whatever_is_said_an_address_ends_with_one_node_and_never_without_one(
    words: list[tuple[int, int, bool, bool]], unready: set[int]
) -> None:
    """Nodes hold and propose anything: it comes to rest, an address that was held stays so, and has one owner for all."""
    said = {n: {a: (holds, says) for who, a, holds, says in words if who == n} for n in range(1, 5)}
    peers = [
        peer(n, *([f"198.51.100.{a}" for a, word in said[n].items() if word[kind]] for kind in (1, 0))) for n in range(1, 5)
    ]
    nodes = {f"n{n}": node(n, ready=n not in unready) for n in range(1, 5)}
    ready = {f"uid-{n}" for n in range(1, 5) if n not in unready}
    steps = moving(*peers, **nodes)
    before = {str(a) for p in peers for a in p.addresses}
    for step in steps:
        assert before <= {a for those in step.values() for a in those}
    last = [a for those in steps[-1].values() for a in those]
    assert len(last) == len(set(last))
    owned: dict[Address, set[str]] = {}
    for one in each_once(peers, ready):
        for address in one.addresses:
            owned.setdefault(address, set()).add(one.name)
    assert all(len(names) == 1 for names in owned.values())


def test_what_is_withdrawn_is_what_is_held_and_not_said() -> None:
    """Silence of an agent is no withdrawal."""
    found = withdrawn([peer(1, [OTHER], [VIP, OTHER]), peer(2, None, [VIP])])
    assert found == {("uid-1", ip_address(VIP))}
