"""A node's address changes: what belonged to the tunnel before goes, whatever else happens meanwhile."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.unit.agent.cloud import TICK, Cloud, Machine, active
from wirecrypt.plan.shared import is_shared

NEW = ip_address("192.0.2.99")


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    return active(tmp_path, "a", "b")


def move(cloud: Cloud, name: str) -> None:
    """Have a node with another address, in its kernel, its Node and, by the controller, its NodePeer."""
    cloud.machines[name].addresses = (NEW,)
    cloud.api.nodes[name] = replace(cloud.api.nodes[name], endpoints=(NEW,))
    cloud.api.peers[name] = replace(cloud.peer(name), endpoints=(NEW,))


def tunnels(machine: Machine) -> set[frozenset[str]]:
    """Return between which addresses a kernel has SAs or policies."""
    sas = {frozenset((str(sa.src), str(sa.dst))) for sa in machine.kernel.sas.values()}
    templates = [t for policy in machine.kernel.policies.values() for t in policy.templates]
    return sas | {frozenset((str(t.src), str(t.dst))) for t in templates}


def until_cleaned(cloud: Cloud, name: str) -> None:
    """Run until a node says that it has nothing of any pair any more."""
    for _ in range(400):
        cloud.run(TICK)
        status = cloud.api.encrypted[name].status
        if status is not None and "Cleaned" in [c.type for c in status.conditions]:
            return
    raise AssertionError


@pytest.mark.C1
@pytest.mark.parametrize("restart", ["", "start"])
def test_both_ends_have_the_new_tunnel_alone_a_drain_later(cloud: Cloud, restart: str) -> None:
    """Also when the agent of one was started anew meanwhile."""
    move(cloud, "b")
    cloud.run(2)
    if restart:
        getattr(cloud.machines["a"], restart)()
    cloud.run(40)
    for machine in cloud.machines.values():
        assert tunnels(machine) == {frozenset((str(cloud.machines["a"].addresses[0]), str(NEW)))}
        assert cloud.ready(machine.name) == (True, "AllPeersProtected")


@pytest.mark.C1
def test_a_node_that_leaves_right_after_it_moved_leaves_nothing(cloud: Cloud) -> None:
    """It is not cleaned before what was left of the tunnel before has gone, at both ends."""
    move(cloud, "b")
    cloud.run(TICK)
    assert len(tunnels(cloud.machines["b"])) > 1, "it still has both"
    cloud.unlabel("b")
    until_cleaned(cloud, "b")
    assert not tunnels(cloud.machines["b"]), "it said that it has nothing"
    cloud.remove("b")
    cloud.run(60)
    for machine in cloud.machines.values():
        assert not tunnels(machine)
        assert not [p for p in machine.kernel.policies.values() if p.ours and not is_shared(p)]


@pytest.mark.C1
def test_nothing_is_left_of_a_node_that_was_deleted_right_after_it_moved(cloud: Cloud) -> None:
    """Whoever gets one of its addresses next is no black hole."""
    move(cloud, "b")
    cloud.run(TICK, "a")
    assert len(tunnels(cloud.machines["a"])) > 1, "it still has both"
    cloud.remove("b")
    del cloud.api.nodes["b"]
    cloud.run(60, "a")
    assert not tunnels(cloud.machines["a"])
