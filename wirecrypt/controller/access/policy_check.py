"""Are the admission policies there that speak of others than agents? A missing one admits everything, so they are tried.

Agents try those that speak of them (`agent/steps/admission_check`). What was found stays found until a try says otherwise.
"""

from __future__ import annotations

from typing import Final

from wirecrypt import logs
from wirecrypt.errors import ClusterError
from wirecrypt.model.admission import BY_CONTROLLER
from wirecrypt.model.conditions import Reason
from wirecrypt.ports import ControllerApi
from wirecrypt.retry import Backoff, Delays

EVERY: Final = 3600.0
AGAIN: Final = Delays(first=30.0, most=30.0, jitter=0.0)  # while a policy is missing, or could not be tried
MISSING: Final = (
    "a request that this policy must refuse was admitted: it is missing, or not bound with Deny; apply your own overlay again"
)
_log = logs.get(__name__)


class PolicyCheck:
    """Try each policy when this process begins to lead, and hourly; *open* are those that admitted what they must refuse."""

    def __init__(self, cluster: ControllerApi) -> None:
        self._cluster = cluster
        self._backoff = Backoff(AGAIN)
        self.open: tuple[str, ...] = ()

    def check(self, now: float) -> None:
        """Try again when it is time, and tell what is open."""
        if not self._backoff.due(now):
            return
        found = {policy: self._is_open(policy) for policy in BY_CONTROLLER}
        self.open = tuple(policy for policy in found if (policy in self.open if found[policy] is None else found[policy]))
        all_hold = set(found.values()) == {False}
        self._backoff = self._backoff.succeeded(until=now + EVERY) if all_hold else self._backoff.failed(now)
        for policy in self.open:
            self._tell(policy)

    def _is_open(self, policy: str) -> bool | None:
        """Return whether *policy* admits what it must refuse, None when nobody said."""
        try:
            return not self._cluster.refuses(policy)
        except ClusterError as error:
            _log.warning("admission policy not tried", object=policy, error=str(error))
            return None

    def _tell(self, policy: str) -> None:
        _log.error("admission policy missing", object=policy, reason=MISSING)
        try:
            self._cluster.policy_event(policy, reason=Reason.ADMISSION_POLICY_MISSING, message=MISSING)
        except ClusterError as error:
            _log.warning("event not written", object=policy, error=str(error))
