"""What can be said of the generations of one pair: which is wanted, whole, dead, no longer needed."""

from __future__ import annotations

from wirecrypt.model.session import Announcement, Generation, Session
from wirecrypt.pairs.inputs import Out, PairInputs


def target(inputs: PairInputs) -> Generation | None:
    """Return the newest generation that both ends' newest sessions of one epoch form, None without a common epoch."""
    own = _newest([o.session for o in inputs.own_sessions if o.alive])
    peer = _newest([s for s in inputs.peer_sessions if s.number >= inputs.peer_boot_session])
    common = [e for e in own.keys() & peer.keys() if own[e].epoch == peer[e].epoch]
    if not common:
        return None
    epoch = max(common)
    a, b = own[epoch].number, peer[epoch].number
    return Generation(epoch, a, b) if inputs.own_is_lo else Generation(epoch, b, a)


def lanes_of(generation: Generation, inputs: PairInputs) -> int:
    """Return how many lanes *generation* has: the smaller number of both sessions ◆R1; 0 when a session is not known."""
    own = [o.session.lanes for o in inputs.own_sessions if o.session.number == inputs.own_number(generation)]
    peer = [s.lanes for s in inputs.peer_sessions if s.number == inputs.peer_number(generation)]
    return min(own[0], peer[0]) if own and peer else 0


def candidates(inputs: PairInputs) -> list[Generation]:
    """Return every whole generation newer than the one in use whose own session is published: those to probe ◆R10 ◆R11."""
    published = {o.session.number for o in inputs.own_sessions if o.published}
    seen = inputs.observed
    floor = seen.in_use if seen.out is Out.ESP else None
    return sorted(
        g
        for g, i in seen.installed.items()
        if i.complete and (floor is None or g > floor) and inputs.own_number(g) in published and not dead(g, inputs)
    )


def channel(inputs: PairInputs) -> Generation | None:
    """Return the generation that words travel over: the one in use, else the newest whole one."""
    seen = inputs.observed
    used = seen.installed.get(seen.in_use) if seen.out is Out.ESP and seen.in_use is not None else None
    if used is not None and used.complete:
        return seen.in_use
    complete = [g for g, i in seen.installed.items() if i.complete and not dead(g, inputs)]
    return max(complete, default=None)


def dead(generation: Generation, inputs: PairInputs) -> bool:
    """Return whether it is of an earlier boot of the peer, of a node before it, or of a session of which nobody knows ◆R5 ◆R32.

    An earlier boot is also one whose numbers come again with other keys ◆R43: nobody has the keys of that generation any more.

    The last is an own one below the newest *of its epoch* that was never offered to the API server (one that was may have
    arrived though the answer was lost, and the peer sends on it), or, when the state file was lost, a number of which nothing
    is known between the newest offered one and the newest.
    """
    if generation in inputs.observed.former | inputs.replaced:
        return True
    if inputs.peer_number(generation) < inputs.peer_boot_session:
        return True
    number = inputs.own_number(generation)
    own = {o.session.number: o for o in inputs.own_sessions}
    if number in own:
        epoch = own[number].session.epoch
        return not own[number].perhaps_known and any(n > number and o.session.epoch == epoch for n, o in own.items())
    last = max((n for n, o in own.items() if o.perhaps_known), default=None)
    return last is not None and last < number < max(own)


def gone(inputs: PairInputs, heard: Announcement) -> frozenset[Generation]:
    """Return the receiving generations that the peer can never send on again, by its own word ◆R13.

    Not listed, and older than the newest listed or with a sender's number below its newest *of that epoch*: while two
    epochs live, the newest number of one says nothing about the other. Numbers alone name a generation of a pair; its
    epoch may be a guess here, when the state file was lost.
    """
    newest = max(heard.sending, default=None)
    listed = {(g.lo, g.hi) for g in heard.sending}
    return frozenset(
        g
        for g, i in inputs.observed.installed.items()
        if i.rx and (g.lo, g.hi) not in listed and ((newest is not None and g < newest) or _overtaken(g, inputs, heard))
    )


def unneeded(inputs: PairInputs) -> frozenset[Generation]:
    """Return sending generations that are neither in use nor the newest whole and published one."""
    seen = inputs.observed
    published = {o.session.number for o in inputs.own_sessions if o.published}
    proven = [g for g, i in seen.installed.items() if i.complete and inputs.own_number(g) in published]
    newest = max(proven, default=None)
    return frozenset(g for g, i in seen.installed.items() if i.tx and newest is not None and g < newest and g != seen.in_use)


def _overtaken(generation: Generation, inputs: PairInputs, heard: Announcement) -> bool:
    """Return whether the peer had a newer session of the generation's epoch when it spoke: then it installs it no more."""
    number = inputs.peer_number(generation)
    return any(s.epoch.number == generation.epoch and number < s.number <= heard.newest for s in inputs.peer_sessions)


def _newest(sessions: list[Session]) -> dict[int, Session]:
    return {s.epoch.number: s for s in sorted(sessions, key=lambda s: s.number)}
