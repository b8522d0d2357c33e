"""A controller at work on a real API server, and agents that a test plays through their tokens."""

# ruff: noqa: ANN401, D102 - JSON and values of any kind; methods of a test's helper need no more than a name
from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from tests.fakes.builders import SILENT
from wirecrypt.cluster import paths
from wirecrypt.cluster.codec import decode
from wirecrypt.cluster.controller_client import ControllerClient
from wirecrypt.cluster.lease import ClusterLease
from wirecrypt.controller import Timings, run
from wirecrypt.errors import Conflict, Forbidden, NotFound
from wirecrypt.model.objects import NodeState
from wirecrypt.model.session import Session
from wirecrypt.model.xfrm import Algorithm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cluster.conftest import Agent, Server
    from wirecrypt.model.objects import NodeStatus

EMPTY = replace(SILENT, boot_id="b1")
FAST = Timings(lease=2, deadline=1.5, retry=0.2)


class Cluster:
    """The server, a running or hand-driven controller, and the agents that a test plays."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.admin = server.admin
        self.agents: dict[str, Agent] = {}

    def agent(self, name: str) -> Agent:
        if name not in self.agents:
            self.agents[name] = self.server.agent(name)
        return self.agents[name]

    def peer(self, name: str) -> Any:
        return self._get(f"{paths.NODE_PEERS}/{name}", decode.node_peer)

    def encrypted(self, name: str) -> Any:
        return self._get(f"{paths.ENCRYPTED_NODES}/{name}", decode.encrypted_node)

    def rotation(self, name: str) -> Any:
        return self._get(f"{paths.KEY_ROTATIONS}/{name}", decode.key_rotation)

    def secret(self, name: str) -> Any:
        return self._get(f"{paths.NODE_KEYS}/{decode.KEY_PREFIX}{name}", decode.key_secret)

    def keys(self, name: str) -> list[int]:
        secret = self.secret(name)
        return [k.epoch.number for k in secret.keys] if secret else []

    def seeds(self) -> list[int]:
        return [decode.seed_secret(raw).epoch.number for raw in self.admin.items(paths.SEEDS)[0]]

    def reasons(self) -> set[str]:
        return {raw["reason"] for raw in self.admin.items(paths.EVENTS)[0]}

    def until(self, question: Any, what: str) -> Any:
        return self.server.wait(question, what)

    def publish(self, name: str, *epochs: int, boot: str = "b1") -> None:
        """Publish a new session of node *name* for each epoch, with the epoch's id out of its Secret."""
        cluster = self.agent(name).cluster
        peer = cluster.node_peer(name)
        assert peer is not None
        keys = {k.epoch.number: k.epoch for k in cluster.node_keys(name)}
        numbers = range(peer.last_session + 1, peer.last_session + 1 + len(epochs))
        new = [Session(n, keys[e], bytes(32), 1, Algorithm.AES_256_GCM) for n, e in zip(numbers, epochs, strict=True)]
        kept = [s for s in peer.sessions if s.epoch.number not in epochs]
        cluster.publish_sessions(peer, boot_id=boot, boot_session=peer.boot_session or 1, sessions=[*kept, *new])

    def propose(self, name: str, *addresses: str) -> None:
        """Have the agent of node *name* say which addresses the node holds."""
        self.agent(name).cluster.propose_addresses(name, [ip_address(a) for a in addresses])

    def removed(self, name: str) -> bool:
        """Return whether the NodePeer of *name* says that the node was removed, and its EncryptedNode is gone."""
        peer = self.peer(name)
        return peer is not None and peer.state is NodeState.REMOVED and self.encrypted(name) is None

    def holders(self, address: str) -> list[str]:
        """Return the nodes whose NodePeers list *address*."""
        peers = [decode.node_peer(raw) for raw in self.admin.items(paths.NODE_PEERS)[0]]
        return sorted(p.name for p in peers if ip_address(address) in p.addresses)

    def say(self, name: str, **words: Any) -> None:
        """Write the status of node *name* through its agent's token."""
        self.report(name, lambda status: replace(status or EMPTY, **words))

    def report(self, name: str, make: Callable[[NodeStatus | None], NodeStatus]) -> None:
        """Write what *make* makes of the status of node *name*, whatever others write meanwhile."""

        def written() -> bool:
            encrypted = self.encrypted(name)
            with suppress(Conflict):
                self.agent(name).cluster.write_node_status(encrypted, make(encrypted.status))
                return True
            return False

        self.until(written, f"the status of {name} to be written")

    def confirm(self, path: str, name: str) -> None:
        """Say as a person that the node called *name* is gone, on its object in *path*."""
        mark = {"metadata": {"annotations": {"wirecrypt.io/confirm-removal": "true"}}}
        self.admin.patch(f"{path}/{name}", mark)

    def rotate(self, name: str, **spec: Any) -> None:
        body = {"apiVersion": paths.VERSION, "kind": "KeyRotation", "metadata": {"name": name}}
        self.admin.create(paths.KEY_ROTATIONS, {**body, "spec": {"reason": "a test", **spec}})

    def join(self, *names: str) -> None:
        """Label nodes, those that are not there yet, and play their agents until all of them are Active with epoch 1."""
        for name in names:
            if self.found(f"{paths.NODES}/{name}") is None:
                self.server.node(name, label="enabled")
        for name in names:
            self.until(lambda name=name: self.peer(name), f"the NodePeer of {name}")
            self.publish(name, 1)
        for name in names:
            others = tuple(sorted(set(names) - {name}))
            self.say(name, sending_epoch=1, accepting_epochs=(1,), ready_for=others)
        for name in names:
            self.until(lambda name=name: self.peer(name).state is NodeState.ACTIVE, f"{name} to be Active")

    def found(self, path: str) -> Any:
        return self._get(path, lambda raw: raw)

    def reads(self, name: str) -> bool:
        try:
            return bool(self.agent(name).cluster.node_keys(name))
        except Forbidden:  # the authorizer sees a Role a moment after it was made
            return False

    def _get(self, path: str, read: Any) -> Any:
        try:
            return read(self.admin.get(path))
        except NotFound:
            return None


@contextmanager
def running(server: Server, **options: Any) -> Iterator[ControllerClient]:
    """Run a controller in a thread, with the rights of its account."""
    cluster, stop = ControllerClient(server.controller()), threading.Event()
    leases = ClusterLease(cluster.api)
    thread = threading.Thread(target=run, args=(cluster, leases), kwargs={"stop": stop, "timings": FAST, **options})
    thread.start()
    try:
        yield cluster
    finally:
        stop.set()
        thread.join(120)
        assert not thread.is_alive()
