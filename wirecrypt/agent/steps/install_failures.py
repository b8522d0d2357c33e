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

from wirecrypt.agent.view.pair_view import PairView
from wirecrypt.agent.view.pass_state import PassState
from wirecrypt.pairs.decide import Decision

MOST_RENEWALS: Final = 4  # for one session of a peer
FIRST_WAIT: Final = 60.0


@dataclass(slots=True)
class _Refusal:
    """What the peer had published when it failed, why, and the renewals because of it."""

    public: bytes
    why: str
    renewal: int = 0
    not_before: float = float("-inf")


class InstallFailures:
    """Installations that failed, by peer node UID."""

    def __init__(self) -> None:
        self._by_peer: dict[str, _Refusal] = {}

    def note(self, pass_state: PassState) -> None:
        """Take note of what this pass could not install; forget what is installed, or about what is over."""
        before, self._by_peer = self._by_peer, {}
        for uid in [uid for uid in pass_state.pair_views if uid in before or uid in pass_state.failed]:
            pair_view, decision = pass_state.pair_views[uid], pass_state.decisions[uid]
            known, public = before.get(uid), _public(pair_view, decision)
            if known is not None and (known.public != public or _installed(pair_view, decision)):
                known = None
            if decision.install is not None and uid in pass_state.failed:
                known = replace(known or _Refusal(public, ""), why=pass_state.failed[uid])
            if known is not None:
                self._by_peer[uid] = known

    def log_new(self, pass_state: PassState) -> None:
        """Add to what went wrong in *pass_state* what failed before and still stands."""
        for uid, known in self._by_peer.items():
            pass_state.failed.setdefault(uid, known.why)

    def stands(self, pair_view: PairView) -> bool:
        """Return whether the newest generation with this peer could not be installed."""
        return pair_view.peer.node_uid in self._by_peer

    def without_renewals(self, pass_state: PassState, now: float) -> list[tuple[PairView, Decision]]:
        """Return the round's pairs; one whose installation failed too often, or just now, asks for no new session."""
        if not self._by_peer:
            return list(pass_state.pairs())
        found = []
        for pair_view, decision in pass_state.pairs():
            known = self._by_peer.get(pair_view.peer.node_uid)
            same = known is not None and known.public == _public(pair_view, decision)
            wait = known is not None and (known.renewal >= MOST_RENEWALS or now < known.not_before)
            found.append((pair_view, replace(decision, renew="") if same and wait else decision))
        return found

    def renewed(self, pairs: Iterable[tuple[PairView, Decision]], now: float) -> None:
        """Count a renewal against each of *pairs* that asked for it though its installation had failed."""
        for pair_view, decision in pairs:
            known = self._by_peer.get(pair_view.peer.node_uid)
            if known is not None and decision.renew:
                known.renewal += 1
                known.not_before = now + FIRST_WAIT * 2 ** (known.renewal - 1)


def _public(pair_view: PairView, decision: Decision) -> bytes:
    """Return the peer's X in the generation that is aimed at, empty when there is none."""
    if decision.target is None:
        return b""
    number = pair_view.inputs.peer_number(decision.target)
    return next((s.public for s in pair_view.peer.sessions if s.number == number), b"")


def _installed(pair_view: PairView, decision: Decision) -> bool:
    state = pair_view.inputs.observed.installed.get(decision.target) if decision.target is not None else None
    return state is not None and state.complete
