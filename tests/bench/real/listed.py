"""An API server of so many nodes at rest, made page by page as they are asked for: lists, silent watches, a Lease, no store.

python3 -m tests.bench.real.listed FILE NODES writes a kubeconfig for itself to FILE, serves until it is killed, and says a line
for each write but of the Lease. Nodes are as kubelets write them, of some 10 kB.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

from tests.bench.real.cluster import RANGES, claims
from tests.fakes.builders import EPOCH, SILENT, START, node_key
from wirecrypt.cluster import paths
from wirecrypt.cluster.codec import encode, key_access
from wirecrypt.model.access import AccessPart
from wirecrypt.model.admission import AGENT_TOKEN, STATUS_BY_AGENT
from wirecrypt.model.conditions import Condition
from wirecrypt.model.objects import (
    LABEL,
    LABEL_ENABLED,
    KeyRotation,
    KeySecret,
    Node,
    NodePeer,
    NodeState,
    Phase,
    SeedSecret,
)
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Session
from wirecrypt.model.xfrm import Algorithm

Json = dict[str, Any]
IMAGES: Final = 50  # that a Node lists, as a kubelet's default
FIRST_ID: Final = 16
MADE: Final = encode.time(START)
READY: Final = Condition("Ready", status=True, reason="AllPeersProtected", message="")
FIELDS: Final = {f"f:field{n}": {"f:lastTransitionTime": {}, "f:message": {}} for n in range(20)}  # who wrote what


def _value(number: int) -> Node:
    address, prefix = claims(number)
    places = (ip_address(address),), (ip_network(prefix),)
    return Node(f"n{number:04}", f"uid-{number}", LABEL_ENABLED, *places, START)


def _whole(number: int, raw: Json) -> Json:
    """Return *raw* with what an API server adds to any object."""
    managed = [
        {"manager": who, "operation": "Update", "time": MADE, "fieldsV1": {"f:status": FIELDS}} for who in ("one", "two")
    ]
    meta = {"uid": f"{raw['kind']}-{number}", "resourceVersion": str(number + 1), "creationTimestamp": MADE}
    return {**raw, "metadata": {**raw["metadata"], **meta, "managedFields": managed}}


def _node(number: int) -> Json:
    node = _value(number)
    meta = {"name": node.name, "labels": {LABEL: LABEL_ENABLED}}
    names = (f"registry.example.com/team-{n}/service-{n}" for n in range(IMAGES))
    images = [{"names": [f"{name}@sha256:{number:064x}", f"{name}:v1"], "sizeBytes": 123456789} for name in names]
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "", "lastTransitionTime": MADE}
    status = {"addresses": [{"type": "InternalIP", "address": str(node.endpoints[0])}], "conditions": [ready], "images": images}
    raw = _whole(
        number, {"kind": "Node", "metadata": meta, "spec": {"podCIDRs": [str(p) for p in node.pod_cidrs]}, "status": status}
    )
    raw["metadata"]["uid"] = node.uid
    return raw


def _peer(number: int) -> Json:
    node = _value(number)
    peer = NodePeer(node.name, "", FIRST_ID + number, node.uid, node.endpoints, node.pod_cidrs, NodeState.ACTIVE, START)
    session = Session(1, EPOCH, number.to_bytes(32), 1, Algorithm.AES_256_GCM)
    status = {"bootID": f"boot-{number}", "bootSession": 1, "lastSession": 1, "sessions": [encode.session(session)]}
    proposed = [str(address) for address in node.endpoints]
    return _whole(number, {**encode.node_peer(node, peer), "status": {**status, "proposed": proposed}})


def _encrypted(number: int, *, nodes: int) -> Json:
    status = replace(SILENT, boot_id=f"boot-{number}", sending_epoch=1, accepting_epochs=(1,), conditions=(READY,))
    said = encode.node_status(replace(status, peers_desired=nodes - 1, peers_protected=nodes - 1), (), datetime.now(UTC))
    raw = encode.encrypted_node(_value(number), FIRST_ID + number, NodeState.ACTIVE, ())
    return _whole(number, {**raw, "status": said})


def _keys(number: int) -> Json:
    node = _value(number)
    share = node_key(EPOCH, "any")
    own = replace(share, share=SecretBytes(number.to_bytes(4) + share.share.reveal()[4:]))
    secret = KeySecret(node.name, node.uid, (own,), "1", FIRST_ID + number, active=True)
    return _whole(number, encode.key_secret(secret, encode.owner(node)))


def _access(number: int, *, part: AccessPart) -> Json:
    return _whole(number, key_access.encode(_value(number).name, part))


def _rotation(number: int) -> Json:
    done = KeyRotation(
        "initial", "", "", START, phase=Phase.COMPLETE, to_epoch=EPOCH.number, to_epoch_id=EPOCH.id, completed=START
    )
    meta, spec = {"name": "initial"}, {"reason": "the first"}
    return _whole(
        number, {"kind": "KeyRotation", "metadata": meta, "spec": spec, "status": encode.rotation_status(done, START)}
    )


def _seed(number: int) -> Json:
    return _whole(number, encode.seed_secret(SeedSecret(EPOCH, SecretBytes(bytes(32)))))


def _config(number: int) -> Json:
    meta = {"name": paths.CONFIG.rpartition("/")[2]}
    return _whole(number, {"kind": "ConfigMap", "metadata": meta, "data": {"config.yaml": json.dumps(RANGES)}})


def kinds(nodes: int) -> dict[str, tuple[Callable[[int], Json], int]]:
    """Return what makes the objects of each collection, and how many there are."""
    own = {paths.NODES: _node, paths.NODE_PEERS: _peer, paths.NODE_KEYS: _keys}
    own |= {paths.ENCRYPTED_NODES: partial(_encrypted, nodes=nodes)}
    own |= {path: partial(_access, part=part) for part, path in paths.ACCESS.items()}
    one = {paths.KEY_ROTATIONS: _rotation, paths.SEEDS: _seed, paths.CONFIG_MAPS: _config}
    return {path: (make, nodes) for path, make in own.items()} | {path: (make, 1) for path, make in one.items()}


class Handler(BaseHTTPRequestHandler):
    """Answers for *collections*; *lease* is the one that was written last."""

    protocol_version = "HTTP/1.1"
    collections: dict[str, tuple[Callable[[int], Json], int]]
    lease: Json | None = None

    def do_GET(self) -> None:
        """Answer a list or a look at the Lease, and say nothing to who watches."""
        path, _, query = self.path.partition("?")
        asked = {name: values[-1] for name, values in parse_qs(query).items()}
        if "watch" in asked:
            self.send_response(200)
            self.end_headers()
            self.wfile.flush()
            threading.Event().wait()
        elif path in self.collections:
            self._say(200, self._page(path, int(asked["limit"]), int(asked.get("continue", 0))))
        elif paths.LEASES in path and Handler.lease:
            self._say(200, Handler.lease)
        else:
            self._say(404, {"reason": "NotFound", "details": {"name": "it"}})

    def write(self) -> None:
        """Refuse what the policies refuse; take in the Lease; all else is a line, and forgotten."""
        body: Json = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or b"{}")
        if "dryRun" in self.path:
            policy = STATUS_BY_AGENT if paths.NODE_PEERS in self.path else AGENT_TOKEN
            self._say(403, {"reason": "Forbidden", "message": f"ValidatingAdmissionPolicy '{policy}' denied request"})
            return
        body.setdefault("metadata", {})["resourceVersion"] = str(
            int((Handler.lease or body)["metadata"].get("resourceVersion", 0)) + 1
        )
        if paths.LEASES in self.path:
            Handler.lease = body
        else:
            sys.stdout.write(f"{self.command} {self.path}\n")
            sys.stdout.flush()
        self._say(200, body)

    do_POST = do_PUT = do_PATCH = do_DELETE = write  # noqa: N815 - the library's names

    def _page(self, path: str, limit: int, first: int) -> Json:
        make, number = self.collections[path]
        last = min(first + limit, number)
        more = {"continue": str(last)} if last < number else {}
        return {"metadata": {"resourceVersion": str(number + 1), **more}, "items": [make(n) for n in range(first, last)]}

    def _say(self, status: int, body: Json) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main(file: Path, nodes: int) -> None:
    """Serve until killed."""
    Handler.collections = kinds(nodes)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    named = {"name": "x", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
    context = {"name": "x", "context": {"cluster": "x", "user": "x"}}
    user = {"name": "x", "user": {"token": "x"}}
    made = file.with_suffix(".new")
    made.write_text(json.dumps({"current-context": "x", "clusters": [named], "users": [user], "contexts": [context]}))
    made.rename(file)
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
