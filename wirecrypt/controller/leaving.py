"""How a node leaves: state Leaving, then its ID rests, then NodePeer, Secret and, last, the EncryptedNode go. Pure.

Absence of a label is a person's wish, for each node by itself, and needs no confirmation. Absence of an object is never
consent: few vanished Nodes leave after a grace period, many at once wait for a person (docs/adr/0012). Every NodePeer whose
Node is gone counts among them as long as it is there, whatever was written or deleted since: a garbage collector and a
trickle of deletions add up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from wirecrypt.controller.actions import (
    Action,
    CreateEncrypted,
    DeleteEncrypted,
    DropKeys,
    RemovePeer,
    Rest,
    Tell,
    UpdateEncrypted,
    UpdatePeer,
)
from wirecrypt.controller.node_objects import One, ones
from wirecrypt.model.objects import NodeState
from wirecrypt.ports import ControllerView

GRACE_SECONDS: Final = 60.0
HELD: Final = (
    "vanished together with many others; if it is really gone, annotate its NodePeer: wirecrypt.io/confirm-removal=true"
)
_MANY: Final = 10  # more than one in this many nodes vanishing at once waits for a person


@dataclass(frozen=True, slots=True)
class Watched:
    """What only time tells: for how many seconds the Node of each node UID has been gone, as this process saw it."""

    gone: Mapping[str, float]
    grace: float = GRACE_SECONDS


def held_back(view: ControllerView) -> frozenset[str]:
    """Return the nodes that are not removed because too many vanished at once, as after a bad restore; a person decides."""
    everything = ones(view)
    peers = sum(one.peer is not None for one in everything)
    lost = [one for one in everything if one.lost]
    if len(lost) <= max(1, peers // _MANY):
        return frozenset()
    return frozenset(one.name for one in lost if not (one.confirmed or one.cleaned))


def leave(one: One, view: ControllerView, watched: Watched, held: frozenset[str]) -> Iterable[Action]:
    """Yield the next steps of a node that leaves; none but words while it is *held*."""
    if one.peer is None and one.encrypted is None:
        if one.secret:
            yield DropKeys(one.secret, why="belongs to no encrypted node")
        return
    if one.name in held:
        yield from _hold(one)
        return
    if one.peer and one.peer.state is not NodeState.LEAVING:
        yield UpdatePeer(one.peer, replace(one.peer, state=NodeState.LEAVING), why=_why_leaving(one))
    if one.encrypted and one.encrypted.state is not NodeState.LEAVING:
        yield UpdateEncrypted(one.encrypted, NodeState.LEAVING, one.encrypted.problems, why=_why_leaving(one))
    elif one.encrypted is None and one.peer and one.node and not one.vanished:
        yield CreateEncrypted(one.node, one.peer.node_id, NodeState.LEAVING, (), why="the agent reports on it")
    elif why := _may_go(one, watched):
        yield from _remove(one, view, why)
        return
    if one.peer and one.peer.state is not NodeState.LEAVING:
        yield Tell(one.name, "Leaving", _why_leaving(one), warning=False)


def _hold(one: One) -> Iterable[Action]:
    if one.encrypted and not one.encrypted.deleting and one.encrypted.problems != (HELD,):
        yield UpdateEncrypted(one.encrypted, one.encrypted.state, (HELD,), why="many vanished at once")
    yield Tell(one.name, "RemovalHeldBack", HELD)


def _why_leaving(one: One) -> str:
    if one.vanished:
        return "its Node is gone"
    return "its NodePeer was deleted" if one.peer and one.peer.deleting else "the label is gone"


def _may_go(one: One, watched: Watched) -> str:
    """Return why nothing of the node is left anywhere that this could hurt, nothing if that is not known."""
    if one.peer is None:
        return "its NodePeer is gone"
    if not one.peer.sessions and not one.peer.last_session:
        return "it never published a session"
    if one.cleaned:
        return "its agent has cleaned up"
    if one.confirmed:
        return "a person confirmed it"
    if one.vanished and watched.gone.get(one.uid, 0.0) >= watched.grace:
        return f"its Node has been gone for {watched.grace:.0f} s"
    return ""


def _remove(one: One, view: ControllerView, why: str) -> Iterable[Action]:
    """Yield the end of a node: its ID rests before anything goes, the EncryptedNode, which remembers it, goes last.

    The ID is written into every live epoch's Secret: an abort drops the newest one.
    """
    node_id = one.peer.node_id if one.peer else one.encrypted.node_id if one.encrypted else 0
    for seed in sorted(view.seeds, key=lambda s: s.epoch):
        if node_id not in seed.released:
            yield Rest(seed, node_id, why=why)
    if one.peer:
        yield RemovePeer(one.peer, why=why)
    if one.secret:
        yield DropKeys(one.secret, why=why)
    if one.encrypted and not one.encrypted.deleting:  # others may hold it still
        yield DeleteEncrypted(one.encrypted, why=why)
    yield Tell(one.name, "Removed", f"not encrypted any more: {why}", warning=False)
