"""An API server that is restored from a backup: what it does not show was not deleted, and what was said is said again."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.builders import EPOCH, START
from tests.unit.agent.cloud import Cloud, active
from wirecrypt.model.objects import KeyRotation, NodeState, Phase
from wirecrypt.model.session import Epoch

pytestmark = pytest.mark.simulation


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    """Return two Active nodes, a and b."""
    return active(tmp_path, "a", "b")


class Backup:
    """What an API server held at one time."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.kept = {name: copy.copy(getattr(cloud.api, name)) for name in ("nodes", "peers", "encrypted")}

    def restore(self) -> None:
        """Have the API server show it again, and the copies see that it went back."""
        for name, objects in self.kept.items():
            setattr(self.cloud.api, name, copy.copy(objects))
        self.cloud.api.undone += 1


def test_a_node_that_joined_after_the_backup_keeps_its_pairs(cloud: Cloud) -> None:
    """No own session was lost, and yet neither end takes what is missing for a deletion: nothing is removed on either."""
    backup = Backup(cloud)
    cloud.add("c", 18)
    cloud.label("c")
    cloud.run(6)
    cloud.state(NodeState.ACTIVE, "c")
    cloud.run(2)
    c, a = cloud.peer("c"), cloud.peer("a")
    backup.restore()
    writes = [(machine, len(machine.journal)) for machine in cloud.machines.values()]
    cloud.run(30)
    assert cloud.machines["a"].kernel.out(c) == cloud.machines["c"].kernel.out(a) == {"esp"}
    assert [machine.journal[done:] for machine, done in writes] == [[], [], []]


def test_the_hold_ends_with_the_next_session(cloud: Cloud) -> None:
    """What is really gone is removed once the node has published a session that no backup knows."""
    cloud.api.undone += 1
    cloud.run(1)
    b = cloud.peer("b")
    del cloud.api.nodes["b"]
    cloud.remove("b")
    cloud.run(30, "a")
    assert cloud.machines["a"].kernel.out(b) == {"esp"}
    new = Epoch(2, "cd" * 16)
    cloud.give(EPOCH, new)
    cloud.rotate(KeyRotation("next", "uid", "", START, phase=Phase.SWITCHING, from_epoch=1, to_epoch=2, to_epoch_id=new.id))
    cloud.run(30, "a")
    assert cloud.peer("a").last_session == 2
    assert cloud.machines["a"].kernel.out(b) == set()


def test_a_status_of_a_backup_is_written_again_at_once(cloud: Cloud) -> None:
    """Nobody waits for the look that comes every two minutes."""
    cloud.run(125)
    backup, now = Backup(cloud), cloud.api.encrypted["a"].status
    assert now is not None
    backup.kept["encrypted"]["a"] = replace(cloud.api.encrypted["a"], status=replace(now, peers_protected=0, sending_epoch=0))
    backup.restore()
    cloud.run(1)
    assert cloud.api.encrypted["a"].status == now


def test_why_nothing_is_decided_is_said_again(cloud: Cloud) -> None:
    """A node that another one's nodeID keeps from deciding told it once; the backup has not heard it."""
    backup = Backup(cloud)
    cloud.add("c", 18)
    cloud.label("c", node_id=16)
    cloud.run(5)
    assert cloud.ready("c") == (False, "DuplicateNodeID")
    status = cloud.api.encrypted["c"]
    backup.kept |= {"nodes": cloud.api.nodes, "peers": cloud.api.peers}
    backup.kept["encrypted"] = cloud.api.encrypted | {"c": replace(status, status=None)}
    backup.restore()
    cloud.run(10)
    assert cloud.ready("c") == (False, "DuplicateNodeID")


def test_a_copy_that_nothing_confirms_is_told(cloud: Cloud) -> None:
    """Old copies of one kind while others are read, for longer than a pause can be: the node's word may be out of date."""
    cloud.api.age = 301.0
    cloud.run(55)
    assert cloud.ready("a") == (True, "AllPeersProtected")
    cloud.run(10)
    assert cloud.ready("a") == (False, "CopiesStale")
    cloud.api.age = 3.0
    cloud.run(2)
    assert cloud.ready("a") == (True, "AllPeersProtected")


def _rotate(cloud: Cloud, old: int, new: Epoch) -> None:
    """Rotate from epoch *old* to its end, as the controller does."""
    cloud.give(*cloud.epochs, new)
    for phase in (Phase.SWITCHING, Phase.RETIRING, Phase.COMPLETE):
        made = f"to-{new.number}", "uid", "", START
        cloud.rotate(KeyRotation(*made, phase=phase, from_epoch=old, to_epoch=new.number, to_epoch_id=new.id))
        cloud.run(20)
    cloud.give(new)


def _words(cloud: Cloud) -> set[tuple[int, tuple[int, ...]]]:
    statuses = [encrypted.status for encrypted in cloud.api.encrypted.values()]
    return {(status.sending_epoch, status.accepting_epochs) for status in statuses if status is not None}


def test_two_rotations_are_undone_and_the_next_one_moves_every_pair(cloud: Cloud) -> None:
    """No SA in use goes before its successor is proved; sessions are there again, statuses are true, nothing is removed."""
    backup = Backup(cloud)
    for number in (2, 3):
        _rotate(cloud, number - 1, Epoch(number, f"{number}" * 32))
    assert _words(cloud) == {(3, (3,))}
    sending = [set(machine.kernel.sas) for machine in cloud.machines.values()]
    cloud.rotate(None)
    cloud.give(EPOCH)
    backup.restore()
    cloud.run(30)
    assert {p.last_session for p in cloud.api.peers.values()} == {4}
    assert all(3 in {s.epoch.number for s in p.sessions} for p in cloud.api.peers.values())
    assert {sends for sends, _ in _words(cloud)} == {3}
    assert all(before <= set(machine.kernel.sas) for before, machine in zip(sending, cloud.machines.values(), strict=True))
    assert {cloud.ready(name) for name in cloud.machines} == {(True, "AllPeersProtected")}
    _rotate(cloud, 1, Epoch(4, "4" * 32))
    assert _words(cloud) == {(4, (4,))}
    assert {cloud.ready(name) for name in cloud.machines} == {(True, "AllPeersProtected")}
