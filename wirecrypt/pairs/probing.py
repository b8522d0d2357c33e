"""When to send which probe: a pure schedule.

Three needs: to prove a newer generation (every lane of every candidate, quickly at first, then with backoff, never ending);
to tell the peer a word of ours that it does not surely have; and, in the steady state, to see that the path still works.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from wirecrypt.model.objects import NodeState
from wirecrypt.model.session import Generation
from wirecrypt.pairs import decide
from wirecrypt.pairs.decide import Out, PairInputs, Receive
from wirecrypt.pairs.memory import Fact, PairMemory, Timing


class ProbeReason(StrEnum):
    """Why a probe is sent."""

    PROVE = "prove"
    ANNOUNCE = "tell"


@dataclass(frozen=True, slots=True, order=True)
class Due:
    """A probe and the monotonic time from which it should be sent."""

    at: float
    generation: Generation
    lane: int
    need: ProbeReason


def observe(memory: PairMemory, inputs: PairInputs, now: float) -> PairMemory:
    """Bring memory up to date with what the kernel has and the cluster says.

    What the first look of a process finds on its way out was so for long: this process did not switch it.
    """
    first = memory.announcing is None
    memory = memory.forget_words_before(inputs.peer_boot_session).only(inputs.observed.installed, now)
    memory = memory.announce(decide.announcement(inputs))
    leaving = _leaving(inputs)
    memory = memory.holds((*_arriving(inputs, memory), *leaving, *_away(inputs, memory, now)), now)
    if first:
        memory = replace(memory, since={**memory.since, **dict.fromkeys(leaving, float("-inf"))})
    return replace(memory, plain_known_since=_plain_known(memory, inputs, now))


def _arriving(inputs: PairInputs, memory: PairMemory) -> Iterator[tuple[Fact, Generation | None]]:
    """Yield the facts that packets on the wire, or a switch among SAs, may still contradict."""
    yield from (("idle", g) for g in decide.unneeded(inputs))
    heard = memory.announcement
    if heard is not None:
        yield from (("gone", g) for g in decide.gone(inputs, heard))
        if decide.sends_esp(inputs, heard):
            yield "esp", None
        if decide.seals_nodes(inputs, heard):
            yield "nodes", None


def _away(inputs: PairInputs, memory: PairMemory, now: float) -> Iterator[tuple[Fact, Generation | None]]:
    """Yield that a peer which is down has answered nothing lately."""
    if (
        inputs.own_state is NodeState.LEAVING
        and inputs.peer_down
        and (memory.answered is None or now - memory.answered >= SILENT)
    ):
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
    stuck = [g for g in decide.candidates(inputs) if now - memory.first_seen.get(g, now) > timing.patience]
    if stuck:
        unanswered = not any(memory.proved_lanes(g) for g in stuck)
        why = "no answer" if unanswered else "not every lane is answered"
        return f"{why} on generation {max(stuck)} (ESP blocked? MTU? wrong key?)"
    if seen.out is Out.BLOCK:
        return "traffic is blocked: no proved generation"
    if seen.out is Out.ESP and memory.lost_in_row >= LOST_IN_ROW:
        return f"{memory.lost_in_row} probes in a row without an answer"
    return ""


LOST_IN_ROW = 3
SILENT = 15.0  # seconds without an answer
_LONG_WAIT = 4  # times the patience


def protected(inputs: PairInputs) -> bool:
    """Return whether traffic of every flow is encrypted both ways and nothing else is accepted."""
    seen = inputs.observed
    used = seen.installed.get(seen.in_use) if seen.in_use is not None else None
    both = seen.out is Out.ESP and seen.receive is Receive.REQUIRED and seen.complete and inputs.sealed
    return both and used is not None and bool(used.tx)


def _proofs(inputs: PairInputs, memory: PairMemory, now: float, timing: Timing) -> list[Due]:
    found = []
    for g in decide.candidates(inputs):
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

    A peer that has not installed it yet counts the probe as an error (XfrmInNoStates). While the generation in use is
    answered the sign comes over it, in the peer's word: so only a silence lets us probe blindly, or a very long wait.
    """
    if inputs.observed.out is not Out.ESP:
        return seen + timing.blind_first
    if memory.answered is None:
        return seen + timing.blind
    return min(max(seen + timing.blind, memory.answered + timing.patience), seen + _LONG_WAIT * timing.patience)


def _tellings(inputs: PairInputs, memory: PairMemory, now: float, timing: Timing) -> list[Due]:
    via = decide.channel(inputs)
    if via is None or (inputs.observed.out is not Out.ESP and via not in memory.evidence and not memory.answered):
        return []
    count, last = memory.announcement_tries
    if memory.confirmed == decide.announcement(inputs):
        at = last + timing.steady
    else:
        at = last + min(timing.steady, timing.quick * 2 ** min(count, 16)) if count else now
    lane = count % max(inputs.observed.installed[via].lanes, 1)
    return [Due(at, via, lane, ProbeReason.ANNOUNCE)]
