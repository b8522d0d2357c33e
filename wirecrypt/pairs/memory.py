"""What an agent remembers of a pair while it runs: what was heard, what was proved, since when a fact holds.

All of it may be lost at any moment without harm: it only makes steps happen, it never makes one safe. Events return a new
Memory; the clock is an argument, in monotonic seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from typing import Final, Literal

from wirecrypt.model.session import Announcement, Generation

Fact = Literal["gone", "idle", "esp", "nodes", "sent", "sealed", "away"]
_LINGERS: Final = frozenset({"idle", "sent", "sealed"})  # until packets between the policy lookup and the output are out
_OUTSTANDING: Final = 64
_SHORTEST: Final = 1.0  # seconds that packets are taken to fly at least
_TRIPS: Final = 4  # round trips that they may fly: what is queued before one of them may be late by some
_LATELY: Final = 8  # answers whose round trips count


@dataclass(frozen=True, slots=True)
class Timing:
    """Times in seconds. None of them makes a step safe but *drain*, the time that packets may be in flight.

    *drain*: where nothing was measured, and the longest where something was (`PairMemory.flight`).
    *linger*: how long a sending SA stays after the switch. *blind* and *blind_first*: how long to wait for a sign that the
    peer has a new generation before probing without one, when the one in use has lost SAs here, and when none is in use.
    *quick* and *slow*: first and longest interval between probes. *steady*: interval on the generation in use; *again*: until
    one that was not answered is repeated.
    *patience*: after this long without an answer the pair is reported as failing. *away*: after this long a node that leaves
    does not wait for a peer that is down.
    """

    drain: float = 10.0
    linger: float = 1.0
    blind: float = 3.0
    blind_first: float = 0.3
    quick: float = 0.1
    slow: float = 4.0
    steady: float = 4.0
    again: float = 1.0
    patience: float = 15.0
    away: float = 60.0


@dataclass(frozen=True, slots=True)
class Sent:
    """A probe on its way: over which SA, when, and with which word of ours; None: we have said another one since."""

    generation: Generation
    lane: int
    at: float
    announcement: Announcement | None


@dataclass(frozen=True, slots=True)
class PairMemory:
    """Volatile knowledge about one pair.

    *announcement*: the peer's latest. *proved*: lanes answered per generation. *evidence*: generations the peer surely has.
    *since*: when a fact about a generation began to hold. *confirmed*: the word of ours that the peer surely has.
    *plain_known_since*: since when the peer is known to send plaintext and to know that we do.
    *announcing*: the word that is being told.
    *tries*: probes sent without an answer, and when the last was, per (generation, lane). *lost*: of those that look at a path
    or tell a word, how many in a row were not answered, per (generation, lane); *lost_in_row*: over any lane.
    *spoke*: when the peer's last datagram came over a generation. *trips*: how long the last answers took.
    *counted*: how many packets came over a generation, and when that was first seen.
    """

    announcement: Announcement | None = None
    proved: Mapping[Generation, frozenset[int]] = field(default_factory=dict)
    evidence: frozenset[Generation] = frozenset()
    since: Mapping[tuple[Fact, Generation | None], float] = field(default_factory=dict)
    confirmed: Announcement | None = None
    plain_known_since: float | None = None
    tries: Mapping[tuple[Generation, int], tuple[int, float]] = field(default_factory=dict)
    announcement_tries: tuple[int, float] = (0, float("-inf"))
    outstanding: Mapping[bytes, Sent] = field(default_factory=dict)
    first_seen: Mapping[Generation, float] = field(default_factory=dict)
    answered: float | None = None
    lost_in_row: int = 0
    lost: Mapping[tuple[Generation, int], int] = field(default_factory=dict)
    announcing: Announcement | None = None
    spoke: Mapping[Generation, float] = field(default_factory=dict)
    trips: tuple[float, ...] = ()
    counted: Mapping[Generation, tuple[int | None, float]] = field(default_factory=dict)

    @property
    def heard_at(self) -> float:
        """Return when the peer last said anything."""
        return max(float("-inf") if self.answered is None else self.answered, *self.spoke.values(), float("-inf"))

    @property
    def most_lost(self) -> int:
        """Return how many probes in a row were lost, over the lane that lost most where that is more than over all."""
        return max(self.lost_in_row, *self.lost.values(), 0)

    def silent(self, generation: Generation, now: float, seconds: float) -> bool:
        """Return whether nothing was heard over *generation* for *seconds*, nor was it installed since."""
        last = max(self.spoke.get(generation, float("-inf")), self.first_seen.get(generation, now))
        return now - last >= seconds

    def proved_lanes(self, generation: Generation) -> frozenset[int]:
        """Return the lanes of *generation* that the peer answered on."""
        return self.proved.get(generation, frozenset())

    def peer_exempts(self, boot_session: int) -> bool:
        """Return whether the peer, in the boot of this session, wishes node→node in clear."""
        heard = self.announcement
        return heard is not None and heard.exempts_nodes and heard.newest >= boot_session

    def held(self, fact: Fact, generation: Generation | None, now: float, timing: Timing) -> bool:
        """Return whether *fact* has held for so long that something follows from it."""
        return now >= self._until(fact, generation, timing)

    def left(self, timing: Timing) -> float:
        """Return when all has arrived that was sent before both ends knew that both send plaintext; infinity: they do not."""
        return math.inf if self.plain_known_since is None else self._drained(self.plain_known_since, self.counted, timing)

    def due(self, now: float, timing: Timing) -> float:
        """Return when the next fact will have held long enough for a step, infinity when none is waited for."""
        ends = (self.left(timing), *(self._until(fact, generation, timing) for fact, generation in self.since))
        return min((end for end in ends if end > now), default=math.inf)

    @property
    def counting(self) -> bool:
        """Return whether something follows from packets that come, or come no more."""
        return self.plain_known_since is not None or any(fact == "gone" for fact, _ in self.since)

    @property
    def flight(self) -> float:
        """Return how long packets fly at most, by the slowest answer lately; infinity where there is none.

        In seconds that double, so that it changes seldom.
        """
        if not self.trips:
            return math.inf
        return _SHORTEST * 2.0 ** math.ceil(math.log2(max(_TRIPS * max(self.trips) / _SHORTEST, 1.0)))

    def _until(self, fact: Fact, generation: Generation | None, timing: Timing) -> float:
        start = self.since.get((fact, generation), math.inf)
        if fact == "away":
            return start + timing.away
        if fact in _LINGERS:
            return start + timing.linger
        return self._drained(start, () if generation is None else (generation,), timing)

    def _drained(self, start: float, over: Iterable[Generation], timing: Timing) -> float:
        """Return when what was sent before *start* is here: a flight after the last packet *over* one of these, or a drain."""
        last = max((self.counted[g][1] for g in over if g in self.counted), default=start)
        return min(start + timing.drain, max(start, last) + self.flight)

    def counts(self, packets: Mapping[Generation, int | None], now: float) -> PairMemory:
        """Take what the kernel has counted by *now*; where that is not known, packets may come for ever."""
        known = {g: (n, math.inf if n is None else now) for g, n in packets.items()}
        same = {g: before for g, before in self.counted.items() if g in known and before[0] == packets[g]}
        return replace(self, counted=known | same)

    def holds(self, facts: Iterable[tuple[Fact, Generation | None]], now: float) -> PairMemory:
        """Start the time of facts that hold now and forget those that do not."""
        return replace(self, since={f: self.since.get(f, now) for f in facts})

    def only(self, generations: Iterable[Generation], now: float) -> PairMemory:
        """Forget what was known of generations that are not installed (any more)."""
        live = frozenset(generations)
        return replace(
            self,
            proved={g: lanes for g, lanes in self.proved.items() if g in live},
            evidence=self.evidence & live,
            tries={k: v for k, v in self.tries.items() if k[0] in live},
            lost={k: v for k, v in self.lost.items() if k[0] in live},
            first_seen={g: self.first_seen.get(g, now) for g in live},
            spoke={g: at for g, at in self.spoke.items() if g in live},
        )

    def forget_words_before(self, boot_session: int) -> PairMemory:
        """Drop the peer's word when it is from an earlier boot of the peer: it does not count ◆R23."""
        if self.announcement is None or self.announcement.newest >= boot_session:
            return self
        return replace(self, announcement=None, confirmed=None, plain_known_since=None, evidence=frozenset())

    def taught(self, before: PairMemory) -> bool:
        """Return whether this is more than *before*: not only that, and when, the same was said again.

        Every decision brings the facts up to date first, so when something was said counts then, and calls for none.
        """
        return self is not before and self._said() != before._said()

    def _said(self) -> tuple[object, ...]:
        return *_WORDS(self), self.answered is None, self.spoke.keys(), self.flight

    def heard(self, announcement: Announcement) -> PairMemory:
        """Take the peer's word; what it lists it has installed, receiving first."""
        return replace(self, announcement=announcement, evidence=self.evidence | announcement.sending)

    def probed(self, generation: Generation, now: float) -> PairMemory:
        """Note that the peer probed *generation*: so it has it."""
        return replace(self, evidence=self.evidence | {generation}, spoke={**self.spoke, generation: now})

    def sent(self, nonce: bytes, probe: Sent, *, proving: bool) -> PairMemory:
        """Note a probe of ours; the oldest unanswered ones are forgotten beyond 64."""
        kept = dict(list(self.outstanding.items())[-(_OUTSTANDING - 1) :])
        kept[nonce] = probe
        key = (probe.generation, probe.lane)
        if not proving:
            tried, lost = (self.announcement_tries[0] + 1, probe.at), {**self.lost, key: self.lost.get(key, 0) + 1}
            in_row = self.lost_in_row + 1
            return replace(self, outstanding=kept, announcement_tries=tried, lost_in_row=in_row, lost=lost)
        tries = {**self.tries, key: (self.tries.get(key, (0, 0.0))[0] + 1, probe.at)}
        return replace(self, outstanding=kept, tries=tries)

    def answer(self, nonce: bytes, via: tuple[Generation, int], announcement: Announcement, now: float) -> PairMemory:
        """Take an answer that came over the SA of *via*; it proves that SA only if the probe went over the same one."""
        if via[0] in self.first_seen:
            self = replace(self, spoke={**self.spoke, via[0]: now})  # noqa: PLW0642 - a value, one step further
        probe = self.outstanding.get(nonce)
        if probe is None:
            return self.heard(announcement)
        rest = {n: p for n, p in self.outstanding.items() if n != nonce}
        lost = {key: count for key, count in self.lost.items() if key != (probe.generation, probe.lane)}
        known = replace(
            self.heard(announcement),
            outstanding=rest,
            confirmed=self.confirmed if probe.announcement is None else probe.announcement,
            answered=now,
            lost_in_row=0,
            lost=lost,
            trips=(*self.trips[1 - _LATELY :], now - probe.at),
        )
        if via != (probe.generation, probe.lane):
            return known
        lanes = known.proved_lanes(probe.generation) | {probe.lane}
        return replace(known, proved={**known.proved, probe.generation: lanes})

    def announce(self, announcement: Announcement) -> PairMemory:
        """Start telling *announcement* quickly, unless it is being told already.

        What the peer has of an earlier one says nothing any more, not even when we come back to it: it may hear it later ◆R35.
        """
        if self.announcing == announcement:
            return self
        anew = replace(self, announcing=announcement, announcement_tries=(0, float("-inf")))
        if self.announcing is None:
            return anew
        outstanding = {nonce: replace(probe, announcement=None) for nonce, probe in self.outstanding.items()}
        return replace(anew, confirmed=None, outstanding=outstanding)


_TIMES: Final = {"answered", "spoke", "trips", "outstanding", "announcement_tries", "lost_in_row", "lost"}
_WORDS: Final = attrgetter(*(each.name for each in fields(PairMemory) if each.name not in _TIMES))
