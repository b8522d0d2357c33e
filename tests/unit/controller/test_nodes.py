"""What is done for each node that is to be encrypted: when it becomes Active, what it keeps, what users are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from tests.fakes.builders import SILENT, START, node
from tests.unit.controller.watched import ALL, FREE
from wirecrypt.cluster.codec import encode
from wirecrypt.controller.actions import Action, CreateEncrypted, CreatePeer, EmitEvent, RemovePeer, UpdateEncrypted, UpdatePeer
from wirecrypt.controller.claims.allowed import Allowed
from wirecrypt.controller.leaving import LeavingWatch
from wirecrypt.controller.nodes import reconcile
from wirecrypt.model.objects import ControllerView, EncryptedNode, NodePeer, NodeState
from wirecrypt.model.ranges import ClaimRanges
from wirecrypt.model.session import Epoch, Session
from wirecrypt.model.xfrm import Algorithm

ONE = Epoch(1, "1" * 32)
SESSION = Session(1, ONE, bytes(32), 1, Algorithm.AES_256_GCM)


def peer(number: int, **more: object) -> NodePeer:
    """Return the NodePeer of n*number*, Joining, which has published."""
    of = node(number)
    made = NodePeer(of.name, f"np-{number}", number + 16, of.uid, of.endpoints, of.pod_cidrs, NodeState.JOINING, START)
    return replace(made, **{"sessions": (SESSION,), "last_session": 1, **more})


def cluster(ready: Mapping[int, tuple[int, ...]], **more: object) -> ControllerView:
    """Return a view of joining nodes that report to be *ready* for others, by numbers."""
    encrypted = {
        f"n{number}": EncryptedNode(
            f"n{number}",
            "en",
            number + 16,
            f"uid-{number}",
            NodeState.JOINING,
            START,
            status=replace(SILENT, ready_for=tuple(f"n{other}" for other in others)),
        )
        for number, others in ready.items()
    }
    view = ControllerView({f"n{n}": node(n) for n in ready}, {f"n{n}": peer(n) for n in ready}, encrypted, {}, (), (), None)
    return replace(view, **more)


def decided(view: ControllerView, name: str, allowed: Allowed = FREE) -> list[Action]:
    """Return what is done about the node called *name*."""
    chains = reconcile(view, allowed, (), LeavingWatch({}))
    return [action for chain in chains if chain.name == name for action in chain.actions]


def becomes_active(view: ControllerView, name: str) -> bool:
    """Return whether the node called *name* is made Active."""
    return any(isinstance(a, UpdatePeer) and a.new.state is NodeState.ACTIVE for a in decided(view, name))


def test_a_node_becomes_active_only_when_both_ends_of_every_pair_are_ready() -> None:
    """◆R25 One end's word about one pair is missing: the node stays Joining; with all of them it is Active."""
    complete = {1: (2, 3), 2: (1, 3), 3: (1, 2)}
    assert all(becomes_active(cluster(complete), f"n{n}") for n in complete)
    for lacking in (complete | {1: (2,)}, complete | {3: (2,)}):
        assert not becomes_active(cluster(lacking), "n1")
        assert not becomes_active(cluster(lacking), "n3")
        assert becomes_active(cluster(lacking), "n2")


@pytest.mark.parametrize("state", [NodeState.JOINING, NodeState.ACTIVE])
def test_a_partner_without_a_word_holds_up_a_joining_node(state: NodeState) -> None:
    """◆R25 A live peer whose agent has reported nothing is not ready, whatever its state."""
    view = cluster({1: (2,), 2: (1,)})
    silent = {**view.encrypted, "n2": replace(view.encrypted["n2"], status=None)}
    assert not becomes_active(replace(view, encrypted=silent, peers={"n1": peer(1), "n2": peer(2, state=state)}), "n1")


def test_pairs_that_are_not_live_hold_nobody_up() -> None:
    """A peer that leaves, is deleted, has no address, never spoke, or whose Node is gone or not Ready is no partner."""
    view = cluster({1: (), 2: ()})
    for changed in (
        {"state": NodeState.LEAVING},
        {"deleting": True},
        {"endpoints": ()},
        {"node_uid": "another"},
        {"sessions": ()},
    ):
        assert becomes_active(replace(view, peers={**view.peers, "n2": peer(2, **changed)}), "n1")
    assert becomes_active(replace(view, nodes={**view.nodes, "n2": node(2, ready=False)}), "n1")
    lost = peer(2, sessions=(), state=NodeState.ACTIVE)  # spoke once, and is encrypted with
    assert not becomes_active(replace(view, peers={**view.peers, "n2": lost}), "n1")


def test_a_node_without_session_address_or_word_stays_joining() -> None:
    """◆R25 Also when it has no partner: nothing shows that it could encrypt."""
    view = cluster({1: ()})
    assert becomes_active(view, "n1")
    assert not becomes_active(replace(view, peers={"n1": peer(1, sessions=())}), "n1")
    bare = replace(view, nodes={"n1": node(1, endpoints=())}, peers={"n1": peer(1, endpoints=())})
    assert not becomes_active(bare, "n1")
    assert not becomes_active(replace(view, encrypted={"n1": replace(view.encrypted["n1"], status=None)}), "n1")


def test_a_wrong_configuration_takes_nothing_from_an_active_node() -> None:
    """Ranges that cover what the node has are told to a person, as a problem and an Event, and its NodePeer stays as it is."""
    allowed = replace(FREE, services=(ip_network("10.0.0.0/8"),), api_servers=(ip_address("192.0.2.1"),))
    view = cluster({1: ()}, peers={"n1": peer(1, state=NodeState.ACTIVE)})
    actions = decided(view, "n1", allowed)
    assert not [a for a in actions if isinstance(a, UpdatePeer)]
    problems = next(a.problems for a in actions if isinstance(a, UpdateEncrypted))
    assert problems == (
        "10.1.1.0/24: overlaps the Service range 10.0.0.0/8; kept",
        "192.0.2.1: contains the API server 192.0.2.1; kept",
    )
    assert [a.reason for a in actions if isinstance(a, EmitEvent)] == ["ClaimKept", "ClaimKept"]


def test_problems_are_compared_as_they_are_written() -> None:
    """More or longer problems than the object holds are cut before they are compared, as they are when written."""
    claims = tuple(ip_network(f"10.96.{n}.0/24") for n in range(30))
    view = cluster({1: ()}, nodes={"n1": node(1, label="x" * 300, pod_cidrs=claims)})
    allowed = replace(FREE, services=(ip_network("10.96.0.0/16"),))
    problems = next(a.problems for a in decided(view, "n1", allowed) if isinstance(a, UpdateEncrypted))
    assert encode.node_spec(NodeState.JOINING, problems)["problems"] == list(problems)
    assert len(problems) == 16


def test_events_come_after_the_objects() -> None:
    """What an Event tells was written before it, so that one that fails is in nobody's way."""
    claims = (ip_network("10.96.0.0/24"), ip_network("10.1.1.0/24"))
    view = ControllerView({"n1": node(1, pod_cidrs=claims)}, {}, {}, {}, (), (), None)
    chains = reconcile(view, replace(FREE, services=(ip_network("10.96.0.0/16"),)), (ONE,), LeavingWatch({}))
    kinds = [isinstance(action, EmitEvent) for action in chains[0].actions]
    assert kinds == sorted(kinds)
    assert any(isinstance(action, CreatePeer) for action in chains[0].actions)


UNSET = "nodeCIDRs of the configuration is empty"


@pytest.mark.parametrize("ranges", [ClaimRanges(ALL, ()), ClaimRanges((), ALL), ClaimRanges()])
def test_no_node_joins_while_a_range_is_not_set(ranges: ClaimRanges) -> None:
    """No NodePeer is made, whatever the Node says; its EncryptedNode and an Event say what is missing. Once set it joins."""
    view = ControllerView({"n1": node(1)}, {}, {}, {}, (), (), None)

    def actions(allowed: Allowed) -> list[Action]:
        return [action for chain in reconcile(view, allowed, (ONE,), LeavingWatch({})) for action in chain.actions]

    missing = actions(Allowed(ranges=ranges))
    assert not [a for a in missing if isinstance(a, CreatePeer)]
    problem = next(a.problems for a in missing if isinstance(a, CreateEncrypted))[0]
    assert ranges.unset in problem
    assert "does not join" in problem
    assert [a.why for a in missing if isinstance(a, EmitEvent) and a.reason == "RangesUnset"] == [problem]
    assert [a.peer.endpoints for a in actions(FREE) if isinstance(a, CreatePeer)] == [node(1).endpoints]


def test_what_says_that_a_node_was_removed_stays_until_it_can_join_again() -> None:
    """While a range is not set no NodePeer would come in its place."""
    stone = peer(1, state=NodeState.REMOVED, endpoints=(), pod_cidrs=(), sessions=())
    view = ControllerView({"n1": node(1)}, {}, {}, {}, (), (), None, tombstones={"n1": stone})
    assert not [a for a in decided(view, "n1", Allowed(ranges=ClaimRanges(ALL, ()))) if isinstance(a, RemovePeer)]
    assert [a.peer for a in decided(view, "n1") if isinstance(a, RemovePeer)] == [stone]


@pytest.mark.parametrize("state", [NodeState.JOINING, NodeState.ACTIVE])
def test_a_node_that_has_joined_keeps_what_it_has_while_a_range_is_not_set(state: NodeState) -> None:
    """An installation of before: nothing is taken, nothing new is granted, pairs go on, and it is said, once for all claims."""
    more = node(1, endpoints=(*node(1).endpoints, ip_address("192.0.2.9")), pod_cidrs=(ip_network("10.9.0.0/24"),))
    view = cluster({1: ()}, nodes={"n1": more}, peers={"n1": peer(1, state=state)})
    actions = decided(view, "n1", Allowed(ranges=ClaimRanges(ALL, ())))
    for update in (a for a in actions if isinstance(a, UpdatePeer)):
        assert (update.new.endpoints, update.new.state) == (node(1).endpoints, NodeState.ACTIVE)
        assert update.new.pod_cidrs == (*more.pod_cidrs, *node(1).pod_cidrs)
    problems = next(a.problems for a in actions if isinstance(a, UpdateEncrypted))
    assert problems[0] == f"{UNSET}: it keeps what it was granted and gets nothing new before there is a range"
    assert f"192.0.2.9: {UNSET}" in problems
    assert not [p for p in problems if p.startswith("192.0.2.1:")]


def test_an_address_that_waits_is_told_with_what_a_person_has_to_do() -> None:
    """As a problem and as an Event of its own kind."""
    ranges = ClaimRanges(ALL, tuple(map(ip_network, ("192.0.2.0/24", "198.51.100.0/24"))))
    more = node(1, endpoints=(*node(1).endpoints, ip_address("198.51.100.53")))
    view = cluster({1: ()}, nodes={"n1": more}, peers={"n1": peer(1, state=NodeState.ACTIVE)})
    actions = decided(view, "n1", Allowed(ranges=ranges))
    words = (
        "198.51.100.53: waits, for the node has no address in 198.51.100.0/24; if it is meant, "
        "kubectl annotate np n1 --overwrite wirecrypt.io/allow-addresses=198.51.100.53"
    )
    assert next(a.problems for a in actions if isinstance(a, UpdateEncrypted)) == (words,)
    assert [(a.reason, a.why) for a in actions if isinstance(a, EmitEvent)] == [("ClaimWaits", words)]
    assert not [a for a in actions if isinstance(a, UpdatePeer)]
