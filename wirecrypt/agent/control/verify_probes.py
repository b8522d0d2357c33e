"""Probes that somebody waits for: asked for in one thread, sent and answered in the loop, which owns the sockets.

They go the way of all probes, over the SAs that traffic takes, every lane, and teach the pair nothing but the peer's word.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Final

from wirecrypt.model.session import Generation
from wirecrypt.model.verify_facts import LaneProbe

_MOST_WAITING: Final = 65536

Via = tuple[Generation, int]


class LiveProbes:
    """What was asked for, what went out and what came back since `start`; every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = self._served = 0
        self._lanes: dict[str, dict[int, LaneProbe]] = {}
        self._waiting: dict[bytes, tuple[str, Via, int, float]] = {}

    def start(self) -> None:
        """Forget everything: a new verification begins."""
        with self._lock:
            self._asked = self._served = 0
            self._lanes.clear()
            self._waiting.clear()

    def ask(self) -> None:
        """Ask for one more probe on each lane of each peer."""
        with self._lock:
            self._asked += 1

    def asked(self) -> bool:
        """Return whether probes are to be sent now."""
        with self._lock:
            return self._asked > self._served

    def taken(self) -> bool:
        """Return whether probes are to be sent now, and take that wish."""
        with self._lock:
            due = self._asked > self._served
            self._served = self._asked
            return due

    def sent(self, peer_uid: str, spi: int, via: Via, nonce: bytes, *, refused: bool) -> None:
        """Note a probe; *refused*: the kernel did not send it."""
        with self._lock:
            lanes = self._lanes.setdefault(peer_uid, {})
            lane = lanes.get(via[1])
            if lane is None or lane.spi != spi:  # a switch in between: the newer generation counts
                lane = LaneProbe(spi, via[1], sent=0, refused=0, answered=0)
            if not refused and len(self._waiting) < _MOST_WAITING:
                self._waiting[nonce] = (peer_uid, via, spi, time.monotonic())
            lanes[via[1]] = replace(lane, sent=lane.sent + (not refused), refused=lane.refused + refused)

    def answered(self, peer_uid: str, nonce: bytes, via: Via) -> None:
        """Take an answer that came by the SA of *via*: it counts when the probe went over the same generation and lane."""
        with self._lock:
            waiting = self._waiting.pop(nonce, None)
            if waiting is None or waiting[:2] != (peer_uid, via):
                return
            lane, took = self._lanes[peer_uid][via[1]], time.monotonic() - waiting[3]
            if lane.spi != waiting[2]:
                return
            fastest = took if lane.seconds is None else min(took, lane.seconds)
            self._lanes[peer_uid][via[1]] = replace(lane, answered=lane.answered + 1, seconds=fastest)

    def served(self) -> bool:
        """Return whether the loop has taken every wish."""
        with self._lock:
            return self._served == self._asked

    def complete(self) -> bool:
        """Return whether every lane was answered at least once."""
        with self._lock:
            return all(lane.answered for lanes in self._lanes.values() for lane in lanes.values())

    def lanes(self, peer_uid: str) -> tuple[LaneProbe, ...]:
        """Return what is known of a peer's lanes, in order."""
        with self._lock:
            return tuple(lane for _, lane in sorted(self._lanes.get(peer_uid, {}).items()))
