"""Figures: what is counted is served, labels stay few, and the port is given back."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

import wirecrypt.metrics
from wirecrypt import __version__
from wirecrypt.errors import ClusterError, Forbidden
from wirecrypt.metrics import MOST_VALUES, AgentMetrics, ControllerMetrics
from wirecrypt.model.objects import NodeState, Phase


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


PACKAGE = Path(wirecrypt.__file__).parent


def used(*places: str) -> set[str]:
    """Return what the program in *places* uses of its metrics, by name."""
    files = [file for place in places for file in sorted(PACKAGE.glob(place))]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)]
    return {node.attr for node in nodes if ast.unparse(node.value).rpartition(".")[2] in {"metrics", "_metrics"}}


@pytest.mark.parametrize(
    ("metrics", "program"),
    [(AgentMetrics, ("agent/**/*.py",)), (ControllerMetrics, ("controller/**/*.py", "cli/verbs/controller.py"))],
)
def test_every_metric_is_moved_by_its_program(
    metrics: type[AgentMetrics | ControllerMetrics], program: tuple[str, ...]
) -> None:
    """What is registered and served, and moved by nothing, says that all is well whatever happens."""
    movers = {name for name in dir(metrics()) if not name.startswith("_")} - {"registry"}
    assert movers - used(*program) == set()


def test_every_metric_of_both_programs_has_something_that_moves_it() -> None:
    """A private one is moved by a method of the class, and by more than the line that registers it."""
    source = Path(wirecrypt.metrics.__file__).read_text()
    private = set(re.findall(r"^        self\.(_\w+) = self\._(?:counter|gauge|histogram|per)\(", source, re.MULTILINE))
    assert len(private) > 5
    assert [name for name in sorted(private) if len(re.findall(rf"self\.{name}\b", source)) < 2] == []
