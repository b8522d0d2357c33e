"""Steps come when they are due: an agent that is woken only by what happens waits for no look at everything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.builders import EPOCH, START, document
from tests.unit.agent.cloud import CONFIG, Cloud, active
from tests.unit.agent.woken import Woken
from wirecrypt.agent.status.status_writer import LATE
from wirecrypt.agent.steps.tending import RESYNC
from wirecrypt.model.objects import KeyRotation, NodeState, Phase
from wirecrypt.model.session import Epoch
from wirecrypt.model.xfrm import SaUsage

FLIGHT = 1.0  # that packets are on their way, where answers come at once
DRAINS = pytest.mark.parametrize("drain", ["1s", "10s"])  # the longest; only where nothing was measured it is waited for
NEXT = Epoch(2, "cd" * 16)
SWITCHING = KeyRotation("second", "s", "", START, phase=Phase.SWITCHING, from_epoch=1, to_epoch=2, to_epoch_id=NEXT.id)


def configured(cloud: Cloud, drain: str) -> Cloud:
    """Return *cloud* with this drain."""
    cloud.api.config = document(CONFIG.replace("drain: 1s", f"drain: {drain}"), version=2)
    return cloud


def joining(cloud: Cloud, name: str) -> tuple[str, ...]:
    status = cloud.api.encrypted[name].status
    assert status is not None
    return tuple(status.ready_for)


def accepting(cloud: Cloud, name: str) -> tuple[int, ...]:
    status = cloud.api.encrypted[name].status
    assert status is not None
    return tuple(status.accepting_epochs)


def sending(cloud: Cloud, name: str) -> int:
    status = cloud.api.encrypted[name].status
    assert status is not None
    return status.sending_epoch


@DRAINS
def test_a_joining_pair_is_ready_a_flight_after_it_was_proved(tmp_path: Path, drain: str) -> None:
    """Proof, flight, ESP required, on disk, reported: all within less than the time between two looks at everything."""
    cloud = configured(Cloud(tmp_path), drain)
    for number, name in enumerate(("a", "b"), 16):
        cloud.add(name, number)
        cloud.label(name)
    Woken(cloud).run(FLIGHT + 2.0)
    assert FLIGHT + 2.0 < RESYNC
    assert (joining(cloud, "a"), joining(cloud, "b")) == (("b",), ("a",))


@DRAINS
def test_a_rotation_ends_a_linger_and_a_flight_after_the_switch(tmp_path: Path, drain: str) -> None:
    """Old SAs go when their time has come, and the old epoch is reported as gone in the same pass that destroys it."""
    cloud = configured(active(tmp_path, "a", "b"), drain)
    woken = Woken(cloud)
    cloud.give(EPOCH, NEXT)
    cloud.rotate(SWITCHING)
    woken.run(1.0)
    cloud.rotate(replace(SWITCHING, phase=Phase.RETIRING))
    woken.run(FLIGHT + 2.0)
    assert FLIGHT + 3.0 < RESYNC
    assert (accepting(cloud, "a"), accepting(cloud, "b")) == ((2,), (2,))


def test_an_old_key_stays_while_packets_come_over_it(tmp_path: Path) -> None:
    """What a queue lets go late counts at each look, also at one that would remove: the SA goes a flight after the last."""
    cloud = configured(active(tmp_path, "a", "b"), "10s")
    woken, kernel = Woken(cloud), cloud.machines["a"].kernel
    woken.run(1.0)
    old = {name for name, sa in kernel.sas.items() if sa.receives}
    cloud.give(EPOCH, NEXT)
    cloud.rotate(SWITCHING)
    for number in range(100):
        kernel.usage |= {name: SaUsage(number, number + 2, number) for name in old}
        woken.run(0.05)
    assert sending(cloud, "a") == sending(cloud, "b") == NEXT.number
    assert old <= kernel.sas.keys()
    woken.run(FLIGHT + 1.5)
    assert old.isdisjoint(kernel.sas)


@DRAINS
def test_a_pair_is_left_a_flight_after_both_said_so(tmp_path: Path, drain: str) -> None:
    """A leaver removes its last object as soon as nothing can be in flight any more."""
    cloud = configured(active(tmp_path, "a", "b"), drain)
    woken = Woken(cloud)
    woken.run(0.5)
    cloud.unlabel("b")
    woken.run(FLIGHT + 2.0)
    assert not cloud.machines["b"].kernel.sas
    assert cloud.api.peers["b"].state is NodeState.LEAVING


@pytest.mark.parametrize("behind", ["not Ready", "a lie", "off for long"])
def test_an_epoch_that_only_a_laggard_needs_is_not_reported(tmp_path: Path, behind: str) -> None:
    """◆R42 The agent of c is off while the others rotate: what a and b accept from it alone holds no rotation up.

    Nor when somebody in its place names an epoch that never was.
    """
    cloud = active(tmp_path, "a", "b", "c")
    if behind == "not Ready":
        cloud.api.nodes["c"] = replace(cloud.api.nodes["c"], ready=False)
    elif behind == "a lie":
        (honest,) = cloud.peer("c").sessions
        lie = replace(honest, number=honest.number + 1, epoch=Epoch(1 + 10**9, "f" * 32))
        cloud.api.peers["c"] = replace(cloud.peer("c"), sessions=(lie,), last_session=lie.number)
    cloud.give(EPOCH, NEXT)
    cloud.rotate(SWITCHING)
    cloud.run(2.0, "a", "b")
    if behind == "off for long":
        cloud.run(LATE, "a", "b")
    assert (sending(cloud, "a"), sending(cloud, "b")) == (2, 2)
    cloud.rotate(replace(SWITCHING, phase=Phase.RETIRING))
    cloud.run(FLIGHT + 3.0, "a", "b")
    assert (accepting(cloud, "a"), accepting(cloud, "b")) == ((2,), (2,))
    assert any(sa.receives and sa.src in cloud.peer("c").endpoints for sa in cloud.machines["a"].kernel.sas.values())


def test_who_publishes_first_sends_with_the_old_epoch_still(tmp_path: Path) -> None:
    """◆R45 The others come a moment later: until then a node says that it sends with the epoch that it sends with."""
    cloud = active(tmp_path, "a", "b", "c")
    cloud.give(EPOCH, NEXT)
    cloud.rotate(SWITCHING)
    cloud.run(LATE - 1.0, "a")
    assert {s.epoch.number for s in cloud.peer("a").sessions} == {1, 2}
    assert (sending(cloud, "a"), accepting(cloud, "a")) == (1, (1, 2))
    cloud.run(2.0)
    assert {sending(cloud, name) for name in "abc"} == {2}
