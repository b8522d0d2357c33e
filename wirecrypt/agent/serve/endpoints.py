"""The agent's port: /metrics and /healthz for machines, /verify and /plan for users; all of it only reads.

The port comes from the configuration, so it is opened after the first pass that knows it. What is answered holds no secret:
SPIs, counters, names, fingerprints of keys, addresses of packets that were readable on the wire anyway.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from wirecrypt import logs
from wirecrypt.agent.last_pass import LastPass
from wirecrypt.agent.serve.inspector import BusyError, Inspector, Readers
from wirecrypt.agent.status.status_writer import headroom
from wirecrypt.agent.view.pair_view import PairView
from wirecrypt.agent.view.pass_state import PassState
from wirecrypt.errors import ConfigError, WirecryptError
from wirecrypt.http_server import Served, serve
from wirecrypt.metrics import AgentMetrics
from wirecrypt.model.verify_facts import NodeEvidence, NodePlan, encode
from wirecrypt.pairs.decide import Decision, Out
from wirecrypt.pairs.probing import protected

log = logs.get(__name__)

SECONDS: Final = range(1, 11)  # of a capture: the answer must come before the API server's proxy or its client gives up
DEFAULT_SECONDS: Final = 2
STUCK: Final = 60.0  # seconds without a pass
STUCK_IDLE: Final = 180.0  # a node that is not enabled passes once a minute
AGAIN: Final = 30.0  # until a port that could not be opened is tried again
_ADDRESSES: Final = ("::", "0.0.0.0")  # noqa: S104 - the API server and Prometheus come from other nodes; read-only

Answer = tuple[int, str, bytes]


class AgentEndpoints:
    """What the port serves; `passed` is called by the loop after each pass, everything else by the threads of requests.

    *writes* counts what was written to the kernel since the start.
    """

    def __init__(
        self,
        inspector: Inspector,
        last_pass: LastPass,
        readers: Readers,
        writes: Callable[[], int],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inspector = inspector
        self._last_pass = last_pass
        self._readers = readers
        self._writes = writes
        self._metrics = AgentMetrics()
        self._sessions = self._written = 0
        self._served: Served | None = None
        self._port = 0
        self._not_before = float("-inf")
        self._clock = clock
        self._passed_at = clock()

    @property
    def port(self) -> int:
        """Return the TCP port that is open, 0 for none."""
        return self._served.port if self._served else 0

    def passed(self, seconds: float, failed: bool) -> None:  # noqa: FBT001 - the loop's hook
        """Count a pass, and have the configured port open."""
        self._passed_at = self._clock()
        self._metrics.passed(seconds, failed=failed)
        settings = self._last_pass.settings
        if settings is not None and settings.metrics.port != self._port and self._passed_at >= self._not_before:
            self._open(settings.metrics.port)

    def close(self) -> None:
        """Close the port; what is being answered ends soon."""
        self._inspector.stop()
        if self._served is not None:
            self._served.close()
            self._served = None

    def problem(self) -> str:
        """Return what is wrong with the loop, empty when nothing is."""
        silent = self._clock() - self._passed_at
        most = STUCK if self._last_pass.snapshot is not None else STUCK_IDLE
        return f"no pass for {silent:.0f} s" if silent > most else ""

    def _open(self, port: int) -> None:
        if self._served is not None:
            self._served.close()
            self._served = None
        try:
            self._served = _listening(port, self._metrics, self.problem, self._pages()) if port else None
        except ConfigError as error:
            log.error("port not opened", port=port, error=str(error))  # noqa: TRY400 - the message says all
            self._not_before = self._passed_at + AGAIN
            return
        self._port = port

    def _pages(self) -> dict[str, Callable[[Mapping[str, str]], Answer]]:
        return {"/metrics": self._render_metrics, "/verify": self._verify, "/plan": self._plan}

    def _verify(self, query: Mapping[str, str]) -> Answer:
        asked = query.get("seconds", str(DEFAULT_SECONDS))
        if not (asked.isascii() and asked.isdigit() and int(asked) in SECONDS):
            return _json(400, {"error": f"seconds must be a number from {SECONDS.start} to {SECONDS.stop - 1}"})
        return _answered(lambda: self._inspector.verify(int(asked)))

    def _plan(self, _query: Mapping[str, str]) -> Answer:
        return _answered(self._inspector.plan)

    def _render_metrics(self, _query: Mapping[str, str]) -> Answer:
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

    def _read_pass(self) -> None:
        last_pass, metrics = self._last_pass, self._metrics
        metrics.refused.read(dict(last_pass.refused))
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


def _listening(
    port: int,
    metrics: AgentMetrics,
    problem: Callable[[], str],
    pages: Mapping[str, Callable[[Mapping[str, str]], Answer]],
) -> Served:
    """Listen on all addresses of both families, or of IPv4 where the kernel has no IPv6."""
    both, only4 = _ADDRESSES
    try:
        return serve(port, both, metrics.registry, problem, pages)
    except ConfigError:
        return serve(port, only4, metrics.registry, problem, pages)


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


def _answered(ask: Callable[[], NodeEvidence | NodePlan]) -> Answer:
    try:
        return _json(200, encode(ask()))
    except BusyError as error:
        return _json(503, {"error": str(error)})
    except WirecryptError as error:
        log.warning("request not answered", error=str(error))
        return _json(500, {"error": str(error)})


def _json(status: int, body: Mapping[str, object]) -> Answer:
    return status, "application/json", json.dumps(body).encode()
