"""How a cluster rotates: the phases of a KeyRotation, one step at a time (docs/explanation/rotation.md).

Pure: the snapshot, the time and 128 fresh random bits go in, ordered actions with their reasons come out. Every action can
fail or be the last one that is done: the next step starts from what is there. The order within a step is the safety
argument: a key is in every Secret before the phase tells agents to use it, and it leaves the Secrets only when nobody
reports that it accepts traffic under it, all at once, for a report may be older than a reboot.

    Pending ─► Distributing ─► Switching ─► Retiring ─► Complete
       └──────────────┴─► Aborted

What a node reports counts only if it is of the boot that published its sessions; a node that was Active and whose objects
were lost has not come along before it speaks again. `sendingEpoch` must be the epoch of all its pairs whose peers can be
proved: a pair with a silent peer is in `failing` and holds nobody up.

A Secret that cannot be written or read holds up no other Secret; its node is a laggard, and the condition says why.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Final

from wirecrypt.model.conditions import COMPLETE, Condition, Reason, find
from wirecrypt.model.objects import KeyRotation, NodeState, Phase, SeedSecret
from wirecrypt.model.session import LEAP, Epoch
from wirecrypt.rotation import reports
from wirecrypt.rotation.actions import (
    Action,
    CreateRotation,
    CreateSeed,
    DeleteSeed,
    RotationInputs,
    SetFinalizer,
    UpdateRotationStatus,
)
from wirecrypt.rotation.exclusions import exclusions
from wirecrypt.rotation.numbers import base_epoch, held, next_number

WAVE: Final = 64  # node keys written per step, so that one rotation does not flood the API server
MOST_LAGGARDS: Final = 64
MOST_EPOCHS: Final = 3  # a pair has room for the generations of three
LAGGARDS_HINT: Final = "; bring it back, or take its label off, or cut it off: `wirecrypt rotate --without NAME`"
FINISHED: Final = frozenset({Phase.COMPLETE, Phase.ABORTED})
_WAITING: Final = frozenset({None, Phase.PENDING})


def step(snapshot: RotationInputs, now: datetime, *, fresh: str, due: bool = False) -> tuple[Action, ...]:
    """Return what is to be done now, in order; *fresh* is the id of a new epoch in 32 hex digits, *due* asks by schedule."""
    rotation = current(snapshot.rotations)
    others = [r for r in _ordered(snapshot.rotations) if r != rotation]
    actions = [a for r in others for a in _idle(r, now, rotation, record=_is_record(r, snapshot))]
    if rotation is None:
        return (*actions, *_create_due(snapshot, due=due))
    if rotation.phase is Phase.DISTRIBUTING:
        return (*actions, *_distributing(snapshot, rotation, now))
    if rotation.phase is Phase.SWITCHING:
        return (*actions, *_switching(snapshot, rotation, now))
    if rotation.phase is Phase.RETIRING:
        return (*actions, *_retiring(snapshot, rotation, now, due=due))
    return (*actions, *_pending(snapshot, rotation, now, fresh))


def current(rotations: Iterable[KeyRotation]) -> KeyRotation | None:
    """Return the rotation whose turn it is: the one that has begun, else the oldest that waits ◆R38 one at a time."""
    open_ = [r for r in _ordered(rotations) if r.phase not in FINISHED]
    begun = [r for r in open_ if r.phase not in _WAITING]
    return next(iter(begun or [r for r in open_ if not r.abort]), None)


def joining_epochs(snapshot: RotationInputs) -> tuple[Epoch, ...]:
    """Return the epochs whose keys a node that joins now must have: the phase decides, not the Secrets ◆R39.

    The new epoch of a rotation that still distributes comes with the others' turn; the old one of a rotation that
    retires is not given out any more, nor one that stayed behind with laggards.
    """
    rotation, record = current(snapshot.rotations), _record(snapshot.rotations)
    first, without = record.to_epoch if record else 0, 0
    if rotation and rotation.phase is Phase.DISTRIBUTING:
        without = rotation.to_epoch
    elif rotation and rotation.phase is Phase.RETIRING:
        first = rotation.to_epoch
    return tuple(sorted(s.epoch for s in snapshot.seeds if s.epoch.number >= first and s.epoch.number != without))


def _ordered(rotations: Iterable[KeyRotation]) -> list[KeyRotation]:
    return sorted(rotations, key=lambda r: (r.created, r.name))


def _record(rotations: Iterable[KeyRotation]) -> KeyRotation | None:
    """Return the last completed rotation: agents read from it which epoch is in use, so it is kept until the next one."""
    complete = [r for r in rotations if r.phase is Phase.COMPLETE]
    return max(complete, key=lambda r: (r.to_epoch, r.name), default=None)


def _is_record(rotation: KeyRotation, snapshot: RotationInputs) -> bool:
    """Return whether *rotation* is the record that agents read. One that somebody deleted is none, but for an open rotation.

    Its kind could not be replaced otherwise: nothing can be made of it meanwhile, so no rotation could take the record's place.
    Without a record agents go on as they are, and a rotation is asked for that makes another.
    """
    return rotation == _record(snapshot.rotations) and not (rotation.deleting and current(snapshot.rotations) is None)


def _idle(rotation: KeyRotation, now: datetime, active: KeyRotation | None, *, record: bool) -> Iterable[Action]:
    """Yield what a rotation needs whose turn it is not: to be let go, to be aborted, to be told that it waits."""
    if rotation.phase in FINISHED:
        if rotation.held and not record:
            yield SetFinalizer(rotation, held=False, why="finished")
    elif rotation.abort and rotation.phase in _WAITING:
        yield from _move(rotation, Phase.ABORTED if rotation.phase else Phase.PENDING, now, "aborted before it began")
    elif active is not None:
        waiting = replace(rotation, phase=rotation.phase or Phase.PENDING)
        yield from _update_status(rotation, waiting, now, Reason.QUEUED, f"waits for {active.name}")


def _pending(snapshot: RotationInputs, rotation: KeyRotation, now: datetime, fresh: str) -> Iterable[Action]:
    if rotation.phase is None:
        yield from _move(rotation, Phase.PENDING, now, "accepted")
        return
    if not rotation.held:
        yield SetFinalizer(rotation, held=True, why="begins")
        return
    begun = replace(rotation, from_epoch=base_epoch(snapshot), to_epoch=next_number(snapshot), to_epoch_id=fresh, started=now)
    yield from _move(rotation, Phase.DISTRIBUTING, now, f"epoch {begun.from_epoch} to {begun.to_epoch}", base=begun)


def _distributing(snapshot: RotationInputs, rotation: KeyRotation, now: datetime) -> Iterable[Action]:
    to = Epoch(rotation.to_epoch, rotation.to_epoch_id)
    seed = next((s for s in snapshot.seeds if s.epoch.number == to.number), None)
    if rotation.abort or (seed and seed.epoch != to):
        yield from _abort(snapshot, rotation, now)
    elif seed is None and (
        given := list(reports.removals(snapshot, to, why := f"the seed of epoch {to.number} is gone; ask again"))
    ):
        yield from given[:-1]
        yield from _move(rotation, Phase.ABORTED, now, why, base=replace(rotation, completed=now))
        yield given[-1]  # last: it is what shows that a seed made anew under this id would not fit
    elif seed is None:
        older = [s for s in snapshot.seeds if s.epoch.number < to.number]
        yield CreateSeed(to, carried_on(older), why=f"{rotation.name} begins epoch {to.number}")
    elif lacking := reports.lacking(snapshot, to):
        yield from list(reports.missing(snapshot, to))[:WAVE]
        total, stuck = len(snapshot.peers), reports.stuck(snapshot, lacking)
        reason = Reason.KEY_SECRET_FAILED if len(stuck) == len(lacking) else Reason.DISTRIBUTING
        text = f"{len(lacking)} node keys to write{reports.why_stuck(snapshot, stuck)}"
        yield from _update_status(rotation, _progress(rotation, total, total - len(lacking), stuck), now, reason, text)
    else:
        counted = _progress(rotation, len(snapshot.peers), 0, [])
        yield from _move(rotation, Phase.SWITCHING, now, "every Secret has the new key", base=counted)


def _abort(snapshot: RotationInputs, rotation: KeyRotation, now: datetime) -> Iterable[Action]:
    """Undo the distribution; no agent has used the new key, for the phase never said so."""
    why = f"{rotation.name} is aborted" if rotation.abort else f"epoch {rotation.to_epoch} belongs to somebody else"
    if rotation.abort:
        to = Epoch(rotation.to_epoch, rotation.to_epoch_id)
        yield from reports.removals(snapshot, to.number, why)
        yield from (DeleteSeed(s, why) for s in snapshot.seeds if s.epoch == to)
    yield from _move(rotation, Phase.ABORTED, now, why, base=replace(rotation, completed=now))


def _switching(snapshot: RotationInputs, rotation: KeyRotation, now: datetime) -> Iterable[Action]:
    """Wait until every live node sends with the new epoch; a request to abort comes too late and is ignored ◆R40."""
    to = Epoch(rotation.to_epoch, rotation.to_epoch_id)
    yield from reports.missing(snapshot, to)
    stuck = reports.stuck(snapshot, reports.lacking(snapshot, to))
    counted = [p for p in snapshot.peers if p.sessions and p.state is not NodeState.LEAVING]
    behind = [p.name for p in counted if not reports.sends(snapshot, p, rotation.to_epoch)]
    open_ = [*behind, *snapshot.unheard]
    laggards = sorted(name for name in open_ if name in snapshot.down)
    total = len(counted) + len(snapshot.unheard)
    progress = _progress(rotation, total, total - len(open_), sorted({*laggards, *stuck}))
    waiting = sorted(set(open_) - set(laggards))
    yield from exclusions(snapshot, rotation, open_, now)
    if waiting:
        text = f"waits for {_names(waiting)}{reports.why_waiting(snapshot, waiting)}{reports.why_stuck(snapshot, stuck)}"
        yield from _update_status(rotation, progress, now, Reason.SWITCHING, text)
    else:
        yield from _move(rotation, Phase.RETIRING, now, f"every live node sends with epoch {rotation.to_epoch}", base=progress)


def _retiring(snapshot: RotationInputs, rotation: KeyRotation, now: datetime, *, due: bool) -> Iterable[Action]:
    """Wait until nobody, laggards included, accepts an older epoch; then remove its keys everywhere, then its seed ◆R41.

    While only laggards do, a rotation that waits goes on in its place, and inherits the old epoch, as long as three fit.
    """
    to = Epoch(rotation.to_epoch, rotation.to_epoch_id)
    lacking = reports.lacking(snapshot, to)
    yield from reports.missing(snapshot, to)
    stuck = reports.stuck(snapshot, lacking)
    published = [p for p in snapshot.peers if p.sessions]
    behind = [p.name for p in published if reports.accepts_older(snapshot, p, rotation.to_epoch)]
    open_ = sorted([*behind, *snapshot.unheard]) if rotation.from_epoch else []
    laggards = [name for name in open_ if name in snapshot.down]
    total = len(published) + len(snapshot.unheard)
    progress = _progress(rotation, total, total - len(open_), sorted({*laggards, *stuck}))
    older = sorted(n for n in held(snapshot.seeds, snapshot.keys.values()) if n < rotation.to_epoch)
    yield from exclusions(snapshot, rotation, open_, now)
    if laggards and laggards == open_ and not lacking:
        yield from _go_on(snapshot, rotation, progress, reports.over(snapshot, published, older), now, due=due)
    elif open_:
        waiting = [name for name in open_ if name not in laggards]
        why = f"{LAGGARDS_HINT if laggards else ''}{reports.why_waiting(snapshot, waiting)}{reports.why_stuck(snapshot, stuck)}"
        text = f"waits for {_names(open_)}{why}"
        yield from _update_status(rotation, progress, now, Reason.RETIRING, text)
    elif stuck:
        text = f"{len(lacking)} node keys to write{reports.why_stuck(snapshot, stuck)}"
        yield from _update_status(rotation, progress, now, Reason.KEY_SECRET_FAILED, text)
    elif not lacking:
        why = f"nobody accepts epoch {rotation.from_epoch} any more" if rotation.from_epoch else "the first epoch is in use"
        yield from _retire(snapshot, older, why)
        yield from _move(rotation, Phase.COMPLETE, now, why, base=replace(progress, completed=now))


def _go_on(  # noqa: PLR0913 - what is known of the rotation
    snapshot: RotationInputs, rotation: KeyRotation, progress: KeyRotation, over: list[int], now: datetime, *, due: bool
) -> Iterable[Action]:
    """Yield what is done while only laggards accept older epochs: one that nobody does goes, the next rotation has its turn."""
    yield from _retire(snapshot, over, "nobody accepts this epoch any more")
    names = _names(list(progress.laggards))
    room = len(held(snapshot.seeds, snapshot.keys.values()) - {*over}) < MOST_EPOCHS
    waiting = [r for r in _ordered(snapshot.rotations) if r.phase in _WAITING and not r.abort]
    if waiting and room:
        why = f"complete but for {names}, which {waiting[0].name} waits for from here on"
        yield from _move(rotation, Phase.COMPLETE, now, why, base=replace(progress, completed=now))
    else:
        full = f"; {MOST_EPOCHS} epochs are in use, so no other rotation begins before" if waiting else ""
        text = f"waits for {names}{LAGGARDS_HINT}{full}"
        yield from _update_status(rotation, progress, now, Reason.WAITING_FOR_LAGGARDS, text)
        if due and room and not waiting:
            taken = {r.name for r in snapshot.rotations}
            name = _unused(f"scheduled-{next_number(snapshot)}", taken)
            yield CreateRotation(name, "the interval of the configuration has passed")


def _retire(snapshot: RotationInputs, numbers: Iterable[int], why: str) -> Iterable[Action]:
    """Yield the end of the keys of epochs, everywhere and at once, and then of their seeds."""
    numbers = list(numbers)
    yield from (action for number in numbers for action in reports.removals(snapshot, number, why))
    yield from (DeleteSeed(s, why) for s in snapshot.seeds if s.epoch.number in numbers)


def _create_due(snapshot: RotationInputs, *, due: bool) -> Iterable[Action]:
    base, number = base_epoch(snapshot), next_number(snapshot)
    names = {r.name for r in snapshot.rotations}
    if not snapshot.wanted:
        return
    if base == 0:
        yield CreateRotation(_unused("initial" if number == 1 else f"recovery-{number}", names), "there is no epoch yet")
    elif base not in {s.epoch.number for s in snapshot.seeds}:
        yield CreateRotation(_unused(f"recovery-{number}", names), f"the seed of epoch {base} is gone: no node could join")
    elif base not in {r.to_epoch for r in snapshot.rotations if r.phase is Phase.COMPLETE}:
        yield CreateRotation(_unused(f"recovery-{number}", names), f"no rotation tells agents that epoch {base} is in use")
    elif ahead := _ahead(snapshot, base):
        why = f"every node sends with epoch {ahead} or later, of which nothing is known here: restored from a backup"
        yield CreateRotation(_unused(f"recovery-{number}", names), why)
    elif due:
        yield CreateRotation(_unused(f"scheduled-{number}", names), "the interval of the configuration has passed")


def _ahead(snapshot: RotationInputs, base: int) -> int:
    """Return the epoch that every live node sends with, or a later one, if it came after *base*, else 0.

    One node's word is not enough: it could ask for a rotation whenever it likes.
    """
    live = [p for p in snapshot.peers if p.sessions and p.name not in snapshot.down and p.state is not NodeState.LEAVING]
    words = [status.sending_epoch if (status := reports.words(snapshot, p)) else 0 for p in live]
    lowest = min(words, default=0)
    return lowest if len(words) > 1 and base < lowest <= base + LEAP else 0


def _unused(name: str, names: set[str]) -> str:
    candidates = (name if i == 1 else f"{name}-{i}" for i in range(1, len(names) + 2))
    return next(c for c in candidates if c not in names)


def _progress(rotation: KeyRotation, total: int, done: int, laggards: list[str]) -> KeyRotation:
    return replace(rotation, nodes_total=total, nodes_done=done, laggards=tuple(laggards[:MOST_LAGGARDS]))


def _names(names: list[str]) -> str:
    most = 5
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _move(
    old: KeyRotation, phase: Phase, now: datetime, why: str, *, base: KeyRotation | None = None
) -> Iterable[UpdateRotationStatus]:
    yield from _update_status(old, replace(base or old, phase=phase), now, Reason[phase.name], why)


def _update_status(
    old: KeyRotation, new: KeyRotation, now: datetime, reason: Reason, message: str
) -> Iterable[UpdateRotationStatus]:
    """Yield the write that makes *new* of *old*, with the condition `Complete`; nothing when they are equal."""
    complete = new.phase is Phase.COMPLETE
    before = find(old.conditions, COMPLETE)
    changed = before.changed if before and before.status is complete else now
    new = replace(new, conditions=(Condition(COMPLETE, complete, reason, message[:512], changed),))
    if new != old:
        yield UpdateRotationStatus(old, new, why=message)


def carried_on(seeds: Iterable[SeedSecret]) -> tuple[int, ...]:
    """Return what a new epoch starts with as *carried*: what the newest of *seeds* has as released."""
    newest = max(seeds, key=lambda s: s.epoch, default=None)
    return tuple(sorted(newest.released)) if newest else ()
