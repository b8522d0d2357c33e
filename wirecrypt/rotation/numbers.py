"""The numbers of epochs: each is used once, and a node that names one that never was moves nobody. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from wirecrypt.model.objects import KeyRotation, KeySecret, NodePeer, SeedSecret
from wirecrypt.model.session import LEAP
from wirecrypt.rotation.actions import RotationInputs


def next_number(snapshot: RotationInputs) -> int:
    """Return 1 + the highest epoch number in Secrets, sessions, words of nodes and rotations: no number is used twice ◆R36.

    Nodes may know more than the API server, which may have been restored from a backup. An epoch that never was does not
    count: after its number no other could follow.
    """
    known = highest(snapshot.rotations, snapshot.seeds, snapshot.keys.values())
    published = (s.epoch.number for peer in snapshot.peers for s in peer.sessions)
    said = (n for status in snapshot.statuses.values() for n in (status.sending_epoch, *status.accepting_epochs))
    return 1 + max([known, *(n for n in (*published, *said) if n <= known + LEAP)])


def highest(rotations: Iterable[KeyRotation], seeds: Iterable[SeedSecret], keys: Iterable[KeySecret]) -> int:
    """Return the highest epoch number that the controller itself has written anywhere, 0 when there is none."""
    asked = (n for r in rotations for n in (r.from_epoch, r.to_epoch))
    return max([0, *asked, *held(seeds, keys)])


def held(seeds: Iterable[SeedSecret], keys: Iterable[KeySecret]) -> set[int]:
    """Return the numbers of all epochs that a Secret holds something of."""
    return {s.epoch.number for s in seeds} | {k.epoch.number for secret in keys for k in secret.keys}


def base_epoch(snapshot: RotationInputs) -> int:
    """Return the number of the newest epoch that nodes may have keys of, 0 when there is none."""
    return max(held(snapshot.seeds, snapshot.keys.values()), default=0)


def never_was(peer: NodePeer, known: int) -> str:
    """Return, in words, which epoch *peer* names that never was, nothing if none: *known* is the `highest` number."""
    found = [s.epoch.number for s in peer.sessions if s.epoch.number > known + LEAP]
    return f"its session of epoch {max(found)} is ignored: there never was one; see what runs on this node" if found else ""
