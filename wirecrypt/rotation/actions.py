"""What the rotation of a cluster sees and what it asks for: the values that `rotation.cluster` decides about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from wirecrypt.model.objects import KeyRotation, KeySecret, NodePeer, NodeStatus, SeedSecret
from wirecrypt.model.session import Epoch


@dataclass(frozen=True, slots=True)
class SetFinalizer:
    """Put our finalizer on a rotation, so that it cannot vanish half done; or take it away again."""

    rotation: KeyRotation
    held: bool
    why: str


@dataclass(frozen=True, slots=True)
class CreateSeed:
    """Create the Secret of a new epoch with a new random seed."""

    epoch: Epoch
    carried: tuple[int, ...]
    why: str


@dataclass(frozen=True, slots=True)
class DeleteSeed:
    """Delete the Secret of an epoch."""

    seed: SeedSecret
    why: str


@dataclass(frozen=True, slots=True)
class WriteNodeKeys:
    """Write a node's keys of these epochs into its Secret, next to those that are there for the same Node UID, and its ID."""

    node: str
    node_uid: str
    node_id: int
    epochs: tuple[Epoch, ...]
    why: str


@dataclass(frozen=True, slots=True)
class RemoveNodeKey:
    """Remove the key of epoch *number* from a node's Secret."""

    secret: KeySecret
    number: int
    why: str


@dataclass(frozen=True, slots=True)
class ExcludePeer:
    """Cut a node off: it has no part in any rotation from here on, and its pairs are blocked."""

    peer: NodePeer
    why: str


@dataclass(frozen=True, slots=True)
class UpdateRotationStatus:
    """Write the status of a rotation: *new* differs from *old* in status fields only."""

    old: KeyRotation
    new: KeyRotation
    why: str


@dataclass(frozen=True, slots=True)
class CreateRotation:
    """Create a KeyRotation."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class DeleteRotation:
    """Delete a KeyRotation that has ended and that nobody needs."""

    rotation: KeyRotation
    why: str


Action = (
    SetFinalizer
    | CreateSeed
    | DeleteSeed
    | WriteNodeKeys
    | RemoveNodeKey
    | ExcludePeer
    | UpdateRotationStatus
    | CreateRotation
    | DeleteRotation
)


@dataclass(frozen=True, slots=True)
class RotationInputs:
    """What the API server holds. *statuses*: of EncryptedNodes, by name. *down*: nodes that are gone, not Ready or silent.

    *wanted*: some node is to be encrypted, so there has to be a first epoch. *unusable*: by node, why its Secret, which is
    there, cannot be read: nothing is written over it. *refused*: by node, why the last write of its Secret failed. *patience*:
    seconds from the beginning of a rotation after which a person may have it go on without a node. *unheard*: nodes that were
    Active and whose words were lost with their objects, which may use any epoch.
    """

    rotations: tuple[KeyRotation, ...] = ()
    seeds: tuple[SeedSecret, ...] = ()
    keys: Mapping[str, KeySecret] = field(default_factory=dict)
    peers: tuple[NodePeer, ...] = ()
    statuses: Mapping[str, NodeStatus] = field(default_factory=dict)
    down: frozenset[str] = frozenset()
    wanted: bool = False
    unusable: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    patience: float = 0.0
    unheard: frozenset[str] = frozenset()
