"""How one pair moves from key to key: a pure decision over what is known, what is installed and what was heard.

steady: one generation, installed at both ends, in use by both
change: install the target (receive, then send) → prove it by probes in both directions → switch → say so
        → the peer says so too → drain → delete the old receiving SAs
steady again

Nothing is removed because it is not wanted: a sending SA goes when another is in use, a receiving SA on the peer's word,
everything of a generation when the peer's newer boot, or a confirmed deletion, makes it dead. What is marked, as ◆R13,
is a rule of docs/explanation/rules.md, and has a test that fails without it. `decide` changes nothing; it is called again
with what the kernel has by then, so a step that did not happen is simply asked for again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from wirecrypt.model.mark import SLOTS
from wirecrypt.model.objects import NodeState
from wirecrypt.model.session import Announcement, Generation
from wirecrypt.model.spi import RESIDUES
from wirecrypt.pairs import generations
from wirecrypt.pairs.inputs import Observed, Out, PairInputs, Receive
from wirecrypt.pairs.memory import PairMemory, Timing
from wirecrypt.pairs.node_traffic import EXEMPT, SEALED, GuardedOut, NodeTraffic, requires_next, sends_next

_WORDS = 3  # of the peer, one each *steady*, that would have come over a generation that it uses


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


def decide(inputs: PairInputs, memory: PairMemory, now: float, timing: Timing) -> Decision:
    """Return what the pair should have next; *now* is monotonic seconds."""
    if inputs.peer_gone or _left(inputs, memory, now, timing):
        return _removal(inputs, "peer deleted" if inputs.peer_gone else "left, both ends send plaintext")
    if inputs.excluded:
        return _cut_off(inputs)
    dead = frozenset(g for g in inputs.observed.installed if generations.dead(g, inputs))
    aim = generations.target(inputs)
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
    """Return whether the peer, in its present boot, sends ESP: what an older boot said does not count ◆R23."""
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
    """Return whether the peer, in its present boot, sends node→node by ESP alone ◆R34."""
    return heard.seals_nodes and sends_esp(inputs, heard)


def _sending(inputs: PairInputs, memory: PairMemory, dead: frozenset[Generation]) -> tuple[Out, Generation | None, str]:
    """Return what traffic towards the peer takes; a pair that sent ESP never returns to plaintext but by leaving."""
    seen = inputs.observed
    heard = memory.announcement
    if inputs.leaving and seen.out is Out.PLAIN:
        return Out.PLAIN, None, "leaving"
    if inputs.leaving and heard is not None and heard.accepts_plain and not seen.nothing:
        return Out.PLAIN, None, "leaving, the peer accepts plaintext"
    proved = [g for g in generations.candidates(inputs) if memory.proved_lanes(g) >= frozenset(range(seen.installed[g].lanes))]
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
        complete = aim not in dead and aim in seen.installed and seen.installed[aim].complete
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
    """Return whether a further generation fits: three receiving ones at most ◆R6, as many sending ones as a word lists."""
    receiving = sum(1 for i in seen.installed.values() if i.rx or i.slot >= 0)
    return receiving < SLOTS and sum(1 for i in seen.installed.values() if i.tx) < SLOTS


def _withdrawn(
    inputs: PairInputs, memory: PairMemory, aim: Generation | None, now: float, timing: Timing
) -> frozenset[Generation]:
    """Return the candidates that give way in a full pair: overtaken, and nothing ever came over them, or nothing for long ◆R7.

    No probe came, so none was answered, so the peer cannot have proved it and never sends on it. Without this a peer that
    was down while this end renewed three times would find no generation in common, for ever. One that uses a generation
    speaks over it every *steady*; after some of these in silence it does not, or it cannot be heard. Without this a peer whose
    SAs were flushed three times in a row would never be heard again.
    """
    seen = inputs.observed
    if aim is None or aim in seen.installed or aim in inputs.ledger or _room(seen):
        return frozenset()
    quiet = max(2 * timing.patience, _WORDS * timing.steady)
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
    idle = generations.unneeded(inputs) if in_use == inputs.observed.in_use else frozenset()
    dropped = generations.gone(inputs, memory.announcement) if memory.announcement is not None else frozenset()
    withdrawn = _withdrawn(inputs, memory, aim, now, timing)
    for g, i in sorted(inputs.observed.installed.items()):
        if g in dead or g in withdrawn:
            continue
        drained = g in dropped and g != aim and memory.held("gone", g, now, timing)
        rx = bool(i.rx) and not drained
        tx = bool(i.tx) and not (g in idle and memory.held("idle", g, now, timing))
        tx = tx and not (drained and g not in (in_use, inputs.observed.in_use))
        if rx or tx:
            yield g, (rx, tx)


def _receiving(
    inputs: PairInputs, memory: PairMemory, keep: Mapping[Generation, tuple[bool, bool]], now: float, timing: Timing
) -> Receive:
    """Return what to ask of the peer's traffic: ESP only when the peer's word says that it sends it, and a drain later ◆R22."""
    seen = inputs.observed
    if inputs.leaving:
        return Receive.OPTIONAL if keep or seen.receive is not Receive.NONE else Receive.NONE
    if seen.receive is Receive.REQUIRED or inputs.ended or memory.held("esp", None, now, timing):
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
    sealed_long = memory.held("nodes", None, now, timing)
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
    pods = seen.pods or memory.held("sent", None, now, timing)
    return GuardedOut(pods, nodes.sends and (seen.nodes or memory.held("sealed", None, now, timing)))


def _left(inputs: PairInputs, memory: PairMemory, now: float, timing: Timing) -> bool:
    """Return whether this end, as the one that removes first, may remove all: the peer sends plaintext, and knows we do ◆R26.

    Of two that leave, the one with the higher nodeID is first. One that has nothing has left already. No word is waited for
    from a peer that is down and silent, or cut off, which says nothing: it finds the controller's when it is back ◆R28.
    """
    seen = inputs.observed
    if inputs.own_state is not NodeState.LEAVING:
        return False
    if inputs.peer_state is NodeState.EXCLUDED or memory.held("away", None, now, timing):
        return True
    if seen.out is not Out.PLAIN:
        return False
    if seen.nothing:
        return True
    first = inputs.peer_state is not NodeState.LEAVING or inputs.own_id > inputs.peer_id
    heard = memory.announcement
    return first and heard is not None and heard.sends_plain and now >= memory.left(timing)


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
    """Return the end of all that is installed, with everything blocked, on disk as well: exclusion is never plaintext ◆R33."""
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
