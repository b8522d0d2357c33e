"""What the custom resources themselves refuse (manifests/crd-*.yaml): why an object may not become another, "" where it may.

Shapes that no value of the model can have are not asked about.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from wirecrypt.model.objects import MOST_ADDRESSES, EncryptedNode, KeyRotation, NodePeer, NodeState, NodeStatus, Phase

HIGHEST: Final = 2**53 - 1  # the highest number that every reader of JSON reads as it is
STEP: Final = 10**9  # how far a number or an epoch may go up at once
_MOST_SESSIONS, _MOST_EPOCHS = 3, 8
_FROM = {
    NodeState.JOINING: set(NodeState),
    NodeState.ACTIVE: {NodeState.ACTIVE, NodeState.LEAVING, NodeState.EXCLUDED},
    NodeState.LEAVING: {NodeState.LEAVING, NodeState.EXCLUDED},
    NodeState.EXCLUDED: {NodeState.EXCLUDED},
    NodeState.REMOVED: {NodeState.REMOVED},
}
_BEFORE = {
    Phase.PENDING: {None},
    Phase.DISTRIBUTING: {None, Phase.PENDING},
    Phase.SWITCHING: {None, Phase.DISTRIBUTING},
    Phase.RETIRING: {None, Phase.SWITCHING},
    Phase.COMPLETE: {None, Phase.RETIRING},
    Phase.ABORTED: {None, Phase.PENDING, Phase.DISTRIBUTING},
}


def spec(old: NodePeer | EncryptedNode, new: NodePeer | EncryptedNode) -> str:
    """Say why the controller's part of an object may not become another."""
    return _first(
        (new.state is NodeState.REMOVED and isinstance(new, EncryptedNode), "only a NodePeer says that a node was removed"),
        (new.state not in _FROM[old.state], "a node goes from Joining to Active to Leaving or Excluded; neither is recanted"),
    )


def sessions(old: NodePeer, new: NodePeer) -> str:
    """Say why an agent's part of a NodePeer may not become another."""
    before = {s.number: s for s in old.sessions}
    numbers, highest = [s.number for s in new.sessions], ahead(s.epoch.number for s in old.sessions)
    proposed = new.proposed or ()
    return _first(
        (new.last_session < old.last_session or new.boot_session < old.boot_session, "a number goes back"),
        (new.last_session > (old.last_session + STEP if old.last_session else HIGHEST), "the number goes up too far"),
        (any(before.get(s.number, s) != s for s in new.sessions), "a published session changes"),
        (any(n not in before and n <= old.last_session for n in numbers), "a session comes back"),
        (
            any(s.epoch.number > highest for s in new.sessions),
            "an epoch so far ahead never was",
        ),
        (new.boot_session > new.last_session, "bootSession is above lastSession"),
        (any(n > new.last_session for n in numbers), "lastSession is below a session's number"),
        (len(set(numbers)) < len(numbers), "two sessions have one number"),
        (len(numbers) > _MOST_SESSIONS, "too many sessions"),
        (len(proposed) > MOST_ADDRESSES or len(set(proposed)) < len(proposed), "too many addresses, or one twice"),
    )


def status(old: NodeStatus | None, new: NodeStatus) -> str:
    """Say why the status of an EncryptedNode may not become another."""
    sent = old.sending_epoch if old else 0
    accepted = old.accepting_epochs if old else ()
    return _first(
        (new.sending_epoch > ahead([sent] if sent else []), "an epoch so far ahead never was"),
        (any(e > ahead(accepted) for e in new.accepting_epochs), "an epoch so far ahead never was"),
        (len(new.accepting_epochs) > _MOST_EPOCHS, "too many epochs"),
    )


def rotation(old: KeyRotation, new: KeyRotation) -> str:
    """Say why the status of a KeyRotation may not become another."""
    named = old.from_epoch, old.to_epoch, old.to_epoch_id
    begun = new.phase not in (None, Phase.PENDING, Phase.ABORTED)
    return _first(
        (max(new.from_epoch, new.to_epoch) > HIGHEST, f"an epoch above {HIGHEST}"),
        (bool(old.to_epoch) and named != (new.from_epoch, new.to_epoch, new.to_epoch_id), "immutable"),
        (bool(new.to_epoch) and new.to_epoch <= new.from_epoch, "a rotation moves forward"),
        (begun and not new.to_epoch, "a rotation that has begun names its epochs"),
        (new.phase is None and old.phase is not None, "phase cannot be removed"),
        (new.phase not in (None, old.phase) and old.phase not in _BEFORE[new.phase], "phases go forward, one at a time"),
    )


def ahead(before: Iterable[int]) -> int:
    """Return how high an epoch may be that comes after these."""
    return max((min(number + STEP, HIGHEST) for number in before), default=HIGHEST)


def _first(*wrong: tuple[bool, str]) -> str:
    return next((why for holds, why in wrong if holds), "")
