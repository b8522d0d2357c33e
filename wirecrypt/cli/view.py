"""From objects to what `status` shows: pure values, so that table, JSON and YAML say the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from wirecrypt.cli.output import Grid, Json, age, stamp
from wirecrypt.cluster.cli_client import CliClient, NodeLabel
from wirecrypt.model.conditions import COMPLETE, READY, Condition, Reason, find
from wirecrypt.model.objects import LABEL_ENABLED, MOST_JOINING, EncryptedNode, KeyRotation, NodePeer, NodeState
from wirecrypt.rotation.phases import FINISHED

PLAIN: Final = "Plain"
PENDING: Final = "Pending"
HELD: Final = (
    "its Node is gone, or another has its name: its pairs stay as they are, or block, until it is removed; when many went at"
    " once a person has to confirm each: kubectl annotate np NAME wirecrypt.io/confirm-removal=true"
)
_READY: Final = {True: ("True", "green"), False: ("False", "red"), None: ("Unknown", "yellow")}
_STYLES: Final = {"Active": "green", "Joining": "yellow", "Leaving": "yellow", "Excluded": "red", "Pending": "yellow"}
COLUMNS: Final = ("NODE", "STATE", "READY", "REASON", "PEERS", "EPOCH", "SESSION", "AGE")


@dataclass(frozen=True, slots=True)
class Row:
    """One Node as `status` shows it. *state*: Plain (not enabled), Pending (no objects yet), or of the objects.

    *strange*: what is on the Node, looks like a wish of ours, and is none.
    """

    name: str
    state: str
    ready: bool | None
    reason: str
    message: str
    since: datetime | None
    encrypted: EncryptedNode | None = None
    peer: NodePeer | None = None
    strange: tuple[str, ...] = ()

    @property
    def joins(self) -> bool:
        """Return whether the node has been taken up, and joins."""
        return self.encrypted is not None and self.encrypted.state is NodeState.JOINING

    @property
    def enabled(self) -> bool:
        """Return whether the node is, or is to be, encrypted."""
        return self.state != PLAIN


def rows(node_labels: Sequence[NodeLabel], encrypted: Sequence[EncryptedNode], peers: Sequence[NodePeer]) -> list[Row]:
    """Return a row for every Node, every EncryptedNode and every NodePeer, by name."""
    by_label, by_peer = {w.name: w for w in node_labels}, {p.name: p for p in peers}
    by_object, many = {e.name: e for e in encrypted}, len(encrypted) >= MOST_JOINING
    joining = many and any(e.state is NodeState.JOINING for e in encrypted)
    names = sorted(by_label.keys() | by_object.keys() | by_peer.keys())
    return [
        replace(
            _row(name, by_label.get(name), by_object.get(name), by_peer.get(name), joining=joining),
            strange=by_label[name].strange if name in by_label else (),
        )
        for name in names
    ]


def _row(
    name: str, node_label: NodeLabel | None, encrypted: EncryptedNode | None, peer: NodePeer | None, *, joining: bool
) -> Row:
    """Return the row of one name; *joining*: of many nodes some join, so another may wait for its turn."""
    if encrypted is None:
        row = _without_objects(name, node_label, peer)
        waits = joining and row.reason == Reason.NO_CONTROLLER
        return replace(row, reason=Reason.JOIN_WAITS, message="labelled; not taken up yet, while others join") if waits else row
    ready = find(encrypted.conditions, READY) or Condition(READY, None, Reason.NO_STATUS, "its agent has reported nothing yet")
    reason, message = ready.reason, ready.message
    if encrypted.problems:
        reason, message = Reason.REFUSED, "; ".join(encrypted.problems)
    return Row(name, encrypted.state.value, ready.status, reason, message, encrypted.created, encrypted, peer)


def _without_objects(name: str, node_label: NodeLabel | None, peer: NodePeer | None) -> Row:
    since = node_label.created if node_label else None
    if peer is not None and (node_label is None or node_label.uid != peer.node_uid):
        return Row(name, PENDING, ready=False, reason=Reason.NODE_GONE, message=HELD, since=since, peer=peer)
    if node_label is None or node_label.label is None:
        return Row(name, PLAIN, None, "", "not enabled", since, peer=peer)
    if node_label.label != LABEL_ENABLED:
        return Row(
            name, PENDING, None, Reason.BAD_LABEL, f"the label's value is {node_label.label!r}, not {LABEL_ENABLED!r}", since
        )
    return Row(name, PENDING, None, Reason.NO_CONTROLLER, "labelled; the controller has not taken it up yet", since, peer=peer)


def node_grid(shown: Sequence[Row], now: datetime) -> Grid:
    """Return the table of nodes."""
    return Grid(COLUMNS, [_cells(row, now) for row in shown])


def _cells(row: Row, now: datetime) -> list[str | tuple[str, str]]:
    state = (row.state, _STYLES.get(row.state, ""))
    if not row.enabled:
        return [row.name, state, "", "", "", "", "", age(row.since, now)]
    status = row.encrypted.status if row.encrypted else None
    done = f"{status.peers_protected}/{status.peers_desired}" if status else ""
    epoch = str(status.sending_epoch) if status else ""
    session = str(row.peer.last_session) if row.peer else ""
    return [row.name, state, _READY[row.ready], row.reason, done, epoch, session, age(row.since, now)]


def node_document(row: Row) -> Json:
    """Return a node for programs."""
    status = row.encrypted.status if row.encrypted else None
    return {
        "name": row.name,
        "state": row.state,
        "ready": row.ready,
        "reason": str(row.reason),
        "message": row.message,
        "peers": {
            "desired": status.peers_desired if status else 0,
            "protected": status.peers_protected if status else 0,
            "failingCount": status.peers_failing if status else 0,
            "failing": list(status.failing) if status else [],  # the status names no more than some
        },
        "epoch": status.sending_epoch if status else 0,
        "acceptingEpochs": list(status.accepting_epochs) if status else [],
        "session": row.peer.last_session if row.peer else 0,
        "created": stamp(row.since),
        "problems": list(row.encrypted.problems) if row.encrypted else [],
        "unknownLabels": list(row.strange),
    }


def open_rotations(rotations: Sequence[KeyRotation]) -> list[KeyRotation]:
    """Return the rotations that are not finished, oldest first."""
    return [r for r in rotations if r.phase not in FINISHED]


def why(rotation: KeyRotation) -> str:
    """Return what a rotation waits for, in the controller's words."""
    complete = find(rotation.conditions, COMPLETE)
    return complete.message if complete else "the controller has not taken it up yet"


def laggards(rotation: KeyRotation, encrypted: Mapping[str, EncryptedNode]) -> list[tuple[str, str]]:
    """Return the nodes that a rotation could not wait for, each with the reason."""
    return [(name, _lag(encrypted.get(name), rotation)) for name in rotation.laggards]


def _lag(encrypted: EncryptedNode | None, rotation: KeyRotation) -> str:
    if encrypted is None:
        return "has no EncryptedNode any more"
    if encrypted.status is None:
        return "its agent has reported nothing yet"
    ready = find(encrypted.conditions, READY)
    if ready and ready.status is not True:
        return f"{ready.reason}: {ready.message}"
    epoch = encrypted.status.sending_epoch
    stands = f"sends with epoch {epoch}" if epoch != rotation.to_epoch else "accepts an older epoch"
    return f"{stands}; its Node is not Ready, or its agent is silent"


ROTATION_COLUMNS: Final = ("ROTATION", "PHASE", "EPOCHS", "NODES", "LAGGARDS", "MESSAGE", "AGE")


def rotation_grid(shown: Sequence[KeyRotation], now: datetime) -> Grid:
    """Return the table of rotations."""
    return Grid(
        ROTATION_COLUMNS,
        [
            (
                r.name,
                r.phase.value if r.phase else "New",
                f"{r.from_epoch} → {r.to_epoch}" if r.to_epoch else "",
                f"{r.nodes_done}/{r.nodes_total}",
                str(len(r.laggards)),
                why(r),
                age(r.created, now),
            )
            for r in shown
        ],
    )


def rotation_document(rotation: KeyRotation, encrypted: Mapping[str, EncryptedNode]) -> Json:
    """Return a rotation for programs."""
    return {
        "name": rotation.name,
        "reason": rotation.reason,
        "phase": rotation.phase.value if rotation.phase else None,
        "abort": rotation.abort,
        "fromEpoch": rotation.from_epoch,
        "toEpoch": rotation.to_epoch,
        "nodesDone": rotation.nodes_done,
        "nodesTotal": rotation.nodes_total,
        "laggards": [{"node": name, "reason": reason} for name, reason in laggards(rotation, encrypted)],
        "message": why(rotation),
        "created": stamp(rotation.created),
        "started": stamp(rotation.started),
        "completed": stamp(rotation.completed),
    }


def unready(cluster: CliClient, names: Sequence[str]) -> list[str]:
    """Return which of these nodes are not Ready yet, each with the reason."""
    found = {e.name: e for e in cluster.encrypted_nodes()}
    return [f"{name} ({_unready(found.get(name))})" for name in names if _unready(found.get(name))]


def _unready(encrypted: EncryptedNode | None) -> str:
    if encrypted is None:
        return "no EncryptedNode yet: is the controller running?"
    ready = find(encrypted.conditions, READY)
    if encrypted.state is NodeState.LEAVING:
        return "is still leaving; it joins anew after that"
    if ready is None:
        return "; ".join(encrypted.problems) or "its agent has reported nothing yet: does it run there?"
    return "" if ready.status else f"{ready.reason}: {ready.message}"


def still_here(cluster: CliClient, names: Sequence[str]) -> list[str]:
    """Return which of these nodes still have objects, each with the reason."""
    objects = {e.name: e.state.value for e in cluster.encrypted_nodes()}
    objects |= {p.name: p.state.value for p in cluster.node_peers() if p.name not in objects}
    return [f"{name} ({objects[name]})" for name in names if name in objects]
