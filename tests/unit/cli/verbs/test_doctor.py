"""doctor on the command line: both sides, one exit code."""

import json
from dataclasses import replace

import pytest

from tests.unit.cli.conftest import Line
from tests.unit.cli.fake_cli_client import NOW
from tests.unit.doctor.test_inspect_cluster import GOOD as CLUSTER
from tests.unit.doctor.test_inspect_node import GOOD as NODE
from wirecrypt.doctor.facts import ClusterFacts, LocalMachine, NodeInspection
from wirecrypt.model.admission import POLICIES

FACTS = ("kinds", "policies", "access", "pods", "nodes", "encrypted", "rotations", "config", "lease")
REFUSED = ClusterFacts(now=NOW, skew=0.0, unseen=dict.fromkeys(FACTS, "401 Unauthorized"))
NOT_ROOT = NodeInspection(mask=0x0FF00000, root=False, release="6.1")


def test_all_is_well(wirecrypt: Line) -> None:
    """Without a finding: exit 0, and how many checks were made; --all lists them."""
    wirecrypt.cluster_facts, wirecrypt.node_facts = CLUSTER, NODE
    done = wirecrypt("doctor")
    assert (done.exit_code, "0 errors, 0 warnings" in done.stdout) == (0, True)
    assert "admission-policies" not in done.stdout
    assert "admission-policies" in wirecrypt("doctor --all").stdout


def test_a_warning_is_no_failure(wirecrypt: Line) -> None:
    """Warnings alone: exit 0."""
    wirecrypt.cluster_facts, wirecrypt.node_facts = CLUSTER, replace(NODE, stats={"XfrmInNoStates": 2})
    done = wirecrypt("doctor")
    assert (done.exit_code, "0 errors, 1 warnings" in done.stdout) == (0, True)
    assert "XfrmInNoStates 2: ESP came" in done.stdout
    assert "read: docs/reference/doctor.md#xfrm-counters" in done.stdout


def test_an_error_is_a_failure(wirecrypt: Line) -> None:
    """One error: exit 1, with the next step and where to read on, for programs too."""
    wirecrypt.cluster_facts, wirecrypt.node_facts = replace(CLUSTER, policies=frozenset()), NODE
    done = wirecrypt("doctor -o json")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["worst"]) == (1, "error")
    errors = [f for f in found["findings"] if f["severity"] == "error"]
    assert len(errors) == len(POLICIES)
    assert errors[0]["doc"] == "docs/reference/doctor.md#admission-policies"
    assert "kubectl apply" in errors[0]["nextStep"]


def test_one_side_alone(wirecrypt: Line) -> None:
    """--only leaves the other side out, its errors too."""
    wirecrypt.cluster_facts, wirecrypt.node_facts = replace(CLUSTER, unreachable="refused"), NODE
    assert wirecrypt("doctor --only node").exit_code == 0
    assert wirecrypt("doctor --only cluster").exit_code == 1


def test_an_administrators_own_machine_is_no_node(wirecrypt: Line) -> None:
    """It is said once that it is no Node, and nothing of its kernel; asked for by name, it is looked at."""
    wirecrypt.cluster_facts, wirecrypt.node_facts = CLUSTER, replace(NODE, stats={"XfrmInNoStates": 2})
    wirecrypt.machine = LocalMachine(frozenset({"desk"}), frozenset())
    done = wirecrypt("doctor --all -o json")
    found = [f for f in json.loads(done.stdout)["findings"] if f["side"] == "node"]
    assert (done.exit_code, [f["check"] for f in found]) == (0, ["machine"])
    assert "this machine, desk, is no Node of the cluster" in wirecrypt("doctor").stdout
    assert "XfrmInNoStates" in wirecrypt("doctor --only node").stdout
    wirecrypt.cluster_facts = replace(CLUSTER, unreachable="refused", node_labels=None, nodes=None)
    assert "XfrmInNoStates" in wirecrypt("doctor").stdout


@pytest.mark.parametrize("line", ["doctor", "doctor --only cluster", "doctor --only node"])
def test_nothing_could_be_looked_at(wirecrypt: Line, line: str) -> None:
    """A server that refuses all, and no root: exit 4, which is neither well nor ill, said to users and to programs."""
    wirecrypt.cluster_facts, wirecrypt.node_facts = REFUSED, NOT_ROOT
    done = wirecrypt(line)
    assert (done.exit_code, done.stdout.splitlines()[-1].partition(",")[0]) == (4, "nothing could be looked at")
    told = wirecrypt(f"{line} -o json")
    assert (told.exit_code, json.loads(told.stdout)["seen"]) == (4, False)


@pytest.mark.parametrize(
    ("cluster", "node"), [(CLUSTER, NOT_ROOT), (REFUSED, NODE), (replace(REFUSED, encrypted=[]), NOT_ROOT)]
)
def test_what_was_looked_at_is_enough(wirecrypt: Line, cluster: ClusterFacts, node: NodeInspection) -> None:
    """One side, or one check of one side, was looked at and is well: exit 0, and what was not is a warning."""
    wirecrypt.cluster_facts, wirecrypt.node_facts = cluster, node
    done = wirecrypt("doctor -o json")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["worst"], found["seen"]) == (0, "warning", True)
    assert {f["severity"] for f in found["findings"] if not f["seen"]} == {"warning"}


def test_an_error_counts_where_nothing_could_be_looked_at(wirecrypt: Line) -> None:
    """A server that does not answer is an error all the same: exit 1, and nothing was seen."""
    wirecrypt.cluster_facts, wirecrypt.node_facts = ClusterFacts(now=NOW, unreachable="refused"), NOT_ROOT
    done = wirecrypt("doctor -o json")
    assert (done.exit_code, json.loads(done.stdout)["seen"]) == (1, False)
