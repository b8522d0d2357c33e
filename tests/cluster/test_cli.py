"""The verbs of users against a real API server: what they write, and what they say when they may not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from tests.cluster.conftest import ROOT, binaries
from tests.unit.cli.cli_client_contract import CONTRACT
from wirecrypt.cli.main import cli
from wirecrypt.cli.tools import Tools
from wirecrypt.cluster import paths
from wirecrypt.cluster.cli_client import WORKLOADS, CliClient, missing_parts
from wirecrypt.model.objects import LABEL, SYSTEM_NAMESPACE

if TYPE_CHECKING:
    from tests.cluster.conftest import Server

ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
BINDINGS = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
PHASES = ("Pending", "Distributing", "Switching", "Retiring", "Complete")
ADMIN = "admin"
NOBODY = "nobody"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"


@pytest.fixture
def cluster(clean: Server) -> Server:
    """Return the API server with the Nodes a, b and c, none labelled."""
    for name in "abc":
        clean.node(name)
    return clean


@pytest.fixture
def reader(cluster: Server) -> str:
    """Return the token of somebody who may look at everything of ours and change nothing."""
    rules = [
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list"]},
        {"apiGroups": ["wirecrypt.io"], "resources": ["*"], "verbs": ["get", "list"]},
    ]
    subject = {"kind": "ServiceAccount", "name": "reader", "namespace": "default"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "test-reader"}
    for path in (f"{BINDINGS}/test-reader", f"{ROLES}/test-reader", f"{ACCOUNTS}/reader"):
        cluster.admin.delete(path)
    cluster.admin.create(ROLES, {"metadata": {"name": "test-reader"}, "rules": rules})
    cluster.admin.create(BINDINGS, {"metadata": {"name": "test-reader"}, "roleRef": role, "subjects": [subject]})
    cluster.admin.create(ACCOUNTS, {"metadata": {"name": "reader"}})
    return str(cluster.admin.create(f"{ACCOUNTS}/reader/token", {"spec": {}})["status"]["token"])


def wirecrypt(server: Server, line: str, *, token: str = ADMIN) -> Result:
    """Run the command line as the bearer of *token*."""
    words = ["--kubeconfig", str(server.kubeconfig(token)), *line.split()]
    return CliRunner().invoke(cli, words, catch_exceptions=False)


def labels(server: Server) -> dict[str, str | None]:
    nodes = server.admin.items(paths.NODES)[0]
    return {n["metadata"]["name"]: n["metadata"].get("labels", {}).get(LABEL) for n in nodes}


def rotations(server: Server) -> list[dict[str, Any]]:
    return server.admin.items(paths.KEY_ROTATIONS)[0]


def one_line(done: Result, *texts: str) -> bool:
    """Return whether the answer is one line on standard error, with a next step and these texts."""
    (line,) = done.stderr.splitlines()
    return line.startswith("error: ") and "Next: " in line and all(t in line for t in texts)


@pytest.mark.parametrize("rule", CONTRACT, ids=lambda rule: rule.__name__)
def test_the_contract_of_people(cluster: Server, rule: Callable[[CliClient], None]) -> None:
    """The real cluster does what the fake of the unit tests does."""
    rule(CliClient(cluster.admin))


def test_enable_and_disable(cluster: Server) -> None:
    """The label comes on exactly the named Nodes, is left alone where it is, and goes again; from all only with --yes."""
    assert wirecrypt(cluster, "enable a b").exit_code == 0
    assert labels(cluster) == {"a": "enabled", "b": "enabled", "c": None}
    again = wirecrypt(cluster, "enable --all")
    assert "node/a unchanged: enabled already" in again.stdout
    assert labels(cluster) == dict.fromkeys("abc", "enabled")
    assert wirecrypt(cluster, "disable --all --dry-run").exit_code == 0
    assert wirecrypt(cluster, "disable --all").exit_code == 2
    assert labels(cluster) == dict.fromkeys("abc", "enabled")
    assert wirecrypt(cluster, "disable --all --yes").exit_code == 0
    assert labels(cluster) == dict.fromkeys("abc")


def test_nothing_is_enabled_before_the_ranges_are_set(cluster: Server) -> None:
    """The shipped document has none: refused as input, with the next step, and no Node is labelled."""
    before = cluster.admin.get(paths.CONFIG)["data"]
    cluster.admin.patch(paths.CONFIG, {"data": {"config.yaml": (ROOT / "overlays/example/config.yaml").read_text()}})
    try:
        done = wirecrypt(cluster, "enable a b")
    finally:
        cluster.admin.patch(paths.CONFIG, {"data": before})
    assert done.exit_code == 2
    assert one_line(done, "clusterCIDRs and nodeCIDRs", "nothing was changed")
    assert labels(cluster) == dict.fromkeys("abc")


def test_labels_choose_as_kubectls_do(cluster: Server) -> None:
    """What kubectl takes after -l: sets, absence, several at once."""
    cluster.admin.patch(f"{paths.NODES}/a", {"metadata": {"labels": {"pool": "one"}}})
    cluster.admin.patch(f"{paths.NODES}/b", {"metadata": {"labels": {"pool": "two"}}})
    words = ["--kubeconfig", str(cluster.kubeconfig(ADMIN))]
    for selector, chosen in (("pool in (one, two),pool!=two", "a"), ("!pool", "c")):
        done = CliRunner().invoke(cli, [*words, "enable", "-l", selector, "--dry-run", "-o", "json"], catch_exceptions=False)
        assert [n["name"] for n in json.loads(done.stdout)["nodes"]] == [chosen]
    assert (wirecrypt(cluster, "enable -l pool=one").exit_code, labels(cluster)) == (0, {"a": "enabled", "b": None, "c": None})
    refused = wirecrypt(cluster, "disable -l pool==one==")
    assert (refused.exit_code, one_line(refused, "choose nodes by labels", "400")) == (2, True)


@pytest.mark.parametrize(
    ("path", "texts"),
    [
        (f"{WORKLOADS}/daemonsets/wirecrypt-agent", ("DaemonSet of the agent", "your own overlay again")),
        (f"{WORKLOADS}/deployments/wirecrypt-controller", ("Deployment of the controller",)),
    ],
)
def test_what_is_not_installed_is_not_enabled(cluster: Server, path: str, texts: tuple[str, ...]) -> None:
    """A part of the installation is gone: exit 1 with its name and the next step, no Node is labelled."""
    cluster.admin.delete(path)
    try:
        done = wirecrypt(cluster, "enable a")
    finally:
        cluster.kubectl("apply", "-k", str(ROOT / "overlays/example"))
    assert (done.exit_code, one_line(done, *texts)) == (1, True)
    assert labels(cluster) == dict.fromkeys("abc")


def test_kinds_that_are_not_served_are_named(cluster: Server) -> None:
    """A cluster without our group, and one in which a kind is missing, by the API server's own lists."""
    assert missing_parts(cluster.admin) == []
    lists = {path: cluster.admin.get(path) for path in ("/apis", f"/apis/{paths.VERSION}")}
    lists[f"/apis/{paths.VERSION}"]["resources"] = [
        kind for kind in lists[f"/apis/{paths.VERSION}"]["resources"] if not kind["name"].startswith("nodepeers")
    ]
    changed: Any = _Lists(lists)
    assert missing_parts(changed) == ["kind nodepeers.wirecrypt.io"]
    lists["/apis"]["groups"] = [group for group in lists["/apis"]["groups"] if group["name"] != paths.GROUP]
    assert len(missing_parts(changed)) == 3


class _Lists:
    """An API server that is asked for its lists of groups and kinds alone."""

    def __init__(self, lists: dict[str, Any]) -> None:
        self.get = lists.__getitem__


def test_an_unknown_node_changes_nothing(cluster: Server) -> None:
    """One unknown name: refused as input, with the name and the next step; no Node is labelled."""
    done = wirecrypt(cluster, "enable a nope")
    assert done.exit_code == 2
    assert one_line(done, "nope", "nothing was changed")
    assert labels(cluster) == dict.fromkeys("abc")


@pytest.mark.parametrize(
    ("line", "texts"),
    [
        ("enable a b", ("Node a", "403", "kubectl auth can-i patch nodes")),
        ("disable a", ("Node a", "403")),
        ("rotate", ("KeyRotation", "403", "kubectl auth can-i create keyrotations")),
        ("rotate --abort", ("KeyRotation running", "403")),
    ],
)
def test_a_forbidden_user_changes_nothing(cluster: Server, reader: str, line: str, texts: tuple[str, ...]) -> None:
    """Somebody who may only look is told which right is missing; exit 1, nothing is changed, looking works."""
    cluster.label("a", "enabled" if line.startswith("disable") else None)
    before = labels(cluster)
    if "abort" in line:
        _rotation(cluster, "running")
    done = wirecrypt(cluster, line, token=reader)
    assert done.exit_code == 1
    assert one_line(done, *texts)
    assert labels(cluster) == before
    assert [r["spec"] for r in rotations(cluster)] == ([{"reason": "test"}] if "abort" in line else [])
    assert wirecrypt(cluster, "status", token=reader).exit_code == 0


def test_what_may_not_be_looked_at_is_not_taken_for_installed(cluster: Server, reader: str) -> None:
    """Who may label Nodes and not see our workloads is told the right, and labels nothing; to take one out works."""
    rules = [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "patch"]}]
    cluster.admin.patch(f"{ROLES}/test-reader", {"rules": rules})

    def refused() -> bool:
        done = wirecrypt(cluster, "enable a", token=reader)
        return "whether wirecrypt is installed" in done.stderr and one_line(
            done, "403", "kubectl auth can-i list daemonsets -n wirecrypt-system"
        )

    cluster.wait(refused, "the refusal, once the API server knows the role")
    assert labels(cluster)["a"] is None
    cluster.label("a", "enabled")
    assert (wirecrypt(cluster, "disable a", token=reader).exit_code, labels(cluster)["a"]) == (0, None)


@pytest.mark.parametrize("line", ["status", "enable a", "rotate", "rotate --abort"])
def test_a_wrong_token_is_refused(cluster: Server, line: str) -> None:
    """Credentials that the server does not know: exit 1, and that."""
    done = wirecrypt(cluster, line, token=NOBODY)
    assert done.exit_code == 1
    assert one_line(done, "401")


@pytest.mark.parametrize("line", ["status", "enable a", "disable --all --yes", "rotate --wait", "rotate --abort"])
def test_an_unreachable_server(cluster: Server, line: str, tmp_path: Path) -> None:
    """Nobody listens there: exit 1 with the address and the next step, also with --wait."""
    document = json.loads(cluster.kubeconfig("admin").read_text())
    document["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    (tmp_path / "config").write_text(json.dumps(document))
    done = CliRunner().invoke(cli, ["--kubeconfig", str(tmp_path / "config"), *line.split()], catch_exceptions=False)
    assert done.exit_code == 1
    assert one_line(done, "127.0.0.1", "check the API server's address")


def _rotation(server: Server, name: str, phase: str = "") -> None:
    """Create a KeyRotation, and move it, as the controller does, up to *phase*."""
    body = {"apiVersion": paths.VERSION, "kind": "KeyRotation", "metadata": {"name": name}, "spec": {"reason": "test"}}
    server.admin.create(paths.KEY_ROTATIONS, body)
    for step in PHASES[: PHASES.index(phase) + 1] if phase else ():
        _to_phase(server, name, step)


def _to_phase(server: Server, name: str, phase: str) -> None:
    epochs = {} if phase == "Pending" else {"fromEpoch": 1, "toEpoch": 2, "toEpochID": "0" * 32}
    server.admin.patch(f"{paths.KEY_ROTATIONS}/{name}/status", {"status": {"phase": phase, **epochs}})


def test_rotate_creates_and_queues(cluster: Server) -> None:
    """Each request makes a KeyRotation; the second says behind which one it waits."""
    first = wirecrypt(cluster, "rotate --reason audit")
    assert (first.exit_code, [r["spec"]["reason"] for r in rotations(cluster)]) == (0, ["audit"])
    second = wirecrypt(cluster, "rotate")
    name = first.stdout.split()[0].removeprefix("keyrotation/")
    assert f"queued: {name} is running" in second.stdout
    assert len(rotations(cluster)) == 2


def test_rotate_wait_returns_when_it_is_complete(cluster: Server) -> None:
    """Each time that it would wait, the rotation is moved one phase on, as a controller does it: complete, exit 0."""
    steps = iter(PHASES)

    def move(_: float) -> None:
        (made,) = rotations(cluster)
        _to_phase(cluster, made["metadata"]["name"], next(steps))

    words = ["--kubeconfig", str(cluster.kubeconfig("admin")), "rotate", "--wait", "-o", "json"]
    done = CliRunner().invoke(cli, words, obj=Tools(sleep=move), catch_exceptions=False)
    assert (done.exit_code, json.loads(done.stdout)["phase"]) == (0, "Complete"), done.stderr
    assert [line.split()[1].rstrip(",") for line in done.stderr.splitlines()[1:]] == ["New", *PHASES]


def test_rotate_wait_ends_with_the_time(cluster: Server) -> None:
    """A rotation that nobody carries out: exit 3, and it is still there."""
    done = wirecrypt(cluster, "rotate --wait --timeout 0s -o json")
    assert (done.exit_code, json.loads(done.stdout)["phase"], len(rotations(cluster))) == (3, None, 1)


@pytest.mark.parametrize("phase", ["", "Pending", "Distributing"])
def test_abort_in_time(cluster: Server, phase: str) -> None:
    """While keys are distributed the API server takes the abort."""
    _rotation(cluster, "running", phase)
    done = wirecrypt(cluster, "rotate --abort")
    assert (done.exit_code, rotations(cluster)[0]["spec"]) == (0, {"reason": "test", "abort": True})


@pytest.mark.parametrize("phase", ["Switching", "Retiring"])
def test_abort_too_late(cluster: Server, phase: str) -> None:
    """Later it refuses, and its own words are told; nothing is changed."""
    _rotation(cluster, "running", phase)
    done = wirecrypt(cluster, "rotate --abort")
    assert done.exit_code == 1
    assert one_line(done, "KeyRotation running", "too late to abort", "let it finish")
    assert rotations(cluster)[0]["spec"] == {"reason": "test"}


def test_status_reads_what_agents_wrote(cluster: Server) -> None:
    """State, session and reason of a node whose agent has reported, as table and as JSON; one without, too."""
    uid = next(n["metadata"]["uid"] for n in cluster.admin.items(paths.NODES)[0] if n["metadata"]["name"] == "a")
    spec = {"nodeID": 16, "nodeUID": uid, "state": "Joining"}
    for path, kind in ((paths.NODE_PEERS, "NodePeer"), (paths.ENCRYPTED_NODES, "EncryptedNode")):
        cluster.admin.create(path, {"apiVersion": paths.VERSION, "kind": kind, "metadata": {"name": "a"}, "spec": spec})
    condition = {
        "type": "Ready",
        "status": "False",
        "reason": "Joining",
        "message": "1 of 2",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    status = {"sendingEpoch": 3, "peers": {"desired": 2, "protected": 1}, "conditions": [condition]}
    agent = cluster.agent("a")
    agent.api.patch(f"{paths.ENCRYPTED_NODES}/a/status", {"status": status})
    agent.api.patch(f"{paths.NODE_PEERS}/a/status", {"status": {"lastSession": 7}})
    shown = wirecrypt(cluster, "")
    assert shown.exit_code == 0
    assert "a      Joining   False   Joining   1/2     3       7" in shown.stdout
    found = json.loads(wirecrypt(cluster, "status a -o json").stdout)
    assert (found["session"], found["epoch"], found["conditions"][0]["message"]) == (7, 3, "1 of 2")
    assert wirecrypt(cluster, "status b").exit_code == 0
    assert wirecrypt(cluster, "status nope").exit_code == 2


def test_spi_has_names(cluster: Server) -> None:
    """The sender of an SPI is named by the NodePeer with its node ID."""
    spec = {"nodeID": 32, "nodeUID": "u", "state": "Active"}
    body = {"apiVersion": paths.VERSION, "kind": "NodePeer", "metadata": {"name": "a"}, "spec": spec}
    cluster.admin.create(paths.NODE_PEERS, body)
    found = json.loads(wirecrypt(cluster, "spi 0x04100200 -o json").stdout)
    assert found["spis"][0]["sender"] == "a"


def test_doctor_finds_the_installation_whole(cluster: Server) -> None:
    """Kinds, policies, bindings and rights of the shipped manifests are all there; what is not running is said."""
    done = wirecrypt(cluster, "doctor --only cluster --all -o json")
    checks: dict[str, set[str]] = {}
    for finding in json.loads(done.stdout)["findings"]:
        checks.setdefault(finding["check"], set()).add(finding["severity"])
    for check in ("api-server", "clock", "kinds", "admission-policies", "access"):
        assert checks[check] == {"ok"}, done.stdout
    assert "error" in checks["pods"]  # no controller runs here
    assert done.exit_code == 1


def test_doctor_names_a_policy_that_was_unbound(cluster: Server) -> None:
    """A missing admission binding is an error with the policy's name."""
    path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"
    saved = cluster.admin.get(f"{path}/wirecrypt-agent-token-only-bound")
    cluster.admin.delete(f"{path}/wirecrypt-agent-token-only-bound")
    try:
        done = wirecrypt(cluster, "doctor --only cluster")
    finally:
        cluster.admin.create(path, {"metadata": {"name": saved["metadata"]["name"]}, "spec": saved["spec"]})
    assert done.exit_code == 1
    assert "wirecrypt-agent-token-only-bound has no binding" in done.stdout


def test_doctor_says_what_it_may_not_see(cluster: Server, reader: str) -> None:
    """Without the rights to look it warns, naming what was not looked at, and goes on."""
    done = wirecrypt(cluster, "doctor --only cluster -o json", token=reader)
    unseen = {f["check"] for f in json.loads(done.stdout)["findings"] if f["sentence"].startswith("could not be looked at")}
    assert {"kinds", "admission-policies", "access", "pods", "configuration"} <= unseen


@pytest.mark.parametrize("who", ["unknown", "without rights"])
def test_doctor_tells_that_it_may_see_nothing(cluster: Server, reader: str, who: str) -> None:
    """Credentials that the server does not know, and an account with no right: exit 4, and no word of being well."""
    if who == "without rights":
        cluster.admin.delete(f"{BINDINGS}/test-reader")
    done = wirecrypt(cluster, "doctor --only cluster -o json", token=NOBODY if who == "unknown" else reader)
    assert (done.exit_code, json.loads(done.stdout)["seen"]) == (4, False), done.stdout


def test_doctor_compares_ranges_with_nodes(cluster: Server) -> None:
    """Prefixes and addresses of real Nodes are held against clusterCIDRs; a Node whose address is none is named."""
    cluster.node("d", cidrs=["10.244.9.0/24"])
    broken = {"addresses": [{"type": "InternalIP", "address": "no address"}]}
    cluster.admin.patch(f"{paths.NODES}/c/status", {"status": broken})
    before = cluster.admin.get(paths.CONFIG)["data"]
    cluster.admin.patch(paths.CONFIG, {"data": {"config.yaml": "clusterCIDRs: [192.168.0.0/16]"}})
    try:
        done = wirecrypt(cluster, "doctor --only cluster -o json")
    finally:
        cluster.admin.patch(paths.CONFIG, {"data": before})
    found = [f["sentence"] for f in json.loads(done.stdout)["findings"] if f["check"] == "ranges"]
    assert any("d 10.244.9.0/24" in sentence for sentence in found), found
    assert any("could not be looked at: Node c: " in sentence for sentence in found), found


def test_doctor_in_the_agents_pod(cluster: Server) -> None:
    """With the agent's own token its own rights are asked for, by itself."""
    made = cluster.agent("a")
    uid = cluster.admin.get(f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/pods/agent-{made.node}")["metadata"]["uid"]
    done = wirecrypt(cluster, "doctor --only cluster --all -o json", token=cluster.token("a", "agent-a", uid))
    access = [f["sentence"] for f in json.loads(done.stdout)["findings"] if f["check"] == "access"]
    assert access == ["wirecrypt-agent may do all 19 things that it needs"]


def test_kubectl_has_it_as_a_plugin(cluster: Server, tmp_path: Path) -> None:
    """With `kubectl-wirecrypt` on the PATH, `kubectl wirecrypt …` answers, and calls itself so."""
    plugin = tmp_path / "kubectl-wirecrypt"
    plugin.write_text(f"#!{sys.executable}\nfrom wirecrypt.cli.main import main\nmain()\n")
    plugin.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "KUBECONFIG": str(cluster.kubeconfig(ADMIN)),
        "HOME": str(tmp_path),
    }
    words = [str(binaries() / "kubectl"), "wirecrypt", "status", "-o", "json"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert [n["name"] for n in json.loads(done.stdout)["nodes"]] == ["a", "b", "c"]
    shown = subprocess.run([*words[:2], "--help"], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert shown.stdout.startswith("Usage: kubectl wirecrypt ")
