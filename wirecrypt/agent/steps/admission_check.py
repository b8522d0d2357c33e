"""Is the admission policy there that keeps others from writing this node's key? Missing policies fail open, so it is tried.

What it is tried on is the real thing: this agent's right to write the status of another node. Where there is no other node
there is nothing to try and nobody whose key could be accepted.
"""

from __future__ import annotations

from collections.abc import Iterable

from wirecrypt.agent.steps.policy_tries import PolicyTry
from wirecrypt.model.admission import OWN_NODE
from wirecrypt.ports import AgentApi


class AdmissionCheck:
    """Try the forbidden write when there is a peer, and hourly. Until it was refused once, no new peer key is accepted."""

    def __init__(self, api: AgentApi) -> None:
        self._api = api
        self._try = PolicyTry(OWN_NODE, "a forbidden write was admitted")

    @property
    def holds(self) -> bool:
        """Return whether the policy refused the write when it was tried last."""
        return self._try.holds

    def check(self, now: float, own: str, others: Iterable[str]) -> None:
        """Try again when it is time, on one of the *others*; an API server that does not answer changes nothing."""
        ring = sorted(others, key=lambda name: (name < own, name))  # not all agents begin with the same node
        if ring:
            self._try.check(now, lambda: self._api.forbidden_write_refused(ring))
