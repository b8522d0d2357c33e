"""From labels to objects: what is to be done for each node. Pure; every pass starts from what is there.

Joining: EncryptedNode (it keeps the node ID), the Secret with the keys of every live epoch, and only then the NodePeer, on
which other nodes act. How a node leaves is in `leaving`. Events come after the objects that they speak of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from itertools import chain
from typing import Final

from wirecrypt.controller.access.grants import granted
from wirecrypt.controller.actions import (
    Action,
    Chain,
    CreateEncrypted,
    CreatePeer,
    DeleteNodeKeys,
    EmitEvent,
    UpdateEncrypted,
    UpdatePeer,
)
from wirecrypt.controller.claims.allowed import Allowed
from wirecrypt.controller.claims.proposals import Withdrawn
from wirecrypt.controller.claims.settle import Settled, settle
from wirecrypt.controller.leaving import LeavingWatch, held_back, leave, sweep, together
from wirecrypt.controller.lost import is_kept, made_again, may_go, new_peer, state_again
from wirecrypt.controller.node_ids import NodeIds
from wirecrypt.controller.node_objects import NodeObjects, all_objects
from wirecrypt.errors import ObjectError
from wirecrypt.model.conditions import Reason
from wirecrypt.model.objects import LABEL, LABEL_ENABLED, MOST_JOINING, ControllerView, Node, NodePeer, NodeState
from wirecrypt.model.session import Epoch
from wirecrypt.rotation.actions import WriteNodeKeys
from wirecrypt.rotation.numbers import highest, never_was

MOST_PROBLEMS: Final = 16  # both as the CRD allows it
LONGEST_PROBLEM: Final = 256
WAITS: Final = f"{MOST_JOINING} nodes join at a time, and others have their turn; the node is in clear until it has joined"


def reconcile(  # noqa: PLR0913 - what it looks at
    view: ControllerView,
    allowed: Allowed,
    epochs: tuple[Epoch, ...],
    watched: LeavingWatch,
    rested: frozenset[Withdrawn] = frozenset(),
    *,
    room: int = MOST_JOINING,
) -> tuple[Chain, ...]:
    """Return what is to be done, about node IDs first, then a chain a node by name; *epochs*: those that a joining node needs.

    *rested*: addresses that may be given up. *room*: how many nodes may begin to join; of those that may not yet, as many as
    begin together are told.
    """
    settled = settle(view.nodes.values(), view.peers.values(), allowed, rested)
    known = highest(view.rotations, view.seeds, view.keys.values())
    strange = {name: words for name, peer in view.peers.items() if (words := never_was(peer, known))}
    ids = {p.node_id for p in (*view.peers.values(), *view.tombstones.values())} | {e.node_id for e in view.encrypted.values()}
    free = NodeIds(ids, (secret.node_id for secret in view.keys.values()), view.seeds)
    held, joining, told = held_back(view), _Joining(view, epochs, free), MOST_JOINING
    chains = []
    for objects in all_objects(view):
        if objects.vanished or objects.leaving or not objects.wanted:
            actions = [*leave(objects, view, settled.get(objects.name), watched, held), *_bad_label(objects)]
        elif objects.new and not room:
            actions = [EmitEvent(objects.name, Reason.JOIN_WAITS, WAITS, warning=False)] if told else []
            told -= bool(told)
        else:
            room -= objects.new
            gets = replace(settled[objects.name], strange=strange.get(objects.name, ""), unset=_unset(allowed, objects))
            actions = [*_join(objects, joining, gets), *_bad_label(objects)]
        if actions:
            chains.append(Chain(objects.name, tuple(actions)))
    return together(chains)


def _unset(allowed: Allowed, objects: NodeObjects) -> str:
    """Return what is missing in the configuration and what follows for the node, nothing when nothing is.

    That a range is not set is no consent: neither to what a Node says of itself, nor to taking away what was granted before.
    """
    meanwhile = "it keeps what it was granted and gets nothing new" if objects.peer else "the node does not join"
    return f"{allowed.ranges.unset}: {meanwhile} before there is a range" if allowed.ranges.unset else ""


def _bad_label(objects: NodeObjects) -> Iterable[Action]:
    if problem := _label_problem(objects.node):
        yield EmitEvent(objects.name, Reason.BAD_LABEL, f"{problem}; nothing was changed")


def _label_problem(node: Node | None) -> str:
    if node is None or node.label in (None, LABEL_ENABLED):
        return ""
    return f"label {LABEL}={node.label} is not known; allowed: {LABEL_ENABLED}, or no label"


class _Joining:
    """What those that join have in common in one pass: *view*, the *epochs* that they need keys of, node *ids* to give out."""

    def __init__(self, view: ControllerView, epochs: tuple[Epoch, ...], ids: NodeIds) -> None:
        self.view, self.epochs, self.ids = view, epochs, ids

    @cached_property
    def _live(self) -> frozenset[str]:
        return frozenset(p.name for p in self.view.peers.values() if _live(p, self.view))

    @cached_property
    def _named(self) -> Counter[str]:
        """How many live nodes say that they are ready for which other one."""
        return Counter(chain.from_iterable({*_ready_for(self.view, live)} - {live} for live in self._live))

    def both_ready(self, name: str) -> bool:
        """Return whether both ends of every live pair of a node are ready."""
        partners = self._live - {name}
        return partners <= {*_ready_for(self.view, name)} and self._named[name] == len(partners)


def _join(objects: NodeObjects, joining: _Joining, settled: Settled) -> Iterable[Action]:
    """Yield what is missing for a node that is to be encrypted, and what changed for one that is."""
    epochs, ids = joining.epochs, joining.ids
    assert objects.node is not None  # noqa: S101 - `wanted` says so; for the type checker
    try:
        node_id = objects.node_id or ids.take(objects.kept_id)
    except ObjectError as error:
        yield EmitEvent(objects.name, Reason.NO_NODE_ID, str(error))
        return
    state, problems = _next_state(objects, joining, node_id), _problems(objects, settled)
    if objects.peer and not objects.peer.deleting:
        endpoints, prefixes, addresses = settled.endpoints, settled.pod_cidrs, settled.addresses
        new = replace(objects.peer, state=state, endpoints=endpoints, pod_cidrs=prefixes, addresses=addresses)
        yield from _changes(objects.peer, new)
    missing = (objects.peer is None or may_go(objects)) and bool(epochs) and not (objects.unusable or settled.unset)
    goes = made_again(objects.name, objects.peer) if missing and objects.peer else ()
    if objects.encrypted is None:
        yield from goes  # first: its kind may be on its way out with the other, and whoever replaces them waits for it
        yield CreateEncrypted(objects.node, node_id, state, problems, why="the node is labelled")
    elif (objects.encrypted.state, objects.encrypted.problems) != (state, problems):
        yield UpdateEncrypted(objects.encrypted, state, problems, why="state or problems differ")
    yield from granted(objects)
    yield from _keys(objects, objects.node, node_id, epochs)
    if not settled.unset:
        yield from sweep(objects)
    if missing:
        yield from goes if objects.encrypted else ()
        peer = new_peer(objects.node, node_id, settled, state)
        yield CreatePeer(objects.node, peer, why="its EncryptedNode and keys are there")
        if state is NodeState.JOINING:
            yield EmitEvent(objects.name, Reason.JOINING, f"joins the encrypted nodes with node ID {node_id}", warning=False)
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
        yield EmitEvent(objects.name, Reason.ACTIVE, "every live pair is proved and required", warning=False)
    if settled.unset:
        yield EmitEvent(objects.name, Reason.RANGES_UNSET, settled.unset)
    for claim in settled.waiting:
        yield EmitEvent(objects.name, Reason.CLAIM_WAITS, claim)
    for refusal in settled.refused:
        yield EmitEvent(objects.name, Reason.CLAIM_REFUSED, refusal)
    for claim in settled.kept:
        text = "kept, for the node has it already; correct the ranges or apiServers of the configuration, or the Node"
        yield EmitEvent(objects.name, Reason.CLAIM_KEPT, f"{claim}; {text}")
    if objects.unusable:
        yield EmitEvent(objects.name, Reason.KEY_SECRET_FAILED, objects.unusable)
    if settled.strange:
        yield EmitEvent(objects.name, Reason.SESSION_IGNORED, settled.strange)


def _keys(objects: NodeObjects, node: Node, node_id: int, epochs: tuple[Epoch, ...]) -> Iterable[Action]:
    if objects.excluded:
        yield from [DeleteNodeKeys(objects.secret, why="the node was cut off")] if objects.secret else []
        return
    if objects.unusable:
        return  # a Secret that cannot be read is not one that is missing
    own = objects.secret if objects.secret and objects.secret.node_uid == node.uid else None
    have = {k.epoch for k in own.keys} if own else set()
    missing = tuple(e for e in epochs if e not in have)
    if missing:
        yield WriteNodeKeys(node.name, node.uid, node_id, missing, why="a node has the keys of every live epoch")
    elif own and not is_kept(objects, own, node_id):
        yield WriteNodeKeys(node.name, node.uid, node_id, (), why="its ID, and that it is Active, are kept next to its keys")


def _changes(old: NodePeer, new: NodePeer) -> Iterable[Action]:
    if old != new:
        yield UpdatePeer(old, new, "its claims changed" if old.state is new.state else "both ends of every live pair are ready")


def _next_state(objects: NodeObjects, joining: _Joining, node_id: int) -> NodeState:
    """Return the state that a node which stays is in: Active once both ends of every live pair are ready ◆R25."""
    if objects.peer is None:
        return state_again(objects, node_id)
    if objects.peer.state is not NodeState.JOINING:
        return objects.peer.state
    spoke = objects.encrypted and objects.encrypted.status and objects.peer.endpoints and objects.peer.sessions
    return NodeState.ACTIVE if spoke and joining.both_ready(objects.name) else NodeState.JOINING


def _live(peer: NodePeer, view: ControllerView) -> bool:
    node = view.nodes.get(peer.name)
    here = node is not None and node.ready and node.uid == peer.node_uid
    spoke = bool(peer.sessions) or peer.state is NodeState.ACTIVE  # one that never did holds up nobody: its pairs are its own
    stays = peer.state in (NodeState.JOINING, NodeState.ACTIVE) and not peer.deleting
    return here and spoke and stays and bool(peer.endpoints)


def _ready_for(view: ControllerView, name: str) -> tuple[str, ...]:
    encrypted = view.encrypted.get(name)
    return encrypted.status.ready_for if encrypted and encrypted.status else ()
