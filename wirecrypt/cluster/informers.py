"""Local copies of objects, kept by watching: one thread per kind.

A kind is listed by a quorum read in pages and then watched from that version. A stream that ends is taken up again where
it stood; a version that the server has forgotten (410) means a new list; errors are waited out with jitter, and for as
long as a server asks for with Retry-After. What is malformed is left out, reported, and listed in `malformed`, so that
nobody takes it for deleted.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from wirecrypt import logs
from wirecrypt.cluster import paths, translate
from wirecrypt.cluster.api import Api, Gone, Throttled
from wirecrypt.errors import ClusterError, ObjectError
from wirecrypt.model.objects import (
    CANARY,
    ConfigDocument,
    EncryptedNode,
    KeyRotation,
    KeySecret,
    Node,
    NodePeer,
    SeedSecret,
)
from wirecrypt.retry import Backoff, Delays

if TYPE_CHECKING:
    from wirecrypt.cluster.api import Answer

T = TypeVar("T")
WATCH_SECONDS: Final = (240, 480)  # how long a stream lives; between them by chance, so that they do not end together
_DELAYS: Final = Delays(first=0.2, most=30.0)
_JOIN_SECONDS: Final = 5.0
_log = logs.get(__name__)


class Reflector(Generic[T]):
    """The copy of one kind: *kind* for messages, *path* of the collection, *read* makes a value of an object."""

    def __init__(self, api: Api, kind: str, path: str, read: Callable[[Any], T]) -> None:
        self.kind = kind
        self._api = api
        self._path = path
        self._read = read
        self._lock = threading.Lock()
        self._objects: dict[str, T] = {}
        self._malformed: dict[str, ObjectError] = {}
        self._identities: dict[str, tuple[str, str]] = {}
        self._version = ""
        self._stream: Answer | None = None
        self._stop = threading.Event()
        self._synced = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, changed: Callable[[], None]) -> None:
        """Start to watch; *changed* is called, from the thread, after every difference."""
        self._thread = threading.Thread(target=self._run, args=(changed,), name=f"watch-{self.kind}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the watch and join the thread."""
        self._stop.set()
        with self._lock:
            if self._stream is not None:
                self._stream.interrupt()
        if self._thread is not None:
            self._thread.join(_JOIN_SECONDS)

    def synced(self) -> bool:
        """Say whether the kind was listed at least once."""
        return self._synced.is_set()

    def objects(self) -> Sequence[T]:
        """Return the objects by name's order."""
        with self._lock:
            return [self._objects[name] for name in sorted(self._objects)]

    def malformed(self) -> Mapping[str, ObjectError]:
        """Return the objects that are there and cannot be read, by name."""
        with self._lock:
            return dict(self._malformed)

    @property
    def path(self) -> str:
        """Return the path of the whole collection."""
        return self._path.partition("?")[0]

    def reached(self, version: int) -> bool:
        """Say whether the copy is at least as new as *version*; versions of one kind are ordered (KEP-5504)."""
        seen = self._version
        return seen.isdigit() and int(seen) >= version

    def without(self, name: str, identity: str) -> bool:
        """Say whether the object of this *name* with *identity*, its UID or its version, is gone from the copy."""
        with self._lock:
            return identity not in self._identities.get(name, ())

    def _run(self, changed: Callable[[], None]) -> None:
        backoff = Backoff(_DELAYS)
        while not self._stop.is_set():
            try:
                self._follow(changed)
                backoff = backoff.succeeded()
            except Gone:
                self._version = ""
            except ClusterError as error:
                if self._stop.is_set():
                    return
                backoff = backoff.failed(time.monotonic())
                asked = error.after if isinstance(error, Throttled) else 0.0
                wait = max(asked, backoff.not_before - time.monotonic())
                _log.warning("watch interrupted", kind=self.kind, error=str(error), seconds=round(wait, 1))
                self._stop.wait(wait)

    def _follow(self, changed: Callable[[], None]) -> None:
        """List if need be, then take events until the stream ends."""
        if not self._version:
            self._list(changed)
        seconds = random.randint(*WATCH_SECONDS)  # noqa: S311 - spreads load, guards nothing
        with self._api.stream(self._path, version=self._version, seconds=seconds) as stream:
            with self._lock:
                self._stream = stream
            try:
                if self._stop.is_set():
                    return
                for event in stream.events():
                    self._take(event, changed)
            finally:
                with self._lock:
                    self._stream = None

    def _list(self, changed: Callable[[], None]) -> None:
        items, version = self._api.items(self._path)
        before = self._objects, self._malformed
        with self._lock:
            self._objects, self._malformed, self._identities = {}, {}, {}
            for raw in items:
                self._keep(raw)
            after = self._objects, self._malformed
        self._version = version
        first = not self._synced.is_set()
        self._synced.set()
        if first or before != after:
            changed()

    def _take(self, event: Mapping[str, Any], changed: Callable[[], None]) -> None:
        kind, raw = event.get("type"), event.get("object") or {}
        if kind == "ERROR":
            raise _error(self.kind, raw)
        version = raw.get("metadata", {}).get("resourceVersion", self._version)
        if kind == "BOOKMARK":
            self._version = version
            return
        name = raw.get("metadata", {}).get("name", "")
        with self._lock:
            before = self._objects.get(name), name in self._malformed
            self._objects.pop(name, None)
            self._malformed.pop(name, None)
            self._identities.pop(name, None)
            if kind != "DELETED":
                self._keep(raw)
            after = self._objects.get(name), name in self._malformed
        self._version = version
        if before != after:
            changed()

    def _keep(self, raw: Mapping[str, Any]) -> None:
        meta = raw.get("metadata", {})
        name = meta.get("name", "")
        if name == CANARY:
            return
        self._identities[name] = (meta.get("uid", ""), meta.get("resourceVersion", ""))
        try:
            self._objects[name] = self._read(raw)
        except ObjectError as error:
            self._malformed[name] = error
            _log.warning("object left out", kind=self.kind, object=name, error=str(error))


def _error(kind: str, status: Mapping[str, Any]) -> ClusterError:
    """Return the error that a stream carries instead of an event."""
    answer = f"{status.get('code')} {status.get('reason', '')} {status.get('message', '')}"
    error = Gone if status.get("code") == 410 else ClusterError  # noqa: PLR2004 - HTTP's Gone
    return error(f"watch {kind}", answer=answer, hint="list again")


class Informers:
    """The copies that an agent needs; a `Watcher` (wirecrypt.ports)."""

    def __init__(self, api: Api) -> None:
        self._nodes = Reflector(api, "Node", paths.NODES, translate.node)
        self._peers = Reflector(api, "NodePeer", paths.NODE_PEERS, translate.node_peer)
        self._rotations = Reflector(api, "KeyRotation", paths.KEY_ROTATIONS, translate.key_rotation)
        self._config = Reflector(api, "ConfigMap", paths.CONFIG_ONLY, translate.config_document)
        self._all: list[Reflector[Any]] = [self._nodes, self._peers, self._rotations, self._config]

    def start(self, changed: Callable[[], None]) -> None:
        """Start the watches; *changed* is called from their threads."""
        for reflector in self._all:
            reflector.start(changed)

    def stop(self) -> None:
        """Stop and join the threads."""
        for reflector in self._all:
            reflector.stop()

    def synced(self) -> bool:
        """Say whether every kind was listed at least once."""
        return all(reflector.synced() for reflector in self._all)

    def malformed(self) -> Mapping[tuple[str, str], ObjectError]:
        """Return the objects that are there and cannot be read, by kind and name."""
        return {(r.kind, name): error for r in self._all for name, error in r.malformed().items()}

    def nodes(self) -> Sequence[Node]:
        """Return all Nodes."""
        return self._nodes.objects()

    def peers(self) -> Sequence[NodePeer]:
        """Return all NodePeers but the canary."""
        return self._peers.objects()

    def rotations(self) -> Sequence[KeyRotation]:
        """Return all KeyRotations."""
        return self._rotations.objects()

    def config(self) -> ConfigDocument | None:
        """Return the configuration document, None when there is none."""
        return next(iter(self._config.objects()), None)


class ControllerInformers(Informers):
    """The copies that the controller needs: those of an agent, EncryptedNodes and both kinds of Secrets."""

    def __init__(self, api: Api) -> None:
        super().__init__(api)
        self._encrypted = Reflector(api, "EncryptedNode", paths.ENCRYPTED_NODES, translate.encrypted_node)
        self._keys = Reflector(api, "Secret", paths.KEYS_ONLY, translate.key_secret)
        self._seeds = Reflector(api, "epoch Secret", paths.SEEDS_ONLY, translate.seed_secret)
        self._all += [self._encrypted, self._keys, self._seeds]

    def show(self, written: Mapping[str, int], deleted: Mapping[tuple[str, str], str]) -> bool:
        """Say whether the copies have reached the *written* versions by path, and lost what was *deleted* by path and name."""
        by_path = {reflector.path: reflector for reflector in self._all}
        return all(by_path[path].reached(version) for path, version in written.items()) and all(
            by_path[path].without(name, identity) for (path, name), identity in deleted.items()
        )

    def encrypted_nodes(self) -> Sequence[EncryptedNode]:
        """Return all EncryptedNodes but the canary."""
        return self._encrypted.objects()

    def key_secrets(self) -> Sequence[KeySecret]:
        """Return all node-key Secrets."""
        return self._keys.objects()

    def seeds(self) -> Sequence[SeedSecret]:
        """Return the Secrets of all epochs."""
        return self._seeds.objects()
