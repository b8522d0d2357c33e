"""How a node leaves: state Leaving, then its ID rests, then NodePeer, Secret and, last, the EncryptedNode go. Pure.

While its Node is there, a NodePeer in state Removed stays in the place of the one that went ◆R29: an agent that slept through
the farewell, or whose peer could not say one, reads there that the node is gone; an absent object would say nothing.

Absence of a label is a person's wish, for each node by itself, and needs no confirmation: it alone is a farewell. Absence of
an object is never consent ◆R15: a Node that vanished is not Leaving, and its pairs stay as they are until it is removed. Few
vanished Nodes are removed after a grace period, many at once wait for a person (docs/adr/0012). Every NodePeer whose Node is
gone counts among them as long as it is there, whatever was written or deleted since: a garbage collector and a trickle of
deletions add up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from wirecrypt.controller.access.grants import revoked
from wirecrypt.controller.actions import (
    Action,
    Chain,
    CreateEncrypted,
    CreatePeer,
    DeleteEncrypted,
    DeleteNodeKeys,
    EmitEvent,
    QuarantineNodeIDs,
    RemovePeer,
    UpdateEncrypted,
    UpdatePeer,
)
from wirecrypt.controller.claims.settle import Settled
from wirecrypt.controller.lost import lost_before_farewell, new_peer
from wirecrypt.controller.node_objects import NodeObjects, all_objects
from wirecrypt.model.conditions import Reason
from wirecrypt.model.objects import ControllerView, NodePeer, NodeState
from wirecrypt.model.session import Epoch

GRACE_SECONDS: Final = 60.0
HELD: Final = (
    "vanished together with many others; if it is really gone, annotate its NodePeer: wirecrypt.io/confirm-removal=true"
)
GONE: Final = "its Node is gone, or another has its name: its pairs stay as they are until it is removed"
NODE_IDS: Final = "node IDs"  # a chain that belongs to no node
_MANY: Final = 10  # more than one in this many nodes vanishing at once waits for a person


@dataclass(frozen=True, slots=True)
class LeavingWatch:
    """What only time tells: for how many seconds the Node of each node UID has been gone, as this process saw it."""

    gone: Mapping[str, float]
    grace: float = GRACE_SECONDS


def held_back(view: ControllerView) -> frozenset[str]:
    """Return the nodes that are not removed because too many vanished at once, as after a bad restore; a person decides."""
    everything = all_objects(view)
    peers = sum(objects.peer is not None for objects in everything)
    lost = [objects for objects in everything if objects.lost]
    if len(lost) <= max(1, peers // _MANY):
        return frozenset()
    return frozenset(objects.name for objects in lost if not (objects.confirmed or objects.cleaned))


def leave(
    objects: NodeObjects, view: ControllerView, settled: Settled | None, watched: LeavingWatch, held: frozenset[str]
) -> Iterable[Action]:
    """Yield the next steps of a node that leaves; none but words while it is *held*. *settled*: what its Node claims."""
    lost = lost_before_farewell(objects)
    if objects.peer is None and objects.encrypted is None and not lost:
        if objects.secret:
            yield DeleteNodeKeys(objects.secret, why="belongs to no encrypted node")
        yield from sweep(objects)
        yield from revoked(objects, why="belongs to no encrypted node")
        return
    if objects.name in held:
        yield from _hold_back(objects)
        return
    farewell = [] if objects.vanished or objects.excluded else [*_farewell(objects)]
    if lost and settled and objects.node:
        yield from farewell
        peer = new_peer(objects.node, objects.kept_id, settled, NodeState.LEAVING)
        yield CreatePeer(objects.node, peer, why="lost before it had left")
    elif farewell:
        yield from farewell
    elif why := _may_go(objects, watched):
        yield from _remove(objects, view, why)
    elif objects.vanished and objects.encrypted and objects.encrypted.problems != (GONE,):
        yield UpdateEncrypted(objects.encrypted, objects.encrypted.state, (GONE,), why="its Node is gone")
        yield EmitEvent(objects.name, Reason.NODE_GONE, GONE)


def sweep(objects: NodeObjects) -> Iterable[Action]:
    """Yield the end of a tombstone that says nothing of the Node that is there now, or that a person deleted."""
    stone, node = objects.tombstone, objects.node
    if stone and (stone.deleting or node is None or node.uid != stone.node_uid or objects.wanted):
        yield RemovePeer(stone, why="its Node is gone, or is to be encrypted again")


def _farewell(objects: NodeObjects) -> Iterable[Action]:
    """Yield what is left to do until the node is Leaving on all its objects: its label is gone."""
    why = "the label is gone"
    if objects.peer and objects.peer.state is not NodeState.LEAVING:
        yield UpdatePeer(objects.peer, replace(objects.peer, state=NodeState.LEAVING), why=why)
    if objects.encrypted and objects.encrypted.state is not NodeState.LEAVING:
        yield UpdateEncrypted(objects.encrypted, NodeState.LEAVING, objects.encrypted.problems, why=why)
    elif objects.encrypted is None and objects.node and (objects.peer or lost_before_farewell(objects)):
        node_id = objects.node_id or objects.kept_id
        yield CreateEncrypted(objects.node, node_id, NodeState.LEAVING, (), why="the agent reports on it")
    if objects.peer and objects.peer.state is not NodeState.LEAVING:
        yield EmitEvent(objects.name, Reason.LEAVING, why, warning=False)


def _hold_back(objects: NodeObjects) -> Iterable[Action]:
    if objects.encrypted and not objects.encrypted.deleting and objects.encrypted.problems != (HELD,):
        yield UpdateEncrypted(objects.encrypted, objects.encrypted.state, (HELD,), why="many vanished at once")
    yield EmitEvent(objects.name, Reason.REMOVAL_HELD_BACK, HELD)


def _may_go(objects: NodeObjects, watched: LeavingWatch) -> str:
    """Return why nothing of the node is left anywhere that this could hurt, nothing if that is not known."""
    long_gone = objects.vanished and watched.gone.get(objects.uid, 0.0) >= watched.grace
    reasons = (
        (objects.peer is None, "its NodePeer is gone"),
        (objects.unheard, "it never published a session"),
        (objects.cleaned, "its agent has cleaned up"),
        (objects.confirmed, "a person confirmed it"),
        (objects.excluded and not objects.vanished, "it was cut off, and its label is gone"),
        (objects.succeeded, "a labelled Node has its name: the pairs are blocked until its own are proved"),
        (long_gone, f"its Node has been gone for {watched.grace:.0f} s"),
    )
    return next((why for holds, why in reasons if holds), "")


def _remove(objects: NodeObjects, view: ControllerView, why: str) -> Iterable[Action]:
    """Yield the end of a node: its ID rests before anything goes, the EncryptedNode, which remembers it, goes last.

    The ID is written into every live epoch's Secret: an abort drops the newest one. All else waits until it is seen there. A
    Node that is there was removed by its farewell or by a person's word; one that is gone says that itself.
    """
    node_id = objects.node_id
    unaware = [seed for seed in view.seeds if node_id not in seed.released]
    if unaware:
        yield from (QuarantineNodeIDs(seed, (node_id,), why=why) for seed in unaware)
        return
    if objects.peer:
        yield RemovePeer(objects.peer, why=why)
    if objects.node and not (objects.vanished or objects.tombstone):
        yield CreatePeer(objects.node, _tombstone(objects, node_id), why="says to every agent that the node was removed")
    if objects.secret:
        yield DeleteNodeKeys(objects.secret, why=why)
    yield from revoked(objects, why)
    if objects.encrypted and not objects.encrypted.deleting:  # others may hold it still
        yield DeleteEncrypted(objects.encrypted, why=why)
    yield EmitEvent(objects.name, Reason.REMOVED, f"not encrypted any more: {why}", warning=False)


def together(chains: Iterable[Chain]) -> tuple[Chain, ...]:
    """Return *chains* with what they write into the Secrets of epochs in one chain, the first, by one write an epoch.

    A Secret that every node wrote by itself would take one of them a pass, and refuse all others.
    """
    ids: defaultdict[Epoch, list[int]] = defaultdict(list)
    seeds, others = {}, []
    for chain in chains:
        for action in chain.actions:
            if isinstance(action, QuarantineNodeIDs):
                seeds[action.seed.epoch] = action.seed
                ids[action.seed.epoch] += action.node_ids
        others.append(Chain(chain.name, tuple(a for a in chain.actions if not isinstance(a, QuarantineNodeIDs))))
    resting = (QuarantineNodeIDs(seeds[epoch], tuple(ids[epoch]), "their nodes are to go") for epoch in sorted(seeds))
    return tuple(chain for chain in (Chain(NODE_IDS, tuple(resting)), *others) if chain.actions)


def _tombstone(objects: NodeObjects, node_id: int) -> NodePeer:
    assert objects.node is not None  # noqa: S101 - who asks has looked; for the type checker
    return NodePeer(objects.name, "", node_id, objects.uid, (), (), NodeState.REMOVED, objects.node.created)
