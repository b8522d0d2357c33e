"""The admission policy by which agents read the keys of their own nodes alone. A missing one fails open, so it is tried."""

from __future__ import annotations

from typing import Final

from wirecrypt import logs
from wirecrypt.agent.steps.admission_check import AGAIN, EVERY
from wirecrypt.errors import ClusterError
from wirecrypt.model.admission import NODE_TOKEN
from wirecrypt.ports import AgentApi

log = logs.get(__name__)
OPEN: Final = f"{NODE_TOKEN} does not refuse a token of another node's account: agents can read each other's keys"


class TokenCheck:
    """Ask at start and hourly for a token that nobody may have. *words*: what is wrong, nothing when it was refused."""

    def __init__(self, api: AgentApi) -> None:
        self._api = api
        self._next = float("-inf")
        self.words = ""

    def check(self, now: float) -> None:
        """Try again when it is time; an API server that does not answer changes nothing."""
        if now < self._next:
            return
        try:
            refused = self._api.foreign_token_refused()
        except ClusterError as error:
            log.warning("admission policy not tried", object=NODE_TOKEN, error=str(error))
            self._next = now + AGAIN
            return
        self._next = now + (EVERY if refused else AGAIN)
        self.words = "" if refused else OPEN
        if not refused:
            log.error("admission policy missing", object=NODE_TOKEN, reason=OPEN)
