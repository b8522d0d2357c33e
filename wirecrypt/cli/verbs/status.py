"""`wirecrypt status`: how far each node is, and the rotations that are going on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

import click

from wirecrypt.cli.output import Grid, Json, age, count, emit, stamp
from wirecrypt.cli.tools import client, connecting, exits, formatted, tools
from wirecrypt.cli.view import (
    Row,
    laggards,
    node_document,
    node_grid,
    open_rotations,
    rotation_document,
    rotation_grid,
    rows,
)
from wirecrypt.errors import InputError
from wirecrypt.model.conditions import Reason
from wirecrypt.model.objects import LABEL, LABEL_ENABLED, EncryptedNode, KeyRotation, NodePeer, NodeStatus

_MEANT: Final = f"a node is enabled by the label {LABEL}={LABEL_ENABLED}"


@click.command(
    epilog=exits(
        {
            0: "shown",
            1: "the API server refused or did not answer",
            2: "the cluster has no node of this name",
        }
    )
)
@click.argument("node", required=False)
@connecting
@formatted
def status(node: str | None) -> None:
    """Show every node, or all that is known of NODE; then the rotations in progress.

    It reports and judges not: `verify` and `doctor` do.
    """
    cluster, now = client(), tools().now()
    encrypted = cluster.encrypted_nodes()
    found = rows(cluster.node_labels(), encrypted, cluster.node_peers())
    if node is not None:
        one = _chosen(found, node)
        emit(_details(one), lambda: _detail_lines(one, now))
        return
    turning = open_rotations(cluster.rotations())
    problems = {name: error.answer or str(error) for name, error in sorted(cluster.malformed.items())}
    emit(_overview(found, turning, encrypted, problems), lambda: _overview_lines(found, turning, encrypted, problems, now))


def _chosen(found: Sequence[Row], name: str) -> Row:
    for row in found:
        if row.name == name:
            return row
    answer = "the cluster has none of this name"
    raise InputError("find the Node", what=name, answer=answer, hint="`wirecrypt status` lists them")


def _overview(
    found: Sequence[Row], turning: Sequence[KeyRotation], encrypted: Sequence[EncryptedNode], problems: dict[str, str]
) -> Json:
    by_name = {e.name: e for e in encrypted}
    return {
        "nodes": [node_document(row) for row in found],
        "rotations": [rotation_document(r, by_name) for r in turning],
        "malformed": problems,
    }


def _overview_lines(
    found: Sequence[Row],
    turning: Sequence[KeyRotation],
    encrypted: Sequence[EncryptedNode],
    problems: dict[str, str],
    now: datetime,
) -> Iterable[Grid | str]:
    by_name = {e.name: e for e in encrypted}
    yield node_grid(found, now)
    yield ""
    enabled = [row for row in found if row.enabled]
    ready = sum(row.ready is True for row in enabled)
    wait = sum(row.reason == Reason.JOIN_WAITS for row in enabled)
    joining = sum(row.joins for row in enabled)
    turns = f", {joining} joining, {wait} waiting for their turn" if wait else ""
    yield f"{len(enabled)} of {count(len(found), 'node')} enabled, {ready} ready{turns}"
    told = (row for row in enabled if row.reason != Reason.JOIN_WAITS)
    yield from (f"  {row.name}: {row.message}" for row in told if row.ready is not True or row.reason == Reason.REFUSED)
    yield from (f"  {row.name}: the {strange} means nothing; {_MEANT}" for row in found for strange in row.strange)
    yield from (f"  ignored, for it is malformed: {name}: {answer}" for name, answer in problems.items())
    if turning:
        yield ""
        yield rotation_grid(turning, now)
        yield from (f"  {r.name} did not wait for {name}: {reason}" for r in turning for name, reason in laggards(r, by_name))


def _details(row: Row) -> Json:
    made = row.encrypted.status if row.encrypted else None
    return node_document(row) | {
        "nodeID": row.encrypted.node_id if row.encrypted else None,
        "nodeUID": row.encrypted.node_uid if row.encrypted else None,
        "sequenceHeadroom": made.sequence_headroom if made else None,
        "mtu": made.mtu if made else None,
        "exemptPackets": dict(made.exempt_packets) if made else {},
        "bootID": made.boot_id if made else "",
        "versions": dict(made.versions) if made else {},
        "conditions": _conditions(made),
        "claims": _claims(row.peer),
        "sessions": _sessions(row.peer),
    }


def _conditions(made: NodeStatus | None) -> list[Json]:
    return [
        {
            "type": c.type,
            "status": {True: "True", False: "False", None: "Unknown"}[c.status],
            "reason": c.reason,
            "message": c.message,
            "since": stamp(c.changed),
        }
        for c in (made.conditions if made else ())
    ]


def _claims(peer: NodePeer | None) -> Json:
    return {
        "endpoints": [str(a) for a in peer.endpoints] if peer else [],
        "podCIDRs": [str(p) for p in peer.pod_cidrs] if peer else [],
        "addresses": [str(a) for a in peer.addresses] if peer else [],
    }


def _sessions(peer: NodePeer | None) -> list[Json]:
    return [
        {"number": s.number, "epoch": s.epoch.number, "lanes": s.lanes, "algorithm": s.algorithm.value}
        for s in (peer.sessions if peer else ())
    ]


def _detail_lines(row: Row, now: datetime) -> Iterable[Grid | str]:
    made = row.encrypted.status if row.encrypted else None
    yield Grid(("", ""), _facts(row, now))
    if made and made.conditions:
        yield ""
        conditions = [(c["type"], c["status"], c["reason"], c["message"]) for c in _conditions(made)]
        ages = [age(c.changed, now) for c in made.conditions]
        rows_ = [(*texts, since) for texts, since in zip(conditions, ages, strict=True)]
        yield Grid(("CONDITION", "STATUS", "REASON", "MESSAGE", "SINCE"), rows_)
    if row.peer and row.peer.sessions:
        yield ""
        sessions = [tuple(str(v) for v in s.values()) for s in _sessions(row.peer)]
        yield Grid(("SESSION", "EPOCH", "LANES", "ALGORITHM"), sessions)
    if made and made.failing:
        yield ""
        yield Grid(("FAILING PEER", "WHY"), [(name, text) for name, _, text in (f.partition(": ") for f in made.failing)])
    if made and made.peers_failing > len(made.failing) > 0:
        yield f"and {count(made.peers_failing - len(made.failing), 'more failing peer')}"
    if made and made.exempt_packets:
        yield ""
        yield Grid(("EXEMPT PEER", "PACKETS IN CLEAR"), [(name, str(packets)) for name, packets in made.exempt_packets])
    yield from (f"the {strange} means nothing; {_MEANT}" for strange in row.strange)
    yield from (f"refused: {problem}" for problem in (row.encrypted.problems if row.encrypted else ()))


def _facts(row: Row, now: datetime) -> list[tuple[str, str]]:
    facts = [("node", row.name), ("state", row.state), ("message", row.message), ("age", age(row.since, now))]
    if row.peer:
        claims = _claims(row.peer)
        facts += [("endpoints", ", ".join(claims["endpoints"])), ("pod prefixes", ", ".join(claims["podCIDRs"]))]
        facts += [("other addresses", ", ".join(claims["addresses"]))] if claims["addresses"] else []
    if row.encrypted:
        facts += [("node ID", str(row.encrypted.node_id)), ("node UID", row.encrypted.node_uid)]
    made = row.encrypted.status if row.encrypted else None
    if made:
        accepting = ", ".join(map(str, made.accepting_epochs)) or "none"
        facts += [
            ("peers", f"{made.peers_protected} of {made.peers_desired} protected, {made.peers_failing} failing"),
            ("epochs", f"sends with {made.sending_epoch}, accepts {accepting}"),
            ("headroom", f"{made.sequence_headroom} % of the limits left on the busiest SA"),
            ("MTU", str(made.mtu) if made.mtu else "auto"),
            *((f"{name} version", version) for name, version in made.versions),
        ]
    return facts
