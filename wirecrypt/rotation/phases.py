"""How a cluster rotates: the phases of a KeyRotation, one step at a time (protocol.md, "A cluster rotates"; model/epoch.pml).

Pure: the snapshot, the time and 128 fresh random bits go in, ordered actions with their reasons come out. Every action can
fail or be the last one that is done: the next step starts from what is there. The order within a step is the safety
argument: a key is in every Secret before the phase tells agents to use it, and it leaves the Secrets only when nobody
reports that it accepts traffic under it, all at once, for a report may be older than a reboot.

    Pending ─► Distributing ─► Switching ─► Retiring ─► Complete
       └──────────────┴─► Aborted

What a node reports counts only if it is of the boot that published its sessions. `sendingEpoch` must be the epoch of all
its pairs whose peers can be proved: a pair with a silent peer is in `failing` and holds nobody up.

A Secret that cannot be written or read holds up no other Secret; its node is a laggard, and the condition says why.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Final

from wirecrypt.model.conditions import COMPLETE, Condition, find
from wirecrypt.model.objects import KeyRotation, NodePeer, NodeState, NodeStatus, Phase, SeedSecret
from wirecrypt.model.session import Epoch
from wirecrypt.rotation.actions import Action, Ask, DropSeed, Give, Hold, MakeSeed, Report, Snapshot, Take

WAVE: Final = 64  # node keys written per step, so that one rotation does not flood the API server
MOST_LAGGARDS: Final = 64
SECRET_FAILED: Final = "KeySecretFailed"  # noqa: S105 - a reason, no password
FINISHED: Final = frozenset({Phase.COMPLETE, Phase.ABORTED})
_WAITING: Final = frozenset({None, Phase.PENDING})


def step(snapshot: Snapshot, now: datetime, *, fresh: str, due: bool = False) -> tuple[Action, ...]:
    """Return what is to be done now, in order; *fresh* is the id of a new epoch in 32 hex digits, *due* asks by schedule."""
    turn = current(snapshot.rotations)
    others = [r for r in _ordered(snapshot.rotations) if r != turn]
    actions = [a for r in others for a in _idle(r, now, turn, record=_is_record(r, snapshot))]
    if turn is None:
        return (*actions, *_ask(snapshot, due=due))
    work = {
        Phase.DISTRIBUTING: _distributing,
        Phase.SWITCHING: _switching,
        Phase.RETIRING: _retiring,
    }
    if turn.phase in work:
        return (*actions, *work[turn.phase](snapshot, turn, now))
    return (*actions, *_pending(snapshot, turn, now, fresh))


def current(rotations: Iterable[KeyRotation]) -> KeyRotation | None:
    """Return the rotation whose turn it is: the one that has begun, else the oldest that waits ◆ one at a time."""
    open_ = [r for r in _ordered(rotations) if r.phase not in FINISHED]
    begun = [r for r in open_ if r.phase not in _WAITING]
    return next(iter(begun or [r for r in open_ if not r.abort]), None)


def next_number(snapshot: Snapshot) -> int:
    """Return 1 + the highest epoch number in Secrets, sessions and rotations: a number is never used twice ◆."""
    numbers = [0]
    numbers += [n for r in snapshot.rotations for n in (r.from_epoch, r.to_epoch)]
    numbers += _numbers(snapshot)
    numbers += [s.epoch.number for peer in snapshot.peers for s in peer.sessions]
    return 1 + max(numbers)


def base_epoch(snapshot: Snapshot) -> int:
    """Return the number of the newest epoch that nodes may have keys of, 0 when there is none."""
    return max(_numbers(snapshot), default=0)


def joining_epochs(snapshot: Snapshot) -> tuple[Epoch, ...]:
    """Return the epochs whose keys a node that joins now must have: the phase decides, not the Secrets ◆.

    The new epoch of a rotation that still distributes comes with the others' turn; the old one of a rotation that
    retires is not given out any more.
    """
    turn = current(snapshot.rotations)
    without = 0
    if turn and turn.phase is Phase.DISTRIBUTING:
        without = turn.to_epoch
    elif turn and turn.phase is Phase.RETIRING:
        without = turn.from_epoch
    return tuple(sorted(s.epoch for s in snapshot.seeds if s.epoch.number != without))


def _numbers(snapshot: Snapshot) -> set[int]:
    """Return the numbers of all epochs that a Secret holds something of."""
    held = {k.epoch.number for secret in snapshot.keys.values() for k in secret.keys}
    return held | {s.epoch.number for s in snapshot.seeds}


def _ordered(rotations: Iterable[KeyRotation]) -> list[KeyRotation]:
    return sorted(rotations, key=lambda r: (r.created, r.name))


def _record(rotations: Iterable[KeyRotation]) -> KeyRotation | None:
    """Return the last completed rotation: agents read from it which epoch is in use, so it is kept until the next one."""
    complete = [r for r in rotations if r.phase is Phase.COMPLETE]
    return max(complete, key=lambda r: (r.to_epoch, r.name), default=None)


def _is_record(rotation: KeyRotation, snapshot: Snapshot) -> bool:
    """Say whether *rotation* is the record that agents read; a deleted one that nobody reads (uninstalling) is none."""
    return rotation == _record(snapshot.rotations) and not (rotation.deleting and not snapshot.peers and not snapshot.wanted)


def _idle(rotation: KeyRotation, now: datetime, turn: KeyRotation | None, *, record: bool) -> Iterable[Action]:
    """Yield what a rotation needs whose turn it is not: to be let go, to be aborted, to be told that it waits."""
    if rotation.phase in FINISHED:
        if rotation.held and not record:
            yield Hold(rotation, held=False, why="finished")
    elif rotation.abort and rotation.phase in _WAITING:
        yield from _move(rotation, Phase.ABORTED if rotation.phase else Phase.PENDING, now, "aborted before it began")
    elif turn is not None:
        waiting = replace(rotation, phase=rotation.phase or Phase.PENDING)
        yield from _report(rotation, waiting, now, "Queued", f"waits for {turn.name}")


def _pending(snapshot: Snapshot, turn: KeyRotation, now: datetime, fresh: str) -> Iterable[Action]:
    if turn.phase is None:
        yield from _move(turn, Phase.PENDING, now, "accepted")
        return
    if not turn.held:
        yield Hold(turn, held=True, why="begins")
        return
    begun = replace(turn, from_epoch=base_epoch(snapshot), to_epoch=next_number(snapshot), to_epoch_id=fresh, started=now)
    yield from _move(turn, Phase.DISTRIBUTING, now, f"epoch {begun.from_epoch} to {begun.to_epoch}", base=begun)


def _distributing(snapshot: Snapshot, turn: KeyRotation, now: datetime) -> Iterable[Action]:
    to = Epoch(turn.to_epoch, turn.to_epoch_id)
    seed = next((s for s in snapshot.seeds if s.epoch.number == to.number), None)
    if turn.abort or (seed and seed.epoch != to):
        yield from _abort(snapshot, turn, now)
    elif seed is None and (given := list(_takes(snapshot, to, why := f"the seed of epoch {to.number} is gone; ask again"))):
        yield from given[:-1]
        yield from _move(turn, Phase.ABORTED, now, why, base=replace(turn, completed=now))
        yield given[-1]  # last: it is what shows that a seed made anew under this id would not fit
    elif seed is None:
        older = [s for s in snapshot.seeds if s.epoch.number < to.number]
        yield MakeSeed(to, carried_on(older), why=f"{turn.name} begins epoch {to.number}")
    elif lacking := _lacking(snapshot, to):
        yield from list(_missing(snapshot, to))[:WAVE]
        total, stuck = len(snapshot.peers), _stuck(snapshot, lacking)
        reason = SECRET_FAILED if len(stuck) == len(lacking) else "Distributing"
        text = f"{len(lacking)} node keys to write{_why_stuck(snapshot, stuck)}"
        yield from _report(turn, _progress(turn, total, total - len(lacking), stuck), now, reason, text)
    else:
        counted = _progress(turn, len(snapshot.peers), 0, [])
        yield from _move(turn, Phase.SWITCHING, now, "every Secret has the new key", base=counted)


def _abort(snapshot: Snapshot, turn: KeyRotation, now: datetime) -> Iterable[Action]:
    """Undo the distribution; no agent has used the new key, for the phase never said so."""
    why = f"{turn.name} is aborted" if turn.abort else f"epoch {turn.to_epoch} belongs to somebody else"
    if turn.abort:
        to = Epoch(turn.to_epoch, turn.to_epoch_id)
        yield from _takes(snapshot, to.number, why)
        yield from (DropSeed(s, why) for s in snapshot.seeds if s.epoch == to)
    yield from _move(turn, Phase.ABORTED, now, why, base=replace(turn, completed=now))


def _switching(snapshot: Snapshot, turn: KeyRotation, now: datetime) -> Iterable[Action]:
    """Wait until every live node sends with the new epoch; a request to abort comes too late and is ignored ◆."""
    to = Epoch(turn.to_epoch, turn.to_epoch_id)
    yield from _missing(snapshot, to)
    stuck = _stuck(snapshot, _lacking(snapshot, to))
    counted = [p for p in snapshot.peers if p.sessions and p.state is not NodeState.LEAVING]
    open_ = [p.name for p in counted if not _sends(snapshot, p, turn.to_epoch)]
    laggards = sorted(name for name in open_ if name in snapshot.down)
    progress = _progress(turn, len(counted), len(counted) - len(open_), sorted({*laggards, *stuck}))
    waiting = sorted(set(open_) - set(laggards))
    if waiting:
        text = f"waits for {_names(waiting)}{_why_stuck(snapshot, stuck)}"
        yield from _report(turn, progress, now, "Switching", text)
    else:
        yield from _move(turn, Phase.RETIRING, now, f"every live node sends with epoch {turn.to_epoch}", base=progress)


def _retiring(snapshot: Snapshot, turn: KeyRotation, now: datetime) -> Iterable[Action]:
    """Wait until nobody, laggards included, accepts an older epoch; then remove its keys everywhere, then its seed ◆."""
    to = Epoch(turn.to_epoch, turn.to_epoch_id)
    lacking = _lacking(snapshot, to)
    yield from _missing(snapshot, to)
    stuck = _stuck(snapshot, lacking)
    published = [p for p in snapshot.peers if p.sessions]
    open_ = [p.name for p in published if turn.from_epoch and _accepts_older(snapshot, p, turn.to_epoch)]
    laggards = sorted(name for name in open_ if name in snapshot.down)
    progress = _progress(turn, len(published), len(published) - len(open_), sorted({*laggards, *stuck}))
    if open_:
        reason = "WaitingForLaggards" if len(laggards) == len(open_) else "Retiring"
        hint = "; bring it back, or delete its Node" if laggards else ""
        text = f"waits for {_names(sorted(open_))}{hint}{_why_stuck(snapshot, stuck)}"
        yield from _report(turn, progress, now, reason, text)
    elif stuck:
        text = f"{len(lacking)} node keys to write{_why_stuck(snapshot, stuck)}"
        yield from _report(turn, progress, now, SECRET_FAILED, text)
    elif not lacking:
        why = f"nobody accepts epoch {turn.from_epoch} any more" if turn.from_epoch else "the first epoch is in use"
        older = sorted(n for n in _numbers(snapshot) if n < turn.to_epoch)
        yield from (take for number in older for take in _takes(snapshot, number, why))
        yield from (DropSeed(s, why) for s in snapshot.seeds if s.epoch.number in older)
        yield from _move(turn, Phase.COMPLETE, now, why, base=replace(progress, completed=now))


def _ask(snapshot: Snapshot, *, due: bool) -> Iterable[Action]:
    base, number = base_epoch(snapshot), next_number(snapshot)
    names = {r.name for r in snapshot.rotations}
    if not snapshot.wanted:
        return
    if base == 0:
        yield Ask(_unused("initial" if number == 1 else f"recovery-{number}", names), "there is no epoch yet")
    elif base not in {s.epoch.number for s in snapshot.seeds}:
        yield Ask(_unused(f"recovery-{number}", names), f"the seed of epoch {base} is gone: no node could join")
    elif base not in {r.to_epoch for r in snapshot.rotations if r.phase is Phase.COMPLETE}:
        yield Ask(_unused(f"recovery-{number}", names), f"no rotation tells agents that epoch {base} is in use")
    elif due:
        yield Ask(_unused(f"scheduled-{number}", names), "the interval of the configuration has passed")


def _unused(name: str, names: set[str]) -> str:
    candidates = (name if i == 1 else f"{name}-{i}" for i in range(1, len(names) + 2))
    return next(c for c in candidates if c not in names)


def _missing(snapshot: Snapshot, epoch: Epoch) -> Iterable[Give]:
    """Yield a `Give` for each node whose Secret lacks the key of *epoch*, if its seed is there to make it from.

    Secrets whose last write failed come last, so that they fill no wave; one that cannot be read is left alone.
    """
    if epoch not in {s.epoch for s in snapshot.seeds}:
        return
    for peer in sorted(_lacking(snapshot, epoch), key=lambda p: (p.name in snapshot.refused, p.name)):
        if peer.name not in snapshot.unusable:
            yield Give(peer.name, peer.node_uid, (epoch,), why=f"has no key of epoch {epoch.number}")


def _lacking(snapshot: Snapshot, epoch: Epoch) -> list[NodePeer]:
    """Return the nodes whose Secret does not show the key of *epoch*."""
    return [peer for peer in snapshot.peers if not _has(snapshot, peer, epoch)]


def _has(snapshot: Snapshot, peer: NodePeer, epoch: Epoch) -> bool:
    secret = snapshot.keys.get(peer.name)
    return secret is not None and secret.node_uid == peer.node_uid and epoch in {k.epoch for k in secret.keys}


def _stuck(snapshot: Snapshot, lacking: Iterable[NodePeer]) -> list[str]:
    """Return those of *lacking* whose Secret cannot be read or written."""
    return sorted(p.name for p in lacking if p.name in snapshot.unusable or p.name in snapshot.refused)


def _why_stuck(snapshot: Snapshot, stuck: Iterable[str]) -> str:
    reasons = {**snapshot.refused, **snapshot.unusable}
    return "".join(f"; {name}: {reasons[name]}" for name in stuck)


def _takes(snapshot: Snapshot, which: int | Epoch, why: str) -> Iterable[Take]:
    """Yield a `Take` for each Secret with a key of *which*: an epoch, or any of a number."""
    for _, secret in sorted(snapshot.keys.items()):
        for key in secret.keys:
            if which in (key.epoch, key.epoch.number):
                yield Take(secret, key.epoch.number, why)


def _sends(snapshot: Snapshot, peer: NodePeer, number: int) -> bool:
    """Say whether all that *peer* sends goes with epoch *number*; one that sends nothing needs a session of it."""
    status = _word(snapshot, peer)
    if status is None or status.sending_epoch not in (0, number):
        return False
    return status.sending_epoch == number or number in {s.epoch.number for s in peer.sessions}


def _accepts_older(snapshot: Snapshot, peer: NodePeer, number: int) -> bool:
    """Say whether *peer* may accept an epoch before *number*: it says so, or its word is of another boot or missing."""
    status = _word(snapshot, peer)
    return status is None or any(epoch < number for epoch in (*status.accepting_epochs, status.sending_epoch) if epoch)


def _word(snapshot: Snapshot, peer: NodePeer) -> NodeStatus | None:
    """Return what *peer* reports, None if that is of another boot than its sessions."""
    status = snapshot.statuses.get(peer.name)
    return status if status and status.boot_id == peer.boot_id else None


def _progress(turn: KeyRotation, total: int, done: int, laggards: list[str]) -> KeyRotation:
    return replace(turn, nodes_total=total, nodes_done=done, laggards=tuple(laggards[:MOST_LAGGARDS]))


def _names(names: list[str]) -> str:
    most = 5
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _move(old: KeyRotation, phase: Phase, now: datetime, why: str, *, base: KeyRotation | None = None) -> Iterable[Report]:
    yield from _report(old, replace(base or old, phase=phase), now, phase.value, why)


def _report(old: KeyRotation, new: KeyRotation, now: datetime, reason: str, message: str) -> Iterable[Report]:
    """Yield the write that makes *new* of *old*, with the condition `Complete`; nothing when they are equal."""
    complete = new.phase is Phase.COMPLETE
    before = find(old.conditions, COMPLETE)
    changed = before.changed if before and before.status is complete else now
    new = replace(new, conditions=(Condition(COMPLETE, complete, reason, message[:512], changed),))
    if new != old:
        yield Report(old, new, why=message)


def carried_on(seeds: Iterable[SeedSecret]) -> tuple[int, ...]:
    """Return what a new epoch starts with as *carried*: what the newest of *seeds* has as released."""
    newest = max(seeds, key=lambda s: s.epoch, default=None)
    return tuple(sorted(newest.released)) if newest else ()
