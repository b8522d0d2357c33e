"""The API server as the controller sees it: local copies to decide from, and writes by compare-and-swap.

A decision from copies that do not show the own last writes could give one node ID to two nodes. So every write notes the
version that it made, and `view` gives nothing until the copies have reached all of them. An object that was deleted and
that others hold with a finalizer counts as reached, and is not deleted again: nobody else's work waits for it.

A version that was written may never come: the API server went back, as after a restore from a backup. So the wait begins anew,
from what a quorum read shows, when that was seen, and when it takes long for whatever reason.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from wirecrypt import logs
from wirecrypt.cluster import paths
from wirecrypt.cluster.answer import Json, refuses
from wirecrypt.cluster.api import Api
from wirecrypt.cluster.codec import encode, key_access
from wirecrypt.cluster.codec.decode import KEY_PREFIX, SEED_PREFIX
from wirecrypt.cluster.events import EventWriter
from wirecrypt.cluster.informers import ControllerInformers
from wirecrypt.errors import NotFound
from wirecrypt.model.access import AccessPart, KeyAccess
from wirecrypt.model.admission import AGENT_TOKEN, FORBIDDEN, STATUS_BY_AGENT
from wirecrypt.model.objects import (
    FINALIZER,
    ControllerView,
    EncryptedNode,
    KeyRotation,
    KeySecret,
    Node,
    NodePeer,
    NodeState,
    SeedSecret,
)

T = TypeVar("T")
_log = logs.get(__name__)
PAGE: Final = 50  # objects per answer of a list: one process lists ten kinds at once, and Python gives little of it back
LONGEST_LAG: Final = 30.0  # seconds that copies may lag behind the own writes
_GUARDED: Final = ("Node", "NodePeer", "EncryptedNode")


class ControllerClient(EventWriter):
    """Implements `wirecrypt.ports.ControllerCluster`."""

    def __init__(self, api: Api, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(api)
        api.page = PAGE
        self._informers = ControllerInformers(api)
        self._written: dict[str, int] = {}  # by path: the highest version that a write made
        self._deleted: dict[tuple[str, str], str] = {}  # by path and name: the version or UID that was deleted
        self._held: dict[tuple[str, str], str] = {}  # the same, of what was told to be held by others
        self._clock = clock
        self._restores = 0
        self._behind_since = math.inf

    def start(self, changed: Callable[[], None]) -> None:
        self._informers.start(changed)

    def stop(self) -> None:
        self._informers.stop()

    def view(self) -> ControllerView | None:
        cache = self._informers
        if not (cache.synced() and cache.settled()):
            return None
        if cache.restores() != self._restores:
            restores = cache.restores()
            self.catch_up()
            self._restores = restores
        if not cache.show(self._written, self._deleted):
            self._lag()
            return None
        self._behind_since = math.inf
        self._written.clear()
        self._deleted.clear()
        self._held = {held: identity for held, identity in self._held.items() if cache.deleting(*held, identity)}
        return ControllerView(
            nodes=_by_name(cache.nodes()),
            peers=_by_name(p for p in cache.peers() if p.state is not NodeState.REMOVED),
            tombstones=_by_name(p for p in cache.peers() if p.state is NodeState.REMOVED),
            encrypted=_by_name(cache.encrypted_nodes()),
            keys={secret.node: secret for secret in cache.key_secrets()},
            seeds=tuple(cache.seeds()),
            rotations=tuple(cache.rotations()),
            config=cache.config(),
            unreadable=frozenset(name for kind, name in cache.malformed() if kind in _GUARDED),
            access=cache.access(),
            unusable_keys={n.removeprefix(KEY_PREFIX): str(e) for (k, n), e in cache.malformed().items() if k == "Secret"},
        )

    def ages(self) -> Mapping[str, float]:
        """Return for how many seconds no quorum read has confirmed the copy of each kind."""
        return self._informers.ages()

    def restores(self) -> int:
        """Return how often the API server was seen to have gone back."""
        return self._informers.restores()

    def _lag(self) -> None:
        """Note that the copies lag behind the own writes; when they do for long, list them and wait for what is there."""
        now = self._clock()
        self._behind_since = min(self._behind_since, now)
        if now - self._behind_since >= LONGEST_LAG:
            _log.error("copies do not show what was written, listed again", seconds=round(now - self._behind_since, 1))
            self._informers.list_anew()
            self.catch_up()
            self._behind_since = math.inf

    def catch_up(self) -> None:
        """Hold `view` back until the copies show what a quorum read of every kind shows now, and for nothing else."""
        cache = self._informers
        held: dict[str, dict[str, str]] = {  # by path: the identity of each object of the copy, by name
            paths.NODES: {n.name: n.uid for n in cache.nodes()},
            paths.NODE_PEERS: {p.name: p.uid for p in cache.peers()},
            paths.ENCRYPTED_NODES: {e.name: e.uid for e in cache.encrypted_nodes()},
            paths.KEY_ROTATIONS: {r.name: r.uid for r in cache.rotations()},
            paths.KEYS_ONLY: {KEY_PREFIX + s.node: s.resource_version for s in cache.key_secrets()},
            paths.SEEDS_ONLY: {f"{SEED_PREFIX}{s.epoch.number}": s.resource_version for s in cache.seeds()},
            paths.CONFIG_ONLY: {},
            **{path + paths.ACCESS_ONLY: self._access(part) for part, path in paths.ACCESS.items()},
        }
        written: dict[str, int] = {}
        deleted: dict[tuple[str, str], str] = {}
        for query, identities in held.items():
            path = query.partition("?")[0]
            there = {raw["metadata"]["name"]: _version(raw) for page, _ in self.api.pages(query) for raw in page}
            written[path] = max(there.values(), default=0)
            deleted.update({(path, n): i for n, i in identities.items() if n not in there})
        self._written, self._deleted = written, deleted

    def refuses(self, policy: str) -> bool:
        """Try what *policy* must refuse to this account; False when it was admitted, which leaves nothing behind."""
        tries = {
            STATUS_BY_AGENT: lambda: self.api.create(paths.NODE_PEERS, encode.forbidden("NodePeer"), dry_run=True),
            AGENT_TOKEN: lambda: self.api.create(f"{paths.ACCOUNTS}/{FORBIDDEN}/token", {"spec": {}}, dry_run=True),
        }
        return refuses(policy, tries[policy])

    def create_encrypted_node(self, node: Node, node_id: int, state: NodeState, problems: Sequence[str]) -> None:
        self._create(paths.ENCRYPTED_NODES, encode.encrypted_node(node, node_id, state, problems))

    def update_encrypted_node(self, encrypted: EncryptedNode, state: NodeState, problems: Sequence[str]) -> None:
        spec = {"spec": encode.node_spec(state, problems)}
        self._patch(paths.ENCRYPTED_NODES, encrypted.name, encrypted.resource_version, spec)

    def delete_encrypted_node(self, encrypted: EncryptedNode) -> None:
        """Delete an EncryptedNode: the object that was read, whatever its agent wrote since."""
        self._delete(paths.ENCRYPTED_NODES, encrypted.name, uid=encrypted.uid)

    def create_node_peer(self, node: Node, peer: NodePeer) -> None:
        """Create the NodePeer of *node* with our finalizer; one that says that the node was removed waits for nobody."""
        self._create(paths.NODE_PEERS, encode.node_peer(node, peer))

    def update_node_peer(self, old: NodePeer, new: NodePeer) -> None:
        self._patch(paths.NODE_PEERS, old.name, old.resource_version, {"spec": encode.peer_spec(new)})

    def remove_node_peer(self, peer: NodePeer) -> None:
        path = f"{paths.NODE_PEERS}/{peer.name}"
        if not peer.deleting:
            self.api.delete(path, version=peer.resource_version, uid=peer.uid)
        with suppress(NotFound):  # somebody else took the finalizer away
            self._finalize(path, peer.uid, held=False)
        self._deleted[paths.NODE_PEERS, peer.name] = peer.uid

    def write_keys(self, secret: KeySecret, owner: Node | None) -> None:
        body = encode.key_secret(secret, encode.owner(owner) if owner else [])
        self._write(paths.NODE_KEYS, KEY_PREFIX + secret.node, secret.resource_version, body)

    def delete_keys(self, secret: KeySecret) -> None:
        self._delete(paths.NODE_KEYS, KEY_PREFIX + secret.node, version=secret.resource_version)

    def grant_keys(self, node: str, part: AccessPart) -> None:
        self._create(paths.ACCESS[part], key_access.encode(node, part))

    def revoke_keys(self, access: KeyAccess) -> None:
        self._delete(paths.ACCESS[access.part], KEY_PREFIX + access.node, uid=access.uid)

    def write_seed(self, seed: SeedSecret) -> None:
        name = f"{SEED_PREFIX}{seed.epoch.number}"
        self._write(paths.SEEDS, name, seed.resource_version, encode.seed_secret(seed))

    def delete_seed(self, seed: SeedSecret) -> None:
        self._delete(paths.SEEDS, f"{SEED_PREFIX}{seed.epoch.number}", version=seed.resource_version)

    def create_rotation(self, name: str, reason: str) -> None:
        self._create(paths.KEY_ROTATIONS, encode.rotation({"name": name}, reason))

    def delete_rotation(self, rotation: KeyRotation) -> None:
        self._delete(paths.KEY_ROTATIONS, rotation.name, version=rotation.resource_version)

    def hold_rotation(self, rotation: KeyRotation, *, held: bool) -> None:
        self._note(paths.KEY_ROTATIONS, self._finalize(f"{paths.KEY_ROTATIONS}/{rotation.name}", rotation.uid, held=held))

    def write_rotation(self, old: KeyRotation, new: KeyRotation) -> None:
        status = encode.rotation_status(new, datetime.now(UTC))
        self._patch(paths.KEY_ROTATIONS, old.name, old.resource_version, {"status": status}, part="/status")

    def _access(self, part: AccessPart) -> dict[str, str]:
        """Return the UID of each object of the kind *part* that the copies show, by name."""
        found = (a for each in self._informers.access().values() for a in each if a.part is part)
        return {KEY_PREFIX + a.node: a.uid for a in found}

    def _create(self, path: str, body: Json) -> None:
        self._note(path, self.api.create(path, body))

    def _write(self, path: str, name: str, version: str, body: Json) -> None:
        self._note(path, self.api.replace(f"{path}/{name}", body) if version else self.api.create(path, body))

    def _patch(self, path: str, name: str, version: str, body: Json, *, part: str = "") -> None:
        body = {**body, "metadata": {**body.get("metadata", {}), "resourceVersion": version}}
        self._note(path, self.api.patch(f"{path}/{name}{part}", body))

    def _finalize(self, path: str, uid: str, *, held: bool) -> Json:
        """Put our finalizer on an object of this *uid* or take it away; those of others, which a patch replaces, stay."""
        meta = self.api.get(path)["metadata"]
        before = meta.get("finalizers", [])
        wanted = [f for f in before if f != FINALIZER] + [FINALIZER] * held
        if sorted(wanted) == sorted(before):
            return {"metadata": meta}
        guard = {"uid": uid, "resourceVersion": meta["resourceVersion"]}
        return self.api.patch(path, {"metadata": {**guard, "finalizers": wanted or None}})

    def _delete(self, path: str, name: str, *, version: str = "", uid: str = "") -> None:
        identity = version or uid
        if self._informers.deleting(path, name, identity):
            self._say_held(path, name, identity)
            return
        self.api.delete(f"{path}/{name}", version=version, uid=uid)
        self._deleted[path, name] = identity

    def _say_held(self, path: str, name: str, identity: str) -> None:
        """Log once that an object was deleted and is still there."""
        if self._held.get((path, name)) != identity:
            self._held[path, name] = identity
            kind = path.rpartition("/")[2]
            _log.warning("deleted, and held by finalizers of others", kind=kind, object=name, answer="see metadata.finalizers")

    def _note(self, path: str, answer: Mapping[str, Any]) -> None:
        self._written[path] = max(_version(answer), self._written.get(path, 0))


def _version(answer: Mapping[str, Any]) -> int:
    version = str(answer.get("metadata", {}).get("resourceVersion", ""))
    return int(version) if version.isdigit() else 0


def _by_name(objects: Iterable[T]) -> dict[str, T]:
    return {object_.name: object_ for object_ in objects}  # type: ignore[attr-defined]  # all kinds have a name
