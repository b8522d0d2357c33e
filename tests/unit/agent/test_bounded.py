"""What an agent remembers does not grow with its age: not with rotations, and not with peers that come and go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.fakes.builders import EPOCH, START
from tests.unit.agent.cloud import Cloud, active
from tests.unit.agent.sessionports import ONE, Node, peer, session
from tests.unit.held import grown, held
from wirecrypt.agent.reconciler import Reconciler
from wirecrypt.agent.steps.renewal import SessionRenewal
from wirecrypt.model.objects import KeyRotation, NodeState, Phase
from wirecrypt.model.session import Epoch
from wirecrypt.model.xfrm import SaKey
from wirecrypt.plan.snapshot import KernelSnapshot

pytestmark = pytest.mark.simulation


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    """Return two Active nodes, a and b."""
    return active(tmp_path, "a", "b")


def rotate(cloud: Cloud, number: int) -> None:
    """Give every pair the keys of epoch *number*, and destroy those of the one before."""
    old, new = number - 1, Epoch(number, f"{number:032x}")
    before = EPOCH if old == 1 else Epoch(old, f"{old:032x}")
    for phase, epochs in ((Phase.DISTRIBUTING, (before, new)), (Phase.SWITCHING, (before, new)), (Phase.COMPLETE, (new,))):
        cloud.give(*epochs)
        cloud.rotate(
            KeyRotation(f"to-{number}", "uid", "", START, phase=phase, from_epoch=old, to_epoch=number, to_epoch_id=new.id)
        )
        cloud.run(8)
    words = {encrypted.status.accepting_epochs for encrypted in cloud.api.encrypted.values() if encrypted.status}
    assert words == {(number,)}


def come_and_go(cloud: Cloud, number: int) -> None:
    """Have a node join that was never there, be protected, leave, and be deleted."""
    name = f"c{number}"
    cloud.add(name, 18)
    cloud.label(name)
    cloud.run(6)
    cloud.state(NodeState.ACTIVE, name)
    cloud.run(2)
    assert cloud.ready(name) == (True, "AllPeersProtected")
    cloud.unlabel(name)
    cloud.run(12)
    cloud.remove(name)
    del cloud.machines[name], cloud.api.nodes[name]
    cloud.run(5)


def both(cloud: Cloud, number: int) -> None:
    """Have one come and go, and then rotate: what is listed of it is listed as long as the session's key lives."""
    come_and_go(cloud, number)
    rotate(cloud, number)


@pytest.mark.parametrize("happens", [rotate, both])
def test_nothing_that_the_loop_holds_grows(cloud: Cloud, happens: Callable[[Cloud, int], None]) -> None:
    """Once all that can happen has happened, the same again and again leaves every container as large as it was."""
    agent: Reconciler = cloud.machines["a"].agent
    for number in (2, 3):
        happens(cloud, number)
    before = held(agent)
    for number in (4, 5):
        happens(cloud, number)
    assert grown(before, held(agent)) == {}


def test_ten_thousand_sessions_leave_what_one_leaves(tmp_path: Path) -> None:
    """Since when a session is in use is known of those in use alone."""
    node = Node(tmp_path, peer("b", 17, session(1, ONE)))
    node.run()
    state, renewal = node.look().state, SessionRenewal()
    (own, *_) = [each for each in state.sessions if each.key is not None]
    for number in range(1, 10_001):
        now = replace(state, sessions=(replace(own, session=replace(own.session, number=number)),))
        renewal.reasons(now, (), KernelSnapshot(), float(number), 60.0)
    assert sum(held(renewal).values()) < 10


def test_what_grows_is_found() -> None:
    """Whatever kind of container it is, and however deep."""
    renewal = SessionRenewal()
    before = held(renewal)
    renewal.born[1] = 0.0
    renewal.expired.add(SaKey(ip_address("192.0.2.1"), 256))
    assert grown(before, held(renewal)) == {"SessionRenewal.born": (0, 1), "SessionRenewal.expired": (0, 1)}
