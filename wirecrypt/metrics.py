"""Figures for Prometheus, and the port that serves them with the state of health.

No label names a peer, a pod or an address, and every label has a closed or capped set of values: the number of series does
not grow with the cluster. What is not in the set is counted as ``other``. Each of the two programs makes one object of its
own registry; nothing is registered by importing.
"""

from __future__ import annotations

from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, IPPROTO_IPV6, IPV6_V6ONLY
from socketserver import TCPServer
from threading import Thread
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlsplit

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from wirecrypt import __version__
from wirecrypt.errors import ClusterError, ConfigError, Conflict, Forbidden, NotFound, Unreachable
from wirecrypt.model.objects import NodeState, Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    Page = Callable[[Mapping[str, str]], tuple[int, str, bytes]]  # query → status, content type, body

PEER_STATES: Final = ("protected", "joining", "leaving", "blocked", "failing")
OTHER: Final = "other"
MOST_VALUES: Final = 64  # of one label whose values the kernel names

_ERRORS: Final = {Forbidden: "forbidden", Conflict: "conflict", NotFound: "not_found", Unreachable: "unreachable"}
_VERBS: Final = ("get", "list", "watch", "create", "update", "patch", "delete")
_SECONDS: Final = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_ROTATION_SECONDS: Final = (1.0, 3.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)


class Totals(Collector):
    """Counters whose totals somebody else keeps (the kernel, the guard): the latest reading, one series per name."""

    def __init__(self, name: str, text: str, label: str) -> None:
        self._name, self._text, self._label = name, text, label
        self._read: Mapping[str, int] = {}

    def read(self, totals: Mapping[str, int]) -> None:
        """Take a new reading; beyond 64 names, in order, the rest is added up as ``other``."""
        names = sorted(totals)
        kept = {name: totals[name] for name in names[:MOST_VALUES]}
        rest = sum(totals[name] for name in names[MOST_VALUES:])
        self._read = {**kept, OTHER: rest} if len(names) > MOST_VALUES else kept

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield the reading as one family."""
        family = CounterMetricFamily(self._name, self._text, labels=[self._label])
        for name, total in self._read.items():
            family.add_metric([name], total)
        yield family


class _Common:
    """What both programs count."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        build = Gauge("wirecrypt_build_info", "Always 1; the version runs.", ["version"], registry=self.registry)
        build.labels(__version__).set(1)
        self._api_errors = Counter(
            "wirecrypt_api_errors", "Requests that the API server refused.", ["verb", "error"], registry=self.registry
        )
        self._passes = Histogram(
            "wirecrypt_pass_seconds", "Time of one pass of the loop.", buckets=_SECONDS, registry=self.registry
        )
        self._failures = Counter(
            "wirecrypt_pass_failures", "Passes of the loop that ended in an error.", registry=self.registry
        )

    def api_error(self, verb: str, error: ClusterError) -> None:
        """Count a refused request by verb and kind of error."""
        kind = next((text for each, text in _ERRORS.items() if isinstance(error, each)), OTHER)
        self._api_errors.labels(verb if verb in _VERBS else OTHER, kind).inc()

    def passed(self, seconds: float, *, failed: bool = False) -> None:
        """Count one pass of the loop."""
        self._passes.observe(seconds)
        if failed:
            self._failures.inc()

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self.registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, registry=self.registry)

    def _per(self, name: str, text: str, label: str, values: Iterable[str]) -> Gauge:
        gauge = Gauge(name, text, [label], registry=self.registry)
        for value in values:
            gauge.labels(value).set(0)
        return gauge

    def _totals(self, name: str, text: str, label: str) -> Totals:
        totals = Totals(name, text, label)
        self.registry.register(totals)
        return totals


class AgentMetrics(_Common):
    """Figures of one agent."""

    def __init__(self) -> None:
        super().__init__()
        self._peers = self._per("wirecrypt_peers", "Peers by state of the pair.", "state", PEER_STATES)
        self.guard = self._totals("wirecrypt_guard_packets", "Packets judged by the guard, by reason.", "reason")
        self.xfrm = self._totals("wirecrypt_xfrm_stat", "The kernel's /proc/net/xfrm_stat.", "name")
        self.refused = self._totals("wirecrypt_control_refused", "Control datagrams refused, by reason.", "reason")
        self.sessions = self._counter("wirecrypt_sessions_made", "Own sessions made.")
        self.kernel_writes = self._counter("wirecrypt_kernel_writes", "Objects written to or deleted from the kernel.")
        self.sending_epoch = self._gauge("wirecrypt_sending_epoch", "Lowest epoch that any pair sends with; 0: none.")
        self.headroom = self._gauge(
            "wirecrypt_sequence_headroom_ratio", "Part of the soft limits left on the busiest SA, 0 to 1."
        )

    def peers(self, states: Iterable[str]) -> None:
        """Set how many peers are in each state, from the state of every peer."""
        seen = [state if state in PEER_STATES else OTHER for state in states]
        for state in {*PEER_STATES, *seen}:
            self._peers.labels(state).set(seen.count(state))


class ControllerMetrics(_Common):
    """Figures of one controller; only the leader's say something about the cluster."""

    def __init__(self) -> None:
        super().__init__()
        self.leader = self._gauge("wirecrypt_leader", "1 while this replica leads.")
        self.laggards = self._gauge("wirecrypt_rotation_laggards", "Nodes that the running rotation waits for.")
        self.removals_held = self._gauge(
            "wirecrypt_removals_held", "Nodes that vanished with too many others and wait for a person's word."
        )
        self._nodes = self._per("wirecrypt_nodes", "Nodes by state.", "state", [state.value for state in NodeState])
        self._phase = self._per(
            "wirecrypt_rotations_active", "Unfinished rotations by phase.", "phase", [phase.value for phase in Phase]
        )
        self._ended = Counter("wirecrypt_rotations", "Rotations ended, by result.", ["result"], registry=self.registry)
        self._duration = Histogram(
            "wirecrypt_rotation_seconds",
            "Time of completed rotations.",
            buckets=_ROTATION_SECONDS,
            registry=self.registry,
        )

    def nodes(self, states: Iterable[NodeState]) -> None:
        """Set how many nodes are in each state."""
        seen = list(states)
        for state in NodeState:
            self._nodes.labels(state.value).set(seen.count(state))

    def rotations(self, phases: Iterable[Phase]) -> None:
        """Set how many rotations are in each phase; ended ones do not count."""
        seen: list[Phase] = [phase for phase in phases if phase not in (Phase.COMPLETE, Phase.ABORTED)]
        for phase in Phase:
            self._phase.labels(phase.value).set(seen.count(phase))

    def rotation_ended(self, seconds: float, *, aborted: bool = False) -> None:
        """Count a rotation that is over."""
        self._ended.labels("aborted" if aborted else "complete").inc()
        if not aborted:
            self._duration.observe(seconds)


@dataclass(frozen=True, slots=True)
class Served:
    """An open port; `close` frees it and joins its threads."""

    server: ThreadingHTTPServer
    thread: Thread

    @property
    def port(self) -> int:
        """Return the TCP port, also when 0 was asked for."""
        return self.server.server_port

    def close(self) -> None:
        """Stop serving; requests that are being answered are finished first."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def serve(
    port: int,
    address: str,
    registry: CollectorRegistry,
    problem: Callable[[], str] = lambda: "",
    pages: Mapping[str, Page] | None = None,
) -> Served:
    """Serve ``/metrics``, ``/healthz`` and further *pages*, by path, on *address* and TCP *port*; ``::`` is both families.

    ``/healthz`` answers 200 when *problem* gives an empty text, else 503 with it. A page runs in a thread of its own request.
    Raises `ConfigError` when the port cannot be opened.
    """
    all_pages = _usual(registry, problem) | dict(pages or {})

    class Handler(_Handler):
        pages = all_pages

    try:
        server = (_Server6 if ip_address(address).version == 6 else _Server)((address, port), Handler)  # noqa: PLR2004 - IPv6
    except (OSError, OverflowError, ValueError) as error:
        what, hint = f"{address} port {port}", "choose another port for metrics, or stop what has it"
        raise ConfigError("open the port for metrics", what=what, answer=str(error), hint=hint) from error
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="metrics", daemon=True)
    thread.start()
    return Served(server, thread)


def _usual(registry: CollectorRegistry, problem: Callable[[], str]) -> dict[str, Page]:
    return {
        "/metrics": lambda _query: (200, CONTENT_TYPE_LATEST, generate_latest(registry)),
        "/healthz": lambda _query: _health(problem()),
    }


def _health(problem: str) -> tuple[int, str, bytes]:
    return (503 if problem else 200), "text/plain; charset=utf-8", f"{problem or 'ok'}\n".encode()


class _Server(ThreadingHTTPServer):
    address_family = AF_INET
    daemon_threads = False

    def server_bind(self) -> None:
        """Bind without HTTPServer's look-up of the own name, which waits for DNS servers that do not answer."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])


class _Server6(_Server):
    address_family = AF_INET6

    def server_bind(self) -> None:
        """Bind, and take IPv4 as well where the address is that of all."""
        self.socket.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 0)
        super().server_bind()


class _Handler(BaseHTTPRequestHandler):
    """GET of a known page; everything else is refused."""

    pages: Mapping[str, Page]
    server_version, sys_version = "wirecrypt", ""
    timeout = 5.0  # seconds until a silent client is dropped

    def do_GET(self) -> None:
        """Answer one request."""
        asked = urlsplit(self.path)
        page = self.pages.get(asked.path)
        status, kind, body = page(dict(parse_qsl(asked.query))) if page else (404, "text/plain", b"not found\n")
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_parts: object) -> None:
        """Log nothing: requests come every few seconds."""
