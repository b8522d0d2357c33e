"""`wirecrypt verify` and `wirecrypt plan` over HTTP: who is asked, what is shown, which exit code."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from tests.unit.verify.pairs import A_TO_B, changed, healthy, rekeyed, without
from wirecrypt.cli.main import cli
from wirecrypt.http_server import TOKEN_HEADER, at_once, dispatch, serve_local
from wirecrypt.model.verify_facts import FORMAT, Change, NodeEvidence, NodePlan, encode

SYSTEM = "/api/v1/namespaces/wirecrypt-system"
LISTED = "/apis/wirecrypt.io/v1alpha1/nodepeers"
NODES = "/api/v1/nodes"
DEFAULT_PORT = 14580


class Server:
    """An API server that knows some paths; *asked* are the requests that came, *refused* those that get another status."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []
        self.refused: dict[str, int] = {}
        self.tokens: list[str] = []  # those that came to agents
        self.no_tokens = 0  # the status with which they are refused
        handler = type("Handler", (_Handler,), {"server_of_test": self})
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.thread = Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self) -> None:
        """Stop serving."""
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()

    def nodes(self, *names: str) -> None:
        """Have these nodes enabled, an agent's pod on each."""
        self.answers[NODES] = {"items": [_node(n, "enabled") for n in names]}
        self.answers[LISTED] = {"items": [_peer(n, 16 + i) for i, n in enumerate(names)]}
        self.answers[f"{SYSTEM}/pods"] = {"items": [_pod(n) for n in names]}

    def agent(self, facts: NodeEvidence | NodePlan, port: int = DEFAULT_PORT) -> None:
        """Have the agent of a node answer with *facts*."""
        page = "verify" if isinstance(facts, NodeEvidence) else "plan"
        self.answers[f"{SYSTEM}/pods/http:agent-{facts.node}:{port}/proxy/{page}"] = encode(facts)


class _Handler(BaseHTTPRequestHandler):
    server_of_test: Server

    def do_POST(self) -> None:
        """Give a token that names the agent it is for, to who may have one."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        refused = self.server_of_test.no_tokens
        named = {"reason": "x", "message": "not yours", "details": {"name": "wirecrypt-verify"}}
        answer = named if refused else {"status": {"token": f"for {body['spec']['audiences'][0]}"}}
        self._write(refused or 201, json.dumps(answer).encode())

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server_of_test.asked.append(self.path)
        if "/proxy/" in path:
            self.server_of_test.tokens.append(self.headers.get(TOKEN_HEADER, ""))
        answer = self.server_of_test.answers.get(path)
        missing = {"reason": "NotFound", "message": "no such object", "details": {"name": "x"}}
        status = self.server_of_test.refused.get(path, 404 if answer is None else 200)
        if status != 200:
            answer = missing if status == 404 and path not in self.server_of_test.refused else {"message": "no"}
        self._write(status, json.dumps(answer).encode())

    def _write(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _peer(name: str, number: int) -> dict[str, Any]:
    spec = {
        "nodeID": number,
        "nodeUID": f"uid-{name}",
        "endpoints": [f"192.0.2.{number}"],
        "podCIDRs": [f"10.{number}.0.0/24"],
        "state": "Active",
    }
    meta = {"name": name, "uid": f"p-{name}", "creationTimestamp": "2030-01-01T00:00:00Z", "resourceVersion": "1"}
    return {"metadata": meta, "spec": spec}


def _node(name: str, label: str | None) -> dict[str, Any]:
    labels = {} if label is None else {"wirecrypt.io/encryption": label}
    return {"metadata": {"name": name, "uid": f"uid-{name}", "creationTimestamp": "2030-01-01T00:00:00Z", "labels": labels}}


def _pod(node: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of a Pod's metadata
    owner = {"kind": "DaemonSet", "name": "wirecrypt-agent"}
    meta = {"name": f"agent-{node}", "ownerReferences": [owner], **more}
    return {"metadata": meta, "spec": {"nodeName": node}, "status": {"phase": "Running"}}


@pytest.fixture
def server() -> Iterator[Server]:
    """Return an API server with two enabled nodes whose agents say that all is in order."""
    made = Server()
    made.nodes("a", "b")
    for facts in healthy():
        made.agent(facts)
    yield made
    made.close()


@pytest.fixture
def kubeconfig(server: Server, tmp_path: Path) -> Path:
    """Return a kubeconfig of that API server."""
    path = tmp_path / "kubeconfig"
    config = {
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.http.server_port}"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(yaml.safe_dump(config))
    return path


def run(kubeconfig: Path, line: str) -> Result:
    return CliRunner().invoke(cli, [*line.split(), "--kubeconfig", str(kubeconfig)], catch_exceptions=False)


def test_pairs_in_order_exit_0(server: Server, kubeconfig: Path) -> None:
    """Each agent is asked once through the proxy, and each direction is a row."""
    done = run(kubeconfig, "verify --seconds 3")
    assert done.exit_code == 0, done.output
    assert "2 protected of 2 directions" in done.output
    assert sorted(server.tokens) == ["for wirecrypt.io/agent/a", "for wirecrypt.io/agent/b"]
    asked = [path for path in server.asked if "/proxy/" in path]
    assert sorted(asked) == [f"{SYSTEM}/pods/http:agent-{n}:14580/proxy/verify?seconds=3" for n in "ab"]


@pytest.mark.V1
@pytest.mark.parametrize("line", ["verify", "verify a", "verify --keys"])
@pytest.mark.parametrize(
    ("label", "why"),
    [("enabled", "labelled, and has no NodePeer"), ("yes", "the label's value is 'yes', not 'enabled'"), (None, None)],
)
def test_a_labelled_node_without_a_node_peer_is_not_shown(
    server: Server, kubeconfig: Path, line: str, label: str | None, why: str | None
) -> None:
    """Nobody vouches for a node that the controller did not take up: exit 4 with the reason; without label it is no matter."""
    server.answers[NODES]["items"].append(_node("c", label))
    done = run(kubeconfig, line)
    assert done.exit_code == (4 if why else 0), done.output
    assert why is None or why in done.output


@pytest.mark.V1
@pytest.mark.parametrize("label", ["enabled", None])
def test_a_node_whose_node_peer_is_malformed_is_not_shown(server: Server, kubeconfig: Path, label: str | None) -> None:
    """An object that cannot be read is somebody's wish to be encrypted: exit 4, with what is wrong in it."""
    server.answers[NODES]["items"].append(_node("c", label))
    peer = _peer("c", 18)
    del peer["spec"]["nodeID"]
    server.answers[LISTED]["items"].append(peer)
    done = run(kubeconfig, "verify")
    assert (done.exit_code, "4 unknown" in done.output, "spec.nodeID" in done.output) == (4, True, True), done.output
    chosen = run(kubeconfig, "verify c")
    assert (chosen.exit_code, "spec.nodeID" in chosen.output) == (2, True)


@pytest.mark.V1
@pytest.mark.parametrize("line", ["verify", "verify a", "verify --keys"])
@pytest.mark.parametrize("path", [NODES, LISTED, f"{SYSTEM}/pods", f"{SYSTEM}/configmaps/wirecrypt-config"])
@pytest.mark.parametrize("status", [401, 403, 500])
def test_an_api_server_that_refuses_shows_nothing(server: Server, kubeconfig: Path, line: str, status: int, path: str) -> None:
    """Who may not see labels, nodes, pods or the port asks nobody: exit 6, with the refusal; that is not "broken"."""
    server.refused[path] = status
    done = run(kubeconfig, line)
    assert (done.exit_code, f"{status}" in done.output) == (6, True), done.output
    assert not [asked for asked in server.asked if "/proxy/" in asked]


def test_an_api_server_that_is_not_there_shows_nothing(tmp_path: Path, kubeconfig: Path) -> None:
    """No connection, and no kubeconfig, are no answer either: exit 6."""
    away = tmp_path / "away"
    away.write_text(re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:1", kubeconfig.read_text()))
    assert run(away, "verify").exit_code == 6
    assert run(tmp_path / "nowhere", "verify").exit_code == 6


@pytest.mark.V1
def test_a_fault_names_pair_and_cause_and_exits_1(server: Server, kubeconfig: Path) -> None:
    """The broken direction, the node, the SPI: in the table and as JSON."""
    server.agent(without(healthy()[1], A_TO_B))
    done = run(kubeconfig, "verify")
    assert done.exit_code == 1
    assert f"a → b: SA missing at the receiver (b): SPI 0x{A_TO_B:08x} from a" in done.output
    document = json.loads(run(kubeconfig, "verify -o json").output)
    assert document["summary"] == {"protected": 1, "broken": 1}
    (broken,) = [v for v in document["verdicts"] if v["verdict"] == "broken"]
    assert (broken["from"], broken["to"], broken["causes"][0]["node"]) == ("a", "b", "b")


def test_an_agent_that_cannot_be_asked_exits_4(server: Server, kubeconfig: Path) -> None:
    """Both directions are unknown, with the reason; so they are when there is no pod at all."""
    server.answers.pop(f"{SYSTEM}/pods/http:agent-b:14580/proxy/verify")
    done = run(kubeconfig, "verify")
    assert (done.exit_code, "2 unknown of 2 directions" in done.output) == (4, True)
    assert "agent cannot be asked (b)" in done.output
    server.answers[f"{SYSTEM}/pods"] = {"items": [_pod("a"), _pod("b", deletionTimestamp="2030-01-01T00:00:00Z")]}
    assert "no pod of the agent on this node" in run(kubeconfig, "verify").output


def test_an_answer_that_is_none_is_an_agent_that_cannot_be_asked(server: Server, kubeconfig: Path) -> None:
    """An agent of another format is named, and makes its pairs unknown."""
    server.answers[f"{SYSTEM}/pods/http:agent-b:14580/proxy/verify"]["format"] = 9
    done = run(kubeconfig, "verify")
    assert (done.exit_code, "agent of b.format" in done.output) == (4, True)


def test_no_pair_is_no_success(server: Server, kubeconfig: Path) -> None:
    """With fewer than two enabled nodes nothing is shown, and the exit code says so."""
    server.nodes("a")
    done = run(kubeconfig, "verify")
    assert (done.exit_code, "nothing is shown" in done.output) == (4, True)


def test_joining_exits_5(server: Server, kubeconfig: Path) -> None:
    """A pair on its way is neither a success nor a failure."""
    a, b = healthy()
    server.agent(replace(changed(a, out="plain", uses=(), receive="none", probes=()), state="Joining"))
    server.agent(changed(b, out="plain", uses=(), receive="none", probes=(), state="Joining"))
    done = run(kubeconfig, "verify")
    assert (done.exit_code, "2 joining of 2 directions" in done.output) == (5, True)


def test_chosen_nodes_bring_their_peers(server: Server, kubeconfig: Path) -> None:
    """With a NODE only its pairs are judged, and both ends are asked; one that is not enabled is wrong input."""
    server.nodes("a", "b", "c")
    document = json.loads(run(kubeconfig, "verify a -o json").output)
    assert {(v["from"], v["to"]) for v in document["verdicts"]} == {("a", "b"), ("b", "a"), ("a", "c"), ("c", "a")}
    done = run(kubeconfig, "verify nowhere")
    assert (done.exit_code, "nowhere" in done.output) == (2, True)
    server.answers[NODES]["items"].append(_node("d", "enabled"))
    done = run(kubeconfig, "verify d")
    assert (done.exit_code, "labelled, and has no NodePeer" in done.output) == (2, True)


def test_the_port_is_that_of_the_configuration(server: Server, kubeconfig: Path) -> None:
    """metrics.port is where agents are asked; off means that they cannot be."""
    config = f"{SYSTEM}/configmaps/wirecrypt-config"
    server.answers[config] = _config("metrics:\n  port: 9999\n")
    for facts in healthy():
        server.agent(facts, 9999)
    assert run(kubeconfig, "verify").exit_code == 0
    server.answers[config] = _config("metrics:\n  port: off\n")
    done = run(kubeconfig, "verify")
    assert (done.exit_code, "--local" in done.output) == (4, True)


def _config(text: str) -> dict[str, Any]:
    return {"metadata": {"name": "wirecrypt-config", "resourceVersion": "1"}, "data": {"config.yaml": text}}


@pytest.mark.K1
def test_keys_are_compared_over_all_nodes(server: Server, kubeconfig: Path) -> None:
    """Equal keys exit 0; different ones, and one key under two SPIs, exit 1; a silent agent shows nothing."""
    done = run(kubeconfig, "verify --keys")
    assert (done.exit_code, "2 keys, 0 faults" in done.output) == (0, True)
    server.agent(rekeyed(healthy()[1], A_TO_B, fingerprint="ffffffffffff"))
    done = run(kubeconfig, "verify --keys")
    assert (done.exit_code, "the ends have different keys" in done.output) == (1, True)
    server.agent(healthy()[1])
    server.answers.pop(f"{SYSTEM}/pods/http:agent-a:14580/proxy/verify")
    assert run(kubeconfig, "verify --keys").exit_code == 4


@pytest.mark.parametrize(("status", "hint"), [(403, "ask for the roles wirecrypt-verify-user"), (404, "rbac-verify.yaml")])
@pytest.mark.parametrize("verb", ["verify", "plan"])
def test_without_a_token_no_agent_is_asked(server: Server, kubeconfig: Path, verb: str, status: int, hint: str) -> None:
    """The API server's refusal is one message with what to ask for, not one of each node."""
    server.no_tokens = status
    done = run(kubeconfig, verb)
    assert (done.exit_code, done.output.count(hint), server.tokens) == ({"verify": 6, "plan": 1}[verb], 1, []), done.output


@pytest.fixture
def local() -> Iterator[Path]:
    """Yield the socket of an agent that answers as a's."""
    body = json.dumps(encode(healthy()[0])).encode()
    plan = json.dumps(encode(NodePlan(FORMAT, "a", settled=True))).encode()
    pages = {"/verify": at_once(lambda: (200, "", body)), "/plan": at_once(lambda: (200, "", plan))}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "agent.sock"
        with closing(serve_local(path, dispatch(pages))):
            yield path


def test_local_asks_this_nodes_agent_by_its_socket(server: Server, kubeconfig: Path, local: Path) -> None:
    """Without the API server and without a token: one end's view."""
    done = run(kubeconfig, f"verify --local --socket {local}")
    assert done.exit_code == 0, done.output
    done = run(kubeconfig, f"plan --local --socket {local}")
    assert (done.exit_code, "0 changes on 1 node" in done.output) == (0, True)
    assert (server.asked, server.tokens) == ([], [])
    assert run(kubeconfig, "verify --local a").exit_code == 2


def test_local_without_an_agent_is_one_clear_error(kubeconfig: Path, local: Path) -> None:
    """No socket, or one of a program that answers something else."""
    done = run(kubeconfig, f"verify --local --socket {local}.gone")
    assert (done.exit_code, "is the agent running" in done.output) == (4, True)
    with TemporaryDirectory() as folder, closing(serve_local(Path(folder) / "x", dispatch({}))):
        done = run(kubeconfig, f"verify --local --socket {folder}/x")
    assert (done.exit_code, "no such page here" in done.output) == (4, True), done.output


def test_plan_shows_what_and_why(server: Server, kubeconfig: Path) -> None:
    """Each agent's changes with step, object, peer and reason; only chosen nodes are asked."""
    change = Change("set sending policy", "out 0.0.0.0/0 → 10.2.0.0/24", "b", "in use")
    server.agent(NodePlan(FORMAT, "a", settled=True, changes=(change,)))
    done = run(kubeconfig, "plan a")
    assert done.exit_code == 0
    assert "1 change on 1 node" in done.output
    assert all(text in done.output for text in (change.step, change.object, change.why))
    done = run(kubeconfig, "plan -o json")  # b's agent does not answer
    assert done.exit_code == 4
    assert [sorted(n) for n in json.loads(done.output)["nodes"]] == [["changes", "node", "settled"], ["error", "node"]]


def test_plan_names_a_labelled_node_that_has_no_objects(server: Server, kubeconfig: Path) -> None:
    """A node that the controller did not take up is named as not asked: exit 4."""
    for name in "ab":
        server.agent(NodePlan(FORMAT, name, settled=True, changes=()))
    assert run(kubeconfig, "plan").exit_code == 0
    server.answers[NODES]["items"].append(_node("c", "enabled"))
    done = run(kubeconfig, "plan")
    assert (done.exit_code, "not asked: c: labelled" in done.output) == (4, True)
