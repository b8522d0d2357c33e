"""The API server in memory: objects by name, their versions, what admission and the custom resources refuse.

This is the controller's port; `agent_side` has what one agent sees and writes of it. Tests, as people with kubectl do, change
objects as they like. `contracts` says what it has in common with a real one.
"""

# ruff: noqa: ARG002, D102 - the methods are those of the port
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Self

from tests.fakes import crd
from tests.fakes.builders import START, document
from tests.fakes.versions import Versions, same
from wirecrypt.errors import ClusterError, Conflict, Forbidden
from wirecrypt.model.access import AccessPart, KeyAccess, TokenIdentity
from wirecrypt.model.admission import OWN_NODE
from wirecrypt.model.objects import (
    ConfigDocument,
    ControllerView,
    EncryptedNode,
    KeyRotation,
    KeySecret,
    Node,
    NodePeer,
    NodeState,
    NodeStatus,
    SeedSecret,
)

_SPEC = ("state", "endpoints", "pod_cidrs", "addresses")  # of a NodePeer, that change
_STATUS = (
    *("phase", "from_epoch", "to_epoch", "to_epoch_id", "nodes_total", "nodes_done"),
    *("laggards", "started", "completed", "conditions"),
)  # of a KeyRotation


@dataclass(frozen=True, slots=True)
class Copies:
    """What an agent's watches may show: the objects at one moment."""

    nodes: Mapping[str, Node] = field(default_factory=dict)
    peers: Mapping[str, NodePeer] = field(default_factory=dict)
    rotations: tuple[KeyRotation, ...] = ()


@dataclass
class ApiServer(Versions):
    """Objects by name, and the controller's port to them.

    What is wrong with it, next to *down*. *age*: for how many seconds nothing confirmed the copies of NodePeers; *undone*: how
    often they saw it go back; *hidden*: NodePeers that they lack; *malformed*: those that nobody can read; *open*: admission
    policies that are not in force; *denied*: requests that RBAC refuses; *unusable_keys*: by node, why its Secret cannot be
    read; *foreign*: nodes where a Secret of another type, which no copy shows, is in the way.
    """

    nodes: dict[str, Node] = field(default_factory=dict)
    peers: dict[str, NodePeer] = field(default_factory=dict)
    encrypted: dict[str, EncryptedNode] = field(default_factory=dict)
    keys: dict[str, KeySecret] = field(default_factory=dict)
    seeds: dict[int, SeedSecret] = field(default_factory=dict)
    rotations: dict[str, KeyRotation] = field(default_factory=dict)
    config: ConfigDocument | None = field(default_factory=document)
    access: dict[tuple[str, AccessPart], KeyAccess] = field(default_factory=dict)
    events: list[tuple[str, str]] = field(default_factory=list)
    clock: Callable[[], float] = lambda: 0.0

    age: float = 0.0
    undone: int = 0
    hidden: set[str] = field(default_factory=set)
    malformed: set[str] = field(default_factory=set)
    open: set[str] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)
    unusable_keys: dict[str, str] = field(default_factory=dict)
    foreign: set[str] = field(default_factory=set)
    catch_ups: int = 0

    @classmethod
    def of(cls, *nodes: Node, **more: object) -> Self:
        return cls(nodes={n.name: n for n in nodes}, **more)  # type: ignore[arg-type]  # fields as they are called

    @property
    def now(self) -> datetime:
        """Return the time of what is made."""
        return START + timedelta(seconds=self.clock())

    def copies(self, of: Iterable[str] | None = None) -> Copies:
        """Return what is there now, or what there is of some nodes."""
        nodes, peers = dict(self.nodes), dict(self.peers)
        if of is not None:
            nodes, peers = ({name: kind[name] for name in of if name in kind} for kind in (self.nodes, self.peers))
        return Copies(nodes, peers, tuple(self.rotations.values()))

    def configure(self, text: str) -> None:
        """Write the configuration document."""
        self.config = document(text, int(self.config.resource_version) + 1 if self.config else 100)

    # ---- what the controller reads

    def start(self, changed: Callable[[], None]) -> None:
        """Watch nothing: `view` is always new."""

    def stop(self) -> None:
        """Stop nothing."""

    def ages(self) -> Mapping[str, float]:
        return {"Node": 0.0, "NodePeer": self.age}

    def restores(self) -> int:
        return self.undone

    def view(self) -> ControllerView | None:
        readable = {name: p for name, p in self.peers.items() if name not in self.malformed}
        return ControllerView(
            nodes=dict(self.nodes),
            peers={name: p for name, p in readable.items() if p.state is not NodeState.REMOVED},
            tombstones={name: p for name, p in readable.items() if p.state is NodeState.REMOVED},
            encrypted=dict(self.encrypted),
            keys=dict(self.keys),
            seeds=tuple(self.seeds.values()),
            rotations=tuple(self.rotations.values()),
            config=self.config,
            unreadable=frozenset(self.malformed),
            unusable_keys=dict(self.unusable_keys),
            access=self.readers(),
        )

    def catch_up(self) -> None:
        self.catch_ups += 1

    def refuses(self, policy: str) -> bool:
        return policy not in self.open

    def readers(self) -> dict[str, tuple[KeyAccess, ...]]:
        """Return by node what lets its account read its keys."""
        names = {node for node, _ in self.access}
        return {name: tuple(a for (node, _), a in self.access.items() if node == name) for name in names}

    def reasons(self, name: str) -> set[str]:
        """Return the reasons of all Events on *name*."""
        return {reason.partition(": ")[0] for about, reason in self.events if about == name}

    # ---- what it writes

    def create_encrypted_node(self, node: Node, node_id: int, state: NodeState, problems: Sequence[str]) -> None:
        new = EncryptedNode(node.name, f"en-{self.version}", node_id, node.uid, state, self.now, problems=tuple(problems))
        self._create(self.encrypted, node.name, new)

    def update_encrypted_node(self, encrypted: EncryptedNode, state: NodeState, problems: Sequence[str]) -> None:
        self._update(self.encrypted, encrypted, crd.spec, state=state, problems=tuple(problems))

    def delete_encrypted_node(self, encrypted: EncryptedNode) -> None:
        self._delete(self.encrypted, encrypted.name, encrypted, by="uid")

    def create_node_peer(self, node: Node, peer: NodePeer) -> None:
        self._create(self.peers, peer.name, replace(peer, uid=f"np-{self.version}", created=self.now))

    def update_node_peer(self, old: NodePeer, new: NodePeer) -> None:
        self._update(self.peers, old, crd.spec, **{name: getattr(new, name) for name in _SPEC})

    def remove_node_peer(self, peer: NodePeer) -> None:
        there = self.peers.get(peer.name)
        if there is None:
            return
        same(there, peer, by="uid" if peer.deleting else "resource_version")
        if not peer.deleting and there.state is not NodeState.REMOVED:  # our finalizer holds it
            self._write()
            self.peers[peer.name] = self._next(replace(there, deleting=True))
        self._write()
        del self.peers[peer.name]

    def write_keys(self, secret: KeySecret, owner: Node | None) -> None:
        if not secret.resource_version and secret.node in {*self.foreign, *self.unusable_keys}:
            raise Conflict("POST", answer="AlreadyExists")
        self._put(self.keys, secret.node, secret)

    def delete_keys(self, secret: KeySecret) -> None:
        self._delete(self.keys, secret.node, secret)

    def grant_keys(self, node: str, part: AccessPart) -> None:
        if (node, part) in self.access or node in self.foreign:
            raise Conflict("POST", what=node, answer="AlreadyExists")
        self._write()
        self.version += 1
        self.access[node, part] = KeyAccess(node, part, f"{part.value}-{self.version}")

    def revoke_keys(self, access: KeyAccess) -> None:
        self._delete(self.access, (access.node, access.part), access, by="uid")

    def write_seed(self, seed: SeedSecret) -> None:
        self._put(self.seeds, seed.epoch.number, seed)

    def delete_seed(self, seed: SeedSecret) -> None:
        self._delete(self.seeds, seed.epoch.number, seed)

    def create_rotation(self, name: str, reason: str) -> None:
        self._create(self.rotations, name, KeyRotation(name, f"uid-{name}-{self.version}", reason, self.now))

    def delete_rotation(self, rotation: KeyRotation) -> None:
        self._may("DELETE keyrotations")
        there = self.rotations.get(rotation.name)
        if there is None or not there.held:
            self._delete(self.rotations, rotation.name, rotation)
        else:
            self._update(self.rotations, rotation, deleting=True)

    def hold_rotation(self, rotation: KeyRotation, *, held: bool) -> None:
        there = self._there(self.rotations, rotation.name)
        same(there, rotation, by="uid")
        if held != there.held:
            self._update(self.rotations, there, held=held)
        if there.deleting and not held:
            del self.rotations[rotation.name]

    def write_rotation(self, old: KeyRotation, new: KeyRotation) -> None:
        self._update(self.rotations, old, crd.rotation, **{name: getattr(new, name) for name in _STATUS})

    def node_event(self, node: str, *, reason: str, message: str, warning: bool) -> None:
        self._event(node, reason, message)

    def policy_event(self, policy: str, *, reason: str, message: str) -> None:
        self._event(policy, reason, message)

    def rotation_event(self, rotation: KeyRotation, *, reason: str, message: str) -> None:
        self._event(rotation.name, reason, message)

    # ---- what agents write

    def publish(self, identity: TokenIdentity, new: NodePeer, *, version: str | None = None) -> NodePeer:
        """Write the agent's part of a NodePeer, of that *version* if one is named."""
        old = self._there(self.peers, new.name)
        if version is not None and version != old.resource_version:
            raise Conflict("PATCH", what=new.name)
        self._admit(identity, old, crd.sessions(old, new))
        self.peers[new.name] = self._next(new) if new != old else old
        self.note()
        return self.peers[new.name]

    def report(self, identity: TokenIdentity, node: EncryptedNode, status: NodeStatus) -> EncryptedNode:
        """Write the agent's part of an EncryptedNode, of this version."""
        name, old = node.name, self._there(self.encrypted, node.name)
        if node.resource_version != old.resource_version:
            raise Conflict("PATCH", what=name)
        self._admit(identity, old, crd.status(old.status, status))
        self.encrypted[name] = self._next(replace(old, status=status)) if status != old.status else old
        self.note()
        return self.encrypted[name]

    def _admit(self, identity: TokenIdentity, old: NodePeer | EncryptedNode, wrong: str) -> None:
        """Refuse what is *wrong* by the custom resource, and then what is not the agent's own."""
        if wrong:
            raise ClusterError("PATCH", what=old.name, answer=wrong)
        if OWN_NODE in self.open:
            return
        if identity.node != old.name:
            raise Forbidden("PATCH", answer=f"the token belongs to node {identity.node}, not to {old.name}")
        if identity.node_uid != old.node_uid:
            raise Forbidden("PATCH", answer="the token was made for an earlier Node object of this name")

    def _event(self, name: str, reason: str, message: str) -> None:
        self._may("POST events")
        if (name, f"{reason}: {message}") not in self.events:
            self._write()
            self.events.append((name, f"{reason}: {message}"))

    def _may(self, request: str) -> None:
        if request in self.denied:
            raise Forbidden(request, answer="403")
