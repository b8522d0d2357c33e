"""A Node that is deleted and made anew under its name: its pairs stay, then block, and are never in clear."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.unit.agent.cloud import Cloud, active
from wirecrypt.agent.prepare import prepare
from wirecrypt.agent.store.blocklist import load_blocklist
from wirecrypt.model.guard import GuardAction
from wirecrypt.model.objects import LABEL_ENABLED, NodePeer, NodeState
from wirecrypt.model.spi import Spi
from wirecrypt.model.xfrm import host
from wirecrypt.settings import from_document

pytestmark = pytest.mark.simulation

ANEW = "uid-b-anew"


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    """Return nodes a and b, Active and encrypted."""
    return active(tmp_path, "a", "b")


def made_anew(cloud: Cloud, label: str | None = LABEL_ENABLED) -> None:
    """Have Node b under another UID."""
    cloud.api.nodes["b"] = replace(cloud.api.nodes["b"], uid=ANEW, label=label)


def watched(cloud: Cloud, seconds: float, peer: NodePeer, *names: str) -> list[set[str]]:
    """Let time pass; return what traffic from a to b's pods met in each pass, and have the guard never let it through."""
    met = []
    for _ in range(int(seconds * 4)):
        cloud.run(0.25, *names)
        met.append(cloud.machines["a"].kernel.out(peer))
        actions = [e.egress for p, e in cloud.machines["a"].filters.table.items() if p in peer.pod_cidrs]
        assert actions == [GuardAction.DROP] * len(peer.pod_cidrs)
    return met


def senders(cloud: Cloud, name: str) -> set[int]:
    """Return the node IDs of the senders of all SAs of a node."""
    found = (Spi.decode(sa.spi) for sa in cloud.machines[name].kernel.sas.values())
    return {spi.sender for spi in found if spi is not None}


@pytest.mark.L1
def test_a_node_that_was_made_anew_is_never_in_clear(cloud: Cloud) -> None:
    """◆R17 While its old objects stay it is encrypted, also when they are gone; with new ones it blocks until it is proved."""
    old = cloud.peer("b")
    made_anew(cloud)
    assert watched(cloud, 5, old) == [{"esp"}] * 20
    cloud.remove("b")
    assert watched(cloud, 8, old) == [{"esp"}] * 32
    cloud.label("b", node_id=99)
    assert {*map(frozenset, watched(cloud, 3, old))} <= {frozenset({"block"}), frozenset({"esp"})}
    cloud.machines["b"].start()
    met = watched(cloud, 10, old)
    assert met[-1] == {"esp"}
    assert all(met)
    cloud.state(NodeState.ACTIVE, "b")
    cloud.run(5)
    assert {cloud.ready(name) for name in "ab"} == {(True, "AllPeersProtected")}
    assert cloud.machines["b"].kernel.out(cloud.peer("a")) == {"esp"}


def settled(cloud: Cloud) -> None:
    """Have a and b protected, with nothing in their kernels but their own pair, and nothing left to write."""
    cloud.run(12)
    cloud.state(NodeState.ACTIVE, "b")
    cloud.run(5)
    assert {cloud.ready(name) for name in "ab"} == {(True, "AllPeersProtected")}
    assert senders(cloud, "a") == senders(cloud, "b") == {p.node_id for p in cloud.api.peers.values()}
    before = len(cloud.machines["a"].journal)
    cloud.run(5)
    assert len(cloud.machines["a"].journal) == before


@pytest.mark.L1
def test_a_node_that_was_made_anew_may_have_had_more_sessions_before(cloud: Cloud) -> None:
    """◆R32 Its numbers begin with 1 again: what is in the kernel of higher ones is the former node's, and holds nothing up."""
    for _ in range(3):
        cloud.machines["b"].boot()
        cloud.run(12)
    old = cloud.peer("b")
    assert old.last_session > 1
    made_anew(cloud)
    cloud.remove("b")
    cloud.label("b", node_id=99)
    cloud.machines["b"].boot()
    assert all(watched(cloud, 12, old))
    settled(cloud)


@pytest.mark.L1
@pytest.mark.parametrize("renewals", [0, 1, 3])
def test_a_node_that_was_made_anew_forgets_what_it_was_before(cloud: Cloud, renewals: int) -> None:
    """Its machine goes on, with SAs of higher numbers than it has now: they are of the former node, and hold nothing up."""
    for _ in range(renewals):
        cloud.machines["a"].boot()
        cloud.run(12)
    cloud.api.nodes["a"] = replace(cloud.api.nodes["a"], uid="uid-a-anew", label=LABEL_ENABLED)
    cloud.remove("a")
    cloud.label("a", node_id=99)
    cloud.machines["a"].start()
    cloud.run(12)
    cloud.state(NodeState.ACTIVE, "a")
    settled(cloud)


@pytest.mark.L1
@pytest.mark.parametrize("renewals", [0, 3])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_node_that_left_and_joined_while_a_peer_slept_gets_its_own_pair(
    cloud: Cloud, *, renewals: int, restarted: bool
) -> None:
    """Its Node is the same and its nodeID is another: nothing of the pair before is taken for the new one's."""
    for _ in range(renewals):
        cloud.machines["b"].boot()
        cloud.run(12)
    cloud.state(NodeState.LEAVING, "b")
    cloud.run(3, "b")
    cloud.remove("b")
    cloud.machines["b"].boot()
    cloud.machines["b"].pairs.unlink()
    cloud.label("b", node_id=99)
    if restarted:
        cloud.machines["a"].start()
    settled(cloud)


@pytest.mark.L1
def test_a_node_that_was_made_anew_with_another_address_takes_its_prefix_along(cloud: Cloud) -> None:
    """A machine replaced under its name: nothing stays of the tunnel to the old address, and the prefix is never in clear."""
    old, moved = cloud.peer("b"), ip_address("192.0.2.77")
    made_anew(cloud)
    cloud.api.nodes["b"] = replace(cloud.api.nodes["b"], endpoints=(moved,))
    cloud.remove("b")
    assert watched(cloud, 8, old, "a") == [{"esp"}] * 32
    cloud.label("b", node_id=99)
    assert all(watched(cloud, 8, old, "a"))
    left = {str(address) for sa in cloud.machines["a"].kernel.sas.values() for address in (sa.src, sa.dst)}
    templates = {str(t.dst) for p in cloud.machines["a"].kernel.policies.values() for t in p.templates}
    assert not {*map(str, old.endpoints)} & (left | templates)
    assert host(old.endpoints[0]) not in cloud.machines["a"].filters.table
    before = len(cloud.machines["a"].journal)
    cloud.run(6, "a")
    assert len(cloud.machines["a"].journal) == before


def test_the_agent_of_a_node_that_was_made_anew_says_so(cloud: Cloud) -> None:
    """It goes on with the pairs that it has, says why it is not heard any more, once, and what is to be done."""
    made_anew(cloud)
    with capture_logs() as said:
        cloud.run(12, "b")
    errors = sorted((entry["event"], entry["reason"]) for entry in said if entry["log_level"] == "error")
    events = "nothing is decided", "restarts for a token of the new Node"
    assert errors == [(event, "NodeReplaced") for event in events]
    assert cloud.ready("b") == (False, "NodeReplaced")
    assert cloud.machines["b"].kernel.out(cloud.peer("a")) == {"esp"}


@pytest.mark.parametrize("again", [False, True], ids=["before its objects are", "with its new objects"])
def test_the_agent_of_a_node_that_was_made_anew_ends_its_pod(cloud: Cloud, *, again: bool) -> None:
    """Once, and nothing in the kernel changes by it; the next one has a token of the new Node."""
    cloud.run(3, "b")
    assert not [write for write in cloud.writes if "delete" in write]
    made_anew(cloud)
    if again:
        cloud.remove("b")
        cloud.label("b", node_id=99)
    cloud.run(0.25, "b")
    before = dict(cloud.machines["b"].kernel.policies)
    cloud.run(30, "b")
    assert [write for write in cloud.writes if "delete" in write] == ["delete pod of b"]
    assert cloud.machines["b"].kernel.policies.keys() == before.keys()


def test_nothing_is_left_of_the_one_before(cloud: Cloud) -> None:
    """Neither SAs nor its place on disk; what is there is the new pair's, and a pass more changes nothing."""
    made_anew(cloud)
    cloud.remove("b")
    cloud.label("b", node_id=99)
    cloud.machines["b"].start()
    cloud.run(12)
    cloud.state(NodeState.ACTIVE, "b")
    cloud.run(5)
    assert senders(cloud, "a") == senders(cloud, "b") == {16, 99}
    listed = load_blocklist(cloud.machines["a"].pairs)
    assert listed is not None
    assert [end.node_uid for end in listed.peers] == [ANEW]
    before = len(cloud.machines["a"].journal)
    cloud.run(5)
    assert len(cloud.machines["a"].journal) == before


@pytest.mark.L1
def test_an_agent_that_restarts_in_between_lets_nothing_pass(cloud: Cloud) -> None:
    """What a knew of b before is on disk: whoever is in its place is not in clear either."""
    old = cloud.peer("b")
    made_anew(cloud)
    cloud.remove("b")
    cloud.machines["a"].start()
    assert watched(cloud, 3, old, "a") == [{"esp"}] * 12
    cloud.label("b", node_id=99)
    cloud.machines["a"].start()
    assert all(watched(cloud, 3, old, "a"))
    cloud.machines["a"].start()
    assert all(watched(cloud, 3, old, "a"))


def test_a_node_that_is_made_anew_without_the_label_is_gone(cloud: Cloud) -> None:
    """Once its old objects are: nobody asked for its encryption."""
    old = cloud.peer("b")
    made_anew(cloud, label=None)
    assert watched(cloud, 5, old) == [{"esp"}] * 20
    cloud.remove("b")
    cloud.run(12, "a")
    assert (cloud.machines["a"].kernel.out(old), cloud.machines["a"].kernel.sas) == (set(), {})


@pytest.mark.L1
def test_another_machine_at_the_same_address_gets_its_own_pair(cloud: Cloud) -> None:
    """◆R17 A Node of another name that got address and prefix of a gone one: the plan touches nothing of the live pair."""
    old = cloud.peer("b")
    del cloud.api.nodes["b"]
    cloud.remove("b")
    node = replace(cloud.machines["b"].cloud.api.nodes["a"], name="c", uid="uid-c", label=LABEL_ENABLED)
    cloud.api.nodes["c"] = replace(node, endpoints=old.endpoints, pod_cidrs=old.pod_cidrs)
    cloud.label("c", node_id=98)
    assert all(watched(cloud, 12, old, "a"))
    assert senders(cloud, "a") <= {16, 98}


@pytest.mark.L1
def test_a_prefix_that_was_encrypted_does_not_pass_with_a_node_that_is_not_there_yet(cloud: Cloud) -> None:
    """It went from a removed node to a new one with the label: unknown until that has its NodePeer, also with other claims."""
    old = cloud.peer("b")
    del cloud.api.nodes["b"]
    cloud.remove("b")
    node = cloud.api.nodes["a"]
    cloud.api.nodes["c"] = replace(
        node, name="c", uid="uid-c", endpoints=(ip_address("192.0.2.77"),), pod_cidrs=old.pod_cidrs, label=LABEL_ENABLED
    )
    cloud.run(12, "a")
    assert cloud.machines["a"].kernel.out(old) == set()
    assert not {*old.pod_cidrs} & {*cloud.machines["a"].filters.table}
    within = tuple(prefix.network_address + 9 for prefix in old.pod_cidrs)
    cloud.api.nodes["d"] = replace(node, name="d", uid="uid-d", endpoints=within, pod_cidrs=(), label=None)
    cloud.run(2, "a")  # a kubelet without the label says that it has an address in there: that opens no more than the address
    assert not {*old.pod_cidrs} & {*cloud.machines["a"].filters.table}
    del cloud.api.nodes["d"]
    cloud.api.nodes["c"] = replace(cloud.api.nodes["c"], label=None)
    cloud.run(2, "a")
    assert {cloud.machines["a"].filters.table[prefix].egress for prefix in old.pod_cidrs} == {GuardAction.PASS}


@pytest.mark.C1
@pytest.mark.parametrize("slept", [False, True])
def test_a_node_that_left_is_in_clear_until_it_has_joined_again(cloud: Cloud, *, slept: bool) -> None:
    """Also for a peer that was off meanwhile and blocked it until it was told: nothing of it is taken for lost."""
    old = cloud.peer("b")
    if slept:
        cloud.state(NodeState.LEAVING, "b")
        cloud.run(1, "b")
        blocked_at_boot(cloud)
    else:
        cloud.unlabel("b")
        cloud.run(12)
    cloud.api.nodes["b"] = replace(cloud.api.nodes["b"], label=None)
    cloud.api.peers["b"] = replace(old, state=NodeState.REMOVED, endpoints=(), pod_cidrs=())
    cloud.run(8, "a")
    cloud.api.nodes["b"] = replace(cloud.api.nodes["b"], label=LABEL_ENABLED)
    cloud.run(2, "a")
    assert {cloud.machines["a"].filters.table[prefix].egress for prefix in old.pod_cidrs} == {GuardAction.PASS}


def blocked_at_boot(cloud: Cloud) -> None:
    """Have a boot, with b blocked as it is on disk."""
    machine = cloud.machines["a"]
    machine.boot()
    assert machine.pairs.exists()
    prepare(load_blocklist(machine.pairs), machine.kernel, machine.filters, machine.uplink, from_document(cloud.api.config))
    assert machine.kernel.policies


def test_a_node_that_joins_for_the_first_time_is_in_clear_until_then(cloud: Cloud) -> None:
    """The label before the NodePeer, as in a cluster that is labelled first and gets its agents then: no packet is lost."""
    machine = cloud.add("c", 18)
    cloud.api.nodes["c"] = replace(cloud.api.nodes["c"], label=LABEL_ENABLED)
    cloud.run(2, "a")
    assert {cloud.machines["a"].filters.table[prefix].egress for prefix in machine.pods} == {GuardAction.PASS}
