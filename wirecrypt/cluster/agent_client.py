"""The API server as an agent sees it: the `Cluster` port over requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from wirecrypt.cluster import decode, encode, paths
from wirecrypt.cluster.api import Api
from wirecrypt.cluster.events import Events
from wirecrypt.errors import Forbidden, NotFound, ObjectError
from wirecrypt.model.objects import (
    CANARY,
    ConfigDocument,
    EncryptedNode,
    KeyRotation,
    Node,
    NodeKey,
    NodePeer,
    NodeStatus,
)
from wirecrypt.model.session import Session

T = TypeVar("T")
_POLICY: Final = "ValidatingAdmissionPolicy"


class AgentCluster:
    """Implements `wirecrypt.ports.Cluster`; *malformed* are the objects that the last reads left out, by kind and name."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.malformed: dict[tuple[str, str], ObjectError] = {}
        self._events = Events(api)

    def config(self) -> ConfigDocument | None:
        """Return the configuration document, None when there is none."""
        return self._one(paths.CONFIG, decode.config_document)

    def nodes(self) -> Sequence[Node]:
        """Return all Nodes."""
        return self._all(paths.NODES, decode.node)

    def node_peers(self) -> Sequence[NodePeer]:
        """Return all NodePeers but the canary; malformed ones are left out."""
        return self._all(paths.NODE_PEERS, decode.node_peer)

    def node_peer(self, name: str) -> NodePeer | None:
        """Return one NodePeer by a quorum read; raises `ObjectError` when it is malformed."""
        return self._one(f"{paths.NODE_PEERS}/{name}", decode.node_peer)

    def encrypted_nodes(self) -> Sequence[EncryptedNode]:
        """Return all EncryptedNodes but the canary; malformed ones are left out."""
        return self._all(paths.ENCRYPTED_NODES, decode.encrypted_node)

    def encrypted_node(self, name: str) -> EncryptedNode | None:
        """Return one EncryptedNode by a quorum read; raises `ObjectError` when it is malformed."""
        return self._one(f"{paths.ENCRYPTED_NODES}/{name}", decode.encrypted_node)

    def key_rotations(self) -> Sequence[KeyRotation]:
        """Return all KeyRotations; malformed ones are left out."""
        return self._all(paths.KEY_ROTATIONS, decode.key_rotation)

    def node_keys(self, node: str) -> Sequence[NodeKey]:
        """Return the keys of *node*'s Secret, sorted by epoch; none when there is no Secret."""
        secret = self._one(f"{paths.NODE_KEYS}/{decode.KEY_PREFIX}{node}", decode.key_secret)
        return secret.keys if secret else ()

    def publish_sessions(self, peer: NodePeer, *, boot_id: str, boot_session: int, sessions: Sequence[Session]) -> NodePeer:
        """Write the status of the own NodePeer if it is still the version that *peer* is; raises `Conflict`."""
        status = {
            "bootID": boot_id,
            "bootSession": boot_session,
            "lastSession": max((peer.last_session, *(s.number for s in sessions))),
            "sessions": [encode.session(s) for s in sessions],
        }
        body = {"metadata": {"resourceVersion": peer.resource_version}, "status": status}
        return decode.node_peer(self.api.patch(f"{paths.NODE_PEERS}/{peer.name}/status", body))

    def write_node_status(self, node: EncryptedNode, status: NodeStatus) -> None:
        """Patch the status of the own EncryptedNode; conditions that stay keep their time."""
        before = node.status.conditions if node.status else ()
        body = {"status": encode.node_status(status, before, datetime.now(UTC))}
        self.api.patch(f"{paths.ENCRYPTED_NODES}/{node.name}/status", body)

    def forbidden_write_refused(self) -> bool:
        """Try the writes on both canaries, dry; True when the admission policy refused each.

        Raises `Forbidden` when RBAC refused instead, which says nothing of the policy, and `NotFound` without canaries.
        """
        tries = ((paths.NODE_PEERS, {"lastSession": 1}), (paths.ENCRYPTED_NODES, {"mtu": 1}))
        answers = [self._refused(path, status) for path, status in tries]  # both are tried, whatever the first answers
        return all(answers)

    def event(self, *, node: str, reason: str, message: str, warning: bool) -> None:
        """Write an Event on a Node, once per text."""
        self._events.on_node(node, reason=reason, message=message, warning=warning)

    def _refused(self, path: str, status: dict[str, Any]) -> bool:
        try:
            self.api.patch(f"{path}/{CANARY}/status", {"status": status}, dry_run=True)
        except Forbidden as error:
            if _POLICY not in error.answer:
                raise
            return True
        return False

    def _all(self, path: str, read: Callable[[Any], T]) -> Sequence[T]:
        items, _ = self.api.items(path)
        found: list[T] = []
        for raw in items:
            name = raw.get("metadata", {}).get("name", "?")
            self.malformed.pop((path, name), None)
            try:
                if name != CANARY:
                    found.append(read(raw))
            except ObjectError as error:
                self.malformed[path, name] = error
        return found

    def _one(self, path: str, read: Callable[[Any], T]) -> T | None:
        try:
            raw = self.api.get(path)
        except NotFound:
            return None
        return read(raw)
