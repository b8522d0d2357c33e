"""An API server in memory as the controller sees it, with agents that do their part, for tests of whole passes.

Writes are by compare-and-swap on versions. A Secret in `foreign` is of another type: no copy shows it, and it is in the way.
After `most` writes the process that writes dies.
"""

# ruff: noqa: ARG002, D102 - the methods are those of the port
from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import TypeVar

from wirecrypt.controller.claims.allowed import Allowed
from wirecrypt.errors import Conflict, Forbidden, NotFound
from wirecrypt.model.conditions import Condition
from wirecrypt.model.objects import (
    AccessPart,
    ConfigDocument,
    EncryptedNode,
    KeyAccess,
    KeyRotation,
    KeySecret,
    Node,
    NodePeer,
    NodeState,
    NodeStatus,
    Phase,
    SeedSecret,
)
from wirecrypt.model.ranges import ClaimRanges
from wirecrypt.model.session import Epoch, Session
from wirecrypt.model.xfrm import Algorithm
from wirecrypt.ports import ControllerView
from wirecrypt.rotation.phases import current

T = TypeVar("T")
START = datetime(2024, 1, 1, tzinfo=UTC)
RANGES = "serviceCIDRs: [10.96.0.0/16]\nclusterCIDRs: [10.0.0.0/12]\nnodeCIDRs: [192.0.2.0/24]"
CONFIG = ConfigDocument({"config.yaml": RANGES}, "1")
ALL = (ip_network("0.0.0.0/0"), ip_network("::/0"))
FREE = Allowed(ranges=ClaimRanges(ALL, ALL))  # as if there were no rules but those that need no configuration
SILENT = NodeStatus("boot", 0, (), 0, 0, 0, (), (), 0, 100, (), ())
CLEANED = Condition("Cleaned", status=True, reason="Left", message="")


class Killed(Exception):
    """The process is dead."""


class Leader:
    """A candidate that leads, as long as a test says so."""

    def __init__(self, term: int = 1) -> None:
        self.term = term
        self.leading = True

    def leads(self) -> bool:
        return self.leading

    def run(self, stop: threading.Event, changed: Callable[[], None]) -> None:
        raise NotImplementedError


def node(number: int, *, label: str | None = "enabled", **more: object) -> Node:
    """Return the Node n*number* with an address and a prefix of its own."""
    claims = (ip_address(f"192.0.2.{number}"),), (ip_network(f"10.1.{number}.0/24"),)
    return replace(Node(f"n{number}", f"uid-{number}", label, *claims, START), **more)


@dataclass
class ApiServer:
    """Objects by name, and the controller's port to them."""

    nodes: dict[str, Node] = field(default_factory=dict)
    peers: dict[str, NodePeer] = field(default_factory=dict)
    encrypted: dict[str, EncryptedNode] = field(default_factory=dict)
    keys: dict[str, KeySecret] = field(default_factory=dict)
    seeds: dict[int, SeedSecret] = field(default_factory=dict)
    rotations: dict[str, KeyRotation] = field(default_factory=dict)
    config: ConfigDocument | None = CONFIG
    access: dict[tuple[str, AccessPart], KeyAccess] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)
    foreign: set[str] = field(default_factory=set)
    unusable_keys: dict[str, str] = field(default_factory=dict)
    events: list[tuple[str, str]] = field(default_factory=list)
    eventless: bool = False
    historyless: bool = False
    writes: int = 0
    most: int = 2**31
    catch_ups: int = 0
    version: int = 0
    gone_ids: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, *nodes: Node, **more: object) -> ApiServer:
        return cls({n.name: n for n in nodes}, **more)  # type: ignore[arg-type]  # fields as they are called

    def start(self, changed: Callable[[], None]) -> None:
        """Watch nothing: `view` is always new."""

    def stop(self) -> None:
        """Stop nothing."""

    def ages(self) -> Mapping[str, float]:
        return {"Node": 7.0}

    def restores(self) -> int:
        return 1

    def view(self) -> ControllerView | None:
        return ControllerView(
            nodes=dict(self.nodes),
            peers={name: p for name, p in self.peers.items() if p.state is not NodeState.REMOVED},
            tombstones={name: p for name, p in self.peers.items() if p.state is NodeState.REMOVED},
            encrypted=dict(self.encrypted),
            keys=dict(self.keys),
            seeds=tuple(self.seeds.values()),
            rotations=tuple(self.rotations.values()),
            config=self.config,
            unusable_keys=dict(self.unusable_keys),
            access=self.readers(),
        )

    def catch_up(self) -> None:
        self.catch_ups += 1

    def refuses(self, policy: str) -> bool:
        return policy not in self.open

    def create_encrypted_node(self, node: Node, node_id: int, state: NodeState, problems: Sequence[str]) -> None:
        new = EncryptedNode(node.name, f"en-{self.version}", node_id, node.uid, state, START, problems=tuple(problems))
        self._create(self.encrypted, node.name, new)

    def update_encrypted_node(self, encrypted: EncryptedNode, state: NodeState, problems: Sequence[str]) -> None:
        new = replace(encrypted, state=state, problems=tuple(problems))
        self._update(self.encrypted, encrypted.name, encrypted, new)

    def delete_encrypted_node(self, encrypted: EncryptedNode) -> None:
        self._write()
        self.encrypted.pop(encrypted.name, None)

    def create_node_peer(self, node: Node, peer: NodePeer) -> None:
        if peer.state is NodeState.REMOVED:
            self._create(self.peers, peer.name, replace(peer, uid=f"np-{self.version}"))
            return
        assert node.name in self.keys, "a NodePeer without keys"
        assert {a.part for a in self.readers().get(node.name, ())} == set(AccessPart), "a NodePeer whose keys nobody may read"
        assert peer.node_id not in {*self.gone_ids, *(p.node_id for p in self.peers.values())}, "an ID used twice"
        self._create(self.peers, peer.name, replace(peer, uid=f"np-{self.version}"))

    def update_node_peer(self, old: NodePeer, new: NodePeer) -> None:
        self._update(self.peers, old.name, old, new)

    def remove_node_peer(self, peer: NodePeer) -> None:
        if not peer.deleting:
            self._update(self.peers, peer.name, peer, replace(peer, deleting=True))
        self._write()
        self.gone_ids.append(peer.node_id)
        del self.peers[peer.name]

    def write_keys(self, secret: KeySecret, owner: Node | None) -> None:
        assert secret.node not in self.unusable_keys, "a Secret that cannot be read was taken for absent"
        if secret.node in self.foreign:
            raise Conflict("POST", answer="AlreadyExists")
        self._put(self.keys, secret.node, secret)

    def delete_keys(self, secret: KeySecret) -> None:
        self._write()
        self.keys.pop(secret.node, None)

    def grant_keys(self, node: str, part: AccessPart) -> None:
        if (node, part) in self.access or node in self.foreign:
            raise Conflict("POST", what=node, answer="AlreadyExists")
        self._write()
        self.version += 1
        self.access[node, part] = KeyAccess(node, part, f"{part.value}-{self.version}")

    def revoke_keys(self, access: KeyAccess) -> None:
        self._write()
        if self.access.get((access.node, access.part)) == access:
            del self.access[access.node, access.part]

    def readers(self) -> dict[str, tuple[KeyAccess, ...]]:
        """Return by node what lets its account read its keys."""
        names = {node for node, _ in self.access}
        return {name: tuple(a for (node, _), a in self.access.items() if node == name) for name in names}

    def write_seed(self, seed: SeedSecret) -> None:
        self._put(self.seeds, seed.epoch.number, seed)

    def delete_seed(self, seed: SeedSecret) -> None:
        self._write()
        self.seeds.pop(seed.epoch.number, None)

    def create_rotation(self, name: str, reason: str) -> None:
        self._create(self.rotations, name, KeyRotation(name, f"uid-{name}", reason, START))

    def delete_rotation(self, rotation: KeyRotation) -> None:
        if self.historyless:
            raise Forbidden("DELETE keyrotations", answer="403")
        self._update(self.rotations, rotation.name, rotation, replace(rotation, deleting=True))
        if not rotation.held:
            del self.rotations[rotation.name]

    def hold_rotation(self, rotation: KeyRotation, *, held: bool) -> None:
        self._update(self.rotations, rotation.name, rotation, replace(rotation, held=held))

    def write_rotation(self, old: KeyRotation, new: KeyRotation) -> None:
        self._update(self.rotations, old.name, old, new)

    def node_event(self, node: str, *, reason: str, message: str, warning: bool) -> None:
        self._event(node, reason, message)

    def policy_event(self, policy: str, *, reason: str, message: str) -> None:
        self._event(policy, reason, message)

    def rotation_event(self, rotation: KeyRotation, *, reason: str, message: str) -> None:
        self._event(rotation.name, reason, message)

    def reasons(self, name: str) -> set[str]:
        """Return the reasons of all Events on *name*."""
        return {reason.partition(": ")[0] for about, reason in self.events if about == name}

    def agents(self) -> None:
        """Let every agent whose Node is there do its part: sessions by the phase, words, leaving."""
        for name in sorted(self.peers.keys() & self.nodes.keys()):
            if self.nodes[name].uid == self.peers[name].node_uid and self.peers[name].state is not NodeState.REMOVED:
                self._agent(name)

    def _agent(self, name: str) -> None:
        peer, encrypted = self.peers[name], self.encrypted.get(name)
        rotation = current(self.rotations.values())
        hidden = {rotation.to_epoch} if rotation and rotation.phase is Phase.DISTRIBUTING else set()
        retired = {rotation.from_epoch} if rotation and rotation.phase is Phase.RETIRING else set()
        keys = self.keys[name].keys if name in self.keys else ()
        epochs = sorted(k.epoch for k in keys if k.epoch.number not in hidden | retired)
        sessions = tuple(Session(e.number, e, bytes(32), 1, Algorithm.AES_256_GCM) for e in epochs)
        if epochs and peer.sessions != sessions:
            last = max(e.number for e in epochs)
            self.peers[name] = self._next(replace(peer, sessions=sessions, last_session=last, boot_id="boot"))
        if encrypted:
            words = self._words(name, epochs, leaving=peer.state is NodeState.LEAVING)
            if encrypted.status != words:
                self.encrypted[name] = self._next(replace(encrypted, status=words))

    def _words(self, name: str, epochs: Sequence[Epoch], *, leaving: bool) -> NodeStatus:
        others = tuple(sorted(p.name for p in self.peers.values() if p.name != name and p.state is not NodeState.REMOVED))
        numbers = tuple(e.number for e in epochs)
        done = (CLEANED,) if leaving else ()
        sending = max(numbers, default=0)
        return replace(SILENT, sending_epoch=sending, accepting_epochs=numbers, ready_for=others, conditions=done)

    def _event(self, name: str, reason: str, message: str) -> None:
        if self.eventless:
            raise Forbidden("POST events", answer="403")
        if (name, f"{reason}: {message}") not in self.events:
            self._write()
            self.events.append((name, f"{reason}: {message}"))

    def _write(self) -> None:
        if self.writes >= self.most:
            raise Killed
        self.writes += 1

    def _next(self, value: T) -> T:
        self.version += 1
        return replace(value, resource_version=str(self.version))  # type: ignore[type-var]

    def _create(self, objects: dict[str, T], name: str, value: T) -> None:
        if name in objects:
            raise Conflict("POST", what=name, answer="AlreadyExists")
        self._write()
        objects[name] = self._next(value)

    def _update(self, objects: Mapping[str, T], name: str, old: T, new: T) -> None:
        if name not in objects:
            raise NotFound("PATCH", what=name)
        if objects[name].resource_version != old.resource_version:  # type: ignore[attr-defined]
            raise Conflict("PATCH", what=name)
        self._write()
        objects[name] = self._next(new)  # type: ignore[index]

    def _put(self, objects: dict[object, T], name: object, value: T) -> None:
        there = objects.get(name)
        wanted = there.resource_version if there else ""  # type: ignore[attr-defined]
        if value.resource_version != wanted:  # type: ignore[attr-defined]
            raise Conflict("PUT", what=str(name))
        self._write()
        objects[name] = self._next(value)
