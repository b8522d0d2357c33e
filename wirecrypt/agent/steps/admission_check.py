"""Is the admission policy there that keeps others from writing this node's key? Missing policies fail open, so it is tried."""

from __future__ import annotations

from typing import Final

from wirecrypt import logs
from wirecrypt.errors import ClusterError
from wirecrypt.ports import AgentApi

log = logs.get(__name__)
EVERY: Final = 3600.0
AGAIN: Final = 30.0  # while the policy is missing, or the API server did not say


class AdmissionCheck:
    """Try the forbidden write at start and hourly. Until it was refused once, no new peer key is accepted."""

    def __init__(self, api: AgentApi) -> None:
        self._api = api
        self._next = float("-inf")
        self.holds = False

    def check(self, now: float) -> None:
        """Try again when it is time; an API server that does not answer changes nothing."""
        if now < self._next:
            return
        try:
            self.holds = self._api.forbidden_write_refused()
        except ClusterError as error:
            log.warning("admission policy not tried", error=str(error))
            self._next = now + AGAIN
            return
        self._next = now + (EVERY if self.holds else AGAIN)
        if not self.holds:
            log.error("admission policy missing", reason="a forbidden write was admitted")
