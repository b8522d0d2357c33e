"""The API side of many nodes' agents, without pairs: who listens, what is read and what is written, as whole agents do.

python3 -m tests.bench.real.standins FILE is started and asked as tests.bench.real.agents. Each node has the four watches of an
agent, whose bytes are read and not looked into; one copy of everything tells all nodes of the process what to do. Nothing is
to be proved: a node is ready for whoever has published, and drains nothing. The requests are those that whole agents were
seen to send: three tries of policies, the own token and Secret, the own objects before they are written, and a status
whenever one says something else.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import ssl
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address
from itertools import repeat
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tests.fakes.builders import SILENT
from wirecrypt import logs
from wirecrypt.cluster import paths
from wirecrypt.cluster.agent_client import AgentClient
from wirecrypt.cluster.api import Api
from wirecrypt.cluster.informers import Informers
from wirecrypt.errors import Conflict, NotFound, WirecryptError
from wirecrypt.keys import new_session_key
from wirecrypt.model.conditions import Condition
from wirecrypt.model.objects import EncryptedNode, NodePeer, NodeState, NodeStatus, Phase
from wirecrypt.model.session import Epoch, Session
from wirecrypt.model.xfrm import Algorithm
from wirecrypt.pairs.sessions import wanted_epochs

LOOK: Final = 1.0  # seconds between two looks: an agent writes a status a second in the mean, at most
WATCHES: Final = (f"{paths.NODES}?", f"{paths.NODE_PEERS}?", f"{paths.KEY_ROTATIONS}?", f"{paths.CONFIG_ONLY}&")
HOUR: Final = 3600
_CHUNK: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Shared:
    """What all nodes see at one moment.

    *published*: those that have a session, *joining* of them; *behind*: whether one has none of the last epoch *wanted*.
    """

    peers: Mapping[str, NodePeer]
    published: tuple[str, ...]
    joining: tuple[str, ...]
    wanted: tuple[Epoch, ...]
    behind: bool
    retiring: bool

    @classmethod
    def of(cls, informers: Informers) -> Shared:
        """Return what the copies show."""
        peers = {p.name: p for p in informers.peers() if p.state in (NodeState.JOINING, NodeState.ACTIVE)}
        published = [p for p in peers.values() if p.sessions]
        rotations = informers.rotations()
        wanted = wanted_epochs(rotations)
        last = wanted[-1].number if wanted else 0
        return cls(
            peers=peers,
            published=tuple(p.name for p in published),
            joining=tuple(p.name for p in published if p.state is NodeState.JOINING),
            wanted=wanted,
            behind=any(max(s.epoch.number for s in p.sessions) < last for p in published),
            retiring=any(r.phase is Phase.RETIRING and r.to_epoch == last for r in rotations),
        )


class ApiSide:
    """What the agent of node *name* has to do with the API server."""

    def __init__(self, name: str, address: str, kubeconfig: Path) -> None:
        self.name = name
        self.api = Api.connect(kubeconfig)
        self._client = AgentClient(self.api)
        self._address = ip_address(address)
        self._begun = self._proposed = False
        self._epochs: tuple[Epoch, ...] = ()
        self._object: EncryptedNode | None = None
        self._said: NodeStatus | None = None

    def look(self, shared: Shared) -> None:
        """Do what an agent does that sees this."""
        own = shared.peers.get(self.name)
        if own is None:
            return
        with suppress(WirecryptError):  # it is tried again at the next look
            if not self._begun:
                self._begin(next((name for name in shared.peers if name != self.name), ""))
            if not {*shared.wanted} <= {*self._epochs}:
                self._publish(shared.wanted)
            if not self._proposed:
                self._client.propose_addresses(self.name, [self._address])
                self._proposed = True
            status = self._status(own, shared)
            if status != self._said:
                self._write(status)

    def _begin(self, other: str) -> None:
        self._client.forbidden_write_refused([other])
        self._client.foreign_token_refused()
        self._client.pod_try_refused()
        self._client.api_addresses()
        self._begun = True

    def _publish(self, wanted: Sequence[Epoch]) -> None:
        keys = {key.epoch for key in self._client.node_keys(self.name)}
        peer = self._client.node_peer(self.name)
        if peer is None or not {*wanted} <= keys:
            return
        kept = [s for s in peer.sessions if s.epoch in wanted]
        new = enumerate((epoch for epoch in wanted if epoch not in self._epochs), peer.last_session + 1)
        made = [Session(number, epoch, new_session_key().public, 1, Algorithm.AES_256_GCM) for number, epoch in new]
        boot = f"boot-{self.name}"
        self._client.publish_sessions(peer, boot_id=boot, boot_session=peer.boot_session or 1, sessions=[*kept, *made])
        self._epochs = tuple(wanted)

    def _status(self, own: NodePeer, shared: Shared) -> NodeStatus:
        """Return what an agent says for which each pair is proved as soon as both ends have published."""
        mine = sorted(e.number for e in self._epochs)
        there = shared.published if own.sessions else ()
        partners = there if own.state is NodeState.JOINING else shared.joining
        complete = len(there) == len(shared.peers)
        ready = Condition("Ready", status=complete, reason="AllPeersProtected" if complete else "PeersJoining", message="")
        return replace(
            SILENT,
            boot_id=f"boot-{self.name}",
            sending_epoch=mine[0 if shared.behind else -1] if mine else 0,
            accepting_epochs=tuple(mine[-1:] if shared.retiring else mine),
            peers_desired=len(shared.peers) - 1,
            peers_protected=max(0, len(there) - 1),
            ready_for=tuple(name for name in partners if name != self.name),
            conditions=(ready,),
        )

    def _write(self, status: NodeStatus) -> None:
        if self._object is None:
            self._object = self._client.encrypted_node(self.name)
        if self._object is None:
            return
        try:
            self._object = self._client.write_node_status(self._object, status)
            self._said = status
        except (Conflict, NotFound):
            self._object = None


class Listeners:
    """Watches whose bytes are read and thrown away, in one thread; *open* counts them."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self.open = 0

    def add(self, kubeconfig: Path, path: str, version: str) -> None:
        """Watch *path* from *version* on as the bearer of that token."""
        document = json.loads(kubeconfig.read_text())
        cluster, token = document["clusters"][0]["cluster"], document["users"][0]["user"]["token"]
        url = urlsplit(cluster["server"])
        trusted = ssl.create_default_context(cafile=cluster["certificate-authority"])
        plain = socket.create_connection((url.hostname or "", url.port or 0))
        sock = trusted.wrap_socket(plain, server_hostname=url.hostname)
        query = f"watch=1&resourceVersion={version}&allowWatchBookmarks=true&timeoutSeconds={HOUR}"
        head = (
            f"GET {path}{query} HTTP/1.1",
            f"Host: {url.netloc}",
            "Accept: application/json",
            f"Authorization: Bearer {token}",
        )
        sock.sendall("\r\n".join((*head, "", "")).encode())
        answer = sock.recv(_CHUNK)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(answer[:200])
        sock.setblocking(False)  # noqa: FBT003 - the method's own
        self._selector.register(sock, selectors.EVENT_READ)
        self.open += 1

    def run(self) -> None:
        """Read for ever."""
        while True:
            for key, _ in self._selector.select():
                self._drain(key.fileobj)  # type: ignore[arg-type]  # sockets alone

    def _drain(self, sock: ssl.SSLSocket) -> None:
        try:
            while sock.recv(_CHUNK):
                pass
        except ssl.SSLWantReadError:
            return
        self._selector.unregister(sock)
        self.open -= 1


def _versions(api: Api) -> list[tuple[str, str]]:
    return [(path, api.named(path.rstrip("?&"), "")[1]) for path in WATCHES]


def _answer(sides: Sequence[ApiSide], listeners: Listeners) -> None:
    for _ in sys.stdin:
        reads, writes = sum(s.api.reads for s in sides), sum(s.api.writes for s in sides)
        nodes = listeners.open // len(WATCHES)
        answer = {"reads": reads, "writes": writes, "synced": nodes, "watches": nodes + 1}
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()
    os._exit(0)


def main(file: Path) -> None:
    """Be the agents that *file* lists until the input ends."""
    logs.setup("error", "json")
    listed: list[dict[str, Any]] = json.loads(file.read_text())
    sides = [ApiSide(each["name"], each["address"], Path(each["kubeconfig"])) for each in listed]
    listeners = Listeners()
    threading.Thread(target=_answer, args=(sides, listeners), daemon=True).start()
    api = Api.connect(Path(listed[0]["kubeconfig"]))
    informers = Informers(api)
    informers.start(lambda: None)
    versions = _versions(api)
    for each in listed:
        for path, version in versions:
            listeners.add(Path(each["kubeconfig"]), path, version)
    threading.Thread(target=listeners.run, daemon=True).start()
    with ThreadPoolExecutor(8) as pool:
        while True:
            began = time.monotonic()
            list(pool.map(ApiSide.look, sides, repeat(Shared.of(informers))))
            time.sleep(max(0.05, began + LOOK - time.monotonic()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
