"""What the loop shows to other threads: the last pass's decisions, handed over whole, and a moment in which it stands still."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from wirecrypt.agent.control.verify_probes import LiveProbes
from wirecrypt.agent.store.keyring import KeyRing
from wirecrypt.agent.view.pass_state import PassState
from wirecrypt.pairs.memory import PairMemory
from wirecrypt.settings import Settings


@dataclass(frozen=True, slots=True)
class PassSnapshot:
    """One pass: its last round, which nobody changes any more, each peer's memory, the uplinks, fingerprints of keys."""

    pass_state: PassState
    memories: Mapping[str, PairMemory]
    uplinks: tuple[str, ...]
    ring: KeyRing


class LastPass:
    """Between the loop, which shows, and the threads that answer requests, which look.

    *settings* is None until the configuration was read, *snapshot* while the node is not enabled. *refused* and *sessions*
    count since the start. *copies* answers for how many seconds each copy was not confirmed, and how many restores were seen.
    """

    def __init__(self) -> None:
        self._between_passes = threading.Lock()
        self._complete = True
        self.live = LiveProbes()
        self.copies: Callable[[], tuple[Mapping[str, float], int]] = lambda: ({}, 0)
        self.settings: Settings | None = None
        self.snapshot: PassSnapshot | None = None
        self.refused: dict[str, int] = {}
        self.sessions = 0
        self.shown_at = time.monotonic()

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Mark a pass of the loop; one that ends in an error leaves a kernel that fits no picture."""
        with self._between_passes:
            self._complete = False
            yield
            self._complete = True

    def show(self, settings: Settings, snapshot: PassSnapshot | None) -> None:
        """Hand over what a pass ended with."""
        self.settings, self.snapshot, self.shown_at = settings, snapshot, time.monotonic()

    @contextmanager
    def still(self, seconds: float) -> Iterator[bool]:
        """Keep the loop between two passes, so that kernel and picture belong together.

        Waits up to *seconds* for a pass to end; yields whether it did, and without an error.
        """
        held = self._between_passes.acquire(timeout=seconds)
        try:
            yield held and self._complete
        finally:
            if held:
                self._between_passes.release()
