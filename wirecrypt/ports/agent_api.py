"""The API server as an agent sees it. Errors: `ClusterError` and `ObjectError`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from wirecrypt.model.access import TokenIdentity
from wirecrypt.model.objects import EncryptedNode, Node, NodeKey, NodePeer, NodeStatus
from wirecrypt.model.session import Session
from wirecrypt.model.xfrm import Address


class AgentApi(Protocol):
    """Reads and writes of the API server. Reads are quorum reads unless they say otherwise."""

    def nodes(self) -> Sequence[Node]:
        """Return all Nodes."""

    def node(self, name: str) -> Node | None:
        """Return one Node by a quorum read."""

    def node_peer(self, name: str) -> NodePeer | None:
        """Return one NodePeer by a quorum read, None when the API server says that there is none."""

    def encrypted_node(self, name: str) -> EncryptedNode | None:
        """Return one EncryptedNode by a quorum read."""

    def node_keys(self, node: str) -> Sequence[NodeKey]:
        """Return the entries of the Secret of *node*, the own one, sorted by epoch; none when there is no Secret."""

    def publish_sessions(self, peer: NodePeer, *, boot_id: str, boot_session: int, sessions: Sequence[Session]) -> NodePeer:
        """Write the status of the own NodePeer by compare-and-swap on its resourceVersion; raises `Conflict`."""

    def propose_addresses(self, node: str, addresses: Sequence[Address]) -> None:
        """Write into the status of the own NodePeer which addresses the node holds next to its endpoints."""

    def write_node_status(self, node: EncryptedNode, status: NodeStatus) -> EncryptedNode:
        """Patch the status of the own EncryptedNode, of that version; return it as it is then.

        Raises `Conflict` when it is another version, as of an object that others wrote or made anew.
        """

    def forbidden_write_refused(self, others: Sequence[str]) -> bool:
        """Try to write as one of these *others*, other nodes by name, dry; True when an admission policy refused it."""

    def foreign_token_refused(self) -> bool:
        """Ask for a token of an account that is not this node's; True when an admission policy refused."""

    def pod_try_refused(self) -> bool:
        """Try to delete the own pod, dry, which no agent may; True when an admission policy refused."""

    def identity(self) -> TokenIdentity:
        """Return who this agent is by its token, as the API server reads it."""

    def delete_pod(self, identity: TokenIdentity) -> None:
        """Delete the own pod, if it still is the one that *identity* names."""

    def api_addresses(self) -> frozenset[Address]:
        """Return the addresses of API servers, as far as they are known: of this process's connections, and behind the Service.

        No quorum read, and none that is waited for but the first; never an error.
        """

    def reached(self, since: float) -> bool:
        """Return whether a request that began after monotonic time *since* was answered, however.

        Without one, another is begun and not waited for: ask again later. Never an error.
        """


Changed = Callable[[], None]


class Watcher(Protocol):
    """Keeps local copies of objects by watching, and says when any of them changed."""

    def start(self, changed: Changed) -> None:
        """Start the watches; *changed* is called from their threads, with nothing."""

    def synced(self) -> bool:
        """Return whether every kind was listed at least once."""

    def stop(self) -> None:
        """Stop and join the threads."""
