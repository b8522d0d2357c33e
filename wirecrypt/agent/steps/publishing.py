"""The node's sessions within a pass: which to make, when to publish, which private keys to destroy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from wirecrypt import logs
from wirecrypt.agent.components import Components
from wirecrypt.agent.steps.install_failures import InstallFailures
from wirecrypt.agent.steps.renewal import SessionRenewal
from wirecrypt.agent.view.configuration import session_params
from wirecrypt.agent.view.pass_state import PassState
from wirecrypt.errors import ClusterError, Conflict
from wirecrypt.model.conditions import Reason
from wirecrypt.pairs import sessions as rules
from wirecrypt.retry import Backoff, Delays
from wirecrypt.settings import Settings

log = logs.get(__name__)
AGAIN: Final = Delays(first=0.5, most=30.0, jitter=0.0)
WAITS: Final = "SAs of the pair are gone again and again: the next session waits for its turn, a few seconds each"


class Publisher:
    """Make, publish and retire the own sessions. The API server is asked with growing waits while it fails."""

    def __init__(self, components: Components, renewal: SessionRenewal) -> None:
        self._components = components
        self._renewal = renewal
        self._install_failures = InstallFailures()
        self._backoff = Backoff(AGAIN)
        self.made = 0  # sessions since the start

    @property
    def rests(self) -> bool:
        """Return whether nothing waits to be asked again."""
        return not self._backoff.failures

    def sessions(self, pass_state: PassState, settings: Settings, now: float) -> bool:
        """Make the sessions that are needed; say whether to look again: one was made, or is to be after the next look."""
        session_keeper = self._components.session_keeper
        wanted = rules.wanted_epochs(pass_state.cluster_view.rotations)
        if self._backoff.due(now) and rules.missing(wanted, [k.epoch for k in pass_state.state.node_keys]):
            self._try(pass_state, now, lambda: session_keeper.fetch_keys(self._components.node))
        pairs = self._install_failures.without_renewals(pass_state, now)
        reasons = self._renewal.reasons(pass_state.state, pairs, pass_state.kernel, now, settings.limits.max_age)
        renew = reasons if self._renewal.allowed(now) else {}
        if not renew:
            pass_state.failed.update(dict.fromkeys(self._renewal.dark, WAITS))
        held = [k.epoch for k in session_keeper.open(pass_state.own).node_keys]
        needs = rules.needs(session_keeper.seen(), wanted, held, renew)
        if needs and self._components.datapath.stale():  # their numbers are others than what the kernel carries
            return True
        for need in needs:
            session_keeper.make(
                need, session_params(settings, len(pass_state.pair_views)), pass_state.own_residues(), pass_state.own
            )
            self.made += 1
        if any(need.epoch in renew for need in needs):
            self._renewal.made(now)
            self._install_failures.renewed(pairs, now)
        return bool(needs)

    def publish(self, pass_state: PassState, now: float) -> bool:
        """Publish if every published peer has its generation installed, or refused; say whether a new look is due."""
        self._install_failures.note(pass_state)
        session_keeper = self._components.session_keeper
        old = self._backoff.due(now) and session_keeper.outdated(pass_state.own)
        if old and self._try(pass_state, now, lambda: session_keeper.look_again(pass_state.own)):
            return True  # what was lost is published when it is installed everywhere again: the next round says so
        if not self._backoff.due(now):
            return False
        installable = ((s.inputs, d) for s, d in pass_state.pairs() if not self._install_failures.stands(s))
        if not rules.publishable(session_keeper.seen(), installable):
            return False
        return self._try(pass_state, now, lambda: session_keeper.publish(pass_state.own))

    def tidy(self, pass_state: PassState) -> None:
        """Destroy what is over: private keys, node keys, ledger entries; name the peers that nothing was installed with."""
        self._install_failures.log_new(pass_state)
        session_keeper = self._components.session_keeper
        session_keeper.destroy(rules.wanted_epochs(pass_state.cluster_view.rotations), pass_state.epochs())
        session_keeper.forget_sessions(pass_state.own_numbers())
        there = pass_state.pair_views.keys() | pass_state.undecided.keys() | pass_state.succeeded.keys()
        gone = session_keeper.open(pass_state.own).ledger.keys() - there
        installed = {uid: view.inputs.observed.installed for uid, view in pass_state.pair_views.items()}
        session_keeper.trim_ledger(installed | {uid: {} for uid in gone})

    def _try(self, pass_state: PassState, now: float, call: Callable[[], bool | None]) -> bool:
        """Ask the API server; say whether it did as asked. None is "nothing new": asked again after a while."""
        try:
            done = call()
        except Conflict:
            self._backoff = Backoff(AGAIN).failed(now)
            return False
        except ClusterError as error:
            log.warning("api server", error=str(error))
            pass_state.trouble.append((Reason.API_SERVER, str(error)))
            self._backoff = self._backoff.failed(now)
            return False
        self._backoff = Backoff(AGAIN) if done is not None else Backoff(AGAIN).failed(now)
        return bool(done)
