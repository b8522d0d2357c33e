"""How many ended rotations are kept: those that nobody needs go, the oldest first. Pure.

A rotation is more than history while its number is the highest, for it may be the only witness that the number was used; while
somebody holds a key of its epoch or an open rotation begins with it, for agents read the epoch's id from it; and while it
carries our finalizer, which the last completed one does ◆R37.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from wirecrypt.model.objects import KeyRotation
from wirecrypt.rotation.actions import DeleteRotation, RotationInputs
from wirecrypt.rotation.numbers import held
from wirecrypt.rotation.phases import FINISHED

WAVE: Final = 64  # deleted per step, so that a long history does not flood the API server


def surplus(snapshot: RotationInputs, most: int) -> tuple[DeleteRotation, ...]:
    """Return the deletions of ended rotations beyond the *most* that ended last, the oldest first."""
    ended = sorted((r for r in snapshot.rotations if r.phase in FINISHED and not r.deleting), key=_age)
    older = ended[: max(0, len(ended) - most)]
    needed = _needed(snapshot)
    why = f"ended, and {most} have ended since (rotation.history)"
    return tuple(DeleteRotation(r, why) for r in older if not r.held and r.to_epoch not in needed)[:WAVE]


def _age(rotation: KeyRotation) -> tuple[object, ...]:
    return (rotation.completed or rotation.created, rotation.created, rotation.name)


def _needed(snapshot: RotationInputs) -> set[int]:
    """Return the numbers that a rotation is needed for: the highest of all, those in Secrets, those that open ones leave."""
    rotations = snapshot.rotations
    left = {r.from_epoch for r in rotations if r.phase not in FINISHED}
    return {_highest(rotations), *left, *held(snapshot.seeds, snapshot.keys.values())} - {0}


def _highest(rotations: Iterable[KeyRotation]) -> int:
    return max((r.to_epoch for r in rotations), default=0)
