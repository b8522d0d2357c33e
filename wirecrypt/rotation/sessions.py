"""Which sessions a node needs, when it may publish one, and when a private key is over: pure decisions.

The phase of the rotation decides which epochs a node has sessions of, not which node keys happen to be in its Secret ◆:
`from` until Retiring, `to` from Switching on. A session is published only when its generations are installed towards every
peer that is published already ◆, except towards pairs that are full and skip it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from wirecrypt.model.objects import KeyRotation, Phase
from wirecrypt.model.session import Epoch
from wirecrypt.model.spi import AHEAD, RESIDUES
from wirecrypt.rotation.pair import Decision, OwnSession, View

MAX_PUBLISHED: Final = 3
_STARTED: Final = (Phase.SWITCHING, Phase.RETIRING, Phase.COMPLETE)


@dataclass(frozen=True, slots=True)
class Need:
    """A session that is needed, and why."""

    epoch: int
    why: str


def wanted_epochs(rotations: Iterable[KeyRotation]) -> tuple[int, ...]:
    """Return the epochs that sessions are wanted of, ascending; empty when no rotation says so (then nothing changes)."""
    started = [r for r in rotations if r.phase in _STARTED]
    if not started:
        return ()
    newest = max(started, key=lambda r: r.to_epoch)
    if newest.phase is Phase.SWITCHING and newest.from_epoch:
        return (newest.from_epoch, newest.to_epoch)
    return (newest.to_epoch,)


def next_number(last: int, residues_in_kernel: Collection[int]) -> int:
    """Return the next own session number, with a residue that no SA in the kernel carries ◆.

    It is above *last* and above what the kernel has: residues shortly after *last* are of sessions that a lost state file
    named and nobody else.
    """
    ahead = [(residue - last) % RESIDUES for residue in residues_in_kernel]
    last += max((distance for distance in ahead if distance <= AHEAD), default=0)
    return next(n for n in range(last + 1, last + 2 + RESIDUES) if n % RESIDUES not in residues_in_kernel)


def needs(own: Sequence[OwnSession], wanted: Sequence[int], keys: Mapping[int, Epoch], renew: Mapping[int, str]) -> list[Need]:
    """Return the sessions to make: for a wanted epoch without one, and for each epoch in *renew* with its reason.

    *keys* are the epochs that a node key is at hand of; without one no session can be made. A number that stands for
    another epoch id now (an etcd restore) is another epoch.
    """
    found = []
    for epoch in wanted:
        if epoch not in keys:
            continue
        alive = [o for o in own if o.session.epoch == keys[epoch] and o.alive]
        if not alive:
            found.append(Need(epoch, "first session of the epoch"))
        elif epoch in renew:
            found.append(Need(epoch, renew[epoch]))
    return found


def publishable(own: Sequence[OwnSession], pairs: Iterable[tuple[View, Decision]]) -> bool:
    """Say whether the newest own sessions may be published: installed towards every published peer, or skipped there."""
    if all(o.published for o in own if o.alive):
        return False
    for view, decision in pairs:
        aim = decision.target
        if aim is None or decision.full or decision.remove_all:
            continue
        unpublished = {o.session.number for o in own if not o.published}
        if view.own_number(aim) not in unpublished:
            continue
        state = view.observed.installed.get(aim)
        if state is None or not state.whole:
            return False
    return True


def to_publish(own: Sequence[OwnSession]) -> list[OwnSession]:
    """Return the sessions that the status lists: the newest living one of each epoch, at most three, newest last."""
    newest = {o.session.epoch.number: o for o in sorted(own, key=lambda o: o.session.number) if o.alive}
    return sorted(newest.values(), key=lambda o: o.session.number)[-MAX_PUBLISHED:]


def over(own: Sequence[OwnSession], wanted: Sequence[int], epochs_in_kernel: Collection[int]) -> frozenset[int]:
    """Return the numbers of living sessions whose private key is to be destroyed.

    Overtaken by a published one of the same epoch ◆, or of an epoch that is neither wanted nor in the kernel any more.
    """
    found = set()
    for o in own:
        if not o.alive:
            continue
        overtaken = any(p.published and p.session.epoch == o.session.epoch and p.session.number > o.session.number for p in own)
        epoch = o.session.epoch.number
        retired = bool(wanted) and epoch < min(wanted) and epoch not in epochs_in_kernel
        if overtaken or retired:
            found.add(o.session.number)
    return frozenset(found)
