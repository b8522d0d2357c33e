"""What the controller does to objects, as values; rotations add their own (rotation/cluster_actions.py)."""

from __future__ import annotations

from dataclasses import dataclass

from wirecrypt.model.access import AccessPart, KeyAccess
from wirecrypt.model.conditions import Reason
from wirecrypt.model.objects import EncryptedNode, KeySecret, Node, NodePeer, NodeState, SeedSecret
from wirecrypt.rotation import actions as rotating


@dataclass(frozen=True, slots=True)
class CreateEncrypted:
    """Create the EncryptedNode of a Node."""

    node: Node
    node_id: int
    state: NodeState
    problems: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class UpdateEncrypted:
    """Write state and problems of an EncryptedNode."""

    encrypted: EncryptedNode
    state: NodeState
    problems: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class DeleteEncrypted:
    """Delete an EncryptedNode, last of all that belongs to its node."""

    encrypted: EncryptedNode
    why: str


@dataclass(frozen=True, slots=True)
class CreatePeer:
    """Create the NodePeer of a Node."""

    node: Node
    peer: NodePeer
    why: str


@dataclass(frozen=True, slots=True)
class UpdatePeer:
    """Write state and claims of a NodePeer."""

    old: NodePeer
    new: NodePeer
    why: str


@dataclass(frozen=True, slots=True)
class RemovePeer:
    """Delete a NodePeer and take our finalizer away: other agents forget the node."""

    peer: NodePeer
    why: str


@dataclass(frozen=True, slots=True)
class DeleteNodeKeys:
    """Delete the Secret with a node's keys."""

    secret: KeySecret
    why: str


@dataclass(frozen=True, slots=True)
class GrantKeys:
    """Make one of the objects by which a node's account may read the Secret with the node's keys."""

    node: str
    part: AccessPart
    why: str


@dataclass(frozen=True, slots=True)
class RevokeKeys:
    """Delete one of these objects."""

    access: KeyAccess
    why: str


@dataclass(frozen=True, slots=True)
class QuarantineNodeIDs:
    """Write down that node IDs rest, before their nodes go."""

    seed: SeedSecret
    node_ids: tuple[int, ...]
    why: str


@dataclass(frozen=True, slots=True)
class EmitEvent:
    """Write an Event on a Node."""

    node: str
    reason: Reason
    why: str
    warning: bool = True


Action = (
    CreateEncrypted
    | UpdateEncrypted
    | DeleteEncrypted
    | CreatePeer
    | UpdatePeer
    | RemovePeer
    | DeleteNodeKeys
    | GrantKeys
    | RevokeKeys
    | QuarantineNodeIDs
    | EmitEvent
    | rotating.Action
)


@dataclass(frozen=True, slots=True)
class Chain:
    """Actions of one node or rotation, in order: when one fails, those after it wait for the next pass."""

    name: str
    actions: tuple[Action, ...]
