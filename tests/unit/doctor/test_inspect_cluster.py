"""From facts of the API server to findings."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fakes.api import ApiServer
from tests.fakes.builders import node
from tests.unit.cli.fake_cli_client import NOW, encrypted, node_label, peer, rotation, status
from tests.unit.controller.watched import Leader
from wirecrypt.agent.view.configuration import Configuration
from wirecrypt.controller import Controller
from wirecrypt.doctor.facts import ClusterFacts, CrdFacts, PodFacts
from wirecrypt.doctor.finding import Finding, Severity, worst
from wirecrypt.doctor.inspect_cluster import CHECKS, EXPECTED_KINDS, inspect_cluster
from wirecrypt.doctor.needs import AGENT, CONTROLLER, NEEDS, RequiredAccess
from wirecrypt.errors import APPLY_AGAIN, INSTALL
from wirecrypt.model.admission import POLICIES
from wirecrypt.model.objects import LABEL, ConfigDocument, Lease, Node, NodeState, Phase

MANIFESTS = Path(__file__).resolve().parents[3] / "manifests"
KIND = CrdFacts(("v1alpha1",), "v1alpha1", established=True)
LEASE = Lease("one", NOW, NOW, 15, 0)
GOOD = ClusterFacts(
    now=NOW,
    version="v1.36.3",
    skew=0.4,
    kinds=dict.fromkeys(EXPECTED_KINDS, KIND),
    policies=frozenset(POLICIES),
    bindings=dict.fromkeys(POLICIES, frozenset({"Deny", "Audit"})),
    access=[(need, True) for need in NEEDS],
    pods=[
        PodFacts("agent-a", AGENT, "a", ready=True),
        PodFacts("controller-1", CONTROLLER, "a", ready=True),
        PodFacts("controller-2", CONTROLLER, "b", ready=True),
    ],
    node_labels=[node_label("a", "enabled"), node_label("b")],
    nodes=[Node("a", "uid-a", "enabled", (ip_address("10.0.0.1"),), (ip_network("10.1.0.0/24"),), NOW)],
    encrypted=[encrypted("a", made=status())],
    rotations=[rotation("initial", Phase.COMPLETE)],
    config=ConfigDocument({"config.yaml": "clusterCIDRs: [10.0.0.0/8]\nnodeCIDRs: [10.0.0.0/24]"}, "1"),
    lease=LEASE,
)
_PODS = [*(GOOD.pods or ()), PodFacts("agent-b", AGENT, "b", ready=True)]


def bad(**more: Any) -> list[Finding]:  # noqa: ANN401 - any fact
    return [f for f in inspect_cluster(replace(GOOD, **more)) if f.severity is not Severity.OK]


def test_a_good_cluster_has_no_finding() -> None:
    """All is well: every check says so."""
    assert bad() == []
    assert {f.check for f in inspect_cluster(GOOD)} == {c.name for c in CHECKS}
    assert worst(inspect_cluster(GOOD)) is Severity.OK


@pytest.mark.parametrize(
    ("check", "severity", "more"),
    [
        ("api-server", Severity.ERROR, {"unreachable": "refused"}),
        ("clock", Severity.WARNING, {"skew": -30.0}),
        ("clock", Severity.WARNING, {"skew": None}),
        ("kinds", Severity.ERROR, {"kinds": {}}),
        ("kinds", Severity.ERROR, {"kinds": dict.fromkeys(EXPECTED_KINDS[1:], KIND)}),
        ("kinds", Severity.ERROR, {"kinds": {**GOOD.kinds, EXPECTED_KINDS[0]: CrdFacts(("v2",), "v2", established=True)}}),  # type: ignore[dict-item]
        ("admission-policies", Severity.ERROR, {"policies": frozenset(POLICIES[1:])}),
        ("admission-policies", Severity.ERROR, {"bindings": dict.fromkeys(POLICIES[1:], frozenset({"Deny"}))}),
        (
            "admission-policies",
            Severity.ERROR,
            {"bindings": {**(GOOD.bindings or {}), POLICIES[0]: frozenset({"Audit"})}},
        ),
        ("access", Severity.ERROR, {"access": [(NEEDS[0], False), *((n, True) for n in NEEDS[1:])]}),
        ("pods", Severity.ERROR, {"pods": [*GOOD.pods[1:]]}),  # type: ignore[index]
        ("pods", Severity.WARNING, {"pods": [*GOOD.pods[:2]]}),  # type: ignore[index]
        ("pods", Severity.ERROR, {"lease": replace(LEASE, renewed=NOW - timedelta(minutes=5))}),
        ("pods", Severity.ERROR, {"lease": None}),
        ("configuration", Severity.ERROR, {"config": ConfigDocument({"config.yaml": "mode: lax"}, "1")}),
        ("configuration", Severity.ERROR, {"config": None}),
        ("configuration", Severity.ERROR, {"config": ConfigDocument({"config.yaml": "clusterCIDRs: [10.0.0.0/8]"}, "1")}),
        ("configuration", Severity.ERROR, {"config": ConfigDocument({"config.yaml": "nodeCIDRs: [10.0.0.0/24]"}, "1")}),
        (
            "configuration",
            Severity.WARNING,
            {
                "config": ConfigDocument(
                    {"config.yaml": "mode: permissive\nclusterCIDRs: [10.0.0.0/8]\nnodeCIDRs: [10.0.0.0/24]"}, "1"
                )
            },
        ),
        (
            "configuration",
            Severity.WARNING,
            {
                "config": ConfigDocument(
                    {"config.yaml": "nodeToNode: off\nclusterCIDRs: [10.0.0.0/8]\nnodeCIDRs: [10.0.0.0/24]"}, "1"
                )
            },
        ),
        (
            "ranges",
            Severity.WARNING,
            {
                "config": ConfigDocument(
                    {"config.yaml": "clusterCIDRs: [10.0.0.0/8]\nnodeCIDRs: [10.0.0.0/24]\nserviceCIDRs: [10.96.0.0/12]"}, "1"
                )
            },
        ),
        ("nodes", Severity.ERROR, {"node_labels": [node_label("a", "enabled"), node_label("b", "yes")]}),
        (
            "nodes",
            Severity.ERROR,
            {"node_labels": [node_label("a", "enabled"), node_label("b", strange=("label wirecrypt.io/x=y",))]},
        ),
        (
            "nodes",
            Severity.WARNING,
            {"node_labels": [node_label("a", "enabled", strange=("label wirecrypt.io/x=y",)), node_label("b")]},
        ),
        ("nodes", Severity.ERROR, {"node_labels": [node_label("a", "enabled", architecture="arm64"), node_label("b")]}),
        ("nodes", Severity.ERROR, {"encrypted": []}),
        ("nodes", Severity.ERROR, {"encrypted": [encrypted("a")]}),
        ("nodes", Severity.ERROR, {"encrypted": [encrypted("a", made=status(ready=False))]}),
        (
            "nodes",
            Severity.WARNING,
            {"encrypted": [encrypted("a", made=status(ready=False, reason="Joining"), state=NodeState.JOINING)]},
        ),
        ("nodes", Severity.ERROR, {"malformed": {"nodepeers/z": "nodeID is missing"}}),
        ("nodes", Severity.WARNING, {"peers": [peer("a"), peer("gone", 17)]}),
        ("nodes", Severity.WARNING, {"peers": [replace(peer("a"), node_uid="of the Node before")]}),
        ("claims", Severity.ERROR, {"encrypted": [encrypted("a", made=status(), problems=("10.2.0.0/24 is b's",))]}),
        ("rotations", Severity.WARNING, {"rotations": [rotation("x", Phase.RETIRING, laggards=("c",))]}),
        ("rotations", Severity.WARNING, {"rotations": [rotation("x", Phase.SWITCHING, created=NOW - timedelta(hours=2))]}),
    ],
)
def test_each_fault_is_a_finding_with_a_next_step(check: str, severity: Severity, more: dict[str, Any]) -> None:
    """One thing wrong gives one finding of its check, with its severity and a next step."""
    (finding,) = bad(**more)
    assert (finding.check, finding.severity) == (check, severity), finding
    assert finding.next_step


@pytest.mark.parametrize(
    ("check", "fact"),
    [
        ("kinds", "kinds"),
        ("admission-policies", "policies"),
        ("access", "access"),
        ("pods", "pods"),
        ("nodes", "encrypted"),
        ("rotations", "rotations"),
        ("configuration", "config"),
        ("ranges", "nodes"),
    ],
)
def test_what_may_not_be_read_is_never_ok(check: str, fact: str) -> None:
    """A missing right is a warning with the server's words, and no statement about what it hides."""
    found = [f for f in inspect_cluster(replace(GOOD, **{fact: None, "unseen": {fact: "403 no"}})) if f.check == check]  # type: ignore[arg-type]
    assert [f.severity for f in found if "403 no" in f.sentence] == [Severity.WARNING]
    assert all(f.severity is not Severity.OK for f in found)


def test_a_missing_config_map_is_never_well() -> None:
    """Nothing is decided by programs that never read one: an error alone, and no word of defaults."""
    (finding,) = [f for f in inspect_cluster(replace(GOOD, config=None)) if f.check == "configuration"]
    assert (finding.severity, "is not there" in finding.sentence) == (Severity.ERROR, True)
    assert "your own overlay" in finding.next_step


@pytest.mark.parametrize("text", [None, "", "mode: loose", "lanes: 2", "[]", "limits: {softBytes: 9Gi, hardBytes: 8Gi}"])
def test_agent_controller_and_doctor_judge_a_configuration_alike(text: str | None) -> None:
    """What doctor calls valid is taken by both, and what it calls an error is taken by neither."""
    document = None if text is None else ConfigDocument({"config.yaml": text}, "1")
    found = [f for f in inspect_cluster(replace(GOOD, config=document)) if f.check == "configuration"]
    valid = any("the configuration is valid" in f.sentence for f in found)
    agent, server = Configuration(), ApiServer.of(node(1), config=document)
    agent.read(document)
    Controller(server, Leader()).once()
    assert (agent.settings is not None, server.writes > 0) == (valid, valid)


@pytest.mark.parametrize(
    ("label", "strange", "steps"),
    [
        (None, "label wirecrypt.io/x=y", ("wirecrypt enable b", "`kubectl label node b wirecrypt.io/x-`")),
        ("enabled", "label wirecrypt.io/x=y", ("`kubectl label node b wirecrypt.io/x-`",)),
        (None, f"annotation {LABEL}", ("wirecrypt enable b", f"`kubectl annotate node b {LABEL}-`")),
    ],
)
def test_what_looks_like_a_wish_has_its_way_out(label: str | None, strange: str, steps: tuple[str, ...]) -> None:
    """The command that takes it off is written out; where the node is not enabled, also the one that was meant."""
    nodes = [node_label("a", "enabled"), node_label("b", label, strange=(strange,))]
    (finding,) = bad(node_labels=nodes, encrypted=[encrypted(n.name, made=status()) for n in nodes if n.label], pods=_PODS)
    assert strange in finding.sentence
    assert all(step in finding.next_step for step in steps)
    assert ("wirecrypt enable" in finding.next_step) is (label is None)


@pytest.mark.parametrize(
    "more",
    [
        {"kinds": dict.fromkeys(EXPECTED_KINDS[1:], KIND)},
        {"policies": frozenset()},
        {"access": [(NEEDS[0], False)]},
        {"config": None},
        {"kinds": {}},
    ],
)
def test_no_next_step_puts_the_defaults_over_a_cluster(more: dict[str, Any]) -> None:
    """What is to be applied is the reader's own overlay: only that has their configuration and image."""
    steps = {f.next_step for f in bad(**more)}
    assert steps <= {APPLY_AGAIN, INSTALL}
    assert steps


def test_needs_are_granted_by_the_manifests() -> None:
    """The roles that we ship, bound to an account in a namespace, grant every need and nothing else."""
    granted: set[tuple[str, str, str, str, str, str]] = set()
    for path in sorted(MANIFESTS.glob("rbac-*.yaml")):
        documents = list(yaml.safe_load_all(path.read_text()))
        rules = {
            (d["kind"], d["metadata"]["name"], d["metadata"].get("namespace", "")): d["rules"]
            for d in documents
            if "rules" in d
        }
        for binding in (d for d in documents if d["kind"].endswith("Binding")):
            where = binding["metadata"].get("namespace", "")
            for rule in rules[binding["roleRef"]["kind"], binding["roleRef"]["name"], where]:
                granted |= {
                    (subject["name"], verb, group, resource, where, name)
                    for subject in binding["subjects"]
                    for verb in rule["verbs"]
                    for group in rule["apiGroups"]
                    for resource in rule["resources"]
                    for name in rule.get("resourceNames", [""])
                }
    needed = {_key(n) for n in NEEDS}
    assert (sorted(needed - granted), sorted(granted - needed)) == ([], [])


def _key(need: RequiredAccess) -> tuple[str, str, str, str, str, str]:
    return need.account, need.verb, need.group, need.resource, need.namespace, need.name
