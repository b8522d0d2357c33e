"""What passes of the controller need: an API server that watches it, agents that do their part, a candidate that leads."""

# ruff: noqa: D102 - the methods are those of the server
from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_network

from tests.fakes.agent_side import AgentSide
from tests.fakes.api import ApiServer
from tests.fakes.builders import CLEANED, SILENT
from wirecrypt.controller.claims.allowed import Allowed
from wirecrypt.errors import Forbidden
from wirecrypt.model.access import AccessPart
from wirecrypt.model.objects import KeySecret, Node, NodePeer, NodeState, NodeStatus, Phase
from wirecrypt.model.ranges import ClaimRanges
from wirecrypt.model.session import Epoch, Session
from wirecrypt.model.xfrm import Algorithm
from wirecrypt.rotation.phases import current

ALL = (ip_network("0.0.0.0/0"), ip_network("::/0"))
FREE = Allowed(ranges=ClaimRanges(ALL, ALL))  # as if there were no rules but those that need no configuration


class Leader:
    """A candidate that leads, as long as a test says so."""

    def __init__(self, term: int = 1) -> None:
        self.term = term
        self.leading = True

    def leads(self) -> bool:
        return self.leading

    def run(self, stop: threading.Event, changed: Callable[[], None]) -> None:
        raise NotImplementedError


@dataclass
class WatchedServer(ApiServer):
    """An API server; what a controller must not ask for fails the test. *gone_ids*: node IDs that were given up."""

    gone_ids: list[int] = field(default_factory=list)

    def create_node_peer(self, node: Node, peer: NodePeer) -> None:
        if peer.state is not NodeState.REMOVED:
            assert node.name in self.keys, "a NodePeer without keys"
            granted = {part for owner, part in self.access if owner == node.name}
            assert granted == set(AccessPart), "a NodePeer whose keys nobody may read"
            assert peer.node_id not in {*self.gone_ids, *(p.node_id for p in self.peers.values())}, "an ID used twice"
        super().create_node_peer(node, peer)

    def remove_node_peer(self, peer: NodePeer) -> None:
        there = peer.name in self.peers
        super().remove_node_peer(peer)
        made_again = {(e.name, e.node_id) for e in self.encrypted.values()} | {(k.node, k.node_id) for k in self.keys.values()}
        if there and (not peer.deleting or (peer.name, peer.node_id) not in made_again):
            self.gone_ids.append(peer.node_id)

    def write_keys(self, secret: KeySecret, owner: Node | None) -> None:
        assert secret.node not in self.unusable_keys, "a Secret that cannot be read was taken for absent"
        super().write_keys(secret, owner)


def agents(server: ApiServer, *names: str) -> None:
    """Let every agent whose Node is there, or those of *names*, do its part: sessions by the phase, words, leaving."""
    for name in names or sorted(server.peers.keys() & server.nodes.keys()):
        peer, uid = server.peers[name], server.nodes[name].uid
        if uid == peer.node_uid and peer.state is not NodeState.REMOVED:
            _agent(AgentSide(server, name, uid), server, peer)


def _agent(agent: AgentSide, server: ApiServer, peer: NodePeer) -> None:
    try:
        keys = agent.node_keys(peer.name)
    except Forbidden:
        return  # who may read them is being made anew: it waits
    rotation = current(server.rotations.values())
    hidden = {rotation.to_epoch} if rotation and rotation.phase is Phase.DISTRIBUTING else set()
    retired = {rotation.from_epoch} if rotation and rotation.phase is Phase.RETIRING else set()
    epochs = sorted(k.epoch for k in keys if k.epoch.number not in hidden | retired)
    sessions = tuple(Session(e.number, e, bytes(32), 1, Algorithm.AES_256_GCM) for e in epochs)
    if epochs and peer.sessions != sessions:
        agent.publish_sessions(peer, boot_id="boot", boot_session=peer.boot_session, sessions=sessions)
    encrypted = agent.encrypted_node(peer.name)
    if encrypted and encrypted.node_uid == agent.token:
        words = _words(server, peer, epochs)
        if encrypted.status != words:
            agent.write_node_status(encrypted, words)


def _words(server: ApiServer, peer: NodePeer, epochs: Sequence[Epoch]) -> NodeStatus:
    others = tuple(sorted(p.name for p in server.peers.values() if p.name != peer.name and p.state is not NodeState.REMOVED))
    numbers = tuple(e.number for e in epochs)
    done = (CLEANED,) if peer.state is NodeState.LEAVING else ()
    sending = max(numbers, default=0)
    return replace(SILENT, sending_epoch=sending, accepting_epochs=numbers, ready_for=others, conditions=done)
