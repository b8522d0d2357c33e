"""A real API server for a test session: etcd and kube-apiserver on loopback, our manifests applied with kubectl.

There are no machines: Nodes are objects, pods of the agent are bound to them, and tokens are asked for as their kubelets do.
"""

# ruff: noqa: ANN401 - JSON and answers of any kind
from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from wirecrypt.cluster import paths
from wirecrypt.cluster.agent_client import AgentClient
from wirecrypt.cluster.api import Api
from wirecrypt.errors import ClusterError, Forbidden, NotFound
from wirecrypt.model.objects import LABEL, SYSTEM_NAMESPACE

ROOT = Path(__file__).resolve().parents[2]
NODES = ("a", "b", "c", "d")
TOKENS = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/serviceaccounts/wirecrypt-agent/token"
PODS = paths.PODS
OTHER = "another-node"  # what the policies are tried on until they are in force
WAIT_SECONDS = 120.0
RANGES = {
    "clusterCIDRs": ["10.0.0.0/13"],
    "nodeCIDRs": ["192.0.2.0/24", "198.51.100.0/24"],
}  # of the Nodes that tests make, as the configuration names them


def wait(until: Callable[[], Any], what: str) -> Any:
    """Return the first true answer of *until*, asked again and again; fails with *what* after half a minute."""
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        if answer := until():
            return answer
        time.sleep(0.02)
    return pytest.fail(f"not within {WAIT_SECONDS:.0f} s: {what}")


def binaries() -> Path:
    """Return the folder with etcd, kube-apiserver and kubectl."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    for folder in (Path(os.environ.get("KUBEBUILDER_ASSETS", "/nowhere")), cache / "wirecrypt/kube/bin"):
        if (folder / "kube-apiserver").exists():
            return folder
    return pytest.fail("no kube-apiserver: run scripts/build-kube")


@dataclass
class Server:
    """The API server: *admin* may do everything but what admission refuses."""

    folder: Path
    url: str
    commands: dict[str, list[str]]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    admin: Api = field(init=False)

    def begin(self, *names: str) -> None:
        """Start these programs, without a name all, in their order."""
        with (self.folder / "log").open("ab") as log:
            for name in names or self.commands:
                self.processes[name] = subprocess.Popen(self.commands[name], stdout=log, stderr=log)

    def end(self, *names: str) -> None:
        """Kill these programs, without a name all, the last one first."""
        for name in reversed(names or tuple(self.processes)):
            process = self.processes.pop(name)
            process.kill()
            process.wait()

    def back_up(self) -> Path:
        """Return a copy of what etcd has now."""
        copy = self.folder / "backup"
        self.end("etcd")
        shutil.copytree(self.folder / "etcd", copy)
        self.begin("etcd")
        wait(lambda: _answers(self), "an API server with its etcd")
        return copy

    def restore(self, copy: Path) -> None:
        """Put a copy in the place of what etcd has, and start the API server anew, as its handbook has it."""
        self.end()
        shutil.rmtree(self.folder / "etcd")
        shutil.copytree(copy, self.folder / "etcd")
        self.begin()
        wait(lambda: _answers(self), "a restored API server")

    def kubeconfig(self, token: str) -> Path:
        """Return a kubeconfig for the bearer of *token*."""
        path = self.folder / f"kubeconfig-{abs(hash(token))}"
        cluster = {"server": self.url, "certificate-authority": str(self.folder / "certs/apiserver.crt")}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "x",
            "clusters": [{"name": "x", "cluster": cluster}],
            "users": [{"name": "x", "user": {"token": token}}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        }
        path.write_text(json.dumps(document))
        return path

    def api(self, token: str) -> Api:
        """Return the API as the bearer of *token* sees it."""
        return Api.connect(self.kubeconfig(token))

    def wait(self, until: Callable[[], Any], what: str) -> Any:
        """Return the first true answer of *until*; fails with *what* after half a minute."""
        return wait(until, what)

    def agent(self, node: str) -> Agent:
        """Return the identity of the agent on *node*."""
        return Agent.on(self, node)

    def token(self, node: str, pod: str, uid: str) -> str:
        """Return a token of the agent's account for a pod, as the kubelet of *node* asks for it."""
        return bound_token(self, node, pod, uid)

    def controller(self) -> Api:
        """Return the API as the controller sees it."""
        path = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/serviceaccounts/wirecrypt-controller/token"
        return self.api(str(self.admin.create(path, {"spec": {}})["status"]["token"]))

    def node(self, name: str, *, label: str | None = None, **claims: Any) -> dict[str, Any]:
        """Create a Node that is Ready, with an address and a prefix of its own unless *claims* say otherwise."""
        return make_node(self.admin, name, label=label, **claims)

    def label(self, name: str, label: str | None) -> None:
        """Set or remove the label of a Node."""
        self.admin.patch(f"{paths.NODES}/{name}", {"metadata": {"labels": {LABEL: label}}})

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl as administrator and return what it prints."""
        command = [binaries() / "kubectl", "--kubeconfig", self.kubeconfig("admin"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def _start(folder: Path, nodes: Iterable[str]) -> Server:
    client, peer, secure = _free_ports(3)
    key = folder / "sa.key"
    subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
    users = ["admin,admin,admin,system:masters", *(f"kubelet-{n},system:node:{n},{n},system:nodes" for n in nodes)]
    (folder / "tokens.csv").write_text("\n".join(users))
    etcd = [
        *(binaries() / "etcd", f"--data-dir={folder}/etcd", "--unsafe-no-fsync", "--log-level=error"),
        *(f"--listen-client-urls=http://127.0.0.1:{client}", f"--advertise-client-urls=http://127.0.0.1:{client}"),
        *(f"--listen-peer-urls=http://127.0.0.1:{peer}", f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
        f"--initial-cluster=default=http://127.0.0.1:{peer}",
    ]
    apiserver = [
        *(binaries() / "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{client}", f"--secure-port={secure}"),
        *("--bind-address=127.0.0.1", f"--cert-dir={folder}/certs", f"--token-auth-file={folder}/tokens.csv"),
        *("--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction"),
        *("--disable-admission-plugins=ServiceAccount", "--service-cluster-ip-range=10.96.0.0/16"),
        *("--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={key}"),
        f"--service-account-signing-key-file={key}",
    ]
    commands = {"etcd": [str(word) for word in etcd], "kube-apiserver": [str(word) for word in apiserver]}
    server = Server(folder, f"https://127.0.0.1:{secure}", commands)
    server.begin()
    return server


def _answers(server: Server) -> bool:
    if not (server.folder / "certs/apiserver.crt").exists():
        return False
    try:
        server.admin = server.api("admin")
        server.admin.get("/api/v1/namespaces/default")
    except ClusterError:
        return False
    return True


@pytest.fixture(scope="session")
def bare_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield an API server, ready, without anything of ours."""
    with api_server(tmp_path_factory.mktemp("kube")) as server:
        yield server


@contextmanager
def api_server(folder: Path, nodes: Iterable[str] = NODES) -> Iterator[Server]:
    """Run an API server of one's own, that knows the kubelets of *nodes*, while the block lasts."""
    server = _start(folder, nodes)
    try:
        wait(lambda: _answers(server), "an API server")
        yield server
    finally:
        server.end()
        shutil.rmtree(server.folder)


@pytest.fixture(scope="session")
def server(bare_server: Server) -> Server:
    """Return the API server with our manifests applied and in force."""
    return installed(bare_server)


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield an API server of the test's own, with our manifests."""
    with api_server(tmp_path_factory.mktemp("own")) as server:
        yield installed(server)


def installed(bare_server: Server) -> Server:
    """Apply our manifests and wait until they are in force."""
    bare_server.kubectl("apply", "-k", str(ROOT / "overlays/example"))
    for kind in ("encryptednodes", "nodepeers", "keyrotations"):
        bare_server.kubectl("wait", "--for=condition=Established", f"crd/{kind}.wirecrypt.io")
    wait(lambda: _served(bare_server.admin), "our kinds")
    configure(bare_server.admin)
    make_node(bare_server.admin, "a")
    for path, kind in ((paths.NODE_PEERS, "NodePeer"), (paths.ENCRYPTED_NODES, "EncryptedNode")):
        spec = {"nodeID": 16, "nodeUID": "u", "state": "Leaving"}
        body = {"apiVersion": paths.VERSION, "kind": kind, "metadata": {"name": OTHER}, "spec": spec}
        bare_server.admin.create(path, body)
    wait(lambda: _guarded(bare_server), "the admission policies in force")
    return bare_server


def _served(admin: Api) -> bool:
    try:
        return all(admin.items(p) for p in (paths.NODE_PEERS, paths.ENCRYPTED_NODES, paths.KEY_ROTATIONS))
    except ClusterError:
        return False


def _guarded(server: Server) -> bool:
    """Return whether all policies refuse: they are compiled a moment after they are created."""
    tries: tuple[Callable[[], object], ...] = (
        lambda: server.admin.patch(f"{paths.NODE_PEERS}/{OTHER}/status", {"status": {"lastSession": 1}}, dry_run=True),
        lambda: server.admin.create(TOKENS, {"spec": {}}, dry_run=True),
    )
    agent = Agent.on(server, "a").cluster
    refused = agent.forbidden_write_refused([OTHER]) and agent.foreign_token_refused() and agent.pod_try_refused()
    return refused and all(_refused(each) for each in tries)


def _refused(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except Forbidden:
        return True
    return False


@pytest.fixture
def clean(server: Server) -> Server:
    """Return the API server without any object of a test before."""
    empty(server.admin)
    return server


def empty(admin: Api) -> None:
    """Delete all that tests make, and write their configuration."""
    for path in (paths.NODE_PEERS, paths.KEY_ROTATIONS, paths.ENCRYPTED_NODES):
        for item in admin.items(path)[0]:
            name = item["metadata"]["name"]
            if item["metadata"].get("finalizers"):
                admin.patch(f"{path}/{name}", {"metadata": {"finalizers": None}})
            admin.delete(f"{path}/{name}")
    for path in paths.ACCESS.values():
        for item in admin.items(path + paths.ACCESS_ONLY)[0]:
            admin.delete(f"{path}/{item['metadata']['name']}")
    for path in (paths.NODE_KEYS, paths.SEEDS, paths.LEASES, paths.EVENTS, PODS, paths.NODES):
        for item in admin.items(path)[0]:
            admin.delete(f"{path}/{item['metadata']['name']}?gracePeriodSeconds=0")
    configure(admin)


def configure(admin: Api, **fields: Any) -> None:
    """Write the configuration document, with the tests' ranges unless *fields* say otherwise; JSON is YAML."""
    admin.patch(paths.CONFIG, {"data": {"config.yaml": json.dumps({**RANGES, **fields})}})


def make_node(admin: Api, name: str, *, label: str | None = None, **claims: Any) -> dict[str, Any]:
    """Create a Node that is Ready, with an address and a prefix of its own unless *claims* say otherwise."""
    number = NODES.index(name) + 1 if name in NODES else 0
    labels = {} if label is None else {LABEL: label}
    spec = {"podCIDRs": claims.get("cidrs", [f"10.{number}.0.0/24"])}
    meta = {"name": name, "labels": labels}
    node = admin.create(paths.NODES, {"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": spec})
    status = {
        "addresses": [{"type": "InternalIP", "address": claims.get("address", f"192.0.2.{number}")}],
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}],
        "nodeInfo": {"architecture": "amd64", "kernelVersion": "6.1.0-28-amd64", "operatingSystem": "linux"},
    }
    admin.patch(f"{paths.NODES}/{name}/status", {"status": status})
    return node


@dataclass
class Agent:
    """What an agent's identity on one node can do: a token bound to a pod, made by the node's kubelet."""

    node: str
    api: Api
    cluster: AgentClient

    @classmethod
    def on(cls, server: Server, node: str) -> Agent:
        """Return the identity of the agent on *node*: its pod, and a token that the kubelet asked for."""
        pod = f"agent-{node}"
        spec = {
            "nodeName": node,
            "serviceAccountName": "wirecrypt-agent",
            "containers": [{"name": "agent", "image": "wirecrypt"}],
            "volumes": [{"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}],
        }
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod}, "spec": spec}
        try:
            made = server.admin.get(f"{PODS}/{pod}")
        except NotFound:
            made = server.admin.create(PODS, body)
        token = bound_token(server, node, pod, made["metadata"]["uid"])
        api = server.api(token)
        return cls(node, api, AgentClient(api))


def bound_token(server: Server, node: str, pod: str, uid: str) -> str:
    """Return a token of the agent's account as the kubelet of *node* asks for it."""
    reference = {"kind": "Pod", "apiVersion": "v1", "name": pod, "uid": uid}
    body = {"spec": {"boundObjectRef": reference, "expirationSeconds": 3600}}
    kubelet = server.api(f"kubelet-{node}")
    answer = wait(lambda: _token(kubelet, TOKENS, body), f"a token for {pod}")
    return str(answer["status"]["token"])


def _token(kubelet: Api, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
    try:
        return kubelet.create(path, body)
    except ClusterError as error:
        if "no relationship found" in error.answer:  # the node authorizer sees a pod a moment after it was made
            return None
        raise
