"""What an end left in the kernel when a tunnel's address changed: told by what is in the objects, never by present claims."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from tests.unit.plan.made import AB, AC, LAYOUT, MARKS, A, B, after, decision, desired, g, kernel, sas
from wirecrypt.model.pair import Pair
from wirecrypt.model.xfrm import Policy, PolicyKey, Sa, SaKey
from wirecrypt.plan.diff import plan
from wirecrypt.plan.policies import Senders, wanted
from wirecrypt.plan.snapshot import KernelSnapshot
from wirecrypt.plan.strays import strays

GEN = g(1, 1)
FLIPPED = Pair(A, replace(B, endpoints=B.endpoints[::-1]))
MOVED = {
    "the peer has another address": (AB, Pair(A, replace(B, endpoints=(ip_address("192.0.2.99"),)))),
    "this node has another address": (AB, Pair(replace(A, endpoints=(ip_address("192.0.2.88"),)), B)),
    "the order of this node's addresses flipped": (AB, Pair(replace(A, endpoints=A.endpoints[::-1]), B)),
}


def of(pair: Pair) -> tuple[list[Sa], list[Policy]]:
    """Return SAs and policies that a proved pair has."""
    policies = wanted(pair, decision(in_use=GEN), Senders({GEN: 1}, {GEN: 0}), LAYOUT)
    return list(sas(GEN, pair=pair)), policies


def left(there: KernelSnapshot, *pairs: Pair) -> set[SaKey | PolicyKey]:
    return {thing.name for s in strays(pairs, A.node_id, there, MARKS).values() for thing in (*s.sas, *s.policies)}


@pytest.mark.C1
@pytest.mark.parametrize(("before", "now"), MOVED.values(), ids=MOVED)
def test_both_sas_and_all_policies_of_the_tunnel_before_are_told(before: Pair, now: Pair) -> None:
    """Of the pair that moved everything between the two addresses of before; of the others nothing."""
    there = kernel(*of(before), *of(AC))
    assert left(there, now, AC) == {thing.name for group in of(before) for thing in group}


@pytest.mark.C1
@pytest.mark.parametrize(("before", "now"), MOVED.values(), ids=MOVED)
def test_they_go_and_what_the_pair_has_now_stays(before: Pair, now: Pair) -> None:
    """A policy that has another template by now is not deleted with its name; SAs of the tunnel before are."""
    wanted_now = desired(decision(in_use=g(2, 2)), pair=now)
    there = kernel(*of(before), sas(g(2, 2), pair=now, slot=1))
    gone = strays([now], A.node_id, there, MARKS).values()
    end = after(plan([wanted_now], {}, there, strays=gone), there)
    assert {sa.name for sa in sas(g(2, 2), pair=now, slot=1)} == set(end.sas)
    assert set(end.policies.values()) == set(wanted_now.policies)
    assert not left(end, now)


def test_a_pair_that_is_known_by_two_claims_has_two_tunnels() -> None:
    """A peer about which nothing can be decided keeps what it has by any claim of it that is known."""
    assert not left(kernel(*of(AB)), FLIPPED, AB)


@pytest.mark.C1
def test_what_was_left_is_so_still_when_its_peer_has_gone_since() -> None:
    """Once told it is left, until it is gone or is the tunnel of a pair again."""
    moved = Pair(A, replace(B, endpoints=(ip_address("192.0.2.99"),)))
    there = kernel(*of(AB))
    seen = strays([moved], A.node_id, there, MARKS)
    assert strays([], A.node_id, there, MARKS, seen) == seen
    assert not strays([], A.node_id, kernel(), MARKS, seen)
    assert not strays([AB], A.node_id, there, MARKS, seen)


def test_nothing_is_said_of_a_sender_that_is_not_known() -> None:
    """A peer that a view does not show is not gone by that ◆R15; nor is an SA ours because its SPI looks like it."""
    assert not left(kernel(*of(AB)), AC)
    receiving, _ = sas(GEN, pair=AB)
    moved = Pair(A, replace(B, endpoints=(ip_address("192.0.2.99"),)))
    assert not left(kernel([replace(receiving, set_mark=None)], [replace(receiving, reqid=1)]), moved)
