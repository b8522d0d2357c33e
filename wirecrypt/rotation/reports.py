"""What Secrets have and what nodes report, as a rotation counts it. Pure.

What a node reports counts only if it is of the boot that published its sessions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from wirecrypt.model.objects import NodePeer, NodeStatus
from wirecrypt.model.session import Epoch
from wirecrypt.rotation.actions import RemoveNodeKey, RotationInputs, WriteNodeKeys


def missing(snapshot: RotationInputs, epoch: Epoch) -> Iterable[WriteNodeKeys]:
    """Yield a `WriteNodeKeys` for each node whose Secret lacks the key of *epoch*, if its seed is there to make it from.

    Secrets whose last write failed come last, so that they fill no wave; one that cannot be read is left alone.
    """
    if epoch not in {s.epoch for s in snapshot.seeds}:
        return
    for peer in sorted(lacking(snapshot, epoch), key=lambda p: (p.name in snapshot.refused, p.name)):
        if peer.name not in snapshot.unusable:
            yield WriteNodeKeys(peer.name, peer.node_uid, peer.node_id, (epoch,), why=f"has no key of epoch {epoch.number}")


def lacking(snapshot: RotationInputs, epoch: Epoch) -> list[NodePeer]:
    """Return the nodes whose Secret does not show the key of *epoch*."""
    return [peer for peer in snapshot.peers if not _has(snapshot, peer, epoch)]


def _has(snapshot: RotationInputs, peer: NodePeer, epoch: Epoch) -> bool:
    secret = snapshot.keys.get(peer.name)
    return secret is not None and secret.node_uid == peer.node_uid and epoch in {k.epoch for k in secret.keys}


def stuck(snapshot: RotationInputs, lacking: Iterable[NodePeer]) -> list[str]:
    """Return those of *lacking* whose Secret cannot be read or written."""
    return sorted(p.name for p in lacking if p.name in snapshot.unusable or p.name in snapshot.refused)


def why_stuck(snapshot: RotationInputs, stuck: Iterable[str]) -> str:
    """Return, in words, why the Secret of each of *stuck* cannot be read or written."""
    reasons = {**snapshot.refused, **snapshot.unusable}
    return "".join(f"; {name}: {reasons[name]}" for name in stuck)


def failing(snapshot: RotationInputs, name: str) -> Mapping[str, str]:
    """Return the peers that the node called *name* gets no answer of, with the reason that it gives."""
    status = snapshot.statuses.get(name)
    return dict(entry.split(": ", 1) for entry in status.failing if ": " in entry) if status else {}


def why_waiting(snapshot: RotationInputs, names: Iterable[str]) -> str:
    """Return, in words, the first peer that one of *names* gets no answer of: it may be what holds the rotation up."""
    found = ((name, peer, why) for name in names for peer, why in failing(snapshot, name).items() if peer not in snapshot.down)
    return next((f"; {name} has no answer of {peer}: {why}" for name, peer, why in found), "")


def removals(snapshot: RotationInputs, which: int | Epoch, why: str) -> Iterable[RemoveNodeKey]:
    """Yield a `RemoveNodeKey` for each Secret with a key of *which*: an epoch, or any of a number."""
    for _, secret in sorted(snapshot.keys.items()):
        for key in secret.keys:
            if which in (key.epoch, key.epoch.number):
                yield RemoveNodeKey(secret, key.epoch.number, why)


def sends(snapshot: RotationInputs, peer: NodePeer, number: int) -> bool:
    """Return whether all that *peer* sends goes with epoch *number* or a later one; one that sends nothing needs a session.

    A later one: the API server went back, and tells of a rotation that nodes have gone through long ago.
    """
    status = words(snapshot, peer)
    if status is None or 0 < status.sending_epoch < number:
        return False
    return status.sending_epoch >= number or number in {s.epoch.number for s in peer.sessions}


def accepts_older(snapshot: RotationInputs, peer: NodePeer, number: int) -> bool:
    """Return whether *peer* may accept an epoch before *number*: it says so, or its word is of another boot or missing."""
    status = words(snapshot, peer)
    return status is None or any(epoch < number for epoch in (*status.accepting_epochs, status.sending_epoch) if epoch)


def over(snapshot: RotationInputs, peers: Iterable[NodePeer], numbers: Iterable[int]) -> list[int]:
    """Return those of *numbers* that none of *peers* may accept: epochs that nobody needs."""
    found = [words(snapshot, peer) for peer in peers]
    if None in found or snapshot.unheard:
        return []
    used = {epoch for status in found if status for epoch in (*status.accepting_epochs, status.sending_epoch)}
    return [number for number in numbers if number not in used]


def words(snapshot: RotationInputs, peer: NodePeer) -> NodeStatus | None:
    """Return what *peer* reports, None if that is of another boot than its sessions."""
    status = snapshot.statuses.get(peer.name)
    return status if status and status.boot_id == peer.boot_id else None
