"""Figures: what is counted is served, labels stay few, and the port is given back."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from wirecrypt import __version__
from wirecrypt.errors import ClusterError, ConfigError, Forbidden
from wirecrypt.http_server import Served, serve
from wirecrypt.metrics import MOST_VALUES, AgentMetrics, ControllerMetrics
from wirecrypt.model.objects import NodeState, Phase

if TYPE_CHECKING:
    from collections.abc import Iterator


def samples(metrics: AgentMetrics | ControllerMetrics) -> dict[tuple[str, str], float]:
    """Return what is served, by name and values of its labels in the order of the labels' names."""
    families = text_string_to_metric_families(generate_latest(metrics.registry).decode())
    return {
        (s.name, " ".join(value for _, value in sorted(s.labels.items()))): s.value
        for family in families
        for s in family.samples
    }


def test_an_agents_figures_are_served() -> None:
    """Peers by state, kernel and guard totals, API errors, passes, and the version."""
    agent = AgentMetrics()
    agent.peers(["protected", "protected", "failing"])
    agent.xfrm.read({"XfrmInTmplMismatch": 7})
    agent.guard.read({"egress_unknown": 3})
    agent.api_error("patch", Forbidden("write"))
    agent.api_error("guess", ClusterError("write"))
    agent.passed(0.2, failed=True)
    agent.sending_epoch.set(4)
    agent.exempt.set(1)
    found = samples(agent)
    assert found["wirecrypt_build_info", __version__] == 1
    assert found["wirecrypt_peers", "protected"] == 2
    assert found["wirecrypt_peers", "failing"] == 1
    assert found["wirecrypt_peers", "blocked"] == 0
    assert found["wirecrypt_xfrm_stat_total", "XfrmInTmplMismatch"] == 7
    assert found["wirecrypt_guard_packets_total", "egress_unknown"] == 3
    assert found["wirecrypt_api_errors_total", "forbidden patch"] == 1
    assert found["wirecrypt_api_errors_total", "other other"] == 1
    assert found["wirecrypt_pass_failures_total", ""] == 1
    assert found["wirecrypt_sending_epoch", ""] == 4
    assert found["wirecrypt_peers_exempt", ""] == 1


def test_the_age_of_each_copy_is_served() -> None:
    """Both programs show for how long nothing has confirmed what they decide from, and how often the past was undone."""
    for program in (AgentMetrics(), ControllerMetrics()):
        program.copies({"Node": 12.5, "epoch Secret": 3.0}, 2)
        program.copies({"Node": 13.5}, 2)
        found = samples(program)
        assert found["wirecrypt_copy_age_seconds", "Node"] == 13.5
        assert found["wirecrypt_copy_age_seconds", "epoch Secret"] == 3
        assert found["wirecrypt_restores_seen_total", ""] == 2


def test_a_controllers_figures_are_served() -> None:
    """Nodes by state, unfinished rotations by phase, ended ones by result."""
    controller = ControllerMetrics()
    controller.nodes([NodeState.ACTIVE, NodeState.ACTIVE, NodeState.JOINING])
    controller.rotations([Phase.SWITCHING, Phase.COMPLETE])
    controller.rotation_ended(12.0)
    controller.rotation_ended(1.0, aborted=True)
    found = samples(controller)
    assert found["wirecrypt_nodes", "Active"] == 2
    assert found["wirecrypt_nodes", "Leaving"] == 0
    assert found["wirecrypt_rotations_active", "Switching"] == 1
    assert found["wirecrypt_rotations_active", "Complete"] == 0
    assert found["wirecrypt_rotations_total", "complete"] == 1
    assert found["wirecrypt_rotations_total", "aborted"] == 1
    assert found["wirecrypt_rotation_seconds_count", ""] == 1


def test_the_number_of_series_does_not_grow_with_the_cluster() -> None:
    """Thousands of peers, unknown states and names leave a bounded number of series; nothing counted is lost."""
    agent = AgentMetrics()
    before = len(samples(agent))
    agent.peers([f"state {n}" for n in range(5000)])
    agent.guard.read({f"reason {n:04}": 1 for n in range(5000)})
    found = samples(agent)
    assert len(found) - before == 1 + MOST_VALUES + 1
    assert found["wirecrypt_peers", "other"] == 5000
    assert found["wirecrypt_guard_packets_total", "other"] == 5000 - MOST_VALUES


def test_two_programs_in_one_process_do_not_meet() -> None:
    """Each object has its own registry."""
    one, other = AgentMetrics(), AgentMetrics()
    one.sessions.inc()
    assert samples(other)["wirecrypt_sessions_made_total", ""] == 0


@pytest.fixture
def served() -> Iterator[Served]:
    """Serve an agent's figures on a free port."""
    opened = serve(0, "127.0.0.1", AgentMetrics().registry)
    yield opened
    opened.close()


def get(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_pages_of_the_port(served: Served) -> None:
    """/metrics and /healthz are answered, other paths are not."""
    status, text = get(served.port, "/metrics")
    assert (status, "wirecrypt_build_info" in text) == (200, True)
    assert get(served.port, "/healthz") == (200, "ok\n")
    assert get(served.port, "/metrics/../etc") == (404, "not found\n")


def test_health_says_the_problem() -> None:
    """A problem makes /healthz answer 503 with its words; /metrics goes on."""
    opened = serve(0, "127.0.0.1", AgentMetrics().registry, lambda: "no pass for 90 s")
    try:
        assert get(opened.port, "/healthz") == (503, "no pass for 90 s\n")
        assert get(opened.port, "/metrics")[0] == 200
    finally:
        opened.close()


def test_ipv6_is_served() -> None:
    """An IPv6 address is listened on as well."""
    opened = serve(0, "::1", AgentMetrics().registry)
    try:
        assert get(opened.port, "/healthz", "[::1]")[0] == 200
    finally:
        opened.close()


def test_a_taken_port_is_one_clear_error(served: Served) -> None:
    """The error names address and port; and after closing, the port is free again."""
    with pytest.raises(ConfigError, match=f"127.0.0.1 port {served.port}.*in use"):
        serve(served.port, "127.0.0.1", AgentMetrics().registry)
    first = serve(0, "127.0.0.1", AgentMetrics().registry)
    first.close()
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", first.port))


@pytest.mark.parametrize(("port", "address"), [(70000, "127.0.0.1"), (0, "nowhere"), (0, "192.0.2.77")])
def test_a_bad_port_or_address_is_one_clear_error(port: int, address: str) -> None:
    """What cannot be opened is a ConfigError with the next step."""
    with pytest.raises(ConfigError, match="Next: choose another port"):
        serve(port, address, AgentMetrics().registry)
