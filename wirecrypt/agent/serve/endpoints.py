"""Where the agent answers: its port, its local socket, and its health; all of it only reads, and nothing holds a secret.

The port has /metrics for everybody, and /verify and /plan for those whom the API server vouches for (`Gate`). The local socket,
which only root of the node can open, has the same without a token and without the API server. Health is on loopback and on a
port of its own, which neither a flood of the others nor the configuration touches. Each page is made by a thread of its own,
and never by two: the port comes from the configuration, so it is opened after the first pass that knows it, and may change.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Final

from wirecrypt import logs
from wirecrypt.agent.last_pass import LastPass
from wirecrypt.agent.serve.gate import Gate
from wirecrypt.agent.serve.inspector import Inspector
from wirecrypt.agent.serve.lane import Lane
from wirecrypt.agent.serve.metrics_page import MetricsPage
from wirecrypt.errors import ConfigError, WirecryptError
from wirecrypt.http_server import (
    Answerer,
    KeptPort,
    Listener,
    LoopHealth,
    Response,
    dispatch,
    refused,
    serve,
    serve_health,
    serve_local,
)
from wirecrypt.model.access import LOCAL_SOCKET
from wirecrypt.model.verify_facts import NodeEvidence, NodePlan, encode
from wirecrypt.settings import AGENT_HEALTH_PORT

log = logs.get(__name__)

SECONDS: Final = range(1, 11)  # of a capture: the answer must come before the API server's proxy or its client gives up
DEFAULT_SECONDS: Final = 2
STUCK: Final = 60.0  # seconds without a pass
STUCK_IDLE: Final = 180.0  # a node that is not enabled passes once a minute
SHARE: Final = 0.2  # of a thread's time, at most, for metrics, and for plans
_ADDRESSES: Final = ("::", "0.0.0.0")  # noqa: S104 - the API server and Prometheus come from other nodes; read-only


class AgentEndpoints:
    """`start` opens what needs no configuration; `passed` is called by the loop after each pass and opens the rest."""

    def __init__(
        self,
        inspector: Inspector,
        last_pass: LastPass,
        metrics: MetricsPage,
        gate: Gate,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inspector, self._last_pass, self._metrics, self._gate = inspector, last_pass, metrics, gate
        self.loop = LoopHealth(lambda: STUCK if last_pass.snapshot is not None else STUCK_IDLE, clock=clock)
        self._lanes = {
            "/metrics": Lane("metrics", lambda _query: metrics.render(), share=SHARE),
            "/verify": Lane("verify", self._verify),
            "/plan": Lane("plan", lambda _query: _answered(inspector.plan), share=SHARE),
        }
        self._health = KeptPort(lambda port: serve_health(port, self.loop), clock=clock)
        self._open = KeptPort(self._listening, clock=clock)
        self._local: Listener | None = None
        self._health_port = 0

    @property
    def port(self) -> int:
        """Return the TCP port of metrics and evidence that is open, 0 for none."""
        return self._open.port

    @property
    def waiting(self) -> int:
        """Return how many requests wait for a run that has not begun."""
        return sum(lane.waiting for lane in self._lanes.values())

    def start(self, local: Path = LOCAL_SOCKET, health_port: int = AGENT_HEALTH_PORT) -> None:
        """Open the local socket and the port of health; what cannot be opened is logged, the port tried again."""
        self._health_port = health_port
        self._keep(self._health, health_port)
        try:
            self._local = serve_local(local, dispatch({path: lane.ask for path, lane in self._lanes.items()}))
        except ConfigError as error:
            log.error("local socket not opened", path=str(local), error=str(error))  # noqa: TRY400 - the message says all

    def passed(self, seconds: float, failed: bool) -> None:  # noqa: FBT001 - the loop's hook
        """Count a pass, and have the ports open."""
        self.loop.passed(failed=failed)
        self._metrics.passed(seconds, failed=failed)
        self._keep(self._health, self._health_port)
        if (settings := self._last_pass.settings) is not None:
            self._keep(self._open, settings.metrics.port)

    def close(self) -> None:
        """Close all; what is being answered is cut off."""
        self._inspector.stop()
        self._health.close()
        self._open.close()
        if self._local is not None:
            self._local.close()
        self._gate.close()
        for lane in self._lanes.values():
            lane.close()

    def _keep(self, kept: KeptPort, port: int) -> None:
        if (error := kept.want(port)) is not None:
            log.error("port not opened", port=port, error=str(error))

    def _listening(self, port: int) -> Listener:
        """Listen on all addresses of both families, or of IPv4 where the kernel has no IPv6."""
        both, only4 = _ADDRESSES
        with suppress(ConfigError):
            return serve(port, both, dispatch(self._pages()))
        return serve(port, only4, dispatch(self._pages()))

    def _pages(self) -> Mapping[str, Answerer]:
        guarded = {path: self._gate.before(path.removeprefix("/"), self._lanes[path].ask) for path in ("/verify", "/plan")}
        return {"/metrics": self._lanes["/metrics"].ask, **guarded}

    def _verify(self, query: Mapping[str, str]) -> Response:
        asked = query.get("seconds", str(DEFAULT_SECONDS))
        if not (asked.isascii() and asked.isdigit() and int(asked) in SECONDS):
            why = f"seconds must be a number from {SECONDS.start} to {SECONDS.stop - 1}"
            return refused(HTTPStatus.BAD_REQUEST, why)
        return _answered(lambda: self._inspector.verify(int(asked)))


def _answered(ask: Callable[[], NodeEvidence | NodePlan]) -> Response:
    try:
        return 200, "application/json", json.dumps(encode(ask())).encode()
    except WirecryptError as error:
        log.warning("request not answered", error=str(error))
        return refused(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
