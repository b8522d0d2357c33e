"""From API objects to values: strict, one function per kind, each raises `ObjectError` for what is malformed."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any, Final

from wirecrypt.cluster.codec.object_fields import fields_of
from wirecrypt.documents import Fields
from wirecrypt.model.conditions import Condition
from wirecrypt.model.objects import (
    ALLOW_ADDRESSES,
    FINALIZER,
    LABEL,
    LABEL_CONTROL_PLANE,
    ConfigDocument,
    EncryptedNode,
    KeyRotation,
    KeySecret,
    Node,
    NodeKey,
    NodePeer,
    NodeState,
    NodeStatus,
    Phase,
    SeedSecret,
)
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Epoch, Session
from wirecrypt.model.spi import MAX_LANES, MAX_NODE_ID, MIN_NODE_ID
from wirecrypt.model.xfrm import Address, Algorithm, Network

CONFIRM: Final = "wirecrypt.io/confirm-removal"
NODE_UID: Final = "wirecrypt.io/node-uid"
NODE_ID: Final = "wirecrypt.io/node-id"
ACTIVE: Final = "wirecrypt.io/active"
KEY_PREFIX: Final = "wirecrypt-node-"
SEED_PREFIX: Final = "wirecrypt-epoch-"
_IP_FAMILIES: Final = ("IPv4", "IPv6")
_PUBLIC_BYTES: Final = 32
_ID_BYTES: Final = 16
_SHARE_BYTES: Final = 64 * 32
_SEED_BYTES: Final = 32

Raw = Mapping[str, Any]


def node(raw: Raw) -> Node:
    """Return a Node; its pod prefixes are `podCIDRs`, or `podCIDR` where only that is set."""
    obj = fields_of("Node", raw)
    meta, spec, status = obj.group("metadata"), obj.group("spec"), obj.group("status")
    labels = meta.mapping("labels")
    addresses = [a for a in status.groups("addresses") if a.text("type") == "InternalIP"]
    cidrs = spec.each("podCIDRs", ip_network)
    if not cidrs and spec.has("podCIDR"):
        cidrs = (spec.via("podCIDR", ip_network),)
    ready = [c.text("status") for c in status.groups("conditions") if c.text("type") == "Ready"]
    return Node(
        name=meta.text("name"),
        uid=meta.text("uid"),
        label=labels.get(LABEL),
        endpoints=tuple(a.via("address", ip_address) for a in addresses),
        pod_cidrs=cidrs,
        created=meta.time("creationTimestamp"),
        ready=ready in ([], ["True"]),
        control_plane=LABEL_CONTROL_PLANE in labels,
    )


def slice_addresses(raw: Raw) -> tuple[Address, ...]:
    """Return the addresses of an EndpointSlice; none of one that holds names."""
    obj = fields_of("EndpointSlice", raw)
    if obj.text("addressType") not in _IP_FAMILIES:
        return ()
    return tuple(address for endpoint in obj.groups("endpoints") for address in endpoint.each("addresses", ip_address))


def node_peer(raw: Raw) -> NodePeer:
    """Return a NodePeer."""
    obj = fields_of("NodePeer", raw)
    meta, spec, status = obj.group("metadata"), obj.group("spec"), obj.group("status")
    return NodePeer(
        name=meta.text("name"),
        uid=meta.text("uid"),
        node_id=spec.number("nodeID", low=MIN_NODE_ID, high=MAX_NODE_ID),
        node_uid=spec.text("nodeUID"),
        endpoints=spec.each("endpoints", ip_address),
        pod_cidrs=spec.each("podCIDRs", ip_network),
        state=spec.choice("state", NodeState),
        created=meta.time("creationTimestamp"),
        resource_version=meta.text("resourceVersion", ""),
        boot_id=status.text("bootID", ""),
        boot_session=status.number("bootSession", 0),
        last_session=status.number("lastSession", 0),
        sessions=tuple(_session(s) for s in status.groups("sessions")),
        deleting=meta.has("deletionTimestamp"),
        confirmed=meta.mapping("annotations").get(CONFIRM) == "true",
        addresses=spec.each("addresses", ip_address),
        proposed=status.each("proposed", ip_address) if status.has("proposed") else None,
        allowed=_prefixes(meta.mapping("annotations").get(ALLOW_ADDRESSES, "")),
    )


def _prefixes(text: str) -> tuple[Network, ...]:
    """Return the prefixes and addresses in *text*, with commas between; a word that is none allows nothing."""
    found = []
    for word in text.split(","):
        with suppress(ValueError):
            found.append(ip_network(word.strip()))
    return tuple(dict.fromkeys(found))


def _session(raw: Fields) -> Session:
    return Session(
        number=raw.number("number", low=1),
        epoch=Epoch(raw.number("epoch", low=1), raw.via("epochID", _epoch_id)),
        public=raw.via("publicKey", _public),
        lanes=raw.number("lanes", low=1, high=MAX_LANES),
        algorithm=raw.choice("algorithm", Algorithm),
    )


def encrypted_node(raw: Raw) -> EncryptedNode:
    """Return an EncryptedNode; its status is None until its agent wrote one."""
    obj = fields_of("EncryptedNode", raw)
    meta, spec = obj.group("metadata"), obj.group("spec")
    return EncryptedNode(
        name=meta.text("name"),
        uid=meta.text("uid"),
        node_id=spec.number("nodeID", low=MIN_NODE_ID, high=MAX_NODE_ID),
        node_uid=spec.text("nodeUID"),
        state=spec.choice("state", NodeState),
        created=meta.time("creationTimestamp"),
        resource_version=meta.text("resourceVersion", ""),
        status=_node_status(obj.group("status")) if obj.raw.get("status") else None,
        deleting=meta.has("deletionTimestamp"),
        problems=spec.texts("problems"),
        confirmed=meta.mapping("annotations").get(CONFIRM) == "true",
    )


def _node_status(raw: Fields) -> NodeStatus:
    peers = raw.group("peers")
    return NodeStatus(
        boot_id=raw.text("bootID", ""),
        sending_epoch=raw.number("sendingEpoch", 0),
        accepting_epochs=raw.numbers("acceptingEpochs"),
        peers_desired=peers.number("desired", 0),
        peers_protected=peers.number("protected", 0),
        peers_failing=peers.number("failing", 0),
        ready_for=tuple(sorted(raw.texts("readyFor"))),
        failing=raw.texts("failing"),
        mtu=raw.number("mtu", 0),
        sequence_headroom=raw.number("sequenceHeadroom", 100, high=100),
        versions=tuple(sorted(raw.mapping("versions").items())),
        conditions=_conditions(raw),
        exempt_packets=tuple((each.text("peer"), each.number("packets")) for each in raw.groups("exemptPackets")),
    )


def _conditions(raw: Fields) -> tuple[Condition, ...]:
    return tuple(
        Condition(
            type=c.text("type"),
            status={"True": True, "False": False}.get(c.text("status")),
            reason=c.text("reason"),
            message=c.text("message", ""),
            changed=c.time("lastTransitionTime"),
        )
        for c in raw.groups("conditions")
    )


def key_rotation(raw: Raw) -> KeyRotation:
    """Return a KeyRotation; its phase is None until the controller saw it."""
    obj = fields_of("KeyRotation", raw)
    meta, spec, status = obj.group("metadata"), obj.group("spec"), obj.group("status")
    return KeyRotation(
        name=meta.text("name"),
        uid=meta.text("uid"),
        reason=spec.text("reason"),
        created=meta.time("creationTimestamp"),
        abort=spec.flag("abort", default=False),
        without=spec.texts("without"),
        resource_version=meta.text("resourceVersion", ""),
        phase=status.choice("phase", Phase) if status.has("phase") else None,
        from_epoch=status.number("fromEpoch", 0),
        to_epoch=status.number("toEpoch", 0),
        to_epoch_id=status.text("toEpochID", ""),
        nodes_total=status.number("nodesTotal", 0),
        nodes_done=status.number("nodesDone", 0),
        laggards=status.texts("laggards"),
        started=status.time("startTime") if status.has("startTime") else None,
        completed=status.time("completionTime") if status.has("completionTime") else None,
        conditions=_conditions(status),
        held=FINALIZER in meta.texts("finalizers"),
        deleting=meta.has("deletionTimestamp"),
    )


def asked_rotation(raw: Raw) -> KeyRotation:
    """Return a KeyRotation as nodes are to go by it: without its version, how far it is, and who is behind."""
    return replace(key_rotation(raw), resource_version="", nodes_total=0, nodes_done=0, laggards=(), conditions=())


def config_document(raw: Raw) -> ConfigDocument:
    """Return the ConfigMap's data, unparsed."""
    obj = fields_of("ConfigMap", raw)
    return ConfigDocument(obj.mapping("data"), obj.group("metadata").text("resourceVersion", ""))


def key_secret(raw: Raw) -> KeySecret:
    """Return a node-key Secret; errors never show its data."""
    obj = fields_of("Secret", raw, secret=True)
    meta, data = obj.group("metadata"), obj.group("data")
    name, said = meta.text("name"), meta.mapping("annotations")
    if not name.startswith(KEY_PREFIX):
        obj.refuse("metadata.name", f"does not begin with {KEY_PREFIX}")
    return KeySecret(
        node=name.removeprefix(KEY_PREFIX),
        node_uid=said.get(NODE_UID, ""),
        node_id=_node_id(said.get(NODE_ID, "")),
        active=said.get(ACTIVE) == "true",
        keys=tuple(sorted((_node_key(data, number) for number in data.raw), key=lambda k: k.epoch)),
        resource_version=meta.text("resourceVersion", ""),
    )


def _node_id(text: str) -> int:
    """Return a node ID, 0 for what is none: the keys are of use without it, and the controller writes it again."""
    number = int(text) if text.isascii() and text.isdigit() else 0
    return number if MIN_NODE_ID <= number <= MAX_NODE_ID else 0


def _node_key(data: Fields, number: str) -> NodeKey:
    value = data.via(number, _base64)
    if not (number.isascii() and number.isdigit() and 0 < int(number) < 2**63 and number == str(int(number))):
        data.refuse(number, "the entry's name is not an epoch's number")
    if len(value) != _ID_BYTES + _SHARE_BYTES:
        data.refuse(number, f"{len(value)} bytes instead of {_ID_BYTES + _SHARE_BYTES}")
    return NodeKey(Epoch(int(number), value[:_ID_BYTES].hex()), SecretBytes(value[_ID_BYTES:]))


def seed_secret(raw: Raw) -> SeedSecret:
    """Return an epoch's Secret; errors never show its data."""
    obj = fields_of("Secret", raw, secret=True)
    meta, data = obj.group("metadata"), obj.group("data")
    number = meta.text("name").removeprefix(SEED_PREFIX)
    if not (number.isascii() and number.isdigit() and int(number) > 0):
        obj.refuse("metadata.name", f"is not {SEED_PREFIX} and a number")
    seed, epoch_id = data.via("seed", _base64), data.via("id", _base64)
    if len(seed) != _SEED_BYTES or len(epoch_id) != _ID_BYTES:
        data.refuse("seed, id", f"not {_SEED_BYTES} and {_ID_BYTES} bytes")
    ids = {key: data.via(key, _ids) if data.has(key) else () for key in ("released", "carried")}
    epoch = Epoch(int(number), epoch_id.hex())
    return SeedSecret(epoch, SecretBytes(seed), ids["released"], ids["carried"], meta.text("resourceVersion", ""))


def _ids(text: str) -> tuple[int, ...]:
    words = _base64(text).decode("ascii").split()
    return tuple(sorted({int(word) for word in words}))


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None  # the cause would quote the text


def _public(text: str) -> bytes:
    value = _base64(text)
    if len(value) != _PUBLIC_BYTES:
        raise ValueError(f"{len(value)} bytes instead of {_PUBLIC_BYTES}")
    return value


def _epoch_id(text: str) -> str:
    if len(text) != 2 * _ID_BYTES or bytes.fromhex(text).hex() != text:
        raise ValueError("not 32 lower-case hex digits")
    return text
