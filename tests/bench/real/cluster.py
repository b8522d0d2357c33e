"""A cluster without machines, to be measured: a real API server, the controller's program, and agents of any kind.

What each of them takes is read where it is known: processor seconds and memory from /proc, requests and events from what the
API server counts itself.
"""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from urllib.request import Request, urlopen

from tests.bench.controller import seconds
from tests.cluster.conftest import PODS, ROOT, Server, api_server, bound_token, configure, empty, installed, make_node
from wirecrypt.cluster import paths
from wirecrypt.cluster.codec import decode
from wirecrypt.cluster.reflector import Reflector
from wirecrypt.errors import ClusterError
from wirecrypt.model.objects import LABEL_ENABLED, SYSTEM_NAMESPACE, KeyRotation, NodePeer, NodeState, Phase

RANGES: Final = {"clusterCIDRs": ["10.64.0.0/10"], "nodeCIDRs": ["10.32.0.0/16"]}
PROCESSES: Final = 2  # of agents, one a processor
OTHERS: Final = 2  # who watch NodePeers next to the agents: the controller, and who measures
LOOK: Final = 0.25  # seconds between two looks
WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE", "APPLY"})
BY_AGENTS: Final = frozenset({"nodepeers/status", "encryptednodes/status"})
BY_CONTROLLER: Final = frozenset(
    {"encryptednodes", "nodepeers", "keyrotations", "keyrotations/status", "secrets", "serviceaccounts"}
    | {"roles", "rolebindings", "events"}
)
_CONTROLLER: Final = "from wirecrypt.cli.main import main; main()"
_COUNTED: Final = re.compile(r"^(apiserver_request_total|apiserver_watch_events_total)\{(.*)\} (\S+)$", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Reading:
    """What was taken until now: processor seconds by program, reads and writes of agents, writes of the controller.

    *events*: what a watch of NodePeers was sent, in the mean of all.
    """

    seconds: dict[str, float]
    reads: int
    writes: int
    controller_writes: int
    events: float

    def since(self, before: Reading) -> Reading:
        """Return what was taken after *before*."""
        seconds = {name: used - before.seconds.get(name, 0.0) for name, used in self.seconds.items()}
        numbers = (getattr(self, n) - getattr(before, n) for n in ("reads", "writes", "controller_writes", "events"))
        return Reading(seconds, *numbers)


@dataclass
class MeasuredCluster:
    """Nodes *names* with their agents; *kind* is the module that a process of agents runs."""

    server: Server
    names: Sequence[str]
    controller: subprocess.Popen[bytes]
    agents: list[subprocess.Popen[str]]
    peers: Reflector[NodePeer]
    joined: dict[str, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def up(cls, nodes: int, folder: Path, *, kind: str = "tests.bench.real.agents", **settings: Any) -> Iterator[Self]:  # noqa: ANN401 - of the configuration
        """Have so many nodes without a label, a controller, and an agent on each, while the block lasts."""
        names = [f"n{number:04}" for number in range(nodes)]
        (folder / "kube").mkdir(parents=True)
        with api_server(folder / "kube", ("a", *names)) as server:
            empty(installed(server).admin)
            configure(server.admin, **{**RANGES, **settings})
            peers = Reflector(server.admin, "NodePeer", paths.NODE_PEERS, decode.node_peer)
            peers.start(lambda: None)
            with ThreadPoolExecutor(8) as pool:
                listed = list(pool.map(lambda name: _node(server, name, folder), names))
            controller = _controller(server, folder)
            agents = [_agents(kind, listed[n::PROCESSES], folder / f"agents-{n}.json") for n in range(PROCESSES)]
            cluster = cls(server, names, controller, agents, peers)
            try:
                cluster.wait(lambda: cluster.asked()["synced"] == nodes, 300.0)
                yield cluster
            finally:
                peers.stop()
                cluster.end()

    def label(self) -> None:
        """Label all nodes at once."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: self.server.label(name, LABEL_ENABLED), self.names))

    def join(self, patience: float) -> None:
        """Wait until every node is Active and the first rotation is over; note when each began, and was Active."""

        def active() -> bool:
            now = time.monotonic()
            for peer in self.peers.objects():
                began, ended = self.joined.get(peer.name, (now, 0.0))
                self.joined[peer.name] = began, ended or (now if peer.state is NodeState.ACTIVE else 0.0)
            return len(self.joined) == len(self.names) and all(ended for _, ended in self.joined.values())

        self.wait(active, patience)
        self.wait(lambda: self.rotation("initial").phase is Phase.COMPLETE, patience)

    def waves(self) -> list[tuple[int, float]]:
        """Return how many nodes joined together, wave by wave, and how long it took from the first NodePeer on."""
        found: list[list[tuple[float, float]]] = []
        for began, ended in sorted(self.joined.values()):
            if not found or began > max(last for _, last in found[-1]):
                found.append([])
            found[-1].append((began, ended))
        return [(len(wave), max(last for _, last in wave) - wave[0][0]) for wave in found]

    def rotate(self, patience: float) -> None:
        """Ask for a rotation, and wait until it is over."""
        body = {"apiVersion": paths.VERSION, "kind": "KeyRotation", "metadata": {"name": "asked"}, "spec": {"reason": "bench"}}
        self.server.admin.create(paths.KEY_ROTATIONS, body)
        self.wait(lambda: self.rotation("asked").phase is Phase.COMPLETE, patience)

    def rest(self, seconds: float, patience: float) -> None:
        """Wait until no agent has written for some seconds."""
        last = [-1, 0.0]

        def quiet() -> bool:
            writes, now = self.asked()["writes"], time.monotonic()
            if writes != last[0]:
                last[:] = writes, now
            return now - last[1] >= seconds

        self.wait(quiet, patience)

    def rotation(self, name: str) -> KeyRotation:
        """Return a rotation as it is now."""
        return decode.key_rotation(self.server.admin.get(f"{paths.KEY_ROTATIONS}/{name}"))

    def asked(self) -> Counter[str]:
        """Return what the processes of agents say of themselves, added up."""
        total: Counter[str] = Counter()
        for process in self.agents:
            assert process.stdin
            assert process.stdout
            process.stdin.write("\n")
            process.stdin.flush()
        for process in self.agents:
            assert process.stdout
            total.update(json.loads(process.stdout.readline()))
        return total

    def reading(self) -> Reading:
        """Return what was taken until now."""
        programs = {"controller": [self.controller], "agents": self.agents, "API server": list(self.server.processes.values())}
        used = {name: sum(seconds(p.pid) for p in processes) for name, processes in programs.items()}
        asked, (written, events) = self.asked(), _counted(self.server)
        watches = asked["watches"] + OTHERS
        writes = sum(written[kind] for kind in BY_CONTROLLER)
        return Reading(used, asked["reads"], asked["writes"], writes, events / watches)

    def end(self) -> None:
        """End the controller and all agents."""
        for process in (*self.agents, self.controller):
            process.kill()
            process.communicate()

    def wait(self, until: Callable[[], object], seconds: float) -> None:
        """Wait for what becomes true; TimeoutError tells how far the nodes are."""
        end = time.monotonic() + seconds
        while not until():
            dead = [p.pid for p in (self.controller, *self.agents) if p.poll() is not None]
            if dead or time.monotonic() > end:
                states = Counter(p.state.value for p in self.peers.objects())
                raise TimeoutError(f"{seconds} s, dead: {dead}, NodePeers: {dict(states)}")
            time.sleep(LOOK)


def claims(number: int) -> tuple[str, str]:
    """Return the address of a node and the prefix of its pods."""
    high, low = divmod(number + 1, 256)
    return f"10.32.{high}.{low}", f"10.{64 + high}.{low}.0/24"


def _node(server: Server, name: str, folder: Path) -> dict[str, str]:
    """Make a Node and its agent's pod; return what that agent is started with."""
    address, prefix = claims(int(name[1:]))
    make_node(server.admin, name, address=address, cidrs=[prefix])
    spec = {"nodeName": name, "serviceAccountName": "wirecrypt-agent", "containers": [{"name": "agent", "image": "wirecrypt"}]}
    projected = {"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"agent-{name}"}}
    made = server.admin.create(PODS, {**pod, "spec": {**spec, "volumes": [{"name": "token", **projected}]}})
    token = bound_token(server, name, f"agent-{name}", made["metadata"]["uid"])
    pairs = folder / f"{name}.json"
    return {"name": name, "address": address, "kubeconfig": str(server.kubeconfig(token)), "pairs": str(pairs)}


def _controller(server: Server, folder: Path) -> subprocess.Popen[bytes]:
    """Start the controller as its Deployment does."""
    path = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/serviceaccounts/wirecrypt-controller/token"
    kubeconfig = server.kubeconfig(str(server.admin.create(path, {"spec": {}})["status"]["token"]))
    command = [sys.executable, "-c", _CONTROLLER, "controller", "--kubeconfig", str(kubeconfig)]
    with (folder / "controller.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)


def _agents(kind: str, listed: Sequence[dict[str, str]], file: Path) -> subprocess.Popen[str]:
    """Start a process of agents."""
    file.write_text(json.dumps(listed))
    command = [sys.executable, "-m", kind, str(file)]
    with file.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT)


def _counted(server: Server) -> tuple[Counter[str], int]:
    """Return the writes that the API server did by resource, and how many events of NodePeers it sent."""
    written: Counter[str] = Counter()
    events = 0
    for name, labels, number in _COUNTED.findall(_metrics(server)):
        found = dict(_LABEL.findall(labels))
        if name == "apiserver_watch_events_total":
            events += int(float(number)) * ("nodepeers" in labels.lower() or found.get("kind") == "NodePeer")
        elif found["verb"] in WRITES and not found["dry_run"]:
            part = f"/{found['subresource']}" if found["subresource"] else ""
            written[f"{found['resource']}{part}"] += int(float(number))
    return written, events


def _metrics(server: Server) -> str:
    trusted = ssl.create_default_context(cafile=str(server.folder / "certs/apiserver.crt"))
    request = Request(f"{server.url}/metrics", headers={"Authorization": "Bearer admin"})  # noqa: S310 - of our own server
    with urlopen(request, context=trusted, timeout=60) as answer:  # noqa: S310
        text: str = answer.read().decode()
        return text


__all__ = ["ClusterError", "MeasuredCluster", "Reading"]
