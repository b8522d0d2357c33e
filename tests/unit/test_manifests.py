"""What the manifests and the programs say of each other: probes, and the account by which agents are asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from wirecrypt.model.access import ACCOUNT, RESOURCE
from wirecrypt.model.objects import SYSTEM_NAMESPACE
from wirecrypt.settings import AGENT_HEALTH_PORT, CONTROLLER_HEALTH_PORT

MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def documents(name: str) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all((MANIFESTS / name).read_text()) if each]


def probes(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each probe of a workload's containers, by its kind."""
    for document in documents(name):
        for container in document["spec"].get("template", {}).get("spec", {}).get("containers", ()):
            yield from ((kind, container[kind]["httpGet"]) for kind in PROBES if kind in container)


@pytest.mark.parametrize(("name", "port"), [("agent.yaml", AGENT_HEALTH_PORT), ("controller.yaml", CONTROLLER_HEALTH_PORT)])
def test_probes_ask_on_the_port_of_health_whatever_metrics_port_is(name: str, port: int) -> None:
    """On loopback, where the program listens from its start; a restart is for a loop that hangs, not for passes that fail."""
    pages = {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    expected = {kind: {"path": page, "port": port, "host": "127.0.0.1"} for kind, page in pages.items()}
    assert dict(probes(name)) == expected


def test_the_account_by_which_agents_are_asked_has_that_right_and_no_other() -> None:
    """It is bound to one role, which names the two pages; its token is mounted nowhere."""
    found = documents("rbac-verify.yaml")
    (account,) = [each for each in found if each["kind"] == "ServiceAccount"]
    assert account["metadata"] == {"name": ACCOUNT, "namespace": SYSTEM_NAMESPACE}
    assert account["automountServiceAccountToken"] is False
    everywhere = [each for path in sorted(MANIFESTS.glob("*.yaml")) for each in documents(path.name)]
    bindings = [each for each in everywhere if any(s["name"] == ACCOUNT for s in each.get("subjects", ()))]
    assert [each["roleRef"]["name"] for each in bindings] == [ACCOUNT]
    (role,) = [each for each in found if (each["kind"], each["metadata"]["name"]) == ("ClusterRole", ACCOUNT)]
    pages = [f"{RESOURCE}/{page}" for page in ("verify", "plan")]
    assert role["rules"] == [{"apiGroups": ["wirecrypt.io"], "resources": pages, "verbs": ["get"]}]
