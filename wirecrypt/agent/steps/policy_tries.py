"""The admission policies about what an agent asks for in its own name. A missing one fails open, so each is tried."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from wirecrypt import logs
from wirecrypt.errors import ClusterError
from wirecrypt.model.admission import NODE_TOKEN, OWN_POD
from wirecrypt.ports import AgentApi
from wirecrypt.retry import Backoff, Delays

log = logs.get(__name__)
EVERY: Final = 3600.0
AGAIN: Final = Delays(first=30.0, most=30.0, jitter=0.0)  # while a policy is missing, or the API server did not say
OPEN_TOKENS: Final = f"{NODE_TOKEN} does not refuse a token of another node's account: agents can read each other's keys"
OPEN_PODS: Final = f"{OWN_POD} does not refuse what agents may not do to pods: agents can delete each other's"


class PolicyTries:
    """Ask at start and hourly for what nobody may have."""

    def __init__(self, api: AgentApi) -> None:
        self._tries = (
            (PolicyTry(NODE_TOKEN, OPEN_TOKENS), api.foreign_token_refused),
            (PolicyTry(OWN_POD, OPEN_PODS), api.pod_try_refused),
        )

    def check(self, now: float) -> None:
        """Try again what is due."""
        for each, refused in self._tries:
            each.check(now, refused)

    @property
    def words(self) -> str:
        """Return what is wrong, nothing when all was refused."""
        return "; ".join(each.words for each, _ in self._tries if each.words)


class PolicyTry:
    """One policy. *holds*: it refused the last try; *words*: what is wrong, as that showed it."""

    def __init__(self, policy: str, open_words: str) -> None:
        self._policy, self._open_words = policy, open_words
        self._backoff = Backoff(AGAIN)
        self.holds = False
        self.words = ""

    def check(self, now: float, refused: Callable[[], bool]) -> None:
        """Try again when it is time; an API server that does not answer changes nothing."""
        if not self._backoff.due(now):
            return
        try:
            self.holds = refused()
        except ClusterError as error:
            log.warning("admission policy not tried", object=self._policy, error=str(error))
            self._backoff = self._backoff.failed(now)
            return
        self._backoff = self._backoff.succeeded(until=now + EVERY) if self.holds else self._backoff.failed(now)
        self.words = "" if self.holds else self._open_words
        if not self.holds:
            log.error("admission policy missing", object=self._policy, reason=self._open_words)
