"""A cluster in memory for the verbs: it passes the contract in `cli_client_contract.py`, as the real one does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

from wirecrypt.cluster.cli_client import NodeLabel
from wirecrypt.errors import ClusterError, Forbidden, InputError, ObjectError
from wirecrypt.model.conditions import Condition
from wirecrypt.model.objects import LABEL, ConfigDocument, EncryptedNode, KeyRotation, NodePeer, NodeState, NodeStatus, Phase
from wirecrypt.model.session import Epoch, Session
from wirecrypt.model.xfrm import Algorithm

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
CONFIG = ConfigDocument({"config.yaml": "clusterCIDRs: [10.0.0.0/8]\nnodeCIDRs: [192.0.2.0/24]"}, "1")
ABORTABLE = (None, Phase.PENDING, Phase.DISTRIBUTING)


def node_label(name: str, label: str | None = None, *, linux: bool = True, **more: object) -> NodeLabel:
    fields: dict[str, object] = {"architecture": "amd64", "kernel": "6.1.0-28-amd64"}
    return NodeLabel(name, f"uid-{name}", label, linux, NOW - timedelta(days=3), **(fields | more))  # type: ignore[arg-type]


def status(*, ready: bool = True, reason: str = "", message: str = "", epoch: int = 1, **more: object) -> NodeStatus:
    """Return the status of a node with two peers; all are protected if *ready*."""
    reason = reason or ("AllPeersProtected" if ready else "PeersFailing")
    protected = 2 if ready else 1
    fields: dict[str, object] = {
        "boot_id": "boot",
        "sending_epoch": epoch,
        "accepting_epochs": (epoch,),
        "peers_desired": 2,
        "peers_protected": protected,
        "peers_failing": 2 - protected,
        "ready_for": (),
        "failing": () if ready else ("c: no answer",),
        "mtu": 1500,
        "sequence_headroom": 97,
        "versions": (("agent", "0.1.0"), ("kernel", "6.1.0")),
        "conditions": (Condition("Ready", ready, reason, message or f"{protected} of 2 peers protected", NOW),),
    }
    return NodeStatus(**(fields | more))  # type: ignore[arg-type]


def encrypted(name: str, number: int = 16, made: NodeStatus | None = None, **more: object) -> EncryptedNode:
    fields: dict[str, object] = {"state": NodeState.ACTIVE, "created": NOW - timedelta(hours=2), "status": made}
    return EncryptedNode(name=name, uid=f"e-{name}", node_id=number, node_uid=f"uid-{name}", **(fields | more))  # type: ignore[arg-type]


def peer(name: str, number: int = 16, *sessions: int) -> NodePeer:
    return NodePeer(
        name=name,
        uid=f"p-{name}",
        node_id=number,
        node_uid=f"uid-{name}",
        endpoints=(ip_address(f"192.0.2.{number}"),),
        pod_cidrs=(ip_network(f"10.{number}.0.0/24"),),
        state=NodeState.ACTIVE,
        created=NOW,
        last_session=max(sessions, default=0),
        sessions=tuple(Session(n, Epoch(1, "0" * 32), bytes(32), 1, Algorithm.AES_256_GCM) for n in sessions),
    )


def rotation(name: str, phase: Phase | None, **more: object) -> KeyRotation:
    fields: dict[str, object] = {"reason": "test", "created": NOW - timedelta(minutes=5), "phase": phase}
    return KeyRotation(name=name, uid=f"r-{name}", **(fields | more))  # type: ignore[arg-type]


@dataclass
class FakeCliClient:
    """Objects in memory. *refuse*: called before every write with what it is, and with `config` before it is read; may raise.

    *writes* are those that were made.
    """

    nodes: dict[str, NodeLabel] = field(default_factory=dict)
    objects: dict[str, EncryptedNode] = field(default_factory=dict)
    peers: dict[str, NodePeer] = field(default_factory=dict)
    turns: dict[str, KeyRotation] = field(default_factory=dict)
    malformed: dict[str, ObjectError] = field(default_factory=dict)
    missing: Sequence[str] = ()
    refuse: Callable[[str], None] = lambda _: None
    before_read: Callable[[], None] = lambda: None
    writes: list[str] = field(default_factory=list)
    document: ConfigDocument | None = CONFIG

    def config(self) -> ConfigDocument | None:
        """Return the configuration document."""
        self.refuse("config")
        return self.document

    def node_labels(self, selector: str = "") -> Sequence[NodeLabel]:
        """Return all Nodes by name, or those that a selector of the one kind LABEL=VALUE chooses."""
        key, equals, value = selector.partition("=")
        if selector and (key, equals) != (LABEL, "="):
            raise InputError("choose nodes by labels", what=selector, answer="400 BadRequest", hint="write it as for kubectl")
        return [self.nodes[name] for name in sorted(self.nodes) if not selector or self.nodes[name].label == value]

    def missing_parts(self) -> Sequence[str]:
        """Return what was said to be missing."""
        self.refuse("missing parts")
        return self.missing

    def encrypted_nodes(self) -> Sequence[EncryptedNode]:
        """Return all EncryptedNodes by name."""
        self.before_read()
        return [self.objects[name] for name in sorted(self.objects)]

    def node_peers(self) -> Sequence[NodePeer]:
        """Return all NodePeers by name."""
        return [self.peers[name] for name in sorted(self.peers)]

    def rotations(self) -> Sequence[KeyRotation]:
        """Return all KeyRotations, oldest first."""
        return sorted(self.turns.values(), key=lambda r: (r.created, r.name))

    def rotation(self, name: str) -> KeyRotation | None:
        """Return one KeyRotation."""
        self.before_read()
        return self.turns.get(name)

    def label(self, node: NodeLabel, value: str | None, *, dry_run: bool = False) -> None:
        """Set or remove the label of the Node with this UID."""
        self.refuse(f"label {node.name}{' dry' if dry_run else ''}")
        known = self.nodes.get(node.name)
        if known is None or known.uid != node.uid:
            raise ClusterError("set the label", what=f"Node {node.name}", answer="409 Conflict")
        if not dry_run:
            self.nodes[node.name] = replace(known, label=value)
            self.writes.append(f"label {node.name} {value}")

    def request_rotation(self, reason: str) -> KeyRotation:
        """Create a KeyRotation."""
        self.refuse("rotation")
        name = f"manual-{len(self.turns)}"
        self.turns[name] = rotation(name, None, reason=reason, created=NOW)
        self.writes.append(f"rotation {name}")
        return self.turns[name]

    def abort(self, rotation: KeyRotation) -> None:
        """Set spec.abort, unless it is too late."""
        self.refuse(f"abort {rotation.name}")
        if self.turns[rotation.name].phase not in ABORTABLE:
            hint = "let it finish"
            raise ClusterError(
                "abort the rotation", what=f"KeyRotation {rotation.name}", answer="422 Invalid too late to abort", hint=hint
            )
        self.turns[rotation.name] = replace(self.turns[rotation.name], abort=True)
        self.writes.append(f"abort {rotation.name}")

    def exclude(self, rotation: KeyRotation, names: Iterable[str]) -> None:
        """Add to spec.without."""
        self.refuse(f"exclude {rotation.name}")
        names = sorted({*self.turns[rotation.name].without, *names})
        self.turns[rotation.name] = replace(self.turns[rotation.name], without=tuple(names))
        self.writes.append(f"exclude {','.join(names)} from {rotation.name}")


def forbid(what: str) -> Callable[[str], None]:
    """Return a refusal of the writes whose text begins with *what*."""

    def refuse(write: str) -> None:
        if write.startswith(what):
            raise Forbidden("write", what=write, answer="403 Forbidden no", hint="ask for the right")

    return refuse
