"""When a session is to be replaced: soft limits, by the counters of its SAs, its age, SAs that are gone; and the pace.

The kernel tells of a soft limit once, and perhaps to nobody: each pass sees from the counters which SAs reached one. What was
told only adds to that. Only SAs of the newest session of an epoch count, so a replacement answers its own reason.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from wirecrypt.agent.store.state import State
from wirecrypt.agent.view.pair_view import PairView
from wirecrypt.model.session import Epoch
from wirecrypt.model.xfrm import SaKey
from wirecrypt.pairs.decide import Decision
from wirecrypt.plan.snapshot import KernelSnapshot, sas_of

FIRST_GAP: Final = 2.0
LONGEST_GAP: Final = 300.0
BURST: Final = 8  # replacements at once for pairs that are dark, whose SAs somebody removed
REFILL: Final = 10.0  # seconds until one more of these


@dataclass(slots=True)
class SessionRenewal:
    """Reasons to replace sessions, and the pace: each replacement is a write that all nodes watch.

    One that is used up carries traffic all the same, so at most one a gap, and the gap doubles while replacements follow each
    other. Where SAs are gone their pairs are dark: those are replaced at once, BURST times, and then one each REFILL seconds.
    *expired*: SAs that the kernel told of, until they are gone. *dark*: peers whose SAs are gone, as of the last reasons.
    """

    expired: set[SaKey] = field(default_factory=set)
    born: dict[int, float] = field(default_factory=dict)
    gap: float = FIRST_GAP
    last: float = float("-inf")
    dark: frozenset[str] = frozenset()
    tokens: float = BURST
    refilled: float = 0.0

    def reasons(
        self, state: State, pair_views: Iterable[tuple[PairView, Decision]], kernel: KernelSnapshot, now: float, max_age: float
    ) -> Mapping[Epoch, str]:
        """Return the epochs whose newest session is to be replaced, with the reason."""
        newest = {o.session.epoch: o.session.number for o in state.sessions if o.key is not None}
        found: dict[Epoch, str] = {}
        dark: set[str] = set()
        self.born = {number: self.born.get(number, now) for number in newest.values()}
        for epoch, number in newest.items():
            if now - self.born[number] >= max_age:
                found[epoch] = f"session {number} is {max_age:.0f} s old"
        self.expired &= kernel.sas.keys()
        epochs = {number: epoch for epoch, number in newest.items()}
        used_up = kernel.used_up | self.expired
        for pair_view, decision in pair_views:
            if decision.renew and decision.target is not None:
                aimed = state.session(pair_view.inputs.own_number(decision.target))
                if aimed is not None:
                    found[aimed.session.epoch] = f"{pair_view.peer.name}: {decision.renew}"
                    dark.add(pair_view.peer.node_uid)
            for key, number in _used_up(pair_view, kernel, used_up) if used_up else ():
                if number in epochs:
                    found[epochs[number]] = f"{pair_view.peer.name}: soft limit of {key}"
        self.dark = frozenset(dark)
        return found

    def allowed(self, now: float) -> bool:
        """Return whether a replacement may be made now."""
        return now >= self.due(now)

    def due(self, now: float) -> float:
        """Return when the next replacement may be made."""
        if not self.dark:
            return self.last + self.gap
        left = self._left(now)
        return now if left >= 1 else now + (1 - left) * REFILL

    def waits(self, now: float) -> list[float]:
        """Return when the next replacement may be made, nothing while none has to wait for dark pairs."""
        return [self.due(now)] if self.dark and not self.allowed(now) else []

    def made(self, now: float) -> None:
        """Note that sessions were replaced. SAs of another epoch that reached a limit still have."""
        if self.dark:
            self.tokens, self.refilled = self._left(now) - 1, now
        self.gap = min(LONGEST_GAP, self.gap * 2) if now - self.last < 4 * self.gap else FIRST_GAP
        self.last = now

    def _left(self, now: float) -> float:
        return min(float(BURST), self.tokens + (now - self.refilled) / REFILL)


def _used_up(pair_view: PairView, kernel: KernelSnapshot, used_up: Collection[SaKey]) -> Iterator[tuple[SaKey, int]]:
    """Yield the pair's sending SAs that reached a soft limit, each with its own session's number."""
    for sa, spi in sas_of(pair_view.pair, kernel):
        if sa.name in used_up and spi.sender == pair_view.pair.own.node_id:
            generation = pair_view.known.generation(spi, own_is_lo=pair_view.pair.own_is_lo)
            yield sa.name, pair_view.inputs.own_number(generation)
