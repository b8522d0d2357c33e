"""Reads of whole kinds and of single objects by requests, for everybody who keeps no copy of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from wirecrypt.cluster import paths
from wirecrypt.cluster.api import Api
from wirecrypt.cluster.codec import decode
from wirecrypt.errors import NotFound, ObjectError
from wirecrypt.model.objects import (
    ConfigDocument,
    EncryptedNode,
    KeyRotation,
    Node,
    NodePeer,
    NodeState,
)
from wirecrypt.model.secret import SecretBytes

T = TypeVar("T")


class ObjectReader:
    """Objects as values; *malformed* are those that the last reads left out, by kind and name."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.malformed: dict[tuple[str, str], ObjectError] = {}

    def config(self) -> ConfigDocument | None:
        """Return the configuration document, None when there is none."""
        return self.one(paths.CONFIG, decode.config_document)

    def nodes(self) -> Sequence[Node]:
        return self._all(paths.NODES, decode.node)

    def node(self, name: str) -> Node | None:
        return self.one(f"{paths.NODES}/{name}", decode.node)

    def node_peers(self) -> Sequence[NodePeer]:
        """Return all NodePeers but those of nodes that were removed; malformed ones are left out."""
        return [p for p in self._all(paths.NODE_PEERS, decode.node_peer) if p.state is not NodeState.REMOVED]

    def node_peer(self, name: str) -> NodePeer | None:
        return self.one(f"{paths.NODE_PEERS}/{name}", decode.node_peer)

    def encrypted_nodes(self) -> Sequence[EncryptedNode]:
        """Return all EncryptedNodes; malformed ones are left out."""
        return self._all(paths.ENCRYPTED_NODES, decode.encrypted_node)

    def encrypted_node(self, name: str) -> EncryptedNode | None:
        return self.one(f"{paths.ENCRYPTED_NODES}/{name}", decode.encrypted_node)

    def key_rotations(self) -> Sequence[KeyRotation]:
        """Return all KeyRotations; malformed ones are left out."""
        return self._all(paths.KEY_ROTATIONS, decode.key_rotation)

    def one(self, path: str, read: Callable[[Any], T], *, token: SecretBytes | None = None) -> T | None:
        """Return what *read* makes of the object at *path*, None when there is none; asked by the bearer of *token*."""
        try:
            raw = self.api.get(path, token=token)
        except NotFound:
            return None
        return read(raw)

    def _all(self, path: str, read: Callable[[Any], T]) -> Sequence[T]:
        found: list[T] = []
        for raw in (raw for page, _ in self.api.pages(path) for raw in page):
            name = raw.get("metadata", {}).get("name", "?")
            self.malformed.pop((path, name), None)
            try:
                found.append(read(raw))
            except ObjectError as error:
                self.malformed[path, name] = error
        return found
