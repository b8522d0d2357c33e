"""How one pair moves from key to key: a pure decision over what is known, what is installed and what was heard.

steady: one generation, installed at both ends, in use by both
change: install the target (receive, then send) → prove it by probes in both directions → switch → say so
        → the peer says so too → drain → delete the old receiving SAs
steady again

Nothing is removed because it is not wanted: a sending SA goes when another is in use, a receiving SA on the peer's word,
everything of a generation when the peer's newer boot, or a confirmed deletion, makes it dead. What is marked ◆
is a rule of docs/explanation/rules.md, and has a test that fails without it. `decide` changes nothing; it is called again
with what the kernel has by then, so a step that did not happen is simply asked for again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from wirecrypt.model.mark import SLOTS
from wirecrypt.model.objects import NodeState
from wirecrypt.model.session import Announcement, Generation, Session
from wirecrypt.model.spi import RESIDUES
from wirecrypt.pairs.memory import PairMemory, Timing
from wirecrypt.pairs.node_traffic import EXEMPT, SEALED, GuardedOut, NodeTraffic, requires_next, sends_next

_WORDS = 3  # of the peer, one each *steady*, that would have come over a generation that it uses


class Out(Enum):
    """What happens to traffic towards the peer."""

    PLAIN = "plain"
    BLOCK = "block"
    ESP = "esp"


class Receive(Enum):
    """What is asked of traffic from the peer: nothing, ESP or plaintext, ESP only."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class Installed:
    """What the kernel has of one generation: lanes of receiving and sending SAs, how many there should be, the slot.

    *untouched*: nothing ever came over its receiving SAs, by the kernel's counters.
    """

    lanes: int
    rx: frozenset[int]
    tx: frozenset[int]
    slot: int
    untouched: bool = False

    @property
    def complete(self) -> bool:
        """Return whether every lane has both its SAs."""
        return self.rx == self.tx == frozenset(range(self.lanes))


@dataclass(frozen=True, slots=True)
class Observed:
    """What the kernel has of one pair. *in_use* is the oldest generation that an OUT policy points at.

    *former*: generations, as this pair would read their numbers, of a node that was in the peer's place before.
    """

    installed: Mapping[Generation, Installed] = field(default_factory=dict)
    out: Out = Out.PLAIN
    in_use: Generation | None = None
    receive: Receive = Receive.NONE
    guard_accepts: bool = True  # the guard lets cleartext from the peer in
    complete: bool = True  # every flow has its policies; not so after a death in the middle of a change
    nodes: NodeTraffic = SEALED
    guarded: GuardedOut = field(default_factory=GuardedOut)
    former: frozenset[Generation] = frozenset()

    @property
    def nothing(self) -> bool:
        """Return whether the kernel has no object of this pair."""
        return not self.installed and self.out is Out.PLAIN and self.receive is Receive.NONE


@dataclass(frozen=True, slots=True)
class OfferedSession:
    """An own session as the pair sees it: published or not yet, and whether its private key still exists.

    *offered*: its publication was tried, so that it may be known to peers even if no answer said so.
    """

    session: Session
    published: bool
    alive: bool = True
    offered: bool = False

    @property
    def perhaps_known(self) -> bool:
        """Return whether a peer may know the session."""
        return self.published or self.offered


@dataclass(frozen=True, slots=True)
class PairInputs:
    """All that one decision about one pair rests on, apart from memory and time.

    *peer_gone*: its deletion is confirmed. *ledger*: generations ever installed with the session keys that live.
    *marked*: the pair is on disk as one to block at boot. *block_joining*: `joining: block` in the configuration.
    *exempts*: this end wishes node→node in clear; *peer_exempts*: the peer said, in its present boot, that it does.
    *peer_down*: its Node is not Ready, or gone.
    """

    own_is_lo: bool
    own_id: int
    peer_id: int
    own_state: NodeState
    peer_state: NodeState
    own_sessions: tuple[OfferedSession, ...]
    peer_sessions: tuple[Session, ...]
    peer_boot_session: int
    observed: Observed
    ledger: frozenset[Generation]
    marked: bool
    peer_gone: bool = False
    block_joining: bool = False
    exempts: bool = False
    peer_exempts: bool = False
    peer_down: bool = False

    def own_number(self, generation: Generation) -> int:
        """Return this end's session number in *generation*."""
        return generation.number(lo=self.own_is_lo)

    def peer_number(self, generation: Generation) -> int:
        """Return the peer's session number in *generation*."""
        return generation.number(lo=not self.own_is_lo)

    @property
    def leaving(self) -> bool:
        """Return whether either end is on its way out."""
        return NodeState.LEAVING in (self.own_state, self.peer_state)

    @property
    def excluded(self) -> bool:
        """Return whether a person cut either end off."""
        return NodeState.EXCLUDED in (self.own_state, self.peer_state)

    @property
    def both_active(self) -> bool:
        """Return whether both ends are Active."""
        return self.own_state is NodeState.ACTIVE and self.peer_state is NodeState.ACTIVE

    @property
    def exempt(self) -> bool:
        """Return whether traffic between the ends' addresses is in clear by an end's wish."""
        return self.exempts or self.peer_exempts

    @property
    def sealed(self) -> bool:
        """Return whether node→node is ESP both ways and nothing else is taken, where it is to be so."""
        return self.exempt or self.observed.nodes == SEALED

    @property
    def ended(self) -> bool:
        """Return whether plaintext between the ends is over for good, or was never wished: both Active, or on disk ◆."""
        return self.both_active or self.marked or self.block_joining


@dataclass(frozen=True, slots=True)
class Decision:
    """What the pair should have next, and why.

    *keep* maps each generation that stays or comes to (receive, send). *renew* is the reason for which the own session
    must be replaced. *remove_all*: nothing of the pair may stay. *ready*: a boot blocks the pair. *announcement*: what to say.
    """

    out: Out
    in_use: Generation | None
    receive: Receive
    keep: Mapping[Generation, tuple[bool, bool]]
    install: Generation | None
    target: Generation | None
    announcement: Announcement
    why: str
    renew: str = ""
    mark: bool = False
    ready: bool = False
    remove_all: bool = False
    full: bool = False
    nodes: NodeTraffic = SEALED
    guarded: GuardedOut = field(default_factory=GuardedOut)


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
    """Return how many lanes *generation* has: the smaller number of both sessions; 0 when a session is not known."""
    own = [o.session.lanes for o in inputs.own_sessions if o.session.number == inputs.own_number(generation)]
    peer = [s.lanes for s in inputs.peer_sessions if s.number == inputs.peer_number(generation)]
    return min(own[0], peer[0]) if own and peer else 0


def decide(inputs: PairInputs, memory: PairMemory, now: float, timing: Timing) -> Decision:
    """Return what the pair should have next; *now* is monotonic seconds."""
    if inputs.peer_gone or _left(inputs, memory, now, timing):
        return _removal(inputs, "peer deleted" if inputs.peer_gone else "left, both ends send plaintext")
    if inputs.excluded:
        return _cut_off(inputs)
    dead = frozenset(g for g in inputs.observed.installed if _dead(g, inputs))
    aim = target(inputs)
    out, in_use, why = _sending(inputs, memory, dead)
    keep = dict(_kept(inputs, memory, dead, aim, in_use, now, timing))
    install, renew, full = _install(inputs, aim, dead, _withdrawn(inputs, memory, aim, now, timing))
    if install is not None:
        keep[install] = (True, True)
    receive = _receiving(inputs, memory, keep, now, timing)
    nodes = _nodes(inputs, memory, out, receive, now, timing)
    seen = inputs.observed
    secure = seen.receive is Receive.REQUIRED and seen.out is out is Out.ESP and seen.complete and inputs.sealed
    return Decision(
        out=out,
        in_use=in_use,
        receive=receive,
        keep=keep,
        install=install,
        target=aim,
        renew=renew,
        announcement=announcement(inputs),
        why=why,
        mark=inputs.marked or secure,
        ready=secure and inputs.marked,
        full=full,
        nodes=nodes,
        guarded=_guarded(inputs, memory, out, nodes, now, timing),
    )


def sends_esp(inputs: PairInputs, heard: Announcement) -> bool:
    """Return whether the peer, in its present boot, sends ESP: what an older boot said does not count ◆."""
    return heard.in_use is not None and inputs.peer_number(heard.in_use) >= inputs.peer_boot_session


def announcement(inputs: PairInputs) -> Announcement:
    """Return what this end says of itself: only what the kernel really has."""
    seen = inputs.observed
    plain = inputs.leaving and seen.out is Out.PLAIN
    return Announcement(
        sending=frozenset(g for g, i in seen.installed.items() if i.tx),
        in_use=seen.in_use if seen.out is Out.ESP and seen.complete else None,
        newest=max((o.session.number for o in inputs.own_sessions), default=0),
        accepts_plain=inputs.leaving and seen.receive is not Receive.REQUIRED and seen.guard_accepts,
        sends_plain=plain,
        seals_nodes=seen.nodes.sends and seen.out is Out.ESP and not inputs.exempt,
        requires_nodes=seen.nodes.requires,
        exempts_nodes=inputs.exempts,
    )


def seals_nodes(inputs: PairInputs, heard: Announcement) -> bool:
    """Return whether the peer, in its present boot, sends node→node by ESP alone ◆."""
    return heard.seals_nodes and sends_esp(inputs, heard)


def candidates(inputs: PairInputs) -> list[Generation]:
    """Return every whole generation newer than the one in use whose own session is published: those to probe ◆."""
    published = {o.session.number for o in inputs.own_sessions if o.published}
    seen = inputs.observed
    floor = seen.in_use if seen.out is Out.ESP else None
    return sorted(
        g
        for g, i in seen.installed.items()
        if i.complete and (floor is None or g > floor) and inputs.own_number(g) in published and not _dead(g, inputs)
    )


def channel(inputs: PairInputs) -> Generation | None:
    """Return the generation that words travel over: the one in use, else the newest whole one."""
    seen = inputs.observed
    used = seen.installed.get(seen.in_use) if seen.out is Out.ESP and seen.in_use is not None else None
    if used is not None and used.complete:
        return seen.in_use
    complete = [g for g, i in seen.installed.items() if i.complete and not _dead(g, inputs)]
    return max(complete, default=None)


def gone(inputs: PairInputs, heard: Announcement) -> frozenset[Generation]:
    """Return the receiving generations that the peer can never send on again, by its own word ◆.

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


def _dead(generation: Generation, inputs: PairInputs) -> bool:
    """Return whether the generation is of an earlier boot of the peer, of a node before it, or of a session nobody can know ◆.

    The last is an own one below the newest *of its epoch* that was never offered to the API server (one that was may have
    arrived though the answer was lost, and the peer sends on it), or, when the state file was lost, a number of which nothing
    is known between the newest offered one and the newest.
    """
    if generation in inputs.observed.former:
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


def _sending(inputs: PairInputs, memory: PairMemory, dead: frozenset[Generation]) -> tuple[Out, Generation | None, str]:
    """Return what traffic towards the peer takes; a pair that sent ESP never returns to plaintext but by leaving."""
    seen = inputs.observed
    heard = memory.announcement
    if inputs.leaving and seen.out is Out.PLAIN:
        return Out.PLAIN, None, "leaving"
    if inputs.leaving and heard is not None and heard.accepts_plain and not seen.nothing:
        return Out.PLAIN, None, "leaving, the peer accepts plaintext"
    proved = [g for g in candidates(inputs) if memory.proved_lanes(g) >= frozenset(range(seen.installed[g].lanes))]
    if proved:
        return Out.ESP, max(proved), "proved by the peer's answers on every lane"
    if seen.out is Out.ESP and seen.in_use is not None and seen.in_use not in dead:
        return Out.ESP, seen.in_use, "in use"
    if seen.out is Out.PLAIN and not inputs.ended:
        return Out.PLAIN, None, "joining, not proved yet"
    return Out.BLOCK, None, "no proved generation"


def _install(
    inputs: PairInputs, aim: Generation | None, dead: frozenset[Generation], withdrawn: frozenset[Generation]
) -> tuple[Generation | None, str, bool]:
    """Return (generation to install, reason for a new session, whether the pair is full)."""
    seen = inputs.observed
    present = {g for g, i in seen.installed.items() if (i.rx or i.tx) and g not in dead}
    if aim is None or any(g > aim for g in present):
        return None, "", False
    if aim in inputs.ledger:
        complete = aim in seen.installed and seen.installed[aim].complete
        return None, "" if complete else f"an SA of generation {aim} was installed and is gone", False
    if aim in present:
        return None, f"generation {aim} is in the kernel but not in the ledger", False
    if not _room(seen):
        return None, "", not withdrawn
    residues = (aim.lo % RESIDUES, aim.hi % RESIDUES)
    clash = [g for g in (*seen.installed, *seen.former) if (g.lo % RESIDUES, g.hi % RESIDUES) == residues]
    if clash:
        return None, f"the SPIs of generation {aim} are still those of {max(clash)}", False
    return aim, "", False


def _room(seen: Observed) -> bool:
    """Return whether a further generation fits: three receiving ones at most ◆, and as many sending ones as a word can list."""
    receiving = sum(1 for i in seen.installed.values() if i.rx or i.slot >= 0)
    return receiving < SLOTS and sum(1 for i in seen.installed.values() if i.tx) < SLOTS


def _withdrawn(
    inputs: PairInputs, memory: PairMemory, aim: Generation | None, now: float, timing: Timing
) -> frozenset[Generation]:
    """Return the candidates that give way in a full pair: overtaken, and nothing ever came over them, or nothing for long ◆.

    No probe came, so none was answered, so the peer cannot have proved it and never sends on it. Without this a peer that
    was down while this end renewed three times would find no generation in common, for ever. One that uses a generation
    speaks over it every *steady*; after some of these in silence it does not, or it cannot be heard. Without this a peer whose
    SAs were flushed three times in a row would never be heard again.
    """
    seen = inputs.observed
    if aim is None or aim in seen.installed or aim in inputs.ledger or _room(seen):
        return frozenset()
    quiet = max(timing.patience, _WORDS * timing.steady)
    overtaken = [(g, i) for g, i in seen.installed.items() if g < aim and g != seen.in_use]
    return frozenset(g for g, i in overtaken if i.untouched or memory.silent(g, now, quiet))


def _kept(  # noqa: PLR0913 - the six facts that decide what stays
    inputs: PairInputs,
    memory: PairMemory,
    dead: frozenset[Generation],
    aim: Generation | None,
    in_use: Generation | None,
    now: float,
    timing: Timing,
) -> Iterator[tuple[Generation, tuple[bool, bool]]]:
    """Yield each installed generation that stays, with (receive, send)."""
    idle = unneeded(inputs) if in_use == inputs.observed.in_use else frozenset()
    dropped = gone(inputs, memory.announcement) if memory.announcement is not None else frozenset()
    withdrawn = _withdrawn(inputs, memory, aim, now, timing)
    for g, i in sorted(inputs.observed.installed.items()):
        if g in dead or g in withdrawn:
            continue
        drained = g in dropped and g != aim and memory.passed("gone", g, now, timing.drain)
        rx = bool(i.rx) and not drained
        tx = bool(i.tx) and not (g in idle and memory.passed("idle", g, now, timing.linger))
        tx = tx and not (drained and g not in (in_use, inputs.observed.in_use))
        if rx or tx:
            yield g, (rx, tx)


def _receiving(
    inputs: PairInputs, memory: PairMemory, keep: Mapping[Generation, tuple[bool, bool]], now: float, timing: Timing
) -> Receive:
    """Return what to ask of the peer's traffic: ESP only when the peer's word says that it sends it, and a drain later ◆."""
    seen = inputs.observed
    if inputs.leaving:
        return Receive.OPTIONAL if keep or seen.receive is not Receive.NONE else Receive.NONE
    if seen.receive is Receive.REQUIRED or inputs.ended or memory.passed("esp", None, now, timing.drain):
        return Receive.REQUIRED
    return Receive.OPTIONAL if keep else seen.receive


def _nodes(  # noqa: PLR0913 - the facts that decide about node→node
    inputs: PairInputs, memory: PairMemory, out: Out, receive: Receive, now: float, timing: Timing
) -> NodeTraffic:
    """Return what of node→node is sealed next, by the rules of `node_traffic`."""
    seen, heard = inputs.observed, memory.announcement
    fresh = seen.out is Out.PLAIN or (inputs.exempts and out is Out.BLOCK)
    confirmed = memory.confirmed == announcement(inputs)
    sends = out is not Out.PLAIN and sends_next(seen.nodes, heard, exempt=inputs.exempt, free=fresh, confirmed=confirmed)
    sealed_long = memory.passed("nodes", None, now, timing.drain)
    required = receive is Receive.REQUIRED
    return NodeTraffic(sends, requires_next(seen.nodes, exempt=inputs.exempt, required=required, sealed_long=sealed_long))


def _guarded(  # noqa: PLR0913 - the facts that decide about the guard
    inputs: PairInputs, memory: PairMemory, out: Out, nodes: NodeTraffic, now: float, timing: Timing
) -> GuardedOut:
    """Return what the guard drops on its way out: a linger after the policies, for what was looked up before is still to pass.

    At once where nothing may pass, and never less than it does.
    """
    seen = inputs.observed.guarded
    if out is not Out.ESP:
        return GuardedOut(out is Out.BLOCK, out is Out.BLOCK and nodes.sends)
    pods = seen.pods or memory.passed("sent", None, now, timing.linger)
    return GuardedOut(pods, nodes.sends and (seen.nodes or memory.passed("sealed", None, now, timing.linger)))


def _left(inputs: PairInputs, memory: PairMemory, now: float, timing: Timing) -> bool:
    """Return whether this end, as the one that removes first, may remove all: the peer sends plaintext and knows that we do ◆.

    Of two that leave, the one with the higher nodeID is first. One that has nothing has left already. No word is waited for
    from a peer that is down and silent: it finds the controller's when it is back ◆.
    """
    seen = inputs.observed
    if inputs.own_state is NodeState.LEAVING and memory.passed("away", None, now, timing.away):
        return True
    if inputs.own_state is not NodeState.LEAVING or seen.out is not Out.PLAIN:
        return False
    if seen.nothing:
        return True
    first = inputs.peer_state is not NodeState.LEAVING or inputs.own_id > inputs.peer_id
    heard = memory.announcement
    return (
        first
        and heard is not None
        and heard.sends_plain
        and memory.plain_known_since is not None
        and (now - memory.plain_known_since >= timing.drain)
    )


def _removal(inputs: PairInputs, why: str) -> Decision:
    return Decision(
        out=Out.PLAIN,
        in_use=None,
        receive=Receive.NONE,
        keep={},
        install=None,
        target=None,
        announcement=announcement(inputs),
        why=why,
        remove_all=True,
        nodes=EXEMPT,
    )


def _cut_off(inputs: PairInputs) -> Decision:
    """Return the end of all that is installed, with everything blocked, on disk as well: exclusion is never plaintext ◆."""
    nodes = EXEMPT if inputs.exempt else SEALED
    return Decision(
        out=Out.BLOCK,
        in_use=None,
        receive=Receive.REQUIRED,
        keep={},
        install=None,
        target=None,
        announcement=announcement(inputs),
        why="cut off by a person",
        mark=True,
        nodes=nodes,
        guarded=GuardedOut(pods=True, nodes=nodes.sends),
    )
