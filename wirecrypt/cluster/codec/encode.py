"""From values to API objects: what is written of each kind, and nothing that is not ours."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from wirecrypt.cluster.codec.decode import ACTIVE, KEY_PREFIX, NODE_ID, NODE_UID, SEED_PREFIX
from wirecrypt.cluster.paths import KEY_TYPE, SEED_TYPE, VERSION
from wirecrypt.model.admission import FORBIDDEN
from wirecrypt.model.conditions import Condition
from wirecrypt.model.objects import (
    FINALIZER,
    KEYS_NAMESPACE,
    SYSTEM_NAMESPACE,
    KeyRotation,
    KeySecret,
    Node,
    NodeKey,
    NodePeer,
    NodeState,
    NodeStatus,
    SeedSecret,
)
from wirecrypt.model.session import Session
from wirecrypt.model.spi import MAX_NODE_ID

MOST_FAILING: Final = 16

Json = dict[str, Any]


def time(value: datetime) -> str:
    """Return a time as the API writes it: RFC 3339, UTC, whole seconds."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_time(value: datetime) -> str:
    """Return a time as Leases and Events write it: with microseconds."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def owner(node: Node) -> list[Json]:
    """Return the owner references of what belongs to *node*."""
    return [{"apiVersion": "v1", "kind": "Node", "name": node.name, "uid": node.uid}]


def forbidden(kind: str) -> Json:
    """Return the object of *kind* that admission must refuse to everybody, for its name alone."""
    spec = {"nodeID": MAX_NODE_ID, "nodeUID": FORBIDDEN, "state": NodeState.LEAVING.value}
    return _custom(kind, {"name": FORBIDDEN}, spec)


def rotation(meta: Json, reason: str) -> Json:
    """Return a new KeyRotation."""
    return _custom("KeyRotation", meta, {"reason": reason})


def encrypted_node(node: Node, node_id: int, state: NodeState, problems: Iterable[str]) -> Json:
    """Return a new EncryptedNode."""
    spec = {"nodeID": node_id, "nodeUID": node.uid, **node_spec(state, problems)}
    return _custom("EncryptedNode", {"name": node.name, "ownerReferences": owner(node)}, spec)


def node_spec(state: NodeState, problems: Iterable[str]) -> Json:
    """Return what may change in the spec of an EncryptedNode."""
    return {"state": state.value, "problems": [p[:256] for p in problems][:MOST_FAILING]}


def node_peer(node: Node, peer: NodePeer) -> Json:
    """Return a new NodePeer with our finalizer; one that says that the node was removed waits for nobody."""
    finalizers = [] if peer.state is NodeState.REMOVED else [FINALIZER]
    meta = {"name": peer.name, "ownerReferences": owner(node), "finalizers": finalizers}
    return _custom("NodePeer", meta, {"nodeID": peer.node_id, "nodeUID": peer.node_uid, **peer_spec(peer)})


def peer_spec(peer: NodePeer) -> Json:
    """Return what may change in the spec of a NodePeer."""
    return {
        "state": peer.state.value,
        "endpoints": [str(a) for a in peer.endpoints],
        "podCIDRs": [str(p) for p in peer.pod_cidrs],
        "addresses": [str(a) for a in peer.addresses],
    }


def session(value: Session) -> Json:
    """Return one published session."""
    return {
        "number": value.number,
        "epoch": value.epoch.number,
        "epochID": value.epoch.id,
        "publicKey": base64.b64encode(value.public).decode(),
        "lanes": value.lanes,
        "algorithm": value.algorithm.value,
    }


def node_status(status: NodeStatus, before: Iterable[Condition], now: datetime) -> Json:
    """Return the status of an EncryptedNode; a condition that stays keeps the time of its last transition."""
    return {
        "bootID": status.boot_id,
        "sendingEpoch": status.sending_epoch,
        "acceptingEpochs": list(status.accepting_epochs),
        "peers": {
            "desired": status.peers_desired,
            "protected": status.peers_protected,
            "failing": status.peers_failing,
            "summary": f"{status.peers_protected}/{status.peers_desired}",
        },
        "readyFor": list(status.ready_for),
        "failing": list(status.failing[:MOST_FAILING]),
        "sequenceHeadroom": status.sequence_headroom,
        "mtu": status.mtu,
        "exemptPackets": [{"peer": name, "packets": packets} for name, packets in status.exempt_packets[:MOST_FAILING]],
        "versions": dict(status.versions),
        "conditions": conditions(status.conditions, before, now),
    }


def conditions(wanted: Iterable[Condition], before: Iterable[Condition], now: datetime) -> list[Json]:
    """Return conditions; the time of the last transition is the given one, else kept while the status stays, else *now*."""
    old = {c.type: c for c in before}
    return [
        {
            "type": c.type,
            "status": {True: "True", False: "False", None: "Unknown"}[c.status],
            "reason": c.reason,
            "message": c.message[:512],
            "lastTransitionTime": time(c.changed or _since(c, old.get(c.type)) or now),
        }
        for c in wanted
    ]


def _since(condition: Condition, old: Condition | None) -> datetime | None:
    return old.changed if old and old.status is condition.status else None


def rotation_status(rotation: KeyRotation, now: datetime) -> Json:
    """Return the status of a KeyRotation; what is not known yet is left out, for it may be set only once."""
    begun = {"fromEpoch": rotation.from_epoch, "toEpoch": rotation.to_epoch, "toEpochID": rotation.to_epoch_id}
    return {
        "phase": rotation.phase.value if rotation.phase else None,
        **(begun if rotation.to_epoch else {}),
        "summary": f"{rotation.nodes_done}/{rotation.nodes_total}",
        "nodesTotal": rotation.nodes_total,
        "nodesDone": rotation.nodes_done,
        "laggards": list(rotation.laggards),
        **({"startTime": time(rotation.started)} if rotation.started else {}),
        **({"completionTime": time(rotation.completed)} if rotation.completed else {}),
        "conditions": conditions(rotation.conditions, (), now),
    }


def key_secret(secret: KeySecret, owners: list[Json]) -> Json:
    """Return the Secret with a node's keys."""
    said = {NODE_UID: secret.node_uid, NODE_ID: str(secret.node_id), **({ACTIVE: "true"} if secret.active else {})}
    meta = {"name": KEY_PREFIX + secret.node, "namespace": KEYS_NAMESPACE, "annotations": said}
    data = {str(key.epoch.number): _data(_entry(key)) for key in secret.keys}
    return _secret(KEY_TYPE, meta | ({"ownerReferences": owners} if owners else {}), secret.resource_version, data)


def _entry(key: NodeKey) -> bytes:
    return bytes.fromhex(key.epoch.id) + key.share.reveal()


def seed_secret(secret: SeedSecret) -> Json:
    """Return the Secret of an epoch."""
    data = {
        "seed": _data(secret.seed.reveal()),
        "id": _data(bytes.fromhex(secret.epoch.id)),
        "released": _ids(secret.released),
        "carried": _ids(secret.carried),
    }
    meta = {"name": f"{SEED_PREFIX}{secret.epoch.number}", "namespace": SYSTEM_NAMESPACE}
    return _secret(SEED_TYPE, meta, secret.resource_version, data)


def event(  # noqa: PLR0913 - the parts of an Event
    about: Mapping[str, str], name: str, *, reason: str, message: str, warning: bool, now: datetime
) -> Json:
    """Return an Event *about* an object (its kind, name, uid and apiVersion)."""
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": "default"},
        "involvedObject": dict(about),
        "reason": reason,
        "message": message[:1024],
        "type": "Warning" if warning else "Normal",
        "source": {"component": "wirecrypt"},
        "firstTimestamp": time(now),
        "lastTimestamp": time(now),
        "count": 1,
    }


def _ids(ids: Iterable[int]) -> str:
    return _data(" ".join(map(str, sorted(ids))).encode())


def _data(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _custom(kind: str, meta: Json, spec: Json) -> Json:
    return {"apiVersion": VERSION, "kind": kind, "metadata": meta, "spec": spec}


def _secret(kind: str, meta: Json, version: str, data: Json) -> Json:
    """Return a Secret of the type *kind*, in place of the *version* that was read if there is one."""
    meta = {**meta, "resourceVersion": version} if version else meta
    return {"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": meta, "data": data}
