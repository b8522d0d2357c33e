"""doctor on the machine that the lab runs on, which is no Node, and in the pod of an agent, which is on one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from wirecrypt.lab import operations

if TYPE_CHECKING:
    from wirecrypt.lab.lab import Lab


def test_a_machine_that_is_no_node_is_told_from_one(deployed: Lab) -> None:
    """Here it is said once that this is none; in an agent's pod the node is looked at, and one cause is one finding."""
    here = _of_machine(operations.wirecrypt(deployed, "doctor", "-o", "json", check=False).stdout)
    assert [f["check"] for f in here] == ["machine"]
    agent = deployed.kubelet.pod("wirecrypt-agent", "node-1")
    there = _of_machine(agent.exec(["wirecrypt", "doctor", "--all", "-o", "json"], check=False).stdout)
    checks = [f["check"] for f in there]
    assert "machine" not in checks
    assert "guard-links" in checks
    assert checks.count("kernel") == 1  # a container may not make a network namespace to try things in


def _of_machine(text: str) -> list[dict[str, Any]]:
    findings: list[dict[str, Any]] = json.loads(text)["findings"]
    return [finding for finding in findings if finding["side"] == "node"]
