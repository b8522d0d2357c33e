"""Metrics for Prometheus.

No label names a peer, a pod or an address, and every label has a closed or capped set of values: the number of series does
not grow with the cluster. What is not in the set is counted as ``other``. Each of the two programs makes one object of its
own registry; nothing is registered by importing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from wirecrypt import __version__
from wirecrypt.errors import ClusterError, Conflict, Forbidden, NotFound, Unreachable
from wirecrypt.model.admission import BY_CONTROLLER
from wirecrypt.model.objects import NodeState, Phase

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
        self._gauge("wirecrypt_build_info", "Always 1; the version runs.", "version").labels(__version__).set(1)
        self._api_errors = self._counter("wirecrypt_api_errors", "Requests that the API server refused.", "verb", "error")
        self._passes = self._histogram("wirecrypt_pass_seconds", "Time of one pass of the loop.", _SECONDS)
        self._ages = self._gauge(
            "wirecrypt_copy_age_seconds", "Seconds since a quorum read confirmed the local copy of a kind of objects.", "kind"
        )
        self._restores = self._counter(
            "wirecrypt_restores_seen", "How often the API server was seen to have gone back, as after a restore from a backup."
        )
        self._counted = 0
        self._failures = self._counter("wirecrypt_pass_failures", "Passes of the loop that ended in an error.")

    def api_error(self, verb: str, error: ClusterError) -> None:
        """Count a refused request by verb and kind of error."""
        kind = next((text for each, text in _ERRORS.items() if isinstance(error, each)), OTHER)
        self._api_errors.labels(verb if verb in _VERBS else OTHER, kind).inc()

    def copies(self, ages: Mapping[str, float], restores: int) -> None:
        """Set how old the local copy of each kind is, in seconds, and how often the API server was seen to have gone back."""
        for kind, age in ages.items():
            self._ages.labels(kind).set(age)
        self._restores.inc(max(0, restores - self._counted))
        self._counted = max(restores, self._counted)

    def passed(self, seconds: float, *, failed: bool = False) -> None:
        """Count one pass of the loop."""
        self._passes.observe(seconds)
        if failed:
            self._failures.inc()

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(name, text, buckets=buckets, registry=self.registry)

    def _per(self, name: str, text: str, label: str, values: Iterable[str]) -> Gauge:
        gauge = self._gauge(name, text, label)
        for value in values:
            gauge.labels(value).set(0)
        return gauge

    def _totals(self, name: str, text: str, label: str) -> Totals:
        totals = Totals(name, text, label)
        self.registry.register(totals)
        return totals


class AgentMetrics(_Common):
    """Metrics of one agent."""

    def __init__(self) -> None:
        super().__init__()
        self.enabled = self._gauge("wirecrypt_enabled", "1 while this agent decides for its node; 0 where it is not enabled.")
        self._peers = self._per("wirecrypt_peers", "Peers by state of the pair.", "state", PEER_STATES)
        self.exempt = self._gauge("wirecrypt_peers_exempt", "Peers with which traffic between node addresses is in clear.")
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
    """Metrics of one controller; only the leader's say something about the cluster."""

    def __init__(self) -> None:
        super().__init__()
        self.leader = self._gauge("wirecrypt_leader", "1 while this replica leads.")
        self.labelled = self._gauge("wirecrypt_nodes_labelled", "Nodes that are to be encrypted, as their labels say.")
        self.laggards = self._gauge("wirecrypt_rotation_laggards", "Nodes that the running rotation waits for.")
        self.removals_held = self._gauge(
            "wirecrypt_removals_held", "Nodes that vanished with too many others and wait for a person's word."
        )
        self._open = self._per(
            "wirecrypt_admission_policy_open", "1 for a policy that admitted what it must refuse.", "policy", BY_CONTROLLER
        )
        self._nodes = self._per("wirecrypt_nodes", "Nodes by state.", "state", [state.value for state in NodeState])
        self._phase = self._per(
            "wirecrypt_rotations_active", "Unfinished rotations by phase.", "phase", [phase.value for phase in Phase]
        )
        self._ended = self._counter("wirecrypt_rotations", "Rotations ended, by result.", "result")
        self._duration = self._histogram("wirecrypt_rotation_seconds", "Time of completed rotations.", _ROTATION_SECONDS)

    def open_policies(self, found: Collection[str]) -> None:
        """Set which of the admission policies that the controller tries admitted what they must refuse."""
        for policy in BY_CONTROLLER:
            self._open.labels(policy).set(policy in found)

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
