"""How a node leaves: state Leaving, then its ID rests, then NodePeer, Secret and, last, the EncryptedNode go. Pure.

Absence of a label is a person's wish, for each node by itself, and needs no confirmation: it alone is a farewell. Absence of
an object is never consent ◆: a Node that vanished is not Leaving, and its pairs stay as they are until it is removed. Few
vanished Nodes are removed after a grace period, many at once wait for a person (docs/adr/0012). Every NodePeer whose Node is
gone counts among them as long as it is there, whatever was written or deleted since: a garbage collector and a trickle of
deletions add up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from wirecrypt.controller.actions import (
    Action,
    CreateEncrypted,
    DeleteEncrypted,
    DeleteNodeKeys,
    EmitEvent,
    QuarantineNodeID,
    RemovePeer,
    UpdateEncrypted,
    UpdatePeer,
)
from wirecrypt.controller.node_objects import NodeObjects, all_objects
from wirecrypt.model.objects import NodeState
from wirecrypt.ports import ControllerView

GRACE_SECONDS: Final = 60.0
HELD: Final = (
    "vanished together with many others; if it is really gone, annotate its NodePeer: wirecrypt.io/confirm-removal=true"
)
GONE: Final = "its Node is gone, or another has its name: its pairs stay as they are until it is removed"
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


def leave(objects: NodeObjects, view: ControllerView, watched: LeavingWatch, held: frozenset[str]) -> Iterable[Action]:
    """Yield the next steps of a node that leaves; none but words while it is *held*."""
    if objects.peer is None and objects.encrypted is None:
        if objects.secret:
            yield DeleteNodeKeys(objects.secret, why="belongs to no encrypted node")
        return
    if objects.name in held:
        yield from _hold_back(objects)
        return
    farewell = [] if objects.vanished else [*_farewell(objects)]
    if farewell:
        yield from farewell
    elif why := _may_go(objects, watched):
        yield from _remove(objects, view, why)
    elif objects.vanished and objects.encrypted and objects.encrypted.problems != (GONE,):
        yield UpdateEncrypted(objects.encrypted, objects.encrypted.state, (GONE,), why="its Node is gone")
        yield EmitEvent(objects.name, "NodeGone", GONE)


def _farewell(objects: NodeObjects) -> Iterable[Action]:
    """Yield what is left to do until the node is Leaving on all its objects: its label is gone."""
    why = "the label is gone"
    if objects.peer and objects.peer.state is not NodeState.LEAVING:
        yield UpdatePeer(objects.peer, replace(objects.peer, state=NodeState.LEAVING), why=why)
    if objects.encrypted and objects.encrypted.state is not NodeState.LEAVING:
        yield UpdateEncrypted(objects.encrypted, NodeState.LEAVING, objects.encrypted.problems, why=why)
    elif objects.encrypted is None and objects.peer and objects.node:
        yield CreateEncrypted(objects.node, objects.peer.node_id, NodeState.LEAVING, (), why="the agent reports on it")
    if objects.peer and objects.peer.state is not NodeState.LEAVING:
        yield EmitEvent(objects.name, "Leaving", why, warning=False)


def _hold_back(objects: NodeObjects) -> Iterable[Action]:
    if objects.encrypted and not objects.encrypted.deleting and objects.encrypted.problems != (HELD,):
        yield UpdateEncrypted(objects.encrypted, objects.encrypted.state, (HELD,), why="many vanished at once")
    yield EmitEvent(objects.name, "RemovalHeldBack", HELD)


def _may_go(objects: NodeObjects, watched: LeavingWatch) -> str:
    """Return why nothing of the node is left anywhere that this could hurt, nothing if that is not known."""
    if objects.peer is None:
        return "its NodePeer is gone"
    if not objects.peer.sessions and not objects.peer.last_session:
        return "it never published a session"
    if objects.cleaned:
        return "its agent has cleaned up"
    if objects.confirmed:
        return "a person confirmed it"
    if objects.vanished and watched.gone.get(objects.uid, 0.0) >= watched.grace:
        return f"its Node has been gone for {watched.grace:.0f} s"
    return ""


def _remove(objects: NodeObjects, view: ControllerView, why: str) -> Iterable[Action]:
    """Yield the end of a node: its ID rests before anything goes, the EncryptedNode, which remembers it, goes last.

    The ID is written into every live epoch's Secret: an abort drops the newest one.
    """
    node_id = objects.peer.node_id if objects.peer else objects.encrypted.node_id if objects.encrypted else 0
    for seed in sorted(view.seeds, key=lambda s: s.epoch):
        if node_id not in seed.released:
            yield QuarantineNodeID(seed, node_id, why=why)
    if objects.peer:
        yield RemovePeer(objects.peer, why=why)
    if objects.secret:
        yield DeleteNodeKeys(objects.secret, why=why)
    if objects.encrypted and not objects.encrypted.deleting:  # others may hold it still
        yield DeleteEncrypted(objects.encrypted, why=why)
    yield EmitEvent(objects.name, "Removed", f"not encrypted any more: {why}", warning=False)
