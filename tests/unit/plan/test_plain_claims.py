"""What a Node without the label has passes, also what it stops to mention, until another node has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from tests.fakes.builders import START
from tests.unit.agent.node import peer
from wirecrypt.model.objects import LABEL_ENABLED, Node, NodePeer
from wirecrypt.model.xfrm import Network, host
from wirecrypt.plan.holders import Claims, with_held

PODS = ip_network("10.7.1.0/24")
PLAIN = Node("p", "uid-p", None, (ip_address("192.0.2.70"),), (PODS,), START)
SILENT = replace(PLAIN, endpoints=(), pod_cidrs=())


def looks(*looks: tuple[tuple[Node, ...], tuple[NodePeer, ...]], name: str = "p") -> list[set[Network]]:
    """Return what the Node of this name has at each of *looks* at Nodes and NodePeers, one after the other."""
    before: Mapping[str, Claims] = {}
    found = []
    for nodes, peers in looks:
        shown, before = with_held(nodes, peers, before)
        found.append({claim for node in shown if node.name == name for claim in node.claims})
    return found


@pytest.mark.parametrize("now", [SILENT, replace(PLAIN, endpoints=()), replace(PLAIN, pod_cidrs=())])
def test_an_entry_that_a_plain_node_does_not_mention_any_more_is_held(now: Node) -> None:
    """◆R16 For as long as that lasts."""
    assert looks(((PLAIN,), ()), ((now,), ()), ((now,), ())) == [set(PLAIN.claims)] * 3


def test_a_node_that_nothing_was_known_of_has_what_it_mentions() -> None:
    """Whoever is new has nothing to hold."""
    assert looks(((SILENT,), ())) == [set()]


def test_what_another_node_has_is_held_no_more() -> None:
    """Be it a plain one or one that is encrypted, for which that entry is the one that counts; nor is it when that one goes."""
    other = replace(PLAIN, name="q", uid="uid-q", endpoints=(), pod_cidrs=(ip_network("10.7.1.128/25"),))
    encrypted = replace(peer("c", 17), pod_cidrs=(ip_network("10.7.0.0/16"),))
    for nodes, peers in (((SILENT, other), ()), ((SILENT,), (encrypted,))):
        kept = {ip_network("192.0.2.70/32")}
        assert looks(((PLAIN,), ()), (nodes, peers), ((SILENT,), ())) == [set(PLAIN.claims), kept, kept]


@pytest.mark.parametrize("now", [(), (replace(SILENT, uid="uid-new"),), (replace(SILENT, label=LABEL_ENABLED),)])
def test_nothing_is_held_of_a_node_that_is_gone_made_anew_or_labelled(now: tuple[Node, ...]) -> None:
    """Who it is now has not said so, and what is to be encrypted is never in clear because it was."""
    assert looks(((PLAIN,), ()), (now, ()), ((SILENT,), ()))[1:] == [set(), set()]


def test_a_node_that_left_has_what_it_had_but_for_addresses_that_move() -> None:
    """Its Node may not mention all of it at the moment. What its agent proposed is another's as soon as that one has it."""
    left = replace(peer("c", 17), addresses=(ip_address("192.0.2.200"),))
    node = Node("c", left.node_uid, None, (), (), START)
    had = {*left.pod_cidrs, *map(host, left.endpoints)}
    assert looks(((node,), (left,)), ((node,), ()), name="c") == [had, had]
