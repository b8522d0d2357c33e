"""Nodes that a rotation goes on without, because a person said so."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from wirecrypt.model.objects import KeyRotation
from wirecrypt.rotation import reports
from wirecrypt.rotation.actions import ExcludePeer, RotationInputs


def exclusions(snapshot: RotationInputs, rotation: KeyRotation, open_: Iterable[str], now: datetime) -> Iterable[ExcludePeer]:
    """Yield an `ExcludePeer` for each node that a person named and that still holds the rotation up when patience is over.

    By itself, or by an answer that a node which is there waits for: one that was taken over says that it has come along. Who
    has not published a session of the new epoch holds the rotation up by itself, whatever answers it gets.
    """
    if rotation.started is None or now - rotation.started < timedelta(seconds=snapshot.patience):
        return
    published = {p.name for p in snapshot.peers if rotation.to_epoch in {s.epoch.number for s in p.sessions}}
    waiting = published & {*open_} - snapshot.down
    holding = {*open_} | {name for each in waiting for name in reports.failing(snapshot, each)}
    for peer in snapshot.peers:
        if peer.name in {*rotation.without} & holding:
            yield ExcludePeer(peer, why=f"{rotation.name} goes on without it: a person said so")
