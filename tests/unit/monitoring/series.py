"""A cluster as Prometheus sees it: two controllers and three agents, all well, for two hours; tests change some of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry

from wirecrypt.metrics import PEER_STATES

MINUTES: Final = 120
AGENTS: Final = ("n1", "n2", "n3")
CONTROLLERS: Final = ("n1", "n2")


def named(metric: str, job: str, node: str, /, **labels: str) -> str:
    """Return the name of one series with the labels of its target."""
    port = 14580 if job == "agent" else 14581
    every = {"job": f"wirecrypt-{job}", "instance": f"{node}:{port}", "node": node, **labels}
    return f"{metric}{{{','.join(f'{key}={value!r}' for key, value in sorted(every.items()))}}}".replace("'", '"')


def steady(value: float) -> str:
    """Return a value that stays."""
    return f"{value}+0x{MINUTES}"


def growing(step: float, start: float = 0) -> str:
    """Return a counter that grows by *step* a minute."""
    return f"{start}+{step}x{MINUTES}"


def at(*changes: tuple[int, str]) -> str:
    """Return values from minute to minute: each of *changes* says from when on, `_` for no series."""
    ends = [*(minute for minute, _ in changes[1:]), MINUTES]
    return " ".join(f"{value}x{end - begin - 1}" for (begin, value), end in zip(changes, ends, strict=True))


def agent(node: str) -> dict[str, str]:
    """Return what a well agent serves."""
    peers = {
        named("wirecrypt_peers", "agent", node, state=state): steady(len(AGENTS) - 1 if state == "protected" else 0)
        for state in PEER_STATES
    }
    return {
        **peers,
        named("up", "agent", node): steady(1),
        named("wirecrypt_enabled", "agent", node): steady(1),
        named("wirecrypt_pass_seconds_count", "agent", node): growing(12),
        named("wirecrypt_pass_failures_total", "agent", node): steady(0),
        named("wirecrypt_guard_packets_total", "agent", node, reason="egress_unknown"): steady(3),
        named("wirecrypt_guard_packets_total", "agent", node, reason="passed_esp"): growing(1000),
        named("wirecrypt_xfrm_stat_total", "agent", node, name="XfrmInNoStates"): steady(2),
        named("wirecrypt_kernel_writes_total", "agent", node): steady(40),
        named("wirecrypt_sequence_headroom_ratio", "agent", node): steady(1),
    }


def controller(node: str, *, leads: bool) -> dict[str, str]:
    """Return what a well controller serves."""
    return {
        named("up", "controller", node): steady(1),
        named("wirecrypt_leader", "controller", node): steady(int(leads)),
        named("wirecrypt_nodes_labelled", "controller", node): steady(len(AGENTS) if leads else 0),
        named("wirecrypt_rotations_active", "controller", node, phase="Switching"): steady(0),
        named("wirecrypt_rotation_laggards", "controller", node): steady(0),
        named("wirecrypt_removals_held", "controller", node): steady(0),
        named("wirecrypt_pass_seconds_count", "controller", node): growing(12),
        named("wirecrypt_pass_failures_total", "controller", node): steady(0),
    }


def agents() -> dict[str, str]:
    """Return what all agents serve."""
    return {name: values for node in AGENTS for name, values in agent(node).items()}


def cluster() -> dict[str, str]:
    """Return all series of a cluster that is well."""
    controllers = {n: v for node in CONTROLLERS for n, v in controller(node, leads=node == "n1").items()}
    return {**agents(), **controllers}


def without(series: dict[str, str], job: str, *nodes: str) -> dict[str, str]:
    """Return *series* without those of these nodes' targets, as if no target had been."""
    targets = [f'instance="{node}:{14580 if job == "agent" else 14581}"' for node in nodes]
    return {name: values for name, values in series.items() if not any(target in name for target in targets)}


def gone(series: dict[str, str], job: str, node: str, since: int) -> dict[str, str]:
    """Return *series* with a target that answers no more from minute *since* on: `up` is 0 and the others end."""
    up, others = named("up", job, node), without(series, job, node)
    ended = {name: f"{values.partition('x')[0]}x{since - 1} stale" for name, values in series.items() if name not in others}
    return {**others, **ended, up: at((0, "1"), (since, "0"))}


def recorded(registry: CollectorRegistry, passes: Iterable[Callable[[], object]], node: str) -> dict[str, str]:
    """Return what a real controller's *registry* shows after each of *passes*, a minute each."""
    found: dict[str, list[str]] = {}
    for done, once in enumerate(passes):
        once()
        for sample in (s for family in registry.collect() for s in family.samples):
            values = found.setdefault(named(sample.name, "controller", node, **sample.labels), ["_"] * done)
            values.append(str(sample.value))
    return {name: " ".join(values) for name, values in found.items()}
