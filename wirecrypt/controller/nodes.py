"""From labels to objects: what is to be done for each node. Pure; every pass starts from what is there.

Joining: EncryptedNode (it keeps the node ID), the Secret with the keys of every live epoch, and only then the NodePeer, on
which other nodes act. How a node leaves is in `leaving`. Events come after the objects that they speak of.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from wirecrypt.controller.access.grants import granted
from wirecrypt.controller.actions import (
    Action,
    Chain,
    CreateEncrypted,
    CreatePeer,
    DeleteNodeKeys,
    EmitEvent,
    RemovePeer,
    UpdateEncrypted,
    UpdatePeer,
)
from wirecrypt.controller.claims.allowed import Allowed
from wirecrypt.controller.claims.proposals import Withdrawn
from wirecrypt.controller.claims.settle import Settled, settle
from wirecrypt.controller.leaving import LeavingWatch, held_back, leave, sweep
from wirecrypt.controller.node_ids import allocate
from wirecrypt.controller.node_objects import NodeObjects, all_objects
from wirecrypt.errors import ObjectError
from wirecrypt.model.objects import LABEL, LABEL_ENABLED, EncryptedNode, Node, NodePeer, NodeState
from wirecrypt.model.session import Epoch
from wirecrypt.ports import ControllerView
from wirecrypt.rotation.actions import WriteNodeKeys
from wirecrypt.rotation.numbers import highest, never_was
from wirecrypt.rotation.phases import SECRET_FAILED

MOST_PROBLEMS: Final = 16  # both as the CRD allows it
LONGEST_PROBLEM: Final = 256


def reconcile(
    view: ControllerView,
    allowed: Allowed,
    epochs: tuple[Epoch, ...],
    watched: LeavingWatch,
    rested: frozenset[Withdrawn] = frozenset(),
) -> tuple[Chain, ...]:
    """Return what is to be done, one chain a node, sorted by name; *epochs* are those that a joining node must have.

    *rested*: addresses that may be given up.
    """
    settled = settle(view.nodes.values(), view.peers.values(), allowed, rested)
    known = highest(view.rotations, view.seeds, view.keys.values())
    strange = {name: words for name, peer in view.peers.items() if (words := never_was(peer, known))}
    ids = {p.node_id for p in (*view.peers.values(), *view.tombstones.values())} | {e.node_id for e in view.encrypted.values()}
    held = held_back(view)
    chains = []
    for objects in all_objects(view):
        if objects.vanished or objects.leaving or not objects.wanted:
            actions = [*leave(objects, view, watched, held), *_bad_label(objects)]
        else:
            gets = replace(settled[objects.name], strange=strange.get(objects.name, ""), unset=_unset(allowed, objects))
            actions = [*_join(objects, view, gets, epochs, ids), *_bad_label(objects)]
        if actions:
            chains.append(Chain(objects.name, tuple(actions)))
    return tuple(chains)


def _unset(allowed: Allowed, objects: NodeObjects) -> str:
    """Return what is missing in the configuration and what follows for the node, nothing when nothing is.

    That a range is not set is no consent: neither to what a Node says of itself, nor to taking away what was granted before.
    """
    meanwhile = "it keeps what it was granted and gets nothing new" if objects.peer else "the node does not join"
    return f"{allowed.ranges.unset}: {meanwhile} before there is a range" if allowed.ranges.unset else ""


def _bad_label(objects: NodeObjects) -> Iterable[Action]:
    if problem := _label_problem(objects.node):
        yield EmitEvent(objects.name, "BadLabel", f"{problem}; nothing was changed")


def _label_problem(node: Node | None) -> str:
    if node is None or node.label in (None, LABEL_ENABLED):
        return ""
    return f"label {LABEL}={node.label} is not known; allowed: {LABEL_ENABLED}, or no label"


def _join(
    objects: NodeObjects, view: ControllerView, settled: Settled, epochs: tuple[Epoch, ...], ids: set[int]
) -> Iterable[Action]:
    """Yield what is missing for a node that is to be encrypted, and what changed for one that is."""
    assert objects.node is not None  # noqa: S101 - `wanted` says so; for the type checker
    state, problems = _next_state(objects, view), _problems(objects, settled)
    node_id = objects.peer.node_id if objects.peer else objects.encrypted.node_id if objects.encrypted else None
    if node_id is None:
        try:
            node_id = allocate(ids, view.seeds)
        except ObjectError as error:
            yield EmitEvent(objects.name, "NoNodeID", str(error))
            return
        ids.add(node_id)
    if objects.peer and objects.peer.deleting:
        yield from _make_again(objects.name, objects.peer, objects.encrypted)
    elif objects.peer:
        endpoints, prefixes, addresses = settled.endpoints, settled.pod_cidrs, settled.addresses
        new = replace(objects.peer, state=state, endpoints=endpoints, pod_cidrs=prefixes, addresses=addresses)
        yield from _changes(objects.peer, new)
    if objects.encrypted is None:
        yield CreateEncrypted(objects.node, node_id, state, problems, why="the node is labelled")
    elif (objects.encrypted.state, objects.encrypted.problems) != (state, problems):
        yield UpdateEncrypted(objects.encrypted, state, problems, why="state or problems differ")
    yield from granted(objects)
    yield from _keys(objects, objects.node, epochs)
    if not settled.unset:
        yield from sweep(objects)
    if objects.peer is None and epochs and not (objects.unusable or settled.unset):
        peer = _new_peer(objects.node, node_id, settled, state)
        yield CreatePeer(objects.node, peer, why="its EncryptedNode and keys are there")
        if state is NodeState.JOINING:
            yield EmitEvent(objects.name, "Joining", f"joins the encrypted nodes with node ID {node_id}", warning=False)
    yield from _words(objects, settled, state)


def _problems(objects: NodeObjects, settled: Settled) -> tuple[str, ...]:
    """Return what a person is to see, cut to what the object can hold: what is compared is what would be written."""
    label = _label_problem(objects.node)
    words = (*((label,) if label else ()), *settled.waiting, *settled.refused, *(f"{claim}; kept" for claim in settled.kept))
    first = filter(None, (objects.unusable, settled.unset, settled.strange))
    return tuple(word[:LONGEST_PROBLEM] for word in (*first, *words))[:MOST_PROBLEMS]


def _words(objects: NodeObjects, settled: Settled, state: NodeState) -> Iterable[Action]:
    """Yield the Events about what was done and what is wrong."""
    if objects.peer and objects.peer.state is not state:
        yield EmitEvent(objects.name, "Active", "every live pair is proved and required", warning=False)
    if settled.unset:
        yield EmitEvent(objects.name, "RangesUnset", settled.unset)
    for claim in settled.waiting:
        yield EmitEvent(objects.name, "ClaimWaits", claim)
    for refusal in settled.refused:
        yield EmitEvent(objects.name, "ClaimRefused", refusal)
    for claim in settled.kept:
        text = "kept, for the node has it already; correct the ranges or apiServers of the configuration, or the Node"
        yield EmitEvent(objects.name, "ClaimKept", f"{claim}; {text}")
    if objects.unusable:
        yield EmitEvent(objects.name, SECRET_FAILED, objects.unusable)
    if settled.strange:
        yield EmitEvent(objects.name, "SessionIgnored", settled.strange)


def _keys(objects: NodeObjects, node: Node, epochs: tuple[Epoch, ...]) -> Iterable[Action]:
    if objects.excluded:
        yield from [DeleteNodeKeys(objects.secret, why="the node was cut off")] if objects.secret else []
        return
    if objects.unusable:
        return  # a Secret that cannot be read is not one that is missing
    have = {k.epoch for k in objects.secret.keys} if objects.secret and objects.secret.node_uid == node.uid else set()
    missing = tuple(e for e in epochs if e not in have)
    if missing:
        yield WriteNodeKeys(node.name, node.uid, missing, why="a node has the keys of every live epoch")


def _make_again(name: str, peer: NodePeer, encrypted: EncryptedNode | None) -> Iterable[Action]:
    """Yield the end of a NodePeer that was deleted under its label: the label is the wish, so it is made again ◆.

    Its EncryptedNode keeps its node ID and state until then. To its peers it is not shown for a moment, which says nothing.
    """
    if encrypted is None or encrypted.deleting or encrypted.node_id != peer.node_id:
        return
    yield RemovePeer(peer, why="deleted under its label, and is made again")
    yield EmitEvent(name, "MadeAgain", "its NodePeer was deleted and is made again; to have the node leave take its label off")


def _new_peer(node: Node, node_id: int, settled: Settled, state: NodeState) -> NodePeer:
    claims = settled.endpoints, settled.pod_cidrs
    return NodePeer(node.name, "", node_id, node.uid, *claims, state, node.created)


def _changes(old: NodePeer, new: NodePeer) -> Iterable[Action]:
    if old != new:
        yield UpdatePeer(old, new, "its claims changed" if old.state is new.state else "both ends of every live pair are ready")


def _next_state(objects: NodeObjects, view: ControllerView) -> NodeState:
    """Return the state that a node which stays is in: Active once both ends of every live pair are ready ◆.

    One whose NodePeer was lost is what its EncryptedNode says: Active, it blocks what it cannot encrypt.
    """
    if objects.peer is None:
        return objects.encrypted.state if objects.encrypted else NodeState.JOINING
    if objects.peer.state is not NodeState.JOINING:
        return objects.peer.state
    mine = objects.encrypted.status if objects.encrypted else None
    if mine is None or not objects.peer.endpoints or not objects.peer.sessions:
        return NodeState.JOINING
    ready = frozenset(mine.ready_for)
    partners = [p for p in view.peers.values() if p.name != objects.name and _live(p, view)]
    if all(p.name in ready and objects.name in _ready_for(view, p.name) for p in partners):
        return NodeState.ACTIVE
    return NodeState.JOINING


def _live(peer: NodePeer, view: ControllerView) -> bool:
    node = view.nodes.get(peer.name)
    here = node is not None and node.ready and node.uid == peer.node_uid
    spoke = bool(peer.sessions) or peer.state is NodeState.ACTIVE  # one that never did holds up nobody: its pairs are its own
    stays = peer.state in (NodeState.JOINING, NodeState.ACTIVE) and not peer.deleting
    return here and spoke and stays and bool(peer.endpoints)


def _ready_for(view: ControllerView, name: str) -> tuple[str, ...]:
    encrypted = view.encrypted.get(name)
    return encrypted.status.ready_for if encrypted and encrypted.status else ()
