"""What the controller knows only by watching: who is silent, who is gone, when a rotation is due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.fakes.builders import START, node, node_key
from tests.unit.controller.test_nodes import SESSION, peer
from wirecrypt.controller.actions import CreateEncrypted, EmitEvent, QuarantineNodeIDs
from wirecrypt.controller.decide import ROTATION, SILENT_SECONDS, WAVE_SECONDS, ControllerMemory, Now, decide, due
from wirecrypt.model.conditions import Reason
from wirecrypt.model.objects import (
    MOST_JOINING,
    ControllerView,
    EncryptedNode,
    KeyRotation,
    KeySecret,
    NodeState,
    Phase,
    SeedSecret,
)
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Epoch
from wirecrypt.rotation.actions import CreateSeed, UpdateRotationStatus
from wirecrypt.settings import Rotation, Settings

TURN = KeyRotation(
    "r", "uid-r", "a test", START, phase=Phase.SWITCHING, from_epoch=1, to_epoch=2, to_epoch_id="2" * 32, held=True
)


def cluster(phase: Phase | None = None, **versions: str) -> ControllerView:
    """Return a view of nodes whose EncryptedNodes have *versions*, with the rotation in *phase*."""
    shown = {
        name: EncryptedNode(name, "en", 16, f"uid-{name}", NodeState.ACTIVE, START, resource_version=version)
        for name, version in versions.items()
    }
    return ControllerView({}, {}, shown, {}, (), (replace(TURN, phase=phase),) if phase else (), None)


def remembered(*looks: tuple[float, ControllerView]) -> ControllerMemory:
    """Return the memory after *looks* at these times."""
    memory = ControllerMemory()
    for now, view in looks:
        memory = memory.seen(view, now)
    return memory


def test_a_quiet_cluster_is_not_silent() -> None:
    """Agents write only on a change: without a rotation that asks for one, hours without a write mean nothing."""
    memory = remembered((0.0, cluster(a="1")), (9e5, cluster(a="1")))
    assert memory.silent(9e5) == frozenset()


def test_silence_counts_from_the_beginning_of_switching() -> None:
    """A node that last wrote long before has the whole time from there on; one that wrote since has it from its word on."""
    began = remembered((0.0, cluster(a="1", b="1")), (1e4, cluster(Phase.SWITCHING, a="1", b="1")))
    assert began.silent(1e4 + SILENT_SECONDS - 1) == frozenset()
    wrote = began.seen(cluster(Phase.SWITCHING, a="2", b="1"), 1e4 + 100)
    assert wrote.silent(1e4 + SILENT_SECONDS) == {"b"}
    assert wrote.silent(1e4 + 100 + SILENT_SECONDS) == {"a", "b"}


def test_a_new_leader_begins_to_count_anew() -> None:
    """It knows nothing of the silence before."""
    assert remembered((5e5, cluster(Phase.SWITCHING, a="1"))).silent(5e5 + SILENT_SECONDS - 1) == frozenset()


def test_a_later_rotation_counts_for_itself() -> None:
    """The silence in an earlier rotation is forgotten."""
    later = replace(cluster(a="1"), rotations=(replace(TURN, uid="uid-later"),))
    assert remembered((0.0, cluster(Phase.SWITCHING, a="1")), (1e4, later)).silent(1e4 + 1) == frozenset()


def test_while_nodes_retire_only_those_are_silent_that_never_spoke() -> None:
    """A node that moved and now waits for another's has nothing to write and is no laggard."""
    looks = [(0.0, cluster(Phase.SWITCHING, a="1", b="1")), (10.0, cluster(Phase.SWITCHING, a="2", b="1"))]
    assert remembered(*looks, (20.0, cluster(Phase.RETIRING, a="2", b="1"))).silent(1e4) == {"b"}
    assert remembered((20.0, cluster(Phase.RETIRING, a="2", b="1"))).silent(1e4) == frozenset()


def test_healthy_nodes_are_not_skipped_when_a_rotation_begins_in_a_quiet_cluster() -> None:
    """The first pass of Switching waits for every node, however long ago it wrote; after its silence it is a laggard."""
    quiet = replace(cluster(a="1"), nodes={"a": node(1, name="a", uid="uid-a")})
    view = replace(quiet, rotations=(TURN,), peers={"a": peer(1, name="a", node_uid="uid-a", sessions=(SESSION,))})
    memory = remembered((0.0, quiet), (1e4, view))

    def phase(later: float) -> tuple[Phase | None, tuple[str, ...]]:
        chains = decide(view, Settings(), memory, Now(START, 1e4 + later, "f" * 32))
        report = next(a for c in chains if c.name == ROTATION for a in c.actions if isinstance(a, UpdateRotationStatus))
        return report.new.phase, report.new.laggards

    assert phase(0) == (Phase.SWITCHING, ())
    assert phase(SILENT_SECONDS) == (Phase.RETIRING, ("a",))


def test_no_seed_is_made_in_the_pass_in_which_an_id_begins_to_rest() -> None:
    """What the new epoch carries on was read before: the seed is made in the next pass, from what is then there."""
    old = SeedSecret(Epoch(1, "1" * 32), SecretBytes(bytes(32)))
    begun = replace(
        cluster(Phase.DISTRIBUTING), seeds=(old,), peers={"n1": peer(1, state=NodeState.LEAVING, sessions=(), last_session=0)}
    )

    def kinds(view: ControllerView) -> set[type]:
        return {type(a) for c in decide(view, Settings(), ControllerMemory(), Now(START, 0.0, "f" * 32)) for a in c.actions}

    assert QuarantineNodeIDs in kinds(begun)
    assert CreateSeed not in kinds(begun)
    rested = replace(begun, seeds=(replace(old, released=(17,)),))
    assert CreateSeed in kinds(rested)


def test_a_node_is_gone_since_it_was_first_missed() -> None:
    """The time of the first look without it stays, and is forgotten when it is back."""
    with_node = replace(cluster(a="1"), nodes={"a": node(1, name="a", uid="uid-a")})
    assert remembered((0.0, with_node), (5.0, cluster(a="1")), (9.0, cluster(a="1"))).gone == {"uid-a": 5.0}
    assert remembered((5.0, cluster(a="1")), (9.0, with_node)).gone == {}


def joining(*numbers: int, active: Sequence[int] = ()) -> ControllerView:
    """Return a view of three times as many nodes as one wave has: these join, those are Active, the others labelled only."""
    nodes = {f"n{n:03}": node(n, name=f"n{n:03}", uid=f"uid-n{n:03}") for n in range(3 * MOST_JOINING)}
    states = dict.fromkeys(numbers, NodeState.JOINING) | dict.fromkeys(active, NodeState.ACTIVE)
    encrypted = {
        f"n{n:03}": EncryptedNode(f"n{n:03}", "en", 16 + n, f"uid-n{n:03}", state, START) for n, state in states.items()
    }
    return ControllerView(nodes, {}, encrypted, {}, (), (), None)


def taken_up(memory: ControllerMemory, view: ControllerView) -> tuple[list[str], set[str]]:
    """Return the names of the nodes that begin to join, and of those that are told to wait."""
    actions = [a for c in decide(view, Settings(), memory, Now(START, 0.0, "f" * 32)) for a in c.actions]
    waits = {a.node for a in actions if isinstance(a, EmitEvent) and a.reason is Reason.JOIN_WAITS}
    return [a.node.name for a in actions if isinstance(a, CreateEncrypted)], waits


def test_of_many_nodes_some_join_at_a_time() -> None:
    """The first of all by name; the next ones are told that they wait for their turn, so that a pass writes no more."""
    begin, wait = taken_up(ControllerMemory(), joining())
    assert begin == [f"n{n:03}" for n in range(MOST_JOINING)]
    assert wait == {f"n{n:03}" for n in range(MOST_JOINING, 2 * MOST_JOINING)}


def test_a_full_wave_is_waited_for() -> None:
    """Nobody begins while one of them joins, or its pairs would never all be proved; then as many begin as in the first."""
    whole = range(MOST_JOINING)
    full = remembered((0.0, joining(*whole)))
    almost = full.seen(joining(0, active=whole[1:]), 10.0)
    assert [taken_up(memory, joining(0, active=whole[1:]))[0] for memory in (full, almost)] == [[], []]
    done = almost.seen(joining(active=whole), 20.0)
    assert len(taken_up(done, joining(active=whole))[0]) == MOST_JOINING


def test_a_node_that_never_comes_keeps_others_waiting_for_a_time_only() -> None:
    """It joins still, and is of no wave any more."""
    view = joining(*range(MOST_JOINING))
    memory = remembered((0.0, view), (WAVE_SECONDS - 1, view))
    assert not memory.room
    assert memory.seen(view, WAVE_SECONDS).room == MOST_JOINING


def test_a_wave_that_is_not_full_takes_more() -> None:
    """Nodes that are labelled one after the other join one after the other; together they are a wave."""
    memory = remembered((0.0, joining(0)), (5.0, joining(0, 1)), (9.0, joining(1, 2, active=[0])))
    assert memory.room == MOST_JOINING - 3
    assert memory.seen(joining(active=[0, 1, 2]), 20.0).room == MOST_JOINING


def test_objects_that_were_lost_are_made_again_whatever_wave_it_is() -> None:
    """The node is no new one: its pairs block until it is back."""
    view = joining(*range(MOST_JOINING))
    secret = KeySecret("n100", "uid-n100", (node_key(Epoch(1, "1" * 32), "uid-n100"),), node_id=90, active=True)
    lost = replace(view, keys={"n100": secret})
    begin, wait = taken_up(remembered((0.0, view)), lost)
    assert begin == ["n100"]
    assert "n100" not in wait


@pytest.mark.parametrize(("hours", "expected"), [(23.9, False), (26.1, True)])
def test_a_scheduled_rotation_is_due_after_its_interval_and_its_jitter(hours: float, expected: bool) -> None:  # noqa: FBT001 - a parameter
    """Not before the interval, surely after interval and whole jitter; never without an interval or a finished one."""
    done = (replace(TURN, phase=Phase.COMPLETE, completed=START),)
    daily = Rotation(interval=24 * 3600.0, jitter=2 * 3600.0)
    now = START + timedelta(hours=hours)
    assert due(done, daily, now) is expected
    assert not due(done, replace(daily, interval=0.0), now)
    assert not due((TURN,), daily, now)
