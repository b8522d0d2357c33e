"""Local copies of objects, kept by watching: those that an agent needs, and those that the controller needs."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from wirecrypt.cluster import paths
from wirecrypt.cluster.api import Api
from wirecrypt.cluster.codec import decode, key_access
from wirecrypt.cluster.reflector import Reflector
from wirecrypt.errors import ObjectError
from wirecrypt.model.access import KeyAccess
from wirecrypt.model.objects import ConfigDocument, EncryptedNode, KeyRotation, KeySecret, Node, NodePeer, SeedSecret


class Informers:
    """The copies that an agent needs; a `Watcher` (wirecrypt.ports). *rotation* is what is read of a KeyRotation."""

    def __init__(self, api: Api, *, rotation: Callable[[Any], KeyRotation] = decode.asked_rotation) -> None:
        self._nodes = Reflector(api, "Node", paths.NODES, decode.node)
        self._peers = Reflector(api, "NodePeer", paths.NODE_PEERS, decode.node_peer)
        self._rotations = Reflector(api, "KeyRotation", paths.KEY_ROTATIONS, rotation)
        self._config = Reflector(api, "ConfigMap", paths.CONFIG_ONLY, decode.config_document)
        self._all: list[Reflector[Any]] = [self._nodes, self._peers, self._rotations, self._config]
        self._undone = -math.inf
        self._times = 0
        self._lock = threading.Lock()

    def start(self, changed: Callable[[], None]) -> None:
        for reflector in self._all:
            reflector.start(changed, self._went_back)

    def stop(self) -> None:
        for reflector in self._all:
            reflector.stop()

    def synced(self) -> bool:
        return all(reflector.synced() for reflector in self._all)

    def restores(self) -> int:
        """Return how often the API server was seen to have gone back, as after a restore from a backup."""
        return self._times

    def ages(self) -> Mapping[str, float]:
        """Return for how many seconds no quorum read has confirmed the copy of each kind."""
        return {reflector.kind: reflector.age() for reflector in self._all}

    def settled(self) -> bool:
        """Return whether every kind was listed since the API server went back: until then the copies are of two pasts."""
        return all(reflector.listed_since(self._undone) for reflector in self._all)

    def list_anew(self) -> None:
        """Have every kind listed anew."""
        for reflector in self._all:
            reflector.list_anew()

    def _went_back(self, before: float, began: float) -> None:
        """Have every kind listed anew: a kind whose list *began* now, and the one *before* then, has another past.

        A kind that was still to be listed for what is known tells of nothing new.
        """
        with self._lock:
            if before < self._undone:
                return
            self._undone, self._times = began, self._times + 1
        for reflector in self._all:
            if not reflector.listed_since(began):
                reflector.list_anew()

    def malformed(self) -> Mapping[tuple[str, str], ObjectError]:
        """Return the objects that are there and cannot be read, by kind and name."""
        return {(r.kind, name): error for r in self._all for name, error in r.malformed().items()}

    def nodes(self) -> Sequence[Node]:
        return self._nodes.objects()

    def peers(self) -> Sequence[NodePeer]:
        """Return all NodePeers."""
        return self._peers.objects()

    def rotations(self) -> Sequence[KeyRotation]:
        """Return all KeyRotations."""
        return self._rotations.objects()

    def config(self) -> ConfigDocument | None:
        """Return the configuration document, None when there is none."""
        return next(iter(self._config.objects()), None)


class ControllerInformers(Informers):
    """The copies that the controller needs: those of an agent, EncryptedNodes, both kinds of Secrets and who may read them."""

    def __init__(self, api: Api) -> None:
        super().__init__(api, rotation=decode.key_rotation)
        self._encrypted = Reflector(api, "EncryptedNode", paths.ENCRYPTED_NODES, decode.encrypted_node)
        self._keys = Reflector(api, "Secret", paths.KEYS_ONLY, decode.key_secret)
        self._seeds = Reflector(api, "epoch Secret", paths.SEEDS_ONLY, decode.seed_secret)
        self._access = [
            Reflector(api, part.value, path + paths.ACCESS_ONLY, partial(key_access.decode, part=part))
            for part, path in paths.ACCESS.items()
        ]
        self._all += [self._encrypted, self._keys, self._seeds, *self._access]

    def show(self, written: Mapping[str, int], deleted: Mapping[tuple[str, str], str]) -> bool:
        """Return whether the copies show the own writes: *written* versions by path, and what was *deleted* by path and name.

        What others hold with a finalizer stays for as long as they like, so that it is being deleted is enough.
        """
        by_path = {reflector.path: reflector for reflector in self._all}
        return all(by_path[path].reached(version) for path, version in written.items()) and all(
            by_path[path].without(name, identity) or by_path[path].deleting(name, identity)
            for (path, name), identity in deleted.items()
        )

    def deleting(self, path: str, name: str, identity: str) -> bool:
        """Return whether the copies show this object as deleted and still there."""
        return next(reflector for reflector in self._all if reflector.path == path).deleting(name, identity)

    def encrypted_nodes(self) -> Sequence[EncryptedNode]:
        """Return all EncryptedNodes."""
        return self._encrypted.objects()

    def key_secrets(self) -> Sequence[KeySecret]:
        """Return all node-key Secrets."""
        return self._keys.objects()

    def seeds(self) -> Sequence[SeedSecret]:
        """Return the Secrets of all epochs."""
        return self._seeds.objects()

    def access(self) -> Mapping[str, tuple[KeyAccess, ...]]:
        """Return by node what lets its account read its Secret."""
        found: dict[str, tuple[KeyAccess, ...]] = {}
        for access in (each for reflector in self._access for each in reflector.objects()):
            found[access.node] = (*found.get(access.node, ()), access)
        return found
