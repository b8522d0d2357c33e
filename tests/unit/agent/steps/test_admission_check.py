"""Whether the admission policy is there is tried on a peer's objects, before the first key of a peer is accepted."""

from __future__ import annotations

from pathlib import Path

from tests.unit.agent.cloud import Cloud, active
from wirecrypt.model.admission import OWN_NODE
from wirecrypt.model.objects import NodeState


def tried(cloud: Cloud) -> list[tuple[str, ...]]:
    """Return on whom the agents tried the policy."""
    return [others for machine in cloud.machines.values() for others in machine.api.tried]


def test_a_node_alone_tries_nothing_and_is_ready(tmp_path: Path) -> None:
    """Without another node there is nobody whose key could be swapped, and nothing to try it on."""
    cloud = active(tmp_path, "a")
    cloud.run(30)
    assert (tried(cloud), cloud.ready("a")) == ([], (True, "AllPeersProtected"))


def test_the_first_peer_is_tried_at_once(tmp_path: Path) -> None:
    """In the very pass that first shows it; each node begins with the one after it, and the API is asked once."""
    cloud = active(tmp_path, "b")
    for number, name in enumerate("ac", 17):
        cloud.add(name, number)
        cloud.label(name)
    cloud.run(0.25, "b")
    assert tried(cloud) == [("c", "a")]
    cloud.run(10)
    assert sorted(tried(cloud)) == [("a", "b"), ("b", "c"), ("c", "a")]


def test_without_the_policy_no_key_of_a_peer_is_accepted(tmp_path: Path) -> None:
    """The node says so, and the pair stays without keys; once a forbidden write is refused, it is encrypted."""
    cloud = Cloud(tmp_path)
    cloud.api.open = {OWN_NODE}
    for number, name in enumerate("ab", 16):
        cloud.add(name, number)
        cloud.label(name)
    cloud.run(6)
    assert {cloud.ready(name) for name in "ab"} == {(False, "AdmissionPolicyMissing")}
    assert not cloud.machines["a"].kernel.sas
    cloud.api.open = set()
    cloud.run(40)
    cloud.state(NodeState.ACTIVE, "a", "b")
    cloud.run(2)
    assert cloud.machines["a"].kernel.sas
    assert {cloud.ready(name) for name in "ab"} == {(True, "AllPeersProtected")}
