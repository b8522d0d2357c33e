"""The controller on a real API server: labels, keys, rotations, leaving, leadership. Agents are played through their tokens."""

# ruff: noqa: ANN401, D102 - JSON and values of any kind; methods of a test's helper need no more than a name
from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.conftest import configure
from tests.cluster.controlled import FAST, Cluster, running
from wirecrypt.cluster import paths
from wirecrypt.cluster.api import Api
from wirecrypt.cluster.controller_client import ControllerClient
from wirecrypt.cluster.lease import ClusterLease
from wirecrypt.controller import Controller, Elector
from wirecrypt.controller.access.policy_check import PolicyCheck
from wirecrypt.errors import Forbidden, NotFound
from wirecrypt.model.access import AccessPart
from wirecrypt.model.admission import STATUS_BY_AGENT
from wirecrypt.model.conditions import Condition
from wirecrypt.model.objects import NodeState, Phase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.conftest import Server

ROOT = Path(__file__).resolve().parents[2]


class Leader:
    """A candidate that always leads: for passes that a test makes itself."""

    term = 1

    def leads(self) -> bool:
        return True

    def run(self, stop: threading.Event, changed: Any) -> None:
        changed()
        stop.wait()


@pytest.fixture
def cluster(clean: Server) -> Iterator[Cluster]:
    """Yield a cluster with a controller at work."""
    with running(clean, grace=0.5):
        yield Cluster(clean)


def test_a_label_becomes_objects_keys_and_a_first_epoch(cluster: Cluster) -> None:
    """The first label starts epoch 1; EncryptedNode, Secret and NodePeer appear, in Joining, owned by the Node."""
    node = cluster.server.node("a", label="enabled")
    peer = cluster.until(lambda: cluster.peer("a"), "a NodePeer")
    assert (peer.state, peer.node_id, peer.node_uid) == (NodeState.JOINING, 16, node["metadata"]["uid"])
    assert [str(x) for x in (*peer.endpoints, *peer.pod_cidrs)] == ["192.0.2.1", "10.1.0.0/24"]
    assert cluster.keys("a") == [1]
    assert cluster.encrypted("a").node_id == 16
    cluster.until(lambda: cluster.rotation("initial").phase is Phase.COMPLETE, "the first rotation to be complete")
    raw = cluster.admin.get(f"{paths.NODE_PEERS}/a")["metadata"]
    assert raw["finalizers"] == ["wirecrypt.io/cleanup"]
    assert raw["ownerReferences"][0]["uid"] == node["metadata"]["uid"]
    share = cluster.agent("a").cluster.node_keys("a")[0]
    assert (share.epoch.number, len(share.share)) == (1, 2048)


def test_the_account_that_reads_a_nodes_keys_is_made_again_and_narrowed_again(cluster: Cluster) -> None:
    """Deleted, as it is missing after an upgrade, or widened by hand: the controller makes of it what it should be."""
    cluster.join("a", "b")
    account, role, binding = (f"{paths.ACCESS[part]}/wirecrypt-node-a" for part in AccessPart)
    made = {path: cluster.admin.get(path) for path in (account, role, binding)}
    for path in made:
        cluster.admin.delete(path)
    for path, before in made.items():
        again = cluster.until(lambda path=path: cluster.found(path), f"{path} to be made again")
        assert again["metadata"]["uid"] != before["metadata"]["uid"]
    cluster.until(lambda: cluster.reads("a"), "the agent to read its node's keys again")
    narrow = made[role]["rules"]
    cluster.admin.patch(role, {"rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]})
    cluster.until(lambda: (now := cluster.found(role)) and now["rules"] == narrow, "the Role to be narrowed again")
    subjects = [*made[binding]["subjects"], {"kind": "ServiceAccount", "name": "other", "namespace": "default"}]
    cluster.admin.patch(binding, {"subjects": subjects})
    cluster.until(
        lambda: (now := cluster.found(binding)) and now["subjects"] == made[binding]["subjects"],
        "the RoleBinding to be narrowed",
    )


@pytest.mark.C1
def test_nodes_become_active_when_both_ends_are_ready(cluster: Cluster) -> None:
    """One end's word is not enough; both, and the pair's nodes are Active."""
    for name in ("a", "b"):
        cluster.server.node(name, label="enabled")
    for name in ("a", "b"):
        cluster.until(lambda name=name: cluster.peer(name), f"the NodePeer of {name}")
        cluster.publish(name, 1)
    cluster.say("a", ready_for=("b",), sending_epoch=1)
    cluster.say("b", ready_for=(), sending_epoch=0)
    cluster.server.node("c", label="enabled")  # a change that the controller has certainly seen after the words above
    cluster.until(lambda: cluster.peer("c"), "a later change to be done")
    assert cluster.peer("a").state is cluster.peer("b").state is NodeState.JOINING
    cluster.server.label("c", None)
    cluster.until(lambda: cluster.removed("c"), "c, which never published, to be said to be removed")
    cluster.say("b", ready_for=("a",), sending_epoch=1)
    for name in ("a", "b"):
        cluster.until(lambda name=name: cluster.peer(name).state is NodeState.ACTIVE, f"{name} to be Active")
        cluster.until(lambda name=name: cluster.encrypted(name).state is NodeState.ACTIVE, f"{name} to be shown Active")


def test_the_lists_that_users_see_hold_nodes_and_nothing_else(cluster: Cluster) -> None:
    """`kubectl get en` and `np` name the labelled nodes, and `kubectl wait --all` ends when they are Ready."""
    cluster.join("a", "b")
    for name in ("a", "b"):
        cluster.say(name, conditions=(Condition("Ready", status=True, reason="AllPeersProtected", message=""),))
    for kind in ("en", "np"):
        assert cluster.server.kubectl("get", kind, "-o", "name").count("\n") == 2
    done = cluster.server.kubectl("wait", "--for=condition=Ready", "en", "--all", "--timeout=120s")
    assert sorted(line.split()[0].rpartition("/")[2] for line in done.splitlines()) == ["a", "b"]


@pytest.mark.C1
def test_an_address_that_an_agent_proposes_is_granted_and_moves_with_the_proposals(cluster: Cluster) -> None:
    """As a virtual address does: one node's, refused to the other, and the other's when the first has withdrawn it."""
    vip = "192.0.2.107"
    cluster.join("a", "b")
    cluster.propose("a", vip)
    cluster.until(lambda: cluster.holders(vip) == ["a"], "a to be granted the address")
    cluster.propose("b", vip)
    words = f"{vip}: a has it, and says so still"
    cluster.until(lambda: cluster.encrypted("b").problems == (words,), "b to be told whose it is")
    assert cluster.holders(vip) == ["a"]
    seen: list[list[str]] = []
    cluster.propose("a")
    cluster.until(lambda: seen.append(cluster.holders(vip)) or seen[-1] == ["b"], "b to be granted the address")
    assert [] not in seen
    cluster.until(lambda: cluster.encrypted("b").problems == (), "nothing to be refused any more")


@pytest.mark.C1
def test_a_node_leaves_when_its_agent_has_cleaned_up_and_its_id_rests(cluster: Cluster) -> None:
    """Unlabelled: Leaving, and nothing goes before the agent says Cleaned; relabelled, it comes back with another ID."""
    cluster.join("a", "b")
    first = cluster.peer("b").node_id
    cluster.server.label("b", None)
    cluster.until(lambda: cluster.peer("b").state is NodeState.LEAVING, "b to leave")
    cluster.until(lambda: cluster.encrypted("b").state is NodeState.LEAVING, "b to be shown leaving")
    cluster.server.label("b", "enabled")
    cluster.rotate("after")  # a later change; Leaving is not recanted
    cluster.until(lambda: cluster.rotation("after").phase, "a later change to be seen")
    assert cluster.peer("b").state is NodeState.LEAVING
    assert cluster.keys("b") != []
    cluster.say("b", conditions=(Condition("Cleaned", status=True, reason="Cleaned", message=""),))
    cluster.until(lambda: (p := cluster.peer("b")) and p.state is NodeState.JOINING, "b to join anew")
    assert cluster.peer("b").node_id not in (first, cluster.peer("a").node_id)
    assert cluster.encrypted("b").status is None


@pytest.mark.C1
def test_a_removal_is_said_and_holds_no_next_label_up(cluster: Cluster) -> None:
    """A person confirms one whose agent is dead: its NodePeer says Removed, with its identity, until the label is set again."""
    cluster.join("a", "b")
    before = cluster.peer("b")
    cluster.server.label("b", None)
    cluster.until(lambda: cluster.peer("b").state is NodeState.LEAVING, "b to leave")
    cluster.confirm(paths.NODE_PEERS, "b")
    cluster.until(lambda: (p := cluster.peer("b")) and p.state is NodeState.REMOVED, "the word that b was removed")
    cluster.until(lambda: cluster.encrypted("b") is None and not cluster.keys("b"), "the rest to go")
    assert cluster.peer("b").identity == before.identity
    assert "finalizers" not in cluster.admin.get(f"{paths.NODE_PEERS}/b")["metadata"]
    cluster.server.label("b", "enabled")
    cluster.until(lambda: (p := cluster.peer("b")) and p.state is NodeState.JOINING, "b to join anew")
    assert cluster.peer("b").node_id != before.node_id


def test_nodes_that_are_all_registered_anew_under_their_labels_join_at_once(cluster: Cluster) -> None:
    """No person is asked: what they had before goes, and each gets its own."""
    cluster.join("a", "b", "c", "d")
    before = {name: cluster.peer(name).identity for name in "abcd"}
    with cluster_paused(cluster) as resume:
        for name in "abcd":
            cluster.admin.delete(f"{paths.NODES}/{name}")
            cluster.server.node(name, label="enabled")
        resume()
    for name in "abcd":
        cluster.until(
            lambda name=name: (p := cluster.peer(name)) and p.state is NodeState.JOINING and p.identity != before[name],
            f"{name} to join anew",
        )
    assert "RemovalHeldBack" not in cluster.reasons()


@pytest.mark.C1
def test_a_deleted_node_goes_after_a_grace_period(cluster: Cluster) -> None:
    """No garbage collector runs here: the controller removes what belonged to the Node, though its agent is silent."""
    cluster.join("a", "b")
    cluster.admin.delete(f"{paths.NODES}/b")
    cluster.until(lambda: cluster.peer("b") is None, "the NodePeer to go")
    cluster.until(lambda: cluster.encrypted("b") is None and not cluster.keys("b"), "the rest to go")
    left = [f"{path}/wirecrypt-node-b" for path in paths.ACCESS.values()]
    cluster.until(lambda: not any(cluster.found(path) for path in left), "its account and its rights to go")
    assert cluster.peer("a").state is NodeState.ACTIVE


@pytest.mark.C1
def test_many_vanished_nodes_wait_for_a_person(cluster: Cluster) -> None:
    """Half the Nodes vanish from the API at once: nothing is removed until somebody says that they are really gone."""
    cluster.join("a", "b", "c", "d")
    with cluster_paused(cluster) as resume:
        for name in ("c", "d"):
            cluster.admin.delete(f"{paths.NODES}/{name}")
        resume()
    cluster.until(lambda: "RemovalHeldBack" in cluster.reasons(), "the controller to say so")
    assert cluster.peer("c").state is cluster.peer("d").state is NodeState.ACTIVE
    for name in ("c", "d"):
        cluster.confirm(paths.ENCRYPTED_NODES, name)
    cluster.until(lambda: not (cluster.peer("c") or cluster.peer("d")), "both to go")


@pytest.mark.C1
def test_a_garbage_collector_takes_no_vanished_node_from_a_persons_hands(cluster: Cluster) -> None:
    """What the vanished Nodes owned is deleted, too: the NodePeers stay, Active and held, until each is confirmed."""
    cluster.join("a", "b", "c", "d")
    with cluster_paused(cluster) as resume:
        for name in ("c", "d"):
            cluster.admin.delete(f"{paths.NODES}/{name}")
            for path in (paths.ENCRYPTED_NODES, paths.NODE_PEERS):
                cluster.admin.delete(f"{path}/{name}")
        resume()
    cluster.until(lambda: "RemovalHeldBack" in cluster.reasons(), "the controller to say so")
    cluster.rotate("after")  # a later change, and longer than the grace period
    cluster.until(lambda: cluster.rotation("after").phase is Phase.SWITCHING, "a later change to be seen")
    for name in ("c", "d"):
        assert (cluster.peer(name).state, cluster.peer(name).deleting) == (NodeState.ACTIVE, True)
        cluster.confirm(paths.NODE_PEERS, name)
    cluster.until(lambda: not (cluster.peer("c") or cluster.peer("d")), "both to go")


@contextmanager
def cluster_paused(cluster: Cluster) -> Iterator[Any]:
    """Take the leadership from the controller, so that it sees several changes as one."""
    lease = f"{paths.LEASES}/wirecrypt-controller"
    holder = {"spec": {"holderIdentity": "test", "leaseDurationSeconds": 600}}
    before = cluster.admin.get(lease)["spec"]["holderIdentity"]
    cluster.admin.patch(lease, holder)
    threading.Event().wait(FAST.deadline)  # by then the leader has noticed, whatever it was doing
    yield lambda: cluster.admin.patch(lease, {"spec": {"holderIdentity": before}})


def test_a_rotation_moves_on_the_words_of_the_nodes(cluster: Cluster) -> None:
    """Keys are in every Secret before Switching; Retiring and Complete come only when every node says so."""
    cluster.join("a", "b")
    cluster.rotate("r")
    cluster.until(lambda: cluster.rotation("r").phase is Phase.SWITCHING, "Switching")
    assert cluster.keys("a") == cluster.keys("b") == [1, 2]
    for name in ("a", "b"):
        cluster.publish(name, 2)
    cluster.say("a", sending_epoch=2, accepting_epochs=(1, 2))
    cluster.until(lambda: cluster.rotation("r").nodes_done == 1, "the first word to count")
    assert cluster.rotation("r").phase is Phase.SWITCHING
    cluster.say("b", sending_epoch=2, accepting_epochs=(1, 2))
    cluster.until(lambda: cluster.rotation("r").phase is Phase.RETIRING, "Retiring")
    cluster.say("a", accepting_epochs=(2,))
    cluster.until(lambda: cluster.rotation("r").nodes_done == 1, "the first to have retired")
    assert cluster.seeds() == [1, 2]
    cluster.say("b", accepting_epochs=(2,))
    cluster.until(lambda: cluster.rotation("r").phase is Phase.COMPLETE, "Complete")
    assert cluster.keys("a") == cluster.keys("b") == cluster.seeds() == [2]
    cluster.server.kubectl("wait", "--for=condition=Complete", "kr/r", "--timeout=120s")
    assert "Switching" in cluster.reasons()


def test_a_rotation_goes_on_without_a_node_that_is_cut_off(restored: Server) -> None:
    """Named by a person, it is Excluded once patience is over: without keys, counted by nobody, until its label is gone."""
    configure(restored.admin, rotation={"patience": "0s"})
    with running(restored, grace=0.5):
        cluster = Cluster(restored)
        cluster.join("a", "b")
        cluster.rotate("r")
        cluster.until(lambda: cluster.rotation("r").phase is Phase.SWITCHING, "Switching")
        cluster.publish("a", 2)
        cluster.say("a", sending_epoch=2, accepting_epochs=(2,))
        cluster.until(lambda: cluster.rotation("r").nodes_done == 1, "a to be done")
        cluster.admin.patch(f"{paths.KEY_ROTATIONS}/r", {"spec": {"without": ["b"]}})
        cluster.until(lambda: cluster.rotation("r").phase is Phase.COMPLETE, "Complete")
        cluster.until(lambda: cluster.encrypted("b").state is NodeState.EXCLUDED, "b to be shown as cut off")
        cluster.until(lambda: not cluster.keys("b"), "its keys to go")
        assert (cluster.peer("b").state, cluster.keys("a"), cluster.seeds()) == (NodeState.EXCLUDED, [2], [2])
        assert "Excluded" in cluster.reasons()
        cluster.server.label("b", None)
        cluster.until(lambda: (p := cluster.peer("b")) and p.state is NodeState.REMOVED, "b to be removed")
        cluster.server.label("b", "enabled")
        cluster.until(lambda: (p := cluster.peer("b")) and p.state is NodeState.JOINING, "b to join anew")


def test_two_requests_run_one_after_the_other_and_one_is_aborted(cluster: Cluster) -> None:
    """The second waits as Pending; aborted while it waits, it never begins, and the first is finished."""
    cluster.join("a")
    cluster.rotate("one")
    cluster.until(lambda: cluster.rotation("one").phase is Phase.SWITCHING, "the first to switch")
    cluster.rotate("two")
    cluster.until(lambda: cluster.rotation("two").phase is Phase.PENDING, "the second to wait")
    cluster.admin.patch(f"{paths.KEY_ROTATIONS}/two", {"spec": {"abort": True}})
    cluster.until(lambda: cluster.rotation("two").phase is Phase.ABORTED, "the second to be aborted")
    cluster.publish("a", 2)
    cluster.say("a", sending_epoch=2, accepting_epochs=(2,))
    cluster.until(lambda: cluster.rotation("one").phase is Phase.COMPLETE, "the first to be complete")
    assert cluster.seeds() == [2]
    assert cluster.rotation("two").to_epoch == 0


def test_an_overlapping_claim_is_refused_and_the_older_keeps_it(cluster: Cluster) -> None:
    """A node that claims another's pods gets nothing of them, with an Event and a problem that says whose they are."""
    cluster.server.node("a", label="enabled")
    cluster.until(lambda: cluster.peer("a"), "the first node")
    cluster.server.node("b", label="enabled", cidrs=["10.1.0.0/24"])
    cluster.until(lambda: cluster.peer("b"), "the second node")
    assert cluster.peer("b").pod_cidrs == ()
    assert [str(p) for p in cluster.peer("a").pod_cidrs] == ["10.1.0.0/24"]
    assert cluster.encrypted("b").problems == ("10.1.0.0/24: overlaps 10.1.0.0/24 of a, which had it first",)
    cluster.until(lambda: "ClaimRefused" in cluster.reasons(), "the Event, which comes after the objects")


def test_a_wrong_range_takes_nothing_from_an_active_node(clean: Server) -> None:
    """A Service range that covers the pods of an Active node is told, and its NodePeer keeps what it has."""
    before = clean.admin.get(paths.CONFIG)["data"]
    try:
        with running(clean):
            cluster = Cluster(clean)
            cluster.join("a")
            held = cluster.peer("a")
            configure(clean.admin, serviceCIDRs=["10.0.0.0/8"])
            cluster.until(lambda: cluster.encrypted("a").problems, "the problem to be shown")
            assert (cluster.peer("a").pod_cidrs, cluster.peer("a").endpoints) == (held.pod_cidrs, held.endpoints)
            assert "kept" in cluster.encrypted("a").problems[0]
            cluster.until(lambda: "ClaimKept" in cluster.reasons(), "the Event")
    finally:
        clean.admin.patch(paths.CONFIG, {"data": before})


@pytest.fixture
def restored(clean: Server) -> Iterator[Server]:
    """Yield the API server, which gets its configuration back afterwards."""
    before = clean.admin.get(paths.CONFIG)["data"]
    yield clean
    clean.admin.patch(paths.CONFIG, {"data": before})


def kubelet_adds(server: Server, name: str, *addresses: str) -> None:
    """Have the kubelet of node *name* report *addresses* next to the ones that its Node has, with its own token."""
    kubelet = server.api(f"kubelet-{name}")
    before = server.admin.get(f"{paths.NODES}/{name}")["status"]["addresses"]
    more = [{"type": "InternalIP", "address": address} for address in addresses]
    kubelet.patch(f"{paths.NODES}/{name}/status", {"status": {"addresses": [*before, *more]}})


def test_a_kubelet_draws_no_outside_address_to_its_node(cluster: Cluster) -> None:
    """Neither one outside the ranges nor one of another subnet is granted; the second is when a person says so."""
    outside, elsewhere = "203.0.113.53", "198.51.100.53"
    cluster.join("a", "b")
    before = cluster.peer("a").endpoints
    kubelet_adds(cluster.server, "a", outside, elsewhere)
    cluster.propose("a", *map(str, before), outside, elsewhere)
    cluster.until(lambda: len(cluster.encrypted("a").problems) == 2, "both to be told")
    waits, refused = cluster.encrypted("a").problems
    assert refused == f"{outside}: outside nodeCIDRs"
    assert waits.startswith(f"{elsewhere}: waits")
    cluster.until(lambda: {"ClaimRefused", "ClaimWaits"} <= cluster.reasons(), "the Events")
    assert (cluster.peer("a").endpoints, cluster.peer("a").addresses) == (before, ())
    command = waits.rpartition("kubectl ")[2]
    cluster.server.kubectl(*command.split())
    cluster.until(lambda: ip_address(elsewhere) in cluster.peer("a").endpoints, "the address that was allowed")
    cluster.until(lambda: cluster.encrypted("a").problems == (refused,), "nothing to wait any more")


def test_a_prefix_of_a_node_without_one_lies_in_the_ranges_and_over_nobody(cluster: Cluster) -> None:
    """A kubelet can fill in its Node's prefixes once: outside clusterCIDRs, or over a younger Node's, it gets nothing."""
    cluster.server.node("a", label="enabled", cidrs=[])
    cluster.server.node("b", label="enabled", cidrs=[])
    cluster.until(lambda: cluster.peer("a") and cluster.peer("b"), "both to join")
    cluster.server.node("c")  # not enabled
    for name, prefix in (("a", "203.0.0.0/16"), ("b", "10.3.0.0/16")):
        cluster.server.api(f"kubelet-{name}").patch(
            f"{paths.NODES}/{name}", {"spec": {"podCIDR": prefix, "podCIDRs": [prefix]}}
        )
        cluster.until(lambda name=name: cluster.encrypted(name).problems, "the refusal")
    assert cluster.encrypted("a").problems == ("203.0.0.0/16: outside clusterCIDRs",)
    assert cluster.encrypted("b").problems == ("10.3.0.0/16: overlaps 10.3.0.0/24 of c, which had it first",)
    assert cluster.peer("a").pod_cidrs == cluster.peer("b").pod_cidrs == ()


def test_an_older_node_that_mentions_a_younger_ones_pod_takes_nothing_from_it(restored: Server) -> None:
    """Also where one range is for pods and nodes, and before the younger one has joined."""
    configure(restored.admin, clusterCIDRs=["10.0.0.0/8", "192.0.2.0/24"], nodeCIDRs=["10.0.0.0/8", "192.0.2.0/24"])
    with running(restored):
        cluster = Cluster(restored)
        restored.node("a", label="enabled")
        cluster.until(lambda: cluster.peer("a"), "the older node")
        restored.node("b")
        kubelet_adds(restored, "a", "10.2.0.7")
        cluster.until(lambda: cluster.encrypted("a").problems, "the refusal")
        assert cluster.encrypted("a").problems == ("10.2.0.7: overlaps 10.2.0.0/24 of b, which had it first",)
        restored.label("b", "enabled")
        cluster.until(lambda: cluster.peer("b"), "the younger node")
        assert [str(p) for p in cluster.peer("b").pod_cidrs] == ["10.2.0.0/24"]


def test_no_node_joins_before_the_ranges_are_set_and_none_loses_anything_without_them(restored: Server) -> None:
    """One that joined before the range was taken out goes on as it is; both say so, and with the range the other one joins."""
    with running(restored):
        cluster = Cluster(restored)
        cluster.join("a")
        held = cluster.peer("a")
        configure(restored.admin, nodeCIDRs=[])
        cluster.until(lambda: cluster.encrypted("a").problems, "the first node to say so")
        restored.node("b", label="enabled")
        cluster.until(lambda: cluster.encrypted("b"), "the second node to be shown")
        assert "does not join" in cluster.encrypted("b").problems[0]
        cluster.until(lambda: "RangesUnset" in cluster.reasons(), "the Event")
        assert cluster.peer("b") is None
        now = cluster.peer("a")
        assert (now.endpoints, now.pod_cidrs, now.state) == (held.endpoints, held.pod_cidrs, NodeState.ACTIVE)
        configure(restored.admin)
        cluster.until(lambda: cluster.peer("b"), "the second node to join")
        cluster.until(lambda: cluster.encrypted("a").problems == (), "nothing to be missing any more")


def test_only_an_administrator_makes_a_node_one_of_the_control_plane(clean: Server) -> None:
    """A kubelet cannot set the label that gives a Node an API server's address; with it the Node gets the address."""
    before = clean.admin.get(paths.CONFIG)["data"]
    label = {"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}}
    try:
        configure(clean.admin, apiServers=["192.0.2.1"])
        clean.node("a", label="enabled")
        with pytest.raises(Forbidden):
            clean.api("kubelet-a").patch(f"{paths.NODES}/a", label)
        with running(clean):
            cluster = Cluster(clean)
            cluster.until(lambda: cluster.peer("a"), "the NodePeer")
            assert cluster.peer("a").endpoints == ()
            clean.admin.patch(f"{paths.NODES}/a", label)
            cluster.until(lambda: [str(e) for e in cluster.peer("a").endpoints] == ["192.0.2.1"], "the address")
    finally:
        clean.admin.patch(paths.CONFIG, {"data": before})


@pytest.mark.parametrize("kind", ["Opaque", "wirecrypt.io/node-key"])
def test_an_unusable_secret_stops_only_its_own_node(cluster: Cluster, kind: str) -> None:
    """A Secret that somebody made before, of another type or malformed: the others join and rotate, and users are told."""
    secret = {"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": {"name": "wirecrypt-node-a"}}
    cluster.admin.create(paths.NODE_KEYS, {**secret, "data": {"1": "AAAA"}})
    cluster.server.node("a", label="enabled")
    cluster.join("b", "c")
    cluster.until(lambda: cluster.rotation("initial").phase is Phase.COMPLETE, "the first rotation")
    cluster.until(lambda: "KeySecretFailed" in cluster.reasons(), "the Event")
    assert cluster.peer("a") is None
    cluster.admin.delete(f"{paths.NODE_KEYS}/wirecrypt-node-a")
    cluster.until(lambda: cluster.peer("a"), "the node to join when the Secret is away")


class LateApi(Api):
    """An API whose watches say nothing before `gate` is open."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self.gate = threading.Event()

    @contextmanager
    def stream(self, path: str, *, version: str, seconds: int) -> Iterator[Any]:
        self.gate.wait()
        with super().stream(path, version=version, seconds=seconds) as answer:
            yield answer


def test_a_new_leader_waits_until_its_copies_show_what_is_there(clean: Server) -> None:
    """What was changed or deleted before its term is in its first view: there is none while the watches lag behind."""
    for name in ("a", "b"):
        clean.node(name)
    api = LateApi.connect(clean.kubeconfig(ControllerIdentity(clean).api_token))
    control = ControllerClient(api)
    control.start(lambda: None)
    try:
        clean.wait(control.view, "copies of everything")
        clean.label("a", "enabled")
        assert control.view() is not None
        control.catch_up()
        assert control.view() is None
        api.gate.set()
        assert clean.wait(control.view, "the label").nodes["a"].label == "enabled"
        clean.admin.delete(f"{paths.NODES}/b")
        control.catch_up()
        assert "b" not in clean.wait(control.view, "the deletion").nodes
    finally:
        api.gate.set()
        control.stop()


def test_a_policy_that_admits_what_it_must_refuse_is_told_by_an_event(clean: Server) -> None:
    """An Event, in the log of the cluster, names the policy that is not bound."""
    path = f"/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/{STATUS_BY_AGENT}"
    saved = clean.admin.get(path)
    clean.admin.delete(path)
    control = ControllerClient(clean.controller())
    try:
        clean.wait(lambda: not control.refuses(STATUS_BY_AGENT), "the missing binding to be noticed")
        PolicyCheck(control).check(0.0)
        events = [e for e in clean.admin.items(paths.EVENTS)[0] if e["reason"] == "AdmissionPolicyMissing"]
        assert [(e["involvedObject"]["name"], e["type"]) for e in events] == [(STATUS_BY_AGENT, "Warning")]
    finally:
        body = {key: saved[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": {"name": STATUS_BY_AGENT}}
        clean.admin.create(path.rpartition("/")[0], body)
    clean.wait(lambda: control.refuses(STATUS_BY_AGENT), "the policy to be in force again")


def test_a_bad_label_changes_nothing_and_says_so(cluster: Cluster) -> None:
    """A misspelt value on a protected node leaves it protected, with an Event and a problem."""
    cluster.join("a")
    cluster.server.label("a", "enable")
    cluster.until(lambda: cluster.encrypted("a").problems, "the problem to be shown")
    assert "enable is not known; allowed: enabled" in cluster.encrypted("a").problems[0]
    assert cluster.peer("a").state is NodeState.ACTIVE
    assert "BadLabel" in cluster.reasons()


def test_a_bad_configuration_leaves_the_one_before_in_force(clean: Server) -> None:
    """A document with a misspelt field is refused as a whole, and the controller goes on as before."""
    body = clean.admin.get(paths.CONFIG)
    try:
        with running(clean):
            cluster = Cluster(clean)
            clean.node("a", label="enabled")
            cluster.until(lambda: cluster.peer("a"), "the first node")
            clean.admin.patch(paths.CONFIG, {"data": {"config.yaml": "servceCIDRs: [10.2.0.0/16]"}})
            clean.node("b", label="enabled")
            cluster.until(lambda: cluster.peer("b"), "the second node")
            assert [str(p) for p in cluster.peer("b").pod_cidrs] == ["10.2.0.0/24"]
    finally:
        clean.admin.patch(paths.CONFIG, {"data": body["data"]})


def test_ended_rotations_beyond_the_limit_are_deleted(clean: Server) -> None:
    """With the rights of the controller's account: what ended goes, but not the record, nor the rotation that runs."""
    body = clean.admin.get(paths.CONFIG)
    try:
        configure(clean.admin, rotation={"history": 1})
        with running(clean):
            cluster = Cluster(clean)
            cluster.join("a")
            cluster.rotate("runs")
            cluster.until(lambda: cluster.rotation("runs").phase is Phase.SWITCHING, "a rotation to switch")
            for name in ("later-1", "later-2", "later-3"):
                cluster.rotate(name, abort=True)
                cluster.until(lambda name=name: cluster.rotation(name).phase is Phase.ABORTED, f"{name} to be aborted")
            left = {"initial", "runs", "later-3"}
            cluster.until(lambda: {r["metadata"]["name"] for r in cluster.admin.items(paths.KEY_ROTATIONS)[0]} == left, "them")
    finally:
        clean.admin.patch(paths.CONFIG, {"data": body["data"]})


@pytest.mark.C2
def test_a_second_pass_writes_nothing(clean: Server) -> None:
    """When all is as it should be, neither the same controller nor a new one sends a single write."""
    with running(clean):
        cluster = Cluster(clean)
        cluster.join("a", "b")
        cluster.until(lambda: cluster.rotation("initial").phase is Phase.COMPLETE, "the first rotation")
        clean.label("a", "bad")
        cluster.until(lambda: cluster.encrypted("a").problems, "the problem to be shown")
        cluster.until(lambda: all(cluster.secret(name).active for name in "ab"), "both nodes kept as Active by their keys")
    control = ControllerClient(clean.controller())
    controller = Controller(control, Leader())
    woken = threading.Event()
    control.start(woken.set)
    try:
        cluster.until(control.view, "copies of everything")
        controller.once()
        before = control.api.writes
        controller.once()
        assert control.api.writes == before
        assert before <= 3, "a new controller tries the one Event, which is there, and two policies"
    finally:
        control.stop()


@pytest.mark.parametrize("after", range(22))
def test_a_controller_killed_after_any_write_is_taken_over(clean: Server, after: int) -> None:
    """Whatever write is the last of a controller, another one finishes the work, and no ID or epoch is used twice."""
    cluster = Cluster(clean)
    for name in ("a", "b"):
        clean.node(name, label="enabled")
    control = ControllerClient(clean.controller())

    class Mortal(Leader):
        def leads(self) -> bool:
            return control.api.writes <= after

    control.start(lambda: None)
    first = Controller(control, Mortal())
    try:
        cluster.until(control.view, "copies of everything")
        while control.api.writes <= after and not cluster.peer("b"):
            first.once()
    finally:
        control.stop()
    with running(clean):
        for name in ("a", "b"):
            cluster.until(lambda name=name: cluster.peer(name), f"the NodePeer of {name}")
        cluster.until(lambda: cluster.rotation("initial").phase is Phase.COMPLETE, "the first rotation")
        assert {cluster.peer(n).node_id for n in ("a", "b")} == {16, 17}
        assert cluster.keys("a") == cluster.keys("b") == cluster.seeds() == [1]


def test_one_of_two_controllers_leads_and_the_other_takes_over(clean: Server) -> None:
    """Only the holder of the Lease writes; when it is killed, the other goes on after the Lease has run out."""
    cluster = Cluster(clean)
    kubeconfigs = [clean.kubeconfig(c.api_token) for c in (ControllerIdentity(clean), ControllerIdentity(clean))]
    code = (
        "import sys; from pathlib import Path; from wirecrypt.cluster.api import Api\n"
        "from wirecrypt.controller import run, Timings\n"
        "from wirecrypt.cluster.controller_client import ControllerClient; from wirecrypt.cluster.lease import ClusterLease\n"
        "api = Api.connect(Path(sys.argv[1])); run(ControllerClient(api), ClusterLease(api), timings=Timings(2, 1.5, 0.2))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    processes = [subprocess.Popen([sys.executable, "-c", code, str(k)], env=environment) for k in kubeconfigs]
    try:
        holder = cluster.until(lambda: _holder(cluster), "a leader")
        clean.node("a", label="enabled")
        cluster.until(lambda: cluster.peer("a"), "the leader to work")
        leader = next(p for p in processes if holder.endswith(f"_{p.pid}"))
        leader.kill()
        leader.wait()
        clean.node("b", label="enabled")
        cluster.until(lambda: cluster.peer("b"), "the other to work")
        follower = next(p for p in processes if p is not leader)
        assert _holder(cluster).endswith(f"_{follower.pid}")
        follower.terminate()
        assert follower.wait(120) == 0
        assert _holder(cluster) == ""
    finally:
        for process in processes:
            process.kill()
            process.wait()


class ControllerIdentity:
    """A token of the controller's account."""

    def __init__(self, server: Server) -> None:
        path = paths.SEEDS.replace("secrets", "serviceaccounts")
        answer = server.admin.create(f"{path}/wirecrypt-controller/token", {"spec": {}})
        self.api_token = str(answer["status"]["token"])


def _holder(cluster: Cluster) -> str:
    try:
        return str(cluster.admin.get(f"{paths.LEASES}/wirecrypt-controller")["spec"].get("holderIdentity", ""))
    except NotFound:
        return ""


def test_an_elector_that_cannot_renew_stops_leading_before_another_may_take_over(clean: Server) -> None:
    """Leadership ends by the candidate's own clock, earlier than the Lease; a second candidate then gets it."""
    now = [100.0]
    api = clean.controller()
    one = Elector(ClusterLease(api), "one", clock=lambda: now[0])
    two = Elector(ClusterLease(api), "two", clock=lambda: now[0])
    assert one.tick()
    assert not two.tick()
    now[0] += 10.1
    assert not one.leads()
    assert not two.tick()
    now[0] += 5
    assert two.tick()
    assert not one.tick()
    two.release()
    assert one.tick()
