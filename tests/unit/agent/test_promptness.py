"""Steps come when they are due: an agent that is woken only by what happens waits for no look at everything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.unit.agent.cloud import Cloud, active
from tests.unit.agent.inmemory import CREATED, EPOCH
from wirecrypt.agent.reconciler import RESYNC
from wirecrypt.model.objects import KeyRotation, NodeState, Phase
from wirecrypt.model.session import Epoch

DRAIN = 1.0  # as the configuration in memory says
MOMENT = 0.05  # seconds between two looks at whether anybody is to be woken
NEXT = Epoch(2, "cd" * 16)
SWITCHING = KeyRotation("second", "s", "", CREATED, phase=Phase.SWITCHING, from_epoch=1, to_epoch=2, to_epoch_id=NEXT.id)


class Woken:
    """Agents that make a pass only when one is due, a datagram came, or an object that they watch changed."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.due = dict.fromkeys(cloud.machines, 0.0)
        self.seen: dict[str, object] = {}

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.cloud.now + seconds
        while self.cloud.now < end:
            self.cloud.now += MOMENT
            for name, machine in self.cloud.machines.items():
                if self.cloud.now >= self.due[name] or machine.channel.inbox or self._watched() != self.seen.get(name):
                    self.seen[name] = self._watched()
                    self.due[name] = machine.agent.step(self.cloud.now)

    def _watched(self) -> object:
        return dict(self.cloud.api.by_name), self.cloud.api.moving


def joining(cloud: Cloud, name: str) -> tuple[str, ...]:
    status = cloud.api.encrypted[name].status
    assert status is not None
    return tuple(status.ready_for)


def accepting(cloud: Cloud, name: str) -> tuple[int, ...]:
    status = cloud.api.encrypted[name].status
    assert status is not None
    return tuple(status.accepting_epochs)


def test_a_joining_pair_is_ready_a_drain_after_it_was_proved(tmp_path: Path) -> None:
    """Proof, drain, ESP required, on disk, reported: all within less than the time between two looks at everything."""
    cloud = Cloud(tmp_path)
    for number, name in enumerate(("a", "b"), 16):
        cloud.add(name, number)
        cloud.label(name)
    Woken(cloud).run(DRAIN + 2.0)
    assert DRAIN + 2.0 < RESYNC
    assert (joining(cloud, "a"), joining(cloud, "b")) == (("b",), ("a",))


def test_a_rotation_ends_a_linger_and_a_drain_after_the_switch(tmp_path: Path) -> None:
    """Old SAs go when their time has come, and the old epoch is reported as gone in the same pass that destroys it."""
    cloud = active(tmp_path, "a", "b")
    woken = Woken(cloud)
    cloud.api.epochs, cloud.api.moving = (EPOCH, NEXT), SWITCHING
    woken.run(1.0)
    cloud.api.moving = replace(SWITCHING, phase=Phase.RETIRING)
    woken.run(DRAIN + 2.0)
    assert DRAIN + 3.0 < RESYNC
    assert (accepting(cloud, "a"), accepting(cloud, "b")) == ((2,), (2,))


def test_a_pair_is_left_a_drain_after_both_said_so(tmp_path: Path) -> None:
    """A leaver removes its last object as soon as nothing can be in flight any more."""
    cloud = active(tmp_path, "a", "b")
    woken = Woken(cloud)
    woken.run(0.5)
    cloud.unlabel("b")
    woken.run(DRAIN + 2.0)
    assert not cloud.machines["b"].kernel.sas
    assert cloud.api.by_name["b"].state is NodeState.LEAVING
