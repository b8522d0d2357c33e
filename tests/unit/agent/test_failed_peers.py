"""Peers and nodes about which nothing can be decided: what they have stays, and everybody is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.fakes.builders import START
from tests.unit.agent.cloud import Cloud, Machine, active
from wirecrypt.agent.serve.inspector import Inspector, Readers, RunningCapture
from wirecrypt.model.guard import GuardAction
from wirecrypt.model.objects import NodeState, NodeStatus
from wirecrypt.model.xfrm import Address, Direction, Policy, PolicyKey, host
from wirecrypt.settings import Settings


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    """Return nodes a and b, Active and encrypted."""
    return active(tmp_path, "a", "b")


def status(cloud: Cloud, name: str) -> NodeStatus:
    found = cloud.api.encrypted[name].status
    assert found is not None
    return found


def without_common_family(cloud: Cloud, name: str) -> None:
    """Have a node whose only address is of a family that no other has."""
    cloud.api.peers[name] = replace(cloud.peer(name), endpoints=(ip_address("fd00::9"),))


def egress(machine: Machine, other: Machine) -> set[GuardAction]:
    """Return what the guard of *machine* does with cleartext to the other's pods."""
    return {machine.filters.table[prefix].egress for prefix in other.pods}


def no_wire(links: Sequence[str], settings: Settings, relevant: Callable[[Address, Address], bool]) -> RunningCapture:
    raise AssertionError(links, settings, relevant)


# ---- a peer


@pytest.mark.L1
@pytest.mark.parametrize("after", ["", "start", "boot"])
def test_the_guard_stays_on_a_peer_that_cannot_be_decided(cloud: Cloud, after: str) -> None:
    """Cleartext to an Active peer without a common address family is dropped, also after a restart and a reboot."""
    a, b = cloud.machines["a"], cloud.machines["b"]
    without_common_family(cloud, "b")
    if after:
        getattr(a, after)()
    cloud.run(10, "a")
    assert egress(a, b) == {GuardAction.DROP}
    if after != "boot":
        assert a.filters.table[host(b.addresses[0])].egress is GuardAction.SEALED
        assert a.kernel.out(cloud.peer("b")) == {"esp"}


@pytest.mark.parametrize("joining", [True, False])
def test_a_joining_peer_that_cannot_be_decided_loses_nothing(tmp_path: Path, joining: bool) -> None:  # noqa: FBT001 - a table
    """What was in clear stays in clear: nothing was promised for a node that never was Active."""
    cloud = active(tmp_path, "a")
    b = cloud.add("b", 17)
    if joining:
        cloud.label("b")
        without_common_family(cloud, "b")
    cloud.run(2, "a")
    assert egress(cloud.machines["a"], b) == {GuardAction.PASS}


def test_a_peer_that_cannot_be_decided_is_reported(cloud: Cloud) -> None:
    """It counts as desired and failing, with the reason; Ready is not True; it is logged once."""
    without_common_family(cloud, "b")
    with capture_logs() as said:
        cloud.run(20, "a")
    assert cloud.ready("a") == (False, "PeersFailing")
    now = status(cloud, "a")
    assert (now.peers_desired, now.peers_protected, now.peers_failing) == (1, 0, 1)
    assert "no address family in common" in now.failing[0]
    assert [entry["peer"] for entry in said if entry["log_level"] == "error"] == ["b"]


def test_a_plan_for_reading_leaves_such_a_peer_alone_too(cloud: Cloud) -> None:
    """What `wirecrypt plan` shows is what the agent would do: nothing."""
    without_common_family(cloud, "b")
    cloud.run(2, "a")
    a = cloud.machines["a"]
    readers = Readers(lambda: nullcontext(a.kernel), a.filters, no_wire)
    assert Inspector("a", a.agent.last_pass, readers, lambda: None).plan().changes == ()


def test_a_peer_that_can_be_decided_again_goes_on(cloud: Cloud) -> None:
    """When the fault is mended the pair is as before; no key was replaced for it."""
    a, before = cloud.machines["a"], cloud.peer("b")
    sas = dict(a.kernel.sas)
    without_common_family(cloud, "b")
    cloud.run(10, "a")
    cloud.api.peers["b"] = before
    cloud.run(10)
    assert (cloud.ready("a"), a.kernel.sas) == ((True, "AllPeersProtected"), sas)


def test_a_node_is_not_clean_while_such_a_pair_is_in_its_kernel(cloud: Cloud) -> None:
    """A leaving node does not say Cleaned while policies of a pair that it cannot decide about are there."""
    without_common_family(cloud, "b")
    cloud.unlabel("a")
    cloud.run(30, "a")
    assert "Cleaned" not in [c.type for c in status(cloud, "a").conditions]


# ---- two nodes with one nodeID


@pytest.mark.L1
def test_a_refused_peer_is_not_passed_in_clear(cloud: Cloud) -> None:
    """An Active peer that is refused for its nodeID is guarded, although this agent has never known it, and reported."""
    c = cloud.add("c", 18)
    cloud.label("c", node_id=17)
    cloud.state(NodeState.ACTIVE, "c")
    cloud.run(5, "a", "b")
    assert egress(cloud.machines["a"], c) == {GuardAction.DROP}
    assert cloud.ready("a") == (False, "PeersFailing")
    assert ["c: " in line and "DuplicateNodeID" in line for line in status(cloud, "a").failing] == [True]


@pytest.mark.L1
def test_a_node_that_is_itself_refused_keeps_what_it_has(cloud: Cloud) -> None:
    """It writes nothing, takes part in nothing, and says why; its pairs stay encrypted."""
    b = cloud.machines["b"]
    cloud.add("c", 18)
    cloud.label("c", node_id=17)
    cloud.api.peers["c"] = replace(cloud.peer("c"), created=START)  # older than b's
    cloud.run(1, "b")
    writes, kernel = len(cloud.writes), len(b.journal)
    with capture_logs() as said:
        cloud.run(70, "b")
        b.start()
        cloud.run(70, "b")
    assert cloud.ready("b") == (False, "DuplicateNodeID")
    assert b.kernel.out(cloud.peer("a")) == {"esp"}
    assert (len(b.journal), b.channel.open) == (kernel, False)
    assert len(cloud.writes) - writes <= 1  # a new agent tells it anew
    assert len([entry for entry in said if entry["log_level"] == "error"]) == 1


def test_a_refused_node_goes_on_when_the_other_is_gone(cloud: Cloud) -> None:
    """With the nodeID its own again, it is protected again."""
    cloud.add("c", 18)
    cloud.label("c", node_id=17)
    cloud.api.peers["c"] = replace(cloud.peer("c"), created=START)
    cloud.run(2, "b")
    del cloud.api.peers["c"]
    cloud.run(20)
    assert cloud.ready("b") == (True, "AllPeersProtected")


def test_a_refused_node_that_left_is_bare(cloud: Cloud) -> None:
    """Unlabelled, and its objects removed as a person confirmed, it strips itself: it saw that it was Leaving."""
    b = cloud.machines["b"]
    cloud.add("c", 18)
    cloud.label("c", node_id=17)
    cloud.api.peers["c"] = replace(cloud.peer("c"), created=START)
    cloud.run(2, "b")
    cloud.unlabel("b")
    cloud.run(2, "b")
    assert b.kernel.sas
    cloud.remove("b")
    cloud.run(2, "b")
    assert (b.kernel.sas, b.kernel.policies, b.filters.loaded()) == ({}, {}, False)


# ---- policies of others


@pytest.mark.C2
@pytest.mark.C3
def test_a_foreign_policy_in_the_place_of_ours_is_reported(cloud: Cloud) -> None:
    """The pair counts as failing, not as protected; nothing is written to the kernel for it, and it is told once."""
    a = cloud.machines["a"]
    name = next(
        n for n, p in a.kernel.policies.items() if n.direction is Direction.OUT and n.selector.dst in cloud.peer("b").pod_cidrs
    )
    foreign = Policy(name.direction, name.selector, 1, mark=name.mark)
    a.kernel.policies[name] = foreign
    with capture_logs() as said:
        cloud.run(1, "a")
        written, logged = len(a.journal), len(cloud.writes)
        cloud.run(20, "a")
    assert (len(a.journal), len(cloud.writes)) == (written, logged)
    assert cloud.ready("a") == (False, "PeersFailing")
    assert "foreign policy" in status(cloud, "a").failing[0]
    assert status(cloud, "a").peers_protected == 0
    assert a.kernel.policies[PolicyKey(name.direction, name.selector, name.mark)] == foreign
    assert len([entry for entry in said if entry["log_level"] == "error"]) == 1


@pytest.mark.C2
def test_a_steady_pass_writes_nothing(cloud: Cloud) -> None:
    """With nothing changed neither kernel, nor API server, nor disk is written."""
    cloud.run(10)
    inodes = [m.pairs.stat().st_ino for m in cloud.machines.values()]
    before = [len(m.journal) for m in cloud.machines.values()], len(cloud.writes)
    cloud.run(30)
    assert ([len(m.journal) for m in cloud.machines.values()], len(cloud.writes)) == before
    assert [m.pairs.stat().st_ino for m in cloud.machines.values()] == inodes


def test_a_peer_that_never_spoke_is_named(tmp_path: Path) -> None:
    """A labelled node whose agent never came: who waits for it says for whom, and its own pairs go on."""
    cloud = active(tmp_path, "a", "b")
    cloud.add("c", 18)
    cloud.label("c")
    cloud.run(6, "a", "b")
    status = cloud.api.encrypted["a"].status
    assert status is not None
    assert (status.peers_protected, status.peers_desired) == (1, 2)
    assert "waiting for c" in status.conditions[0].message
    assert cloud.machines["a"].kernel.out(cloud.peer("b")) == {"esp"}
