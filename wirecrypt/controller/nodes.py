"""From labels to objects: what is to be done for each node. Pure; every pass starts from what is there.

Joining: EncryptedNode (it keeps the node ID), the Secret with the keys of every live epoch, and only then the NodePeer, on
which other nodes act. Leaving: state Leaving, and when the agent says that it is cleaned (or was never heard of, or its
Node is gone and silent for the grace period, or a person confirms) the ID is written down as resting, then NodePeer,
Secret and, last, EncryptedNode go. Absence of a label is a wish; absence of an object is never consent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from wirecrypt.controller.actions import (
    Action,
    Chain,
    CreateEncrypted,
    CreatePeer,
    DeleteEncrypted,
    DropKeys,
    RemovePeer,
    Rest,
    Tell,
    UpdateEncrypted,
    UpdatePeer,
)
from wirecrypt.errors import ObjectError
from wirecrypt.model.objects import LABEL, LABEL_ENABLED, EncryptedNode, KeySecret, Node, NodePeer, NodeState
from wirecrypt.model.session import Epoch
from wirecrypt.ports import ControllerView
from wirecrypt.rotation.claims import Reserved, Settled, allocate, settle
from wirecrypt.rotation.cluster_actions import Give

GRACE_SECONDS: Final = 60.0
CLEANED: Final = "Cleaned"
_MANY: Final = 10  # more than one in this many nodes vanishing at once waits for a person


@dataclass(frozen=True, slots=True)
class Watched:
    """What only time tells: for how many seconds the Node of each node UID has been gone, as this process saw it."""

    gone: Mapping[str, float]
    grace: float = GRACE_SECONDS


@dataclass(frozen=True, slots=True)
class _One:
    """All that belongs to one name."""

    name: str
    node: Node | None
    encrypted: EncryptedNode | None
    peer: NodePeer | None
    secret: KeySecret | None

    @property
    def uid(self) -> str:
        """Return the UID of the Node that the objects were made for."""
        return self.peer.node_uid if self.peer else self.encrypted.node_uid if self.encrypted else ""

    @property
    def vanished(self) -> bool:
        """Say whether the Node that the objects were made for is gone, or another has its name."""
        return bool(self.uid) and (self.node is None or self.node.uid != self.uid)

    @property
    def leaving(self) -> bool:
        """Say whether the node is on its way out: that is never recanted ◆."""
        states = {x.state for x in (self.peer, self.encrypted) if x}
        return NodeState.LEAVING in states or bool(self.peer and self.peer.deleting)

    @property
    def wanted(self) -> bool:
        """Say whether the label asks for encryption; a bad value changes nothing."""
        label = self.node.label if self.node else None
        return label == LABEL_ENABLED or (label is not None and bool(self.uid))


def reconcile(view: ControllerView, reserved: Reserved, epochs: tuple[Epoch, ...], watched: Watched) -> tuple[Chain, ...]:
    """Return what is to be done, one chain a node, sorted by name; *epochs* are those that a joining node must have."""
    names = sorted({*view.nodes, *view.encrypted, *view.peers, *view.keys} - view.unreadable)
    ones = [_One(n, view.nodes.get(n), view.encrypted.get(n), view.peers.get(n), view.keys.get(n)) for n in names]
    settled = settle(view.nodes.values(), view.peers.values(), reserved)
    ids = {p.node_id for p in view.peers.values()} | {e.node_id for e in view.encrypted.values()}
    held = _held_back(ones)
    chains = []
    for one in ones:
        if one.vanished or one.leaving or not one.wanted:
            actions = list(_bad_label(one)) + list(_leave(one, view, watched, held))
        else:
            actions = list(_bad_label(one)) + list(_join(one, view, settled[one.name], epochs, ids))
        if actions:
            chains.append(Chain(one.name, tuple(actions)))
    return tuple(chains)


def _bad_label(one: _One) -> Iterable[Action]:
    if problem := _label_problem(one.node):
        yield Tell(one.name, "BadLabel", f"{problem}; nothing was changed")


def _label_problem(node: Node | None) -> str:
    if node is None or node.label in (None, LABEL_ENABLED):
        return ""
    return f"label {LABEL}={node.label} is not known; allowed: {LABEL_ENABLED}, or no label"


def _join(one: _One, view: ControllerView, settled: Settled, epochs: tuple[Epoch, ...], ids: set[int]) -> Iterable[Action]:
    """Yield what is missing for a node that is to be encrypted, and what changed for one that is."""
    assert one.node is not None  # noqa: S101 - `wanted` says so; for the type checker
    problems = (*((p,) if (p := _label_problem(one.node)) else ()), *settled.refused)
    for refusal in settled.refused:
        yield Tell(one.name, "ClaimRefused", refusal)
    state = _next_state(one, view)
    node_id = one.peer.node_id if one.peer else one.encrypted.node_id if one.encrypted else None
    if node_id is None:
        try:
            node_id = allocate(ids, view.seeds)
        except ObjectError as error:
            yield Tell(one.name, "NoNodeID", str(error))
            return
        ids.add(node_id)
    if one.encrypted is None:
        yield CreateEncrypted(one.node, node_id, state, problems, why="the node is labelled")
    yield from _keys(one, one.node, epochs)
    if one.peer is None:
        if epochs:
            new = _new_peer(one.node, node_id, settled)
            yield CreatePeer(one.node, new, why="its EncryptedNode and keys are there")
            yield Tell(one.name, "Joining", f"joins the encrypted nodes with node ID {node_id}", warning=False)
    else:
        yield from _changes(one.peer, _claimed(one.peer, one.node, settled, state))
    if one.encrypted and (one.encrypted.state, one.encrypted.problems) != (state, problems):
        yield UpdateEncrypted(one.encrypted, state, problems, why="state or problems differ")


def _keys(one: _One, node: Node, epochs: tuple[Epoch, ...]) -> Iterable[Action]:
    have = {k.epoch for k in one.secret.keys} if one.secret and one.secret.node_uid == node.uid else set()
    missing = tuple(e for e in epochs if e not in have)
    if missing:
        yield Give(node.name, node.uid, missing, why="a node has the keys of every live epoch")


def _new_peer(node: Node, node_id: int, settled: Settled) -> NodePeer:
    claims = settled.endpoints, settled.pod_cidrs
    return NodePeer(node.name, "", node_id, node.uid, *claims, NodeState.JOINING, node.created)


def _claimed(peer: NodePeer, node: Node, settled: Settled, state: NodeState) -> NodePeer:
    """Return *peer* as it should be; claims that the Node does not mention any more are kept: absence says nothing ◆."""
    return replace(
        peer,
        state=state,
        endpoints=settled.endpoints if node.endpoints else peer.endpoints,
        pod_cidrs=settled.pod_cidrs if node.pod_cidrs else peer.pod_cidrs,
    )


def _changes(old: NodePeer, new: NodePeer) -> Iterable[Action]:
    if old == new:
        return
    if old.state is new.state:
        yield UpdatePeer(old, new, why="its claims changed")
        return
    yield UpdatePeer(old, new, why="both ends of every live pair are ready")
    yield Tell(old.name, "Active", "every live pair is proved and required", warning=False)


def _next_state(one: _One, view: ControllerView) -> NodeState:
    """Return the state that a node which stays is in: Active once both ends of every live pair are ready ◆."""
    if one.peer is None or one.peer.state is not NodeState.JOINING:
        return one.peer.state if one.peer else NodeState.JOINING
    mine = one.encrypted.status if one.encrypted else None
    if mine is None or not one.peer.endpoints or not one.peer.sessions:
        return NodeState.JOINING
    ready = frozenset(mine.ready_for)
    partners = [p for p in view.peers.values() if p.name != one.name and _live(p, view)]
    if all(p.name in ready and one.name in _ready_for(view, p.name) for p in partners):
        return NodeState.ACTIVE
    return NodeState.JOINING


def _live(peer: NodePeer, view: ControllerView) -> bool:
    node = view.nodes.get(peer.name)
    here = node is not None and node.ready and node.uid == peer.node_uid
    return here and peer.state is not NodeState.LEAVING and not peer.deleting and bool(peer.endpoints)


def _ready_for(view: ControllerView, name: str) -> tuple[str, ...]:
    encrypted = view.encrypted.get(name)
    return encrypted.status.ready_for if encrypted and encrypted.status else ()


def _held_back(ones: list[_One]) -> frozenset[str]:
    """Return the nodes whose Nodes vanished with too many others at once, as after a bad restore; a person decides."""
    peers = sum(one.peer is not None for one in ones)
    gone = [one.name for one in ones if one.vanished and one.node is None and one.peer and not one.leaving]
    confirmed = {one.name for one in ones if one.encrypted and one.encrypted.confirmed}
    return frozenset(gone) - confirmed if len(gone) > max(1, peers // _MANY) else frozenset()


def _leave(one: _One, view: ControllerView, watched: Watched, held: frozenset[str]) -> Iterable[Action]:
    if one.peer is None and one.encrypted is None:
        if one.secret:
            yield DropKeys(one.secret, why="belongs to no encrypted node")
        return
    if one.name in held:
        text = f"{len(held)} Nodes vanished at once; annotate their EncryptedNodes wirecrypt.io/confirm-removal=true"
        yield Tell(one.name, "RemovalHeldBack", text)
        return
    if one.peer and one.peer.state is not NodeState.LEAVING:
        yield UpdatePeer(one.peer, replace(one.peer, state=NodeState.LEAVING), why=_why_leaving(one))
        yield Tell(one.name, "Leaving", _why_leaving(one), warning=False)
    if one.encrypted and one.encrypted.state is not NodeState.LEAVING:
        yield UpdateEncrypted(one.encrypted, NodeState.LEAVING, one.encrypted.problems, why=_why_leaving(one))
    elif one.encrypted is None and one.peer and one.node and not one.vanished:
        yield CreateEncrypted(one.node, one.peer.node_id, NodeState.LEAVING, (), why="the agent reports on it")
    elif why := _may_go(one, watched):
        yield from _remove(one, view, why)


def _why_leaving(one: _One) -> str:
    if one.vanished:
        return "its Node is gone"
    return "its NodePeer was deleted" if one.peer and one.peer.deleting else "the label is gone"


def _may_go(one: _One, watched: Watched) -> str:
    """Return why nothing of the node is left anywhere that this could hurt, nothing if that is not known."""
    conditions = one.encrypted.status.conditions if one.encrypted and one.encrypted.status else ()
    if one.peer is None:
        return "its NodePeer is gone"
    if not one.peer.sessions and not one.peer.last_session:
        return "it never published a session"
    if any(c.type == CLEANED and c.status for c in conditions):
        return "its agent has cleaned up"
    if one.encrypted and one.encrypted.confirmed:
        return "a person confirmed it"
    if one.vanished and watched.gone.get(one.uid, 0.0) >= watched.grace:
        return "its Node is gone and its agent silent"
    return ""


def _remove(one: _One, view: ControllerView, why: str) -> Iterable[Action]:
    """Yield the end of a node: its ID rests before anything goes, the EncryptedNode, which remembers it, goes last."""
    node_id = one.peer.node_id if one.peer else one.encrypted.node_id if one.encrypted else 0
    newest = max(view.seeds, key=lambda s: s.epoch, default=None)
    if newest and node_id not in newest.released:
        yield Rest(newest, node_id, why=why)
    if one.peer:
        yield RemovePeer(one.peer, why=why)
    if one.secret:
        yield DropKeys(one.secret, why=why)
    if one.encrypted:
        yield DeleteEncrypted(one.encrypted, why=why)
    yield Tell(one.name, "Removed", f"not encrypted any more: {why}", warning=False)
