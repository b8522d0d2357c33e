"""The API server as the controller sees it. Errors: `ClusterError` and `ObjectError`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from wirecrypt.model.access import AccessPart, KeyAccess
from wirecrypt.model.conditions import Reason
from wirecrypt.model.objects import (
    ControllerView,
    EncryptedNode,
    KeyRotation,
    KeySecret,
    Lease,
    Node,
    NodePeer,
    NodeState,
    SeedSecret,
)


class ControllerApi(Protocol):
    """Reads and writes of the controller. Writes are by compare-and-swap on what was read and raise `Conflict`."""

    def view(self) -> ControllerView | None:
        """Return the local copies, None while they do not show all of the own writes yet."""

    def catch_up(self) -> None:
        """Hold `view` back until the copies have reached what the API server holds now, by a quorum read of every kind.

        The copies of a process that begins to lead may be older than the last writes of the leader before.
        """

    def refuses(self, policy: str) -> bool:
        """Try, dry, what the admission *policy* must refuse to the controller; False when it was admitted."""

    def create_encrypted_node(self, node: Node, node_id: int, state: NodeState, problems: Sequence[str]) -> None:
        """Create the EncryptedNode of *node*."""

    def update_encrypted_node(self, encrypted: EncryptedNode, state: NodeState, problems: Sequence[str]) -> None:
        """Write what may change in the spec of an EncryptedNode."""

    def delete_encrypted_node(self, encrypted: EncryptedNode) -> None:
        """Delete an EncryptedNode."""

    def create_node_peer(self, node: Node, peer: NodePeer) -> None:
        """Create the NodePeer of *node* with our finalizer."""

    def update_node_peer(self, old: NodePeer, new: NodePeer) -> None:
        """Write what may change in the spec of a NodePeer."""

    def remove_node_peer(self, peer: NodePeer) -> None:
        """Delete a NodePeer in the version that was read and take our finalizer away."""

    def write_keys(self, secret: KeySecret, owner: Node | None) -> None:
        """Create the Secret with a node's keys, or replace the version that was read."""

    def delete_keys(self, secret: KeySecret) -> None:
        """Delete the Secret with a node's keys."""

    def grant_keys(self, node: str, part: AccessPart) -> None:
        """Make one of the objects by which the account of *node* may read the Secret with the node's keys."""

    def revoke_keys(self, access: KeyAccess) -> None:
        """Delete one of these objects."""

    def write_seed(self, seed: SeedSecret) -> None:
        """Create the Secret of an epoch, or replace the version that was read."""

    def delete_seed(self, seed: SeedSecret) -> None:
        """Delete the Secret of an epoch."""

    def create_rotation(self, name: str, reason: str) -> None:
        """Create a KeyRotation."""

    def delete_rotation(self, rotation: KeyRotation) -> None:
        """Delete a KeyRotation in the version that was read."""

    def hold_rotation(self, rotation: KeyRotation, *, held: bool) -> None:
        """Put our finalizer on a KeyRotation or take it away."""

    def write_rotation(self, old: KeyRotation, new: KeyRotation) -> None:
        """Write the status of a KeyRotation."""

    def node_event(self, node: str, *, reason: Reason, message: str, warning: bool) -> None:
        """Write an Event on a Node, once per text."""

    def policy_event(self, policy: str, *, reason: Reason, message: str) -> None:
        """Write a warning as an Event on an admission policy, which may be missing, once per text."""

    def rotation_event(self, rotation: KeyRotation, *, reason: Reason, message: str) -> None:
        """Write an Event on a KeyRotation, once per text."""


class LeaseStore(Protocol):
    """The Lease object of the controller."""

    def read(self) -> Lease | None:
        """Return the Lease by a quorum read, None when there is none."""

    def write(self, lease: Lease) -> Lease:
        """Create the Lease, or replace the version that was read; raises `Conflict`."""
