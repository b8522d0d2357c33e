"""What one agent has of the API server in memory: copies that its watches show, and requests under its own token.

The copies are those of one moment, and come late; or they are what is there now. The token was made for one Node object.
"""

# ruff: noqa: ARG002, D102 - the methods are those of the ports
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tests.fakes.api import ApiServer, Copies
from wirecrypt.errors import Forbidden, NotFound, ObjectError, Unreachable
from wirecrypt.model.access import AccessPart, TokenIdentity
from wirecrypt.model.admission import NODE_TOKEN, OWN_NODE, OWN_POD
from wirecrypt.model.objects import ConfigDocument, EncryptedNode, KeyRotation, Node, NodeKey, NodePeer, NodeStatus
from wirecrypt.model.session import Session
from wirecrypt.model.xfrm import Address


@dataclass
class Watch:
    """The copies of one agent."""

    side: AgentSide

    def synced(self) -> bool:
        return True

    def restores(self) -> int:
        return self.side.server.restores()

    def ages(self) -> Mapping[str, float]:
        return self.side.server.ages()

    def nodes(self) -> Sequence[Node]:
        return list(self._shown().nodes.values())

    def peers(self) -> Sequence[NodePeer]:
        unseen = self.side.server.hidden | self.side.server.malformed
        return [p for name, p in self._shown().peers.items() if name not in unseen]

    def rotations(self) -> Sequence[KeyRotation]:
        return list(self._shown().rotations)

    def config(self) -> ConfigDocument | None:
        return self.side.server.config

    def _shown(self) -> Copies:
        if self.side.sees is not None:
            return self.side.server.copies(self.side.sees)
        return self.side.server.copies() if self.side.copies is None else self.side.copies


@dataclass
class AgentSide:
    """The API as the agent on node *name* has it, by a token of the Node with the UID *token*.

    *copies*: what its watches show, None for what is there; *sees*: of these nodes alone, so that one stands for a cluster of
    them. *wrote* is told of each write after it was done, *ends* of the deletion of its pod. *down*: there is no way to the API
    server. *tried*: on whom it tried the policy.
    """

    server: ApiServer
    name: str
    token: str
    copies: Copies | None = None
    wrote: Callable[[str], object] = lambda _: None
    ends: Callable[[], object] = lambda: None
    down: bool = False
    tried: list[tuple[str, ...]] = field(default_factory=list)
    sees: Sequence[str] | None = None

    @property
    def watch(self) -> Watch:
        """Return the copies that its watches show."""
        return Watch(self)

    # ---- quorum reads

    def nodes(self) -> Sequence[Node]:
        return list(self._asked().nodes.values())

    def node(self, name: str) -> Node | None:
        return self._asked().nodes.get(name)

    def node_peer(self, name: str) -> NodePeer | None:
        if name in self._asked().malformed:
            raise ObjectError("read a NodePeer", what=name, answer="malformed")
        return self.server.peers.get(name)

    def encrypted_node(self, name: str) -> EncryptedNode | None:
        return self._asked().encrypted.get(name)

    def node_keys(self, node: str) -> Sequence[NodeKey]:
        granted = {part for owner, part in self._asked().access if owner == node}
        secret = self.server.keys.get(node)
        if AccessPart.ACCOUNT not in granted:
            return ()
        if node != self.name and NODE_TOKEN not in self.server.open:
            raise Forbidden("POST", answer=f"the token belongs to node {self.name}: it reads no keys of {node}")
        if secret is None:
            return ()
        if granted != {*AccessPart}:
            raise Forbidden("GET", answer="403")
        return secret.keys

    # ---- writes

    def publish_sessions(self, peer: NodePeer, *, boot_id: str, boot_session: int, sessions: Sequence[Session]) -> NodePeer:
        there = self._own(peer.name)
        last = max(peer.last_session, *(s.number for s in sessions), 0)
        new = replace(there, boot_id=boot_id, boot_session=boot_session, last_session=last, sessions=tuple(sessions))
        written = self.server.publish(self.identity(), new, version=peer.resource_version)
        self.wrote(f"publish {peer.name}")
        return written

    def propose_addresses(self, node: str, addresses: Sequence[Address]) -> None:
        self.server.publish(self.identity(), replace(self._own(node), proposed=tuple(addresses)))
        self.wrote(f"propose {node}")

    def write_node_status(self, node: EncryptedNode, status: NodeStatus) -> EncryptedNode:
        written = self._asked().report(self.identity(), node, status)
        self.wrote(f"status {node.name}")
        return written

    # ---- who it is, and what it must not do

    def forbidden_write_refused(self, others: Sequence[str]) -> bool:
        for objects in (self._asked().peers, self.server.encrypted):
            if not {*others[:4]} & objects.keys():
                raise NotFound("try a forbidden write", answer="other nodes have no object")
        self.tried.append(tuple(others))
        return OWN_NODE not in self.server.open

    def foreign_token_refused(self) -> bool:
        return NODE_TOKEN not in self._asked().open

    def pod_try_refused(self) -> bool:
        return OWN_POD not in self._asked().open

    def identity(self) -> TokenIdentity:
        self._asked()
        return TokenIdentity(f"agent-{self.name}", "uid-pod", self.name, self.token)

    def delete_pod(self, identity: TokenIdentity) -> None:
        self._asked()
        self.ends()

    def api_addresses(self) -> frozenset[Address]:
        return frozenset()

    def reached(self, since: float) -> bool:
        return not (self.down or self.server.down)

    def _asked(self) -> ApiServer:
        """Return the API server, if it answers."""
        if not self.reached(0.0):
            raise Unreachable("ask the API server", answer="nothing")
        return self.server

    def _own(self, name: str) -> NodePeer:
        """Return the NodePeer that is to be written."""
        there = self._asked().peers.get(name)
        if there is None:
            raise NotFound("PATCH", what=name)
        return there
