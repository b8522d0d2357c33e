"""When to send which probe: a pure schedule.

Three needs: to prove a newer generation (every lane of every candidate, quickly at first, then with backoff, never ending);
to tell the peer a word of ours that it does not surely have; and, in the steady state, to see that the path still works. Of
the last a node sends so many a second and no more, whatever the number of its peers, and however many of them are silent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from wirecrypt.model.objects import NodeState
from wirecrypt.model.session import Generation
from wirecrypt.pairs import decide, generations
from wirecrypt.pairs.inputs import Out, PairInputs, Receive
from wirecrypt.pairs.memory import Fact, PairMemory, Timing


class ProbeReason(StrEnum):
    """Why a probe is sent."""

    PROVE = "prove"
    ANNOUNCE = "tell"
    CHECK = "check"


@dataclass(frozen=True, slots=True, order=True)
class Due:
    """A probe and the monotonic time from which it should be sent."""

    at: float
    generation: Generation
    lane: int
    need: ProbeReason


def observe(memory: PairMemory, inputs: PairInputs, now: float, timing: Timing) -> PairMemory:
    """Bring memory up to date with what the kernel has and the cluster says.

    What the first look of a process finds on its way out was so for long: this process did not switch it.
    """
    first = memory.announcing is None
    memory = memory.forget_words_before(inputs.peer_boot_session).only(inputs.observed.installed, now)
    memory = memory.announce(decide.announcement(inputs))
    memory = memory.counts({g: i.packets for g, i in inputs.observed.installed.items()}, now)
    leaving = _leaving(inputs)
    memory = memory.holds((*_arriving(inputs, memory), *leaving, *_away(inputs, memory, now, timing)), now)
    if first:
        memory = replace(memory, since={**memory.since, **dict.fromkeys(leaving, float("-inf"))})
    return replace(memory, plain_known_since=_plain_known(memory, inputs, now))


def _arriving(inputs: PairInputs, memory: PairMemory) -> Iterator[tuple[Fact, Generation | None]]:
    """Yield the facts that packets on the wire, or a switch among SAs, may still contradict."""
    yield from (("idle", g) for g in generations.unneeded(inputs))
    heard = memory.announcement
    if heard is not None:
        yield from (("gone", g) for g in generations.gone(inputs, heard))
        if decide.sends_esp(inputs, heard):
            yield "esp", None
        if decide.seals_nodes(inputs, heard):
            yield "nodes", None


def _away(inputs: PairInputs, memory: PairMemory, now: float, timing: Timing) -> Iterator[tuple[Fact, Generation | None]]:
    """Yield that a peer which is down has said nothing lately: not even an answer to the last probe, sent each *steady*."""
    silence = max(SILENT, _UNANSWERED * timing.steady)
    if inputs.own_state is NodeState.LEAVING and inputs.peer_down and now - memory.heard_at >= silence:
        yield "away", None


def _leaving(inputs: PairInputs) -> list[tuple[Fact, Generation | None]]:
    """Return what takes ESP on its way out."""
    if inputs.observed.out is not Out.ESP:
        return []
    return [("sent", None), ("sealed", None)] if inputs.observed.nodes.sends else [("sent", None)]


def _plain_known(memory: PairMemory, inputs: PairInputs, now: float) -> float | None:
    """Return since when both ends are known to send plaintext and to know it: the peer said so, and has our present word."""
    if inputs.observed.out is not Out.PLAIN:
        return None
    said, heard = decide.announcement(inputs), memory.announcement
    known = said.sends_plain and memory.confirmed == said and heard is not None and heard.sends_plain
    return now if known and memory.plain_known_since is None else memory.plain_known_since


def schedule(inputs: PairInputs, memory: PairMemory, now: float, timing: Timing) -> list[Due]:
    """Return every probe that is wanted, the earliest first; those with ``at <= now`` are due."""
    wanted = list(_proofs(inputs, memory, now, timing))
    wanted += _tellings(inputs, memory, now, timing)
    return sorted(wanted)


def failing(inputs: PairInputs, memory: PairMemory, now: float, timing: Timing) -> str:
    """Return why the pair is reported as failing, empty when it is not."""
    seen = inputs.observed
    stuck = [g for g in generations.candidates(inputs) if now - memory.first_seen.get(g, now) > timing.patience]
    if stuck:
        unanswered = not any(memory.proved_lanes(g) for g in stuck)
        why = "no answer" if unanswered else "not every lane is answered"
        return f"{why} on generation {max(stuck)} (ESP blocked? MTU? wrong key?)"
    if seen.out is Out.BLOCK:
        return "traffic is blocked: no proved generation"
    return _lost(inputs, memory, now, timing) if seen.out is Out.ESP else ""


def says_the_same(inputs: PairInputs, memory: PairMemory) -> bool:
    """Return whether `failing` says the same at any time, until a fact changes or another word is heard."""
    return memory.most_lost < LOST_IN_ROW and not generations.candidates(inputs)


def _lost(inputs: PairInputs, memory: PairMemory, now: float, timing: Timing) -> str:
    """Return that probes in a row were lost, and over which lanes where others are answered; the last may still be answered.

    How many is not told: each count would be a write of the status.
    """
    used, enough = generations.channel(inputs), LOST_IN_ROW + (now - memory.announcement_tries[1] < timing.again)
    dead = sorted(lane for (g, lane), lost in memory.lost.items() if g == used and lost >= enough)
    if memory.lost_in_row >= enough:
        return f"{LOST_IN_ROW} probes in a row or more without an answer"
    return f"{LOST_IN_ROW} probes in a row or more without an answer over lane {', '.join(map(str, dead))}" if dead else ""


LOST_IN_ROW = 5  # a peer whose agent starts anew is silent for some seconds, and a path may lose one of a hundred packets
SILENT = 15.0  # seconds without a word, at least
_PEERS_TURN = 1.125  # times the time between two probes: who sent the last one lets the peer send the next
_UNANSWERED = 1.5  # times the time between two probes
_SILENCE = 2  # times the patience: a peer's pass may take that long on a starved machine
_LONG_WAIT = 4  # times the patience


def protected(inputs: PairInputs) -> bool:
    """Return whether traffic of every flow is encrypted both ways and nothing else is accepted."""
    seen = inputs.observed
    used = seen.installed.get(seen.in_use) if seen.in_use is not None else None
    both = seen.out is Out.ESP and seen.receive is Receive.REQUIRED and seen.complete and inputs.sealed
    return both and used is not None and bool(used.tx)


def _proofs(inputs: PairInputs, memory: PairMemory, now: float, timing: Timing) -> list[Due]:
    found = []
    for g in generations.candidates(inputs):
        for lane in range(inputs.observed.installed[g].lanes):
            if lane in memory.proved_lanes(g):
                continue
            count, last = memory.tries.get((g, lane), (0, 0.0))
            if count:
                at = last + min(timing.slow, timing.quick * 2 ** min(count, 16))
            else:
                at = now if g in memory.evidence else _blind(inputs, memory, memory.first_seen.get(g, now), timing)
            found.append(Due(at, g, lane, ProbeReason.PROVE))
    return found


def _blind(inputs: PairInputs, memory: PairMemory, seen: float, timing: Timing) -> float:
    """Return when to probe a generation, installed here since *seen*, without a sign that the peer has it.

    A peer that has not installed it yet counts the probe as an error (XfrmInNoStates). While the generation in use is whole
    the sign comes over it, in the peer's word: so only a silence that began after the installation lets us probe blindly (one
    that began before may be a pause between two words, and a peer that is slow), or a very long wait.
    """
    observed = inputs.observed
    if observed.out is not Out.ESP:
        return seen + timing.blind_first
    used = observed.installed.get(observed.in_use) if observed.in_use is not None else None
    if used is None or not used.complete:
        return seen + timing.blind
    return min(max(seen, memory.heard_at) + _SILENCE * timing.patience, seen + _LONG_WAIT * timing.patience)


def _tellings(inputs: PairInputs, memory: PairMemory, now: float, timing: Timing) -> list[Due]:
    via = generations.channel(inputs)
    if via is None or (inputs.observed.out is not Out.ESP and via not in memory.evidence and not memory.answered):
        return []
    count, last = memory.announcement_tries
    lane = count % max(inputs.observed.installed[via].lanes, 1)
    if not count:
        return [Due(now, via, lane, ProbeReason.ANNOUNCE)]
    if memory.confirmed == decide.announcement(inputs):
        return [_check(memory, Due(last, via, lane, ProbeReason.CHECK), timing)]
    wait = min(timing.steady, timing.quick * 2.0 ** min(count, 16))
    return [Due(last + wait, via, lane, ProbeReason.ANNOUNCE if wait < timing.again else ProbeReason.CHECK)]


def _check(memory: PairMemory, due: Due, timing: Timing) -> Due:
    """Return *due*, of the lane whose turn it is and the time of the last probe, as the next look at whether the path works.

    A probe that was lost is repeated soon and over the same lane, until the pair is reported as failing: from then on a silent
    peer costs no more than one that answers. The ends take turns: a probe of the peer's over the same generation, which was
    answered, stands for one of ours, but not for two in a row, for only an answer shows that what we send arrives.
    """
    last, via = due.at, due.generation
    lost = max(((count, lane) for (g, lane), count in memory.lost.items() if g == via), default=(0, due.lane))
    in_row = max(lost[0], memory.lost_in_row)
    if in_row > LOST_IN_ROW:
        return replace(due, at=last + timing.steady)
    if in_row:
        return replace(due, at=last + timing.again, lane=lost[1])
    turn = last + _PEERS_TURN * timing.steady
    return replace(due, at=max(turn, min(memory.spoke.get(via, last) + timing.steady, turn + timing.steady)))
