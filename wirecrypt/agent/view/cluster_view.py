"""What the agent knows of the cluster at one moment, cut down to what concerns its node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

from wirecrypt.model.objects import ConfigDocument, KeyRotation, Node, NodePeer, NodeState
from wirecrypt.model.pair import Pair
from wirecrypt.plan.holders import each_once


class ObjectCache(Protocol):
    """Local copies of the objects that an agent watches."""

    def synced(self) -> bool:
        """Return whether every kind was listed at least once."""

    def restores(self) -> int:
        """Return how often the API server was seen to have gone back, as after a restore from a backup."""

    def ages(self) -> Mapping[str, float]:
        """Return for how many seconds no quorum read has confirmed the copy of each kind."""

    def nodes(self) -> Sequence[Node]:
        """Return the Nodes."""

    def peers(self) -> Sequence[NodePeer]:
        """Return the NodePeers that could be understood."""

    def rotations(self) -> Sequence[KeyRotation]:
        """Return the KeyRotations."""

    def config(self) -> ConfigDocument | None:
        """Return the configuration document."""


@dataclass(frozen=True)
class ClusterView:
    """The cluster as this node sees it. *own* is None while the node is not enabled.

    *peers*: in the order of their names. *duplicates*: those refused for a nodeID that another has held longer; the own one
    may be among them. *removed*: the identities that the controller says are no more. *ready*: UIDs of the Nodes that are.
    """

    own: NodePeer | None
    peers: tuple[NodePeer, ...]
    nodes: tuple[Node, ...]
    rotations: tuple[KeyRotation, ...]
    duplicates: tuple[NodePeer, ...]
    removed: frozenset[tuple[str, int]] = frozenset()
    ready: frozenset[str] = frozenset()

    @classmethod
    def of(cls, name: str, cache: ObjectCache) -> ClusterView:
        """Return the world of node *name*. Of two peers with one nodeID the younger is refused; an address is one node's."""
        return cls.of_objects(name, cache.nodes(), cache.peers(), cache.rotations())

    @classmethod
    def of_objects(
        cls, name: str, nodes: Iterable[Node], shown: Sequence[NodePeer], rotations: Iterable[KeyRotation]
    ) -> ClusterView:
        """Return the world of node *name* of these objects."""
        nodes = tuple(sorted(nodes, key=lambda n: n.name))
        ready = frozenset(n.uid for n in nodes if n.ready)
        removed = frozenset(p.identity for p in shown if p.state is NodeState.REMOVED)
        real = each_once((p for p in shown if p.state is not NodeState.REMOVED), ready)
        kept, refused = _unique(real)
        node = next((n for n in nodes if n.name == name), None)
        own = next((p for p in real if p.name == name and (node is None or node.uid == p.node_uid)), None)
        peers = tuple(p for p in kept if p.name != name)
        return cls(own, peers, nodes, tuple(rotations), refused, removed, ready)

    @cached_property
    def nodes_by_uid(self) -> Mapping[str, Node]:
        """The Nodes by their UIDs."""
        return {node.uid: node for node in self.nodes}

    def node(self, name: str) -> Node | None:
        """Return the Node of this name, None when there is none."""
        return next((n for n in self.nodes if n.name == name), None)

    @property
    def refused(self) -> bool:
        """Return whether the own node is the one that is refused."""
        return self.own is not None and self.own in self.duplicates


class ClusterViews:
    """The world of one node, look after look: the same view while no object has changed."""

    def __init__(self, name: str, cache: ObjectCache) -> None:
        self._name, self._cache = name, cache
        self._seen: tuple[object, ...] = ()
        self._view = ClusterView(None, (), (), (), ())

    def now(self) -> ClusterView:
        """Return what the watches show."""
        objects = tuple(self._cache.nodes()), tuple(self._cache.peers()), tuple(self._cache.rotations())
        if objects != self._seen:
            self._seen, self._view = objects, ClusterView.of_objects(self._name, *objects)
        return self._view


def pair_of(own: NodePeer, peer: NodePeer) -> Pair:
    """Return *own* and *peer* as a pair."""
    return Pair(own.end, peer.end)


def without_new_keys(peer: NodePeer, accepted: NodePeer | None) -> NodePeer:
    """Return *peer* with the sessions that were *accepted* before, for a time in which no new key may be trusted."""
    if accepted is None:
        return replace(peer, sessions=(), boot_session=0)
    return replace(peer, sessions=accepted.sessions, boot_session=accepted.boot_session, boot_id=accepted.boot_id)


def _unique(peers: Sequence[NodePeer]) -> tuple[tuple[NodePeer, ...], tuple[NodePeer, ...]]:
    taken: dict[int, NodePeer] = {peer.node_id: peer for peer in peers}
    if len(taken) == len(peers):
        return tuple(sorted(peers, key=lambda p: p.name)), ()
    taken, refused = {}, []
    for peer in sorted(peers, key=lambda p: (p.created, p.uid)):
        if peer.node_id in taken:
            refused.append(peer)
        else:
            taken[peer.node_id] = peer
    return tuple(sorted(taken.values(), key=lambda p: p.name)), tuple(sorted(refused, key=lambda p: p.name))
