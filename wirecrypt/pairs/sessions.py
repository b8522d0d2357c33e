"""Which sessions a node needs, when it may publish one, and when a private key is over: pure decisions.

The phase of the rotation decides which epochs a node has sessions of, not which node keys happen to be in its Secret ◆R39:
`from` until Retiring, `to` from Switching on. An epoch is its number and its id: after an etcd restore a number may come back
with another id, and what is at hand of the one is of no use for the other.

A session is published only when its generations are installed towards every peer that is published already ◆R9, except towards
pairs that are full and skip it, and towards peers with which it cannot be installed: what one peer published, or one kernel
lacks, holds up nobody else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from wirecrypt.model.objects import KeyRotation, Phase
from wirecrypt.model.session import Epoch
from wirecrypt.model.spi import AHEAD, RESIDUES
from wirecrypt.pairs.decide import Decision
from wirecrypt.pairs.inputs import OfferedSession, PairInputs

MAX_PUBLISHED: Final = 3
_STARTED: Final = (Phase.SWITCHING, Phase.RETIRING, Phase.COMPLETE)


@dataclass(frozen=True, slots=True)
class NeededSession:
    """A session that is needed, and why."""

    epoch: Epoch
    why: str


def wanted_epochs(rotations: Iterable[KeyRotation]) -> tuple[Epoch, ...]:
    """Return the epochs that sessions are wanted of, ascending; empty when no rotation says so (then nothing changes).

    The id is empty when no rotation tells it: that of `from` stands in the rotation that led to it.
    """
    started = [r for r in rotations if r.phase in _STARTED]
    if not started:
        return ()
    newest = max(started, key=lambda r: (r.to_epoch, r.created))
    to = Epoch(newest.to_epoch, newest.to_epoch_id)
    if newest.phase is Phase.SWITCHING and newest.from_epoch:
        before = [r for r in started if r.to_epoch == newest.from_epoch]
        last = max(before, key=lambda r: r.created, default=None)
        return (Epoch(newest.from_epoch, last.to_epoch_id if last else ""), to)
    return (to,)


def fits(wanted: Epoch, epoch: Epoch) -> bool:
    """Return whether *epoch* is the *wanted* one: by number and, if it is known, by id."""
    return wanted.number == epoch.number and wanted.id in ("", epoch.id)


def missing(wanted: Iterable[Epoch], held: Collection[Epoch]) -> tuple[Epoch, ...]:
    """Return the wanted epochs of which nothing is held."""
    return tuple(w for w in wanted if not any(fits(w, epoch) for epoch in held))


def replaced(epoch: Epoch, wanted: Iterable[Epoch]) -> bool:
    """Return whether another epoch is wanted under the number of *epoch*."""
    return any(w.number == epoch.number and not fits(w, epoch) for w in wanted)


def next_number(last: int, residues_in_kernel: Collection[int]) -> int:
    """Return the next own session number above *last*, with a residue that nothing in the kernel carries ◆R2.

    None of the AHEAD numbers after it has one that the kernel carries: where nothing else names a number it is read from its
    residue, up to so far ahead, and what is older must not be read as newer. Where there is no such number, the roomiest one.
    """

    def room(number: int) -> int:
        return min(((residue - number) % RESIDUES for residue in residues_in_kernel), default=RESIDUES)

    return max(range(last + 1, last + 1 + RESIDUES), key=lambda number: min(room(number), AHEAD + 1))


def needs(
    own: Sequence[OfferedSession], wanted: Sequence[Epoch], held: Collection[Epoch], renew: Mapping[Epoch, str]
) -> list[NeededSession]:
    """Return the sessions to make: for a wanted epoch without one, and for each epoch in *renew* with its reason.

    *held* are the epochs that a node key is at hand of; without one no session can be made. An epoch that came after all that
    are wanted is in use still: the API server went back.
    """
    found = []
    for each in wanted:
        fitting = sorted(epoch for epoch in held if fits(each, epoch))
        alive = {o.session.epoch for o in own if o.alive and o.session.epoch in fitting}
        if fitting and not alive:
            found.append(NeededSession(fitting[-1], "first session of the epoch"))
        found += [NeededSession(epoch, renew[epoch]) for epoch in sorted(alive) if epoch in renew]
    later = {o.session.epoch for o in own if o.alive and wanted and o.session.epoch.number > wanted[-1].number}
    return found + [NeededSession(epoch, renew[epoch]) for epoch in sorted(later & set(held)) if epoch in renew]


def publishable(own: Sequence[OfferedSession], pairs: Iterable[tuple[PairInputs, Decision]]) -> bool:
    """Return whether the newest own sessions may be published: installed towards every published peer, or skipped there.

    A pair that sends with a later generation than its target installs that never, and nobody sends on it: the API server went
    back, and shows of the peer what it has left behind.
    """
    if all(o.published for o in own if o.alive):
        return False
    for inputs, decision in pairs:
        aim = decision.target
        behind = aim is not None and decision.in_use is not None and aim < decision.in_use
        if aim is None or decision.full or decision.remove_all or behind:
            continue
        unpublished = {o.session.number for o in own if not o.published}
        if inputs.own_number(aim) not in unpublished:
            continue
        state = inputs.observed.installed.get(aim)
        if state is None or not state.complete:
            return False
    return True


def to_publish(own: Sequence[OfferedSession]) -> list[OfferedSession]:
    """Return the sessions that the status lists: the newest living one of each epoch, at most three, newest last."""
    newest = {o.session.epoch.number: o for o in sorted(own, key=lambda o: o.session.number) if o.alive}
    return sorted(newest.values(), key=lambda o: o.session.number)[-MAX_PUBLISHED:]


def ended(own: Sequence[OfferedSession], wanted: Sequence[Epoch], epochs_in_kernel: Collection[int]) -> frozenset[int]:
    """Return the numbers of living sessions whose private key is to be destroyed.

    Overtaken by a published one of the same epoch ◆R4 (or of another that took its number: a pair's generations go on with
    that), or of an epoch that is neither wanted nor in the kernel any more.
    """
    found = set()
    for o in own:
        if not o.alive:
            continue
        number = o.session.epoch.number
        newer = [p for p in own if p.session.epoch.number == number and p.session.number > o.session.number]
        retired = bool(wanted) and number < min(wanted).number and number not in epochs_in_kernel
        if retired or any(p.published for p in newer):
            found.add(o.session.number)
    return frozenset(found)
