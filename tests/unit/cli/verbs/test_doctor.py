"""doctor on the command line: both sides, one exit code."""

import json
from dataclasses import replace

from tests.unit.cli.conftest import Line
from tests.unit.doctor.test_inspect_cluster import GOOD as CLUSTER
from tests.unit.doctor.test_inspect_node import GOOD as NODE


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
    assert len(errors) == 3
    assert errors[0]["doc"] == "docs/reference/doctor.md#admission-policies"
    assert "kubectl apply" in errors[0]["nextStep"]


def test_one_side_alone(wirecrypt: Line) -> None:
    """--only leaves the other side out, its errors too."""
    wirecrypt.cluster_facts, wirecrypt.node_facts = replace(CLUSTER, unreachable="refused"), NODE
    assert wirecrypt("doctor --only node").exit_code == 0
    assert wirecrypt("doctor --only cluster").exit_code == 1
