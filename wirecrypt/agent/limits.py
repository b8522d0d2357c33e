"""When a session is used up: soft limits that the kernel reported, its age, and how often it may be replaced."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from wirecrypt.agent.state import State
from wirecrypt.agent.survey import Survey
from wirecrypt.model.xfrm import SaKey
from wirecrypt.plan.snapshot import KernelSnapshot, sas_of
from wirecrypt.rotation.pair import Decision

FIRST_GAP: Final = 2.0
LONGEST_GAP: Final = 300.0


@dataclass(slots=True)
class Renewals:
    """Reasons to replace sessions; at most one a gap, and the gap doubles while replacements follow each other."""

    expired: set[SaKey] = field(default_factory=set)
    born: dict[int, float] = field(default_factory=dict)
    gap: float = FIRST_GAP
    last: float = float("-inf")

    def reasons(
        self, state: State, surveys: Iterable[tuple[Survey, Decision]], kernel: KernelSnapshot, now: float, max_age: float
    ) -> Mapping[int, str]:
        """Return the epochs whose newest session is to be replaced, with the reason."""
        newest = {o.session.epoch.number: o.session.number for o in state.sessions if o.key is not None}
        found: dict[int, str] = {}
        for epoch, number in newest.items():
            if now - self.born.setdefault(number, now) >= max_age:
                found[epoch] = f"session {number} is {max_age:.0f} s old"
        for survey, decision in surveys:
            if decision.renew and decision.target is not None:
                found[decision.target.epoch] = f"{survey.peer.name}: {decision.renew}"
            for key, epoch in self._used_up(survey, kernel, newest):
                found[epoch] = f"{survey.peer.name}: soft limit of {key}"
        return found

    def allowed(self, now: float) -> bool:
        """Say whether a replacement may be made now."""
        return now - self.last >= self.gap

    def made(self, now: float) -> None:
        """Note a replacement: the limits reported so far were about the session before."""
        self.gap = min(LONGEST_GAP, self.gap * 2) if now - self.last < 4 * self.gap else FIRST_GAP
        self.last = now
        self.expired.clear()

    def _used_up(self, survey: Survey, kernel: KernelSnapshot, newest: Mapping[int, int]) -> list[tuple[SaKey, int]]:
        """Return sending SAs of the newest sessions that reached a soft limit, each with its epoch."""
        if not self.expired:
            return []
        found = []
        for sa, spi in sas_of(survey.pair, kernel):
            generation = survey.known.generation(spi, own_is_lo=survey.pair.own_is_lo)
            current = newest.get(generation.epoch) == survey.view.own_number(generation)
            if sa.name in self.expired and spi.sender == survey.pair.own.node_id and current:
                found.append((sa.name, generation.epoch))
        return found
