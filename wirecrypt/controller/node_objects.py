"""All that belongs to one name: the Node, and the objects that the controller made for it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from wirecrypt.model.access import KeyAccess
from wirecrypt.model.conditions import CLEANED, find
from wirecrypt.model.objects import LABEL_ENABLED, ControllerView, EncryptedNode, KeySecret, Node, NodePeer, NodeState


@dataclass(frozen=True, slots=True)
class NodeObjects:
    """What is there for one name; *unusable*: why its Secret, which is there, cannot be read.

    *tombstone*: the NodePeer that says of the Node, or of one of this name before, that it was removed. *access*: what lets
    the node's account read the Secret.
    """

    name: str
    node: Node | None
    encrypted: EncryptedNode | None
    peer: NodePeer | None
    secret: KeySecret | None
    unusable: str = ""
    tombstone: NodePeer | None = None
    access: tuple[KeyAccess, ...] = ()

    @property
    def uid(self) -> str:
        """Return the UID of the Node that the objects were made for."""
        return self.peer.node_uid if self.peer else self.encrypted.node_uid if self.encrypted else ""

    @property
    def node_id(self) -> int:
        """Return the node ID that the node's objects say, 0 if none does."""
        return self.peer.node_id if self.peer else self.encrypted.node_id if self.encrypted else 0

    @property
    def kept_id(self) -> int:
        """Return the node ID that was written next to the Node's keys: it is there when all other objects are lost. 0: none."""
        same = self.secret and self.node and self.secret.node_uid == self.node.uid
        return self.secret.node_id if self.secret and same else 0

    @property
    def new(self) -> bool:
        """Return whether nothing was ever made for the node: one whose objects were lost has its keys, which name its ID."""
        return self.peer is None and self.encrypted is None and not self.kept_id

    @property
    def vanished(self) -> bool:
        """Return whether the Node that the objects were made for is gone, or another has its name."""
        return bool(self.uid) and (self.node is None or self.node.uid != self.uid)

    @property
    def leaving(self) -> bool:
        """Return whether the node is on its way out: that is never recanted ◆R27."""
        return NodeState.LEAVING in {x.state for x in (self.peer, self.encrypted) if x}

    @property
    def excluded(self) -> bool:
        """Return whether a person cut the node off; only its label's end ends that."""
        return self.peer is not None and self.peer.state is NodeState.EXCLUDED

    @property
    def wanted(self) -> bool:
        """Return whether the label asks for encryption; a bad value changes nothing."""
        label = self.node.label if self.node else None
        return label == LABEL_ENABLED or (label is not None and bool(self.uid or self.kept_id))

    @property
    def succeeded(self) -> bool:
        """Return whether a labelled Node has the name of the one that vanished: its pairs go over, never in clear ◆R30."""
        return self.vanished and self.node is not None and self.node.label == LABEL_ENABLED

    @property
    def lost(self) -> bool:
        """Return whether the NodePeer is to go and no person said so: its Node vanished, and no labelled one is in its place.

        Its state and whether it is deleted already do not matter: a garbage collector deletes what a vanished Node owned.
        """
        return self.peer is not None and self.vanished and not self.succeeded

    @property
    def confirmed(self) -> bool:
        """Return whether a person confirmed that the node is gone, on either object: the EncryptedNode may be gone itself."""
        return bool((self.encrypted and self.encrypted.confirmed) or (self.peer and self.peer.confirmed))

    @property
    def unheard(self) -> bool:
        """Return whether the node never published a session; one that was Active did, before its NodePeer was lost."""
        active = self.secret is not None and self.secret.active and self.secret.node_uid == self.uid
        return self.peer is not None and not self.peer.sessions and not self.peer.last_session and not active

    @property
    def cleaned(self) -> bool:
        """Return whether the node's agent has said that it is cleaned up."""
        found = find(self.encrypted.conditions, CLEANED) if self.encrypted else None
        return found is not None and found.status is True


def all_objects(view: ControllerView) -> tuple[NodeObjects, ...]:
    """Return what is there, by name; without the names of which something cannot be read."""
    known = {*view.nodes, *view.encrypted, *view.peers, *view.keys, *view.unusable_keys, *view.tombstones, *view.access}
    names = sorted(known - view.unreadable)
    return tuple(
        NodeObjects(
            name,
            view.nodes.get(name),
            view.encrypted.get(name),
            view.peers.get(name),
            view.keys.get(name),
            view.unusable_keys.get(name, ""),
            view.tombstones.get(name),
            view.access.get(name, ()),
        )
        for name in names
    )
