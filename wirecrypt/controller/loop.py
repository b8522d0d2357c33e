"""The controller's loop: look, decide, write the difference; then wait until something changes.

Only the leader writes, and asks itself before every write whether it still leads. A chain that fails is tried again later
and later, and holds up no other. Killed anywhere, the next pass, of this process or another, goes on from what is there.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Protocol

from wirecrypt import logs
from wirecrypt.controller.actions import Action, Chain, Tell
from wirecrypt.controller.apply import apply, derive
from wirecrypt.controller.decide import Memory, Now, decide
from wirecrypt.controller.figures import Figures
from wirecrypt.controller.nodes import GRACE_SECONDS
from wirecrypt.errors import ConfigError, Conflict, Unreachable, WirecryptError
from wirecrypt.model.objects import ConfigDocument
from wirecrypt.ports import ControllerCluster, ControllerView
from wirecrypt.retry import Backoff, Delays
from wirecrypt.settings import Settings

TICK_SECONDS: Final = 5.0  # a look without a reason: grace periods, schedules and back-offs pass in silence
_DELAYS: Final = Delays(first=0.5, most=60.0)
_log = logs.get(__name__)


class WatchedCluster(ControllerCluster, Protocol):
    """A cluster whose copies are kept by watches."""

    def start(self, changed: Callable[[], None]) -> None:
        """Start the watches."""

    def stop(self) -> None:
        """Stop the watches."""


class Candidate(Protocol):
    """What the loop needs of leader election."""

    def leads(self) -> bool:
        """Say whether this process may act now."""

    def run(self, stop: threading.Event, changed: Callable[[], None]) -> None:
        """Stand for election until *stop*."""


class Controller:
    """The loop's state: the settings in force, what was seen over time, back-offs by chain."""

    def __init__(
        self,
        cluster: WatchedCluster,
        candidate: Candidate,
        *,
        grace: float = GRACE_SECONDS,
        figures: Figures | None = None,
    ) -> None:
        self._cluster = cluster
        self._candidate = candidate
        self._grace = grace
        self._figures = figures
        self._wake = threading.Event()
        self._settings: Settings | None = None
        self._config: ConfigDocument | None = None
        self._memory = Memory()
        self._backoffs: dict[str, Backoff] = {}
        self._canaries = False

    def run(self, stop: threading.Event) -> None:
        """Work until *stop* is set; the watches and the election run in threads of their own."""
        election = threading.Thread(target=self._candidate.run, args=(stop, self._wake.set), name="election")
        self._cluster.start(self._wake.set)
        election.start()
        try:
            while not stop.is_set():
                self._wake.wait(TICK_SECONDS)
                self._wake.clear()
                if not stop.is_set():
                    self._pass()
        finally:
            stop.set()
            if self._figures:
                self._figures.close()
            self._cluster.stop()
            election.join()

    def wake(self) -> None:
        """Make the loop look again at once, also at whether it has to stop."""
        self._wake.set()

    def _pass(self) -> None:
        try:
            self.once()
        except WirecryptError as error:
            _log.error("pass failed", error=str(error))

    def once(self) -> int:
        """Do one pass and return how many actions were done; none while the copies lag behind, or without leadership."""
        view = self._cluster.view()
        settings = self._read(view) if view else None
        self._show(view, settings)
        if view is None or settings is None or not self._candidate.leads():
            return 0
        if not self._canaries:
            self._cluster.create_canaries()
            self._canaries = True
        now = Now(datetime.now(UTC).replace(microsecond=0), time.monotonic(), secrets.token_hex(16))
        self._memory = self._memory.seen(view, now.monotonic)
        chains = decide(view, settings, self._memory, now, grace=self._grace)
        due = [c for c in chains if self._backoffs.get(c.name, Backoff(_DELAYS)).due(now.monotonic)]
        return self._work(due, view)

    def _show(self, view: ControllerView | None, settings: Settings | None) -> None:
        if self._figures is None:
            return
        self._figures.came_round()
        if settings is not None:
            self._figures.show(settings)
        if view is not None:
            self._figures.look(view, leads=self._candidate.leads())

    def _read(self, view: ControllerView) -> Settings | None:
        """Return the settings in force: those of a document that cannot be read never replace the ones before."""
        if self._settings is None or view.config != self._config:
            self._config = view.config
            try:
                self._settings = Settings.from_document(view.config)
            except ConfigError as error:
                _log.error("configuration refused", error=str(error))
        return self._settings

    def _work(self, chains: list[Chain], view: ControllerView) -> int:
        keys = derive(chains, view)
        done = 0
        for chain in chains:
            try:
                for action in chain.actions:
                    if not self._candidate.leads():
                        return done
                    apply(action, self._cluster, view, keys)
                    done += 1
                    _say(chain, action)
                self._backoffs.pop(chain.name, None)
            except Conflict as error:
                _log.debug("somebody else wrote first", object=chain.name, error=str(error))
            except Unreachable as error:
                _log.warning("pass broken off", error=str(error))
                self._failed(chain)
                return done
            except WirecryptError as error:
                _log.error("action failed", object=chain.name, error=str(error))
                self._failed(chain)
        return done

    def _failed(self, chain: Chain) -> None:
        self._backoffs[chain.name] = self._backoffs.get(chain.name, Backoff(_DELAYS)).failed(time.monotonic())


def _say(chain: Chain, action: Action) -> None:
    if not isinstance(action, Tell):
        _log.info("done", action=type(action).__name__, object=chain.name, reason=action.why)
