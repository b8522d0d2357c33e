"""Peers with which a generation cannot be installed: their own, and nobody else's, trouble.

A peer may publish an X of small order, or only a cipher that this kernel lacks. No peer but that one waits for it: it does not
hold up the publication of an own session, and sessions that are made because of it end after a few. What the peer published
is the name of the trouble: with the next session of the peer all is tried anew, and so it is with each own session that is
made for another reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from wirecrypt.agent.view.pair_view import Survey
from wirecrypt.agent.view.pass_state import Round
from wirecrypt.pairs.decide import Decision

MOST_RENEWALS: Final = 4  # for one session of a peer
FIRST_WAIT: Final = 60.0


@dataclass(slots=True)
class _Refusal:
    """What the peer had published when it failed, why, and the renewals because of it."""

    public: bytes
    why: str
    renewals: int = 0
    not_before: float = float("-inf")


class Refusals:
    """Installations that failed, by peer node UID."""

    def __init__(self) -> None:
        self._by_peer: dict[str, _Refusal] = {}

    def note(self, turn: Round) -> None:
        """Take note of what this round tried to install in vain; forget what is installed, or about what is over."""
        for survey, decision in turn.pairs():
            uid, public = survey.peer.node_uid, _public(survey, decision)
            known = self._by_peer.pop(uid, None)
            if known is not None and (known.public != public or _installed(survey, decision)):
                known = None
            if decision.install is not None and uid in turn.failed:
                known = replace(known or _Refusal(public, ""), why=turn.failed[uid])
            if known is not None:
                self._by_peer[uid] = known
        for uid in self._by_peer.keys() - turn.surveys.keys():
            del self._by_peer[uid]

    def tell(self, turn: Round) -> None:
        """Add to what went wrong in *turn* what failed before and still stands."""
        for uid, known in self._by_peer.items():
            turn.failed.setdefault(uid, known.why)

    def stands(self, survey: Survey) -> bool:
        """Say whether the newest generation with this peer could not be installed."""
        return survey.peer.node_uid in self._by_peer

    def without_renewals(self, turn: Round, now: float) -> list[tuple[Survey, Decision]]:
        """Return the round's pairs; one whose installation failed too often, or just now, asks for no new session."""
        found = []
        for survey, decision in turn.pairs():
            known = self._by_peer.get(survey.peer.node_uid)
            same = known is not None and known.public == _public(survey, decision)
            wait = known is not None and (known.renewals >= MOST_RENEWALS or now < known.not_before)
            found.append((survey, replace(decision, renew="") if same and wait else decision))
        return found

    def renewed(self, pairs: Iterable[tuple[Survey, Decision]], now: float) -> None:
        """Count a renewal against each of *pairs* that asked for it though its installation had failed."""
        for survey, decision in pairs:
            known = self._by_peer.get(survey.peer.node_uid)
            if known is not None and decision.renew:
                known.renewals += 1
                known.not_before = now + FIRST_WAIT * 2 ** (known.renewals - 1)


def _public(survey: Survey, decision: Decision) -> bytes:
    """Return the peer's X in the generation that is aimed at, empty when there is none."""
    if decision.target is None:
        return b""
    number = survey.view.peer_number(decision.target)
    return next((s.public for s in survey.peer.sessions if s.number == number), b"")


def _installed(survey: Survey, decision: Decision) -> bool:
    state = survey.view.observed.installed.get(decision.target) if decision.target is not None else None
    return state is not None and state.whole
