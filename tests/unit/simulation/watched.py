"""The API server of a world, under eyes: what its controller must not ask for, and which sessions ever were."""

# ruff: noqa: D102 - the methods are those of the server
from __future__ import annotations

from dataclasses import dataclass, field

from tests.fakes import crd
from tests.fakes.api import ApiServer
from wirecrypt.model.access import TokenIdentity
from wirecrypt.model.objects import Node, NodePeer, NodeState
from wirecrypt.model.spi import RESIDUES


@dataclass
class WatchedServer(ApiServer):
    """An API server; *epochs*: those of all sessions that were published, by node ID and residue."""

    epochs: dict[tuple[int, int], int] = field(default_factory=dict)

    def create_node_peer(self, node: Node, peer: NodePeer) -> None:
        if peer.state is not NodeState.REMOVED:
            assert peer.node_id not in {p.node_id for p in self.peers.values()}, f"the node ID {peer.node_id} is in use"
        super().create_node_peer(node, peer)

    def update_node_peer(self, old: NodePeer, new: NodePeer) -> None:
        assert not crd.spec(old, new), f"the CRD refuses {old.state} → {new.state} of {old.name}"
        super().update_node_peer(old, new)

    def publish(self, identity: TokenIdentity, new: NodePeer, *, version: str | None = None) -> NodePeer:
        written = super().publish(identity, new, version=version)
        self.epochs |= {(new.node_id, s.number % RESIDUES): s.epoch.number for s in new.sessions}
        return written
