"""Is the admission policy there that keeps others from writing this node's key? Missing policies fail open, so it is tried.

What it is tried on is the real thing: this agent's right to write the status of another node. Where there is no other node
there is nothing to try and nobody whose key could be accepted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from wirecrypt import logs
from wirecrypt.errors import ClusterError
from wirecrypt.ports import AgentApi

log = logs.get(__name__)
EVERY: Final = 3600.0
AGAIN: Final = 30.0  # while the policy is missing, or the API server did not say


class AdmissionCheck:
    """Try the forbidden write when there is a peer, and hourly. Until it was refused once, no new peer key is accepted."""

    def __init__(self, api: AgentApi) -> None:
        self._api = api
        self._next = float("-inf")
        self.holds = False

    def check(self, now: float, own: str, others: Iterable[str]) -> None:
        """Try again when it is time, on one of the *others*; an API server that does not answer changes nothing."""
        ring = sorted(others, key=lambda name: (name < own, name))  # not all agents begin with the same node
        if now < self._next or not ring:
            return
        try:
            self.holds = self._api.forbidden_write_refused(ring)
        except ClusterError as error:
            log.warning("admission policy not tried", error=str(error))
            self._next = now + AGAIN
            return
        self._next = now + (EVERY if self.holds else AGAIN)
        if not self.holds:
            log.error("admission policy missing", reason="a forbidden write was admitted")
