"""The node's sessions within a pass: which to make, when to publish, which private keys to destroy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from wirecrypt import logs
from wirecrypt.agent.components import Parts
from wirecrypt.agent.steps.install_failures import Refusals
from wirecrypt.agent.steps.renewal import Renewals
from wirecrypt.agent.view.configuration import offer
from wirecrypt.agent.view.pass_state import Round
from wirecrypt.errors import ClusterError, Conflict
from wirecrypt.pairs import sessions as rules
from wirecrypt.settings import Settings

log = logs.get(__name__)
FIRST_WAIT: Final = 0.5
LONGEST_WAIT: Final = 30.0


class Publisher:
    """Make, publish and retire the own sessions. The API server is asked with growing waits while it fails."""

    def __init__(self, parts: Parts, renewals: Renewals) -> None:
        self._parts = parts
        self._renewals = renewals
        self._refusals = Refusals()
        self._wait = FIRST_WAIT
        self._not_before = float("-inf")
        self.made = 0  # sessions since the start

    def sessions(self, turn: Round, settings: Settings, now: float) -> bool:
        """Make the sessions that are needed; say whether one was made."""
        keeper = self._parts.keeper
        wanted = rules.wanted_epochs(turn.world.rotations)
        if now >= self._not_before and rules.missing(wanted, [k.epoch for k in turn.state.node_keys]):
            self._try(turn, now, lambda: keeper.fetch_keys(self._parts.node))
        pairs = self._refusals.without_renewals(turn, now)
        reasons = self._renewals.reasons(turn.state, pairs, turn.kernel, now, settings.limits.max_age)
        renew = reasons if self._renewals.allowed(now) else {}
        held = [k.epoch for k in keeper.open(turn.own).node_keys]
        needs = rules.needs(keeper.seen(), wanted, held, renew)
        for need in needs:
            keeper.make(need, offer(settings), turn.own_residues(), turn.own)
            self.made += 1
        if any(need.epoch in renew for need in needs):
            self._renewals.made(now)
            self._refusals.renewed(pairs, now)
        return bool(needs)

    def publish(self, turn: Round, now: float) -> bool:
        """Publish if every published peer has its generation installed, or refused; say whether a new look is due."""
        self._refusals.note(turn)
        keeper = self._parts.keeper
        old = now >= self._not_before and keeper.outdated(turn.own)
        if old and self._try(turn, now, lambda: keeper.look_again(turn.own)):
            return True  # what was lost is published when it is installed everywhere again: the next round says so
        if now < self._not_before:
            return False
        installable = [(s.view, d) for s, d in turn.pairs() if not self._refusals.stands(s)]
        if not rules.publishable(keeper.seen(), installable):
            return False
        return self._try(turn, now, lambda: keeper.publish(turn.own))

    def tidy(self, turn: Round) -> None:
        """Destroy what is over: private keys, node keys, ledger entries; name the peers that nothing was installed with."""
        self._refusals.tell(turn)
        keeper = self._parts.keeper
        keeper.destroy(rules.wanted_epochs(turn.world.rotations), turn.epochs())
        keeper.forget_sessions(turn.own_numbers())
        for survey, _ in turn.pairs():
            keeper.trim_ledger(survey.peer.node_uid, survey.view.observed.installed)

    def _try(self, turn: Round, now: float, call: Callable[[], bool | None]) -> bool:
        """Ask the API server; say whether it did as asked. None is "nothing new": asked again after a while."""
        try:
            done = call()
        except Conflict:
            self._not_before = now + FIRST_WAIT
            return False
        except ClusterError as error:
            log.warning("api server", error=str(error))
            turn.trouble.append(("APIServer", str(error)))
            self._not_before = now + self._wait
            self._wait = min(LONGEST_WAIT, self._wait * 2)
            return False
        self._wait = FIRST_WAIT
        if done is None:
            self._not_before = now + FIRST_WAIT
        return bool(done)
