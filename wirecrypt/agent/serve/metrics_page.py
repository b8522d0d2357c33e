"""The agent's metrics: the kernel's counters when they are asked for, and what the last pass saw and did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from wirecrypt import logs
from wirecrypt.agent.datapath.writes import headroom
from wirecrypt.agent.last_pass import LastPass
from wirecrypt.agent.serve.inspector import Readers
from wirecrypt.agent.view.pair_view import PairView
from wirecrypt.agent.view.pass_state import PassState
from wirecrypt.errors import ClusterError, WirecryptError
from wirecrypt.http_server import Response
from wirecrypt.metrics import AgentMetrics
from wirecrypt.pairs.decide import Decision
from wirecrypt.pairs.inputs import Out
from wirecrypt.pairs.probing import protected

log = logs.get(__name__)


class MetricsPage:
    """Counts passes as they end, and renders all metrics; one thread renders. *writes* counts kernel writes since the start."""

    def __init__(self, last_pass: LastPass, readers: Readers, writes: Callable[[], int]) -> None:
        self._last_pass, self._readers, self._writes = last_pass, readers, writes
        self._metrics = AgentMetrics()
        self._sessions = self._written = 0
        self._unheard: Mapping[str, int] = {}  # datagrams that the filter of the control port refused, by reason

    def api_error(self, verb: str, error: ClusterError) -> None:
        """Count a request that the API server refused, or did not answer."""
        self._metrics.api_error(verb, error)

    def passed(self, seconds: float, *, failed: bool) -> None:
        """Count a pass."""
        self._metrics.passed(seconds, failed=failed)

    def render(self) -> Response:
        """Read the kernel's counters and the last pass, then answer; what cannot be read keeps its last value."""
        try:
            self._read_kernel()
        except WirecryptError as error:
            log.warning("metrics not read", error=str(error))
        self._read_pass()
        return 200, CONTENT_TYPE_LATEST, generate_latest(self._metrics.registry)

    def _read_kernel(self) -> None:
        with self._readers.xfrm() as xfrm:
            self._metrics.xfrm.read(xfrm.stats())
            self._metrics.headroom.set(headroom(xfrm.list_sas()) / 100)
        if self._readers.guard.loaded():
            self._metrics.guard.read(self._readers.guard.counters())
            self._unheard = self._readers.guard.refused()

    def _read_pass(self) -> None:
        last_pass, metrics = self._last_pass, self._metrics
        metrics.refused.read(Counter(last_pass.refused) + Counter(self._unheard))
        metrics.copies(*last_pass.copies())
        made, written = last_pass.sessions, self._writes()
        metrics.sessions.inc(max(0, made - self._sessions))
        metrics.kernel_writes.inc(max(0, written - self._written))
        self._sessions, self._written = made, written
        pass_state = last_pass.snapshot.pass_state if last_pass.snapshot else None
        states = [_state(pass_state, pair_view, decision) for pair_view, decision in pass_state.pairs()] if pass_state else []
        metrics.peers(states + ["failing" for _ in (pass_state.undecided if pass_state else ())])
        metrics.enabled.set(pass_state is not None)
        metrics.exempt.set(sum(s.inputs.exempt for s, _ in pass_state.pairs()) if pass_state else 0)
        metrics.sending_epoch.set(min(_epochs(pass_state), default=0) if pass_state else 0)


def _state(pass_state: PassState, pair_view: PairView, decision: Decision) -> str:
    """Return the state of a pair as `wirecrypt_peers` counts it: the worst that is true."""
    uid = pair_view.peer.node_uid
    if pass_state.failed.get(uid) or pass_state.failing.get(uid):
        return "failing"
    if pair_view.inputs.leaving or decision.remove_all:
        return "leaving"
    if pair_view.inputs.observed.out is Out.BLOCK:
        return "blocked"
    return "protected" if protected(pair_view.inputs) else "joining"


def _epochs(pass_state: PassState) -> list[int]:
    used = (pair_view.inputs.observed.in_use for pair_view, _ in pass_state.pairs())
    return [generation.epoch for generation in used if generation is not None]
