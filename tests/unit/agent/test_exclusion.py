"""A node that a person cut off: its pairs are blocked, at both ends, and it comes back only by its label."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.agent.cloud import Cloud, active
from wirecrypt.agent.store.blocklist import load_blocklist
from wirecrypt.model.guard import GuardAction
from wirecrypt.model.objects import NodeState


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    """Return nodes a, b and c, Active and encrypted; b is cut off."""
    cloud = active(tmp_path, "a", "b", "c")
    cloud.state(NodeState.EXCLUDED, "b")
    return cloud


@pytest.mark.L1
def test_a_node_that_is_cut_off_is_blocked_and_not_in_clear(cloud: Cloud) -> None:
    """◆R33 Nothing of its keys stays in a peer's kernel, a boot blocks it too, and the other pair goes on."""
    for _ in range(20):
        cloud.run(0.25)
        assert cloud.machines["a"].kernel.out(cloud.peer("b")) <= {"esp", "block"}
        assert cloud.machines["a"].kernel.out(cloud.peer("c")) == {"esp"}
    for one, other in (("a", "b"), ("c", "b"), ("b", "a"), ("b", "c")):
        machine, peer = cloud.machines[one], cloud.peer(other)
        assert machine.kernel.out(peer) == {"block"}
        assert {machine.filters.table[prefix].egress for prefix in peer.pod_cidrs} == {GuardAction.DROP}
        assert not [sa for sa in machine.kernel.sas.values() if {*peer.endpoints} & {sa.src, sa.dst}]
    listed = load_blocklist(cloud.machines["a"].pairs)
    assert listed is not None
    assert {end.name for end in listed.peers} == {"b", "c"}


def test_a_node_that_is_cut_off_is_no_failure_of_the_others(cloud: Cloud) -> None:
    """They are protected from whom they talk to; the node itself says why it is not Ready."""
    cloud.run(5)
    assert {name: cloud.ready(name) for name in "abc"} == {
        "a": (True, "AllPeersProtected"),
        "b": (False, "Excluded"),
        "c": (True, "AllPeersProtected"),
    }


@pytest.mark.L1
def test_a_node_that_restarts_does_not_take_an_exclusion_back(cloud: Cloud) -> None:
    """Neither an agent nor a boot, of it or of a peer, brings a key back."""
    cloud.run(5)
    for name in "ab":
        cloud.machines[name].boot()
    cloud.run(10)
    assert cloud.machines["a"].kernel.out(cloud.peer("b")) == {"block"}
    assert cloud.machines["b"].kernel.out(cloud.peer("a")) == {"block"}
