"""What the API server promises, as checks that the real one and the one in memory both pass.

A refusal is told by its class: `Conflict` of another version or object, `NotFound`, `Forbidden` by admission or RBAC, and
`ClusterError` itself by the rules of the custom resource.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

import pytest

from tests.fakes.builders import EPOCH, SILENT, node_key, peer_of
from tests.fakes.crd import STEP
from wirecrypt.errors import ClusterError, Conflict, Forbidden, NotFound, Unreachable
from wirecrypt.model.access import AccessPart
from wirecrypt.model.objects import ControllerView, EncryptedNode, KeySecret, Node, NodePeer, NodeState, Phase, SeedSecret
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Epoch, Session
from wirecrypt.model.xfrm import Algorithm
from wirecrypt.ports import AgentApi, ControllerApi

ONE = Session(1, EPOCH, bytes(32), 1, Algorithm.AES_256_GCM)
_KINDS = (Conflict, NotFound, Forbidden, Unreachable)


class Cluster(Protocol):
    """An API server with its controller's port and agents."""

    @property
    def controller(self) -> ControllerApi:
        """Return the controller's port."""

    def node(self, name: str) -> Node:
        """Have a Node of this name: another one, if there is one."""

    def agent(self, name: str) -> AgentApi:
        """Return the port of an agent that started now on this node."""

    def view(self) -> ControllerView:
        """Return what the controller sees, with all that it wrote."""

    def wait(self, until: Callable[[], object]) -> None:
        """Wait for what becomes true a moment after what it follows from."""


def refused(kind: type[ClusterError], request: Callable[[], object]) -> None:
    """Have *request* be refused in this way."""
    with pytest.raises(kind) as raised:
        request()
    assert kind in _KINDS or not isinstance(raised.value, _KINDS)


def joined(cluster: Cluster, name: str, node_id: int) -> tuple[EncryptedNode, NodePeer]:
    """Return the objects of a new Node."""
    node = cluster.node(name)
    cluster.controller.create_encrypted_node(node, node_id, NodeState.JOINING, ())
    cluster.controller.create_node_peer(node, peer_of(node, node_id))
    view = cluster.view()
    return view.encrypted[name], view.peers[name]


def publish(agent: AgentApi, peer: NodePeer, *sessions: Session, boot: int = 1) -> NodePeer:
    return agent.publish_sessions(peer, boot_id="boot", boot_session=boot, sessions=sessions)


def a_write_on_an_old_version_is_a_conflict_and_changes_nothing(cluster: Cluster) -> None:
    """Whoever writes, and also where the custom resource or admission would refuse it."""
    _, old = joined(cluster, "a", 16)
    cluster.controller.update_node_peer(old, replace(old, state=NodeState.ACTIVE))
    for state in (NodeState.LEAVING, NodeState.JOINING):
        refused(Conflict, lambda state=state: cluster.controller.update_node_peer(old, replace(old, state=state)))
    refused(Conflict, lambda: publish(cluster.agent("a"), old, ONE))
    refused(Conflict, lambda: publish(cluster.agent("a"), old, ONE, boot=9))
    now = cluster.view().peers["a"]
    assert (now.state, now.sessions, now.last_session) == (NodeState.ACTIVE, (), 0)
    assert publish(cluster.agent("a"), now, ONE).sessions == (ONE,)


def what_is_there_is_not_made_again(cluster: Cluster) -> None:
    """Of no kind, and what is there stays."""
    node, control = cluster.node("a"), cluster.controller
    keys, seed = KeySecret("a", node.uid, (node_key(EPOCH, node.uid),)), SeedSecret(EPOCH, SecretBytes(bytes(32)))
    creations: tuple[Callable[[], None], ...] = (
        lambda: control.create_encrypted_node(node, 16, NodeState.JOINING, ()),
        lambda: control.create_node_peer(node, peer_of(node, 16)),
        lambda: control.write_keys(keys, None),
        lambda: control.write_seed(seed),
        lambda: control.create_rotation("r", "a test"),
        lambda: control.grant_keys("a", AccessPart.ACCOUNT),
    )
    for create in creations:
        create()
        before = cluster.view()
        refused(Conflict, create)
        assert cluster.view() == before


def a_secret_is_replaced_and_deleted_in_the_version_that_was_read(cluster: Cluster) -> None:
    """And one that is gone is replaced by nobody."""
    node, control = cluster.node("a"), cluster.controller
    control.write_keys(KeySecret("a", node.uid, (node_key(EPOCH, node.uid),)), None)
    old = cluster.view().keys["a"]
    control.write_keys(replace(old, node_id=16), None)
    refused(Conflict, lambda: control.write_keys(replace(old, node_id=17), None))
    refused(Conflict, lambda: control.delete_keys(old))
    new = cluster.view().keys["a"]
    assert new.node_id == 16
    control.delete_keys(new)
    refused(NotFound, lambda: control.write_keys(new, None))
    assert cluster.view().keys == {}


def what_is_gone_is_no_error_to_delete(cluster: Cluster) -> None:
    """But another object in its place is not deleted for it."""
    control = cluster.controller
    encrypted, peer = joined(cluster, "a", 16)
    control.write_keys(KeySecret("a", peer.node_uid, (node_key(EPOCH, peer.node_uid),)), None)
    control.write_seed(SeedSecret(EPOCH, SecretBytes(bytes(32))))
    control.create_rotation("r", "a test")
    control.grant_keys("a", AccessPart.ROLE)
    view = cluster.view()
    for _ in range(2):
        control.delete_encrypted_node(encrypted)
        control.remove_node_peer(peer)
        control.delete_keys(view.keys["a"])
        control.delete_seed(view.seeds[0])
        control.delete_rotation(view.rotations[0])
        control.revoke_keys(view.access["a"][0])
        now = cluster.view()
        assert (now.encrypted, now.peers, now.keys, now.seeds, now.rotations, now.access) == ({}, {}, {}, (), (), {})
    joined(cluster, "a", 17)
    refused(Conflict, lambda: control.delete_encrypted_node(encrypted))
    refused(Conflict, lambda: control.remove_node_peer(peer))


def the_controller_writes_what_is_its_own(cluster: Cluster) -> None:
    """State and claims: no identity, and nothing that the agent said; what changes nothing makes no version."""
    _, peer = joined(cluster, "a", 16)
    peer = publish(cluster.agent("a"), peer, ONE)
    cluster.controller.update_node_peer(peer, replace(peer, pod_cidrs=(), node_id=99, node_uid="x", sessions=()))
    now = cluster.agent("a").node_peer("a")
    assert now == replace(peer, pod_cidrs=(), resource_version=now.resource_version if now else "")
    assert now.resource_version != peer.resource_version
    cluster.controller.update_node_peer(now, now)
    assert cluster.agent("a").node_peer("a") == now


def states_go_forward(cluster: Cluster) -> None:
    """Of both kinds; only a NodePeer is ever Removed, and stays it."""
    control = cluster.controller
    ways = {
        NodeState.ACTIVE: (NodeState.JOINING, NodeState.REMOVED),
        NodeState.LEAVING: (NodeState.JOINING, NodeState.ACTIVE, NodeState.REMOVED),
        NodeState.EXCLUDED: (NodeState.JOINING, NodeState.ACTIVE, NodeState.LEAVING),
    }
    encrypted, peer = joined(cluster, "a", 16)
    refused(ClusterError, lambda: control.update_encrypted_node(encrypted, NodeState.REMOVED, ()))
    for state, back in ways.items():
        view = cluster.view()
        control.update_encrypted_node(view.encrypted["a"], state, ())
        control.update_node_peer(view.peers["a"], replace(peer, state=state))
        here, there = cluster.view().encrypted["a"], cluster.view().peers["a"]
        for other in back:
            refused(ClusterError, lambda h=here, o=other: control.update_encrypted_node(h, o, ()))
            refused(ClusterError, lambda t=there, o=other: control.update_node_peer(t, replace(t, state=o)))
    assert cluster.view().peers["a"].state is cluster.view().encrypted["a"].state is NodeState.EXCLUDED


def a_word_that_a_node_was_removed_is_no_peer_and_waits_for_nobody(cluster: Cluster) -> None:
    """Never anything else either, and gone with one deletion."""
    node, control = cluster.node("a"), cluster.controller
    control.create_node_peer(node, peer_of(node, 16, state=NodeState.REMOVED, endpoints=(), pod_cidrs=()))
    view = cluster.view()
    assert (view.peers, [*view.tombstones]) == ({}, ["a"])
    word = view.tombstones["a"]
    for state in (NodeState.JOINING, NodeState.LEAVING):
        refused(ClusterError, lambda state=state: control.update_node_peer(word, replace(word, state=state)))
    control.remove_node_peer(word)
    assert cluster.view().tombstones == {}


def a_published_session_never_changes_and_no_number_comes_back(cluster: Cluster) -> None:
    """Nor goes back; and what is refused changes nothing."""
    _, peer = joined(cluster, "a", 16)
    agent = cluster.agent("a")
    peer = publish(agent, peer, replace(ONE, number=2), boot=2)
    two, three = peer.sessions[0], replace(ONE, number=3)
    for sessions, boot in (
        ((replace(two, public=b"\1" * 32),), 2),
        ((replace(two, lanes=2),), 2),
        ((ONE, two), 2),
        ((two, three, replace(three, lanes=2)), 2),
        (tuple(replace(ONE, number=n) for n in range(3, 7)), 2),
        ((two, three), 1),
        ((two, three), 4),
    ):
        refused(ClusterError, lambda s=sessions, b=boot: publish(agent, peer, *s, boot=b))
    assert agent.node_peer("a") == peer
    without = publish(agent, peer, boot=2)
    refused(ClusterError, lambda: publish(agent, without, two, boot=2))
    assert publish(agent, without, three, boot=3).last_session == 3


def nothing_leaps_ahead(cluster: Cluster) -> None:
    """Neither a session's number, nor an epoch that is published or reported; the first may be any."""
    encrypted, peer = joined(cluster, "a", 16)
    agent = cluster.agent("a")
    peer = publish(agent, peer, replace(ONE, number=5, epoch=Epoch(7, EPOCH.id)))
    refused(ClusterError, lambda: publish(agent, peer, replace(ONE, number=6 + STEP)))
    refused(ClusterError, lambda: publish(agent, peer, replace(ONE, number=6, epoch=Epoch(8 + STEP, EPOCH.id))))
    assert publish(agent, peer, replace(ONE, number=5 + STEP, epoch=Epoch(7 + STEP, EPOCH.id))).last_session == 5 + STEP
    said = replace(SILENT, sending_epoch=5 * STEP, accepting_epochs=(5 * STEP,))
    encrypted = agent.write_node_status(encrypted, said)
    for lie in (replace(said, sending_epoch=6 * STEP + 1), replace(said, accepting_epochs=(1, 6 * STEP + 1))):
        refused(ClusterError, lambda lie=lie: agent.write_node_status(encrypted, lie))
    assert getattr(agent.encrypted_node("a"), "status", None) == said


def an_agent_writes_for_its_own_node_object_alone(cluster: Cluster) -> None:
    """Not for another node, and not for a later Node of its name; of what is gone it hears that it is."""
    first, peer = joined(cluster, "a", 16)
    agent, other = cluster.agent("a"), joined(cluster, "b", 17)
    refused(Forbidden, lambda: publish(agent, other[1], ONE))
    refused(Forbidden, lambda: agent.write_node_status(other[0], SILENT))
    refused(Forbidden, lambda: agent.propose_addresses("b", ()))
    assert agent.forbidden_write_refused(["c", "b"])
    refused(NotFound, lambda: agent.forbidden_write_refused(["c"]))
    cluster.controller.delete_encrypted_node(first)
    cluster.controller.remove_node_peer(peer)
    refused(NotFound, lambda: publish(agent, peer, ONE))
    encrypted, again = joined(cluster, "a", 18)
    refused(Forbidden, lambda: publish(agent, again, ONE))
    refused(Forbidden, lambda: agent.propose_addresses("a", ()))
    refused(Forbidden, lambda: agent.write_node_status(encrypted, SILENT))
    assert cluster.agent("a").node_peer("a") == again
    assert cluster.agent("a").encrypted_node("a") == encrypted
    assert publish(cluster.agent("a"), again, ONE).sessions == (ONE,)


def a_status_is_written_over_what_is_known(cluster: Cluster) -> None:
    """Unread, from what the last write left; what others wrote meanwhile makes it a conflict."""
    encrypted, _ = joined(cluster, "a", 16)
    agent = cluster.agent("a")
    first = agent.write_node_status(encrypted, SILENT)
    assert (first, first.status) == (agent.encrypted_node("a"), SILENT)
    second = agent.write_node_status(first, replace(SILENT, mtu=1400))
    refused(Conflict, lambda: agent.write_node_status(first, SILENT))
    cluster.controller.update_encrypted_node(second, NodeState.JOINING, ("a word",))
    refused(Conflict, lambda: agent.write_node_status(second, SILENT))
    assert getattr(agent.encrypted_node("a"), "status", None) == second.status


def an_agent_reads_the_keys_of_its_own_node_alone(cluster: Cluster) -> None:
    """By an account, a role and a binding; without account or Secret there are none."""
    uids = {name: cluster.node(name).uid for name in "ab"}
    agent, keys = cluster.agent("a"), {name: node_key(EPOCH, uid) for name, uid in uids.items()}
    assert list(agent.node_keys("a")) == []
    for name, uid in uids.items():
        cluster.controller.write_keys(KeySecret(name, uid, (keys[name],)), None)
        assert list(cluster.agent(name).node_keys(name)) == []
        cluster.controller.grant_keys(name, AccessPart.ACCOUNT)
    refused(Forbidden, lambda: agent.node_keys("a"))
    for name in uids:
        for part in (AccessPart.ROLE, AccessPart.BINDING):
            cluster.controller.grant_keys(name, part)
    cluster.wait(lambda: [k.epoch for k in agent.node_keys("a")] == [EPOCH])
    assert agent.node_keys("a")[0].share.reveal() == keys["a"].share.reveal()
    refused(Forbidden, lambda: agent.node_keys("b"))
    cluster.controller.delete_keys(cluster.view().keys["a"])
    assert list(agent.node_keys("a")) == []


def a_rotation_goes_forward_one_phase_at_a_time(cluster: Cluster) -> None:
    """With the epochs that it named first; while we hold it, one that is deleted stays, whatever version was read."""
    control = cluster.controller
    control.create_rotation("r", "a test")
    made = cluster.view().rotations[0]
    begun = replace(made, phase=Phase.DISTRIBUTING, from_epoch=1, to_epoch=2, to_epoch_id="2" * 32)
    refused(ClusterError, lambda: control.write_rotation(made, replace(made, phase=Phase.DISTRIBUTING)))
    control.write_rotation(made, replace(made, phase=Phase.PENDING))
    refused(Conflict, lambda: control.write_rotation(made, begun))
    pending = cluster.view().rotations[0]
    refused(ClusterError, lambda: control.write_rotation(pending, replace(begun, phase=Phase.SWITCHING)))
    control.write_rotation(pending, begun)
    now = cluster.view().rotations[0]
    for wrong in (replace(now, phase=Phase.PENDING), replace(now, to_epoch=3), replace(now, phase=Phase.COMPLETE)):
        refused(ClusterError, lambda wrong=wrong: control.write_rotation(now, wrong))
    control.hold_rotation(made, held=True)
    held = cluster.view().rotations[0]
    control.delete_rotation(held)
    deleted = cluster.view().rotations[0]
    assert (deleted.held, deleted.deleting, deleted.phase) == (True, True, Phase.DISTRIBUTING)
    control.hold_rotation(deleted, held=False)
    cluster.wait(lambda: cluster.view().rotations == ())


API: Final[tuple[Callable[[Cluster], None], ...]] = (
    a_write_on_an_old_version_is_a_conflict_and_changes_nothing,
    what_is_there_is_not_made_again,
    a_secret_is_replaced_and_deleted_in_the_version_that_was_read,
    what_is_gone_is_no_error_to_delete,
    the_controller_writes_what_is_its_own,
    states_go_forward,
    a_word_that_a_node_was_removed_is_no_peer_and_waits_for_nobody,
    a_published_session_never_changes_and_no_number_comes_back,
    nothing_leaps_ahead,
    an_agent_writes_for_its_own_node_object_alone,
    a_status_is_written_over_what_is_known,
    an_agent_reads_the_keys_of_its_own_node_alone,
    a_rotation_goes_forward_one_phase_at_a_time,
)
