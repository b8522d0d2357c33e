"""The controller's loop: look, decide, write the difference; then wait until something changes.

Only the leader writes, and asks itself before every write whether it still leads. A chain that fails is tried again later
and later, and holds up no other (`work`). Killed anywhere, the next pass, of this process or another, goes on from what is
there. Without a configuration that was read once, nothing is written at all.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, Protocol

from wirecrypt import logs
from wirecrypt.controller.access.policy_check import PolicyCheck
from wirecrypt.controller.decide import ControllerMemory, Now, decide
from wirecrypt.controller.endpoints import ControllerEndpoints
from wirecrypt.controller.leader import Elector
from wirecrypt.controller.leaving import GRACE_SECONDS, HELD, held_back
from wirecrypt.controller.worker import Worker
from wirecrypt.errors import ConfigError, WirecryptError
from wirecrypt.model.objects import ConfigDocument, ControllerView
from wirecrypt.ports import ControllerApi
from wirecrypt.settings import Settings, from_document

REST_A_NODE: Final = 0.005  # seconds after a pass, in which what nodes write becomes one reason to look
MOST_REST: Final = 1.0
TICK_SECONDS: Final = 5.0  # a look without a reason: grace periods, schedules and back-offs pass in silence
REPEAT_SECONDS: Final = 600.0  # between two lines about the same held removals
_log = logs.get(__name__)


class WatchedCluster(ControllerApi, Protocol):
    """A cluster whose copies are kept by watches."""

    def start(self, changed: Callable[[], None]) -> None:
        """Start the watches."""

    def stop(self) -> None:
        """Stop the watches."""

    def ages(self) -> Mapping[str, float]:
        """Return for how many seconds no quorum read has confirmed the copy of each kind."""

    def restores(self) -> int:
        """Return how often the API server was seen to have gone back."""


def rest(nodes: int) -> float:
    """Return for how many seconds a controller of so many nodes rests after a pass.

    A pass looks at every node, and each node writes often while all join or rotate: without a rest it would be their product.
    """
    return min(MOST_REST, REST_A_NODE * nodes)


class Controller:
    """The loop's state: the settings in force, what was seen over time, what was told already."""

    def __init__(
        self,
        cluster: WatchedCluster,
        candidate: Elector,
        *,
        grace: float = GRACE_SECONDS,
        endpoints: ControllerEndpoints | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._candidate = candidate
        self._grace = grace
        self._endpoints = endpoints
        self._wake = threading.Event()
        self._settings: Settings | None = None
        self._config: ConfigDocument | None = None
        self._clock = clock
        self._looked = False
        self._memory = ControllerMemory()
        self._worker = Worker(cluster, self._may_write, clock=clock)
        self._term = 0
        self._policies = PolicyCheck(cluster)
        self._unusable: Mapping[str, str] = {}
        self._held: frozenset[str] = frozenset()
        self._logged = 0.0
        self._rest = 0.0
        if endpoints:
            endpoints.metrics.leader.set_function(candidate.leads)  # also while the loop waits for something

    def run(self, stop: threading.Event) -> None:
        """Work until *stop* is set; the watches and the election run in threads of their own."""
        election = threading.Thread(target=self._candidate.run, args=(stop, self._wake.set), name="election")
        if self._endpoints:
            self._endpoints.start()
        self._cluster.start(self._wake.set)
        election.start()
        try:
            while not stop.is_set():
                self._wake.wait(TICK_SECONDS)
                self._wake.clear()
                if not stop.is_set():
                    self._pass()
                    stop.wait(self._rest)
        finally:
            stop.set()
            if self._endpoints:
                self._endpoints.close()
            self._cluster.stop()
            election.join()

    def wake(self) -> None:
        """Make the loop look again at once, also at whether it has to stop."""
        self._wake.set()

    def _pass(self) -> None:
        began, failed = time.monotonic(), False
        try:
            self.once()
        except WirecryptError as error:
            failed = True
            _log.error("pass failed", error=str(error))
            if self._endpoints:
                self._endpoints.came_round(failed=True)
        if self._endpoints:
            self._endpoints.metrics.passed(time.monotonic() - began, failed=failed)

    def once(self) -> int:
        """Do one pass and return how many actions were done; none while the copies lag behind, or without leadership."""
        view = self._current()
        settings = self._read(view) if view else None
        self._show(view, settings)
        if view is None or settings is None or not self._may_write():
            return 0
        self._policies.check(self._clock())
        self._rest = rest(len(view.peers))
        now = Now(datetime.now(UTC).replace(microsecond=0), self._clock(), secrets.token_hex(16))
        self._memory = replace(self._memory, refused=self._worker.refused).seen(view, now.monotonic)
        self._log_held(view, now.monotonic)
        return self._worker.do(decide(view, settings, self._memory, now, grace=self._grace), view)

    def _current(self) -> ControllerView | None:
        """Return the copies; in a new term only when they show what the leader before wrote last."""
        term = self._candidate.term
        if self._candidate.leads() and term != self._term:
            self._cluster.catch_up()
            self._term = term
        return self._cluster.view()

    def _may_write(self) -> bool:
        return self._candidate.leads() and self._candidate.term == self._term

    def _show(self, view: ControllerView | None, settings: Settings | None) -> None:
        if self._endpoints is None:
            return
        self._endpoints.came_round(failed=view is None)
        self._endpoints.metrics.open_policies(self._policies.open if self._candidate.leads() else ())
        self._endpoints.metrics.copies(self._cluster.ages(), self._cluster.restores())
        if settings is not None:
            self._endpoints.show(settings)
        self._endpoints.look(view, leads=self._candidate.leads())

    def _read(self, view: ControllerView) -> Settings | None:
        """Return the settings in force: none until a document was read, and then the last one that could be ◆R15.

        A document that is absent or refused never puts defaults in force: they reserve nothing and drop nothing.
        """
        if self._looked and view.config == self._config:
            return self._settings
        self._looked, self._config = True, view.config
        try:
            settings = from_document(view.config)
        except ConfigError as error:
            state = "the one before stays in force" if self._settings else "nothing is done until there is a valid one"
            _log.error("configuration refused", error=str(error), state=state)
            return self._settings
        if settings.logs != (self._settings or Settings()).logs:  # defaults are what the process began with
            logs.setup(settings.logs.level.value, settings.logs.format.value)
        self._settings = settings
        return settings

    def _log_held(self, view: ControllerView, now: float) -> None:
        """Log what waits for a person: whenever it changes, and held removals again and again."""
        for node, why in sorted(view.unusable_keys.items()):
            if self._unusable.get(node) != why:
                _log.error("keys of a node cannot be read", node=node, error=why)
        self._unusable = view.unusable_keys
        held = held_back(view)
        if held != self._held or (held and now - self._logged >= REPEAT_SECONDS):
            self._held, self._logged = held, now
            _log.warning("removals held back", count=len(held), node=sorted(held), reason=HELD if held else "none any more")
