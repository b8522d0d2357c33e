"""Objects of a labelled node that were lost are made again from what is left: the label is the wish ◆R31. Pure.

NodePeer and EncryptedNode each say the node's ID and state, and the Secret with its keys says them when both are gone, as
when somebody replaces the kinds. With the same ID agents take up their sessions where they were, and no pair stops.
"""

from __future__ import annotations

from collections.abc import Iterable

from wirecrypt.controller.actions import Action, EmitEvent, RemovePeer
from wirecrypt.controller.claims.settle import Settled
from wirecrypt.controller.node_objects import NodeObjects
from wirecrypt.model.conditions import Reason
from wirecrypt.model.objects import KeySecret, Node, NodePeer, NodeState


def state_again(objects: NodeObjects, node_id: int) -> NodeState:
    """Return the state of a node without NodePeer: what its EncryptedNode says, or the Secret of this ID, else Joining.

    Active, it blocks what it cannot encrypt.
    """
    if objects.encrypted:
        return objects.encrypted.state
    was_active = objects.secret is not None and objects.secret.active and objects.kept_id == node_id
    return NodeState.ACTIVE if was_active else NodeState.JOINING


def is_kept(objects: NodeObjects, secret: KeySecret, node_id: int) -> bool:
    """Return whether the node's Secret says all that is to be known when nothing else is there."""
    active = objects.peer is not None and objects.peer.state is NodeState.ACTIVE
    return secret.node_id == node_id and (secret.active or not active)


def may_go(objects: NodeObjects) -> bool:
    """Return whether the NodePeer was deleted under its label, and its node ID is kept until it is back.

    By its EncryptedNode, or next to its keys where that one is gone as well.
    """
    peer, encrypted = objects.peer, objects.encrypted
    if peer is None or not peer.deleting:
        return False
    return peer.node_id == (encrypted.node_id if encrypted and not encrypted.deleting else objects.kept_id)


def lost_before_farewell(objects: NodeObjects) -> bool:
    """Return whether a node without the label lost its NodePeer before it had left: its Secret, which goes later, is there.

    Only a farewell ends its pairs in order: the object that is missing is none.
    """
    over = objects.tombstone is not None or objects.cleaned or objects.confirmed
    unlabelled = objects.node is not None and objects.node.label is None
    return unlabelled and objects.peer is None and bool(objects.kept_id) and not over


def new_peer(node: Node, node_id: int, settled: Settled, state: NodeState) -> NodePeer:
    """Return the NodePeer of a node that has none, with what it gets."""
    claims = settled.endpoints, settled.pod_cidrs
    return NodePeer(node.name, "", node_id, node.uid, *claims, state, node.created, addresses=settled.addresses)


def made_again(name: str, peer: NodePeer) -> Iterable[Action]:
    """Yield the end of a NodePeer that was deleted under its label; another one follows at once ◆R31.

    What it held is settled already, also what its Node does not mention: nobody else knows that.
    """
    yield RemovePeer(peer, why="deleted under its label, and is made again")
    yield EmitEvent(
        name, Reason.MADE_AGAIN, "its NodePeer was deleted and is made again; to have the node leave take its label off"
    )
