"""What a controller tells about itself: /metrics and /healthz."""

from __future__ import annotations

import time
from typing import Final

from wirecrypt import logs
from wirecrypt.controller.leaving import held_back
from wirecrypt.errors import ConfigError
from wirecrypt.http_server import Served, serve
from wirecrypt.metrics import ControllerMetrics
from wirecrypt.model.objects import LABEL_ENABLED, Phase
from wirecrypt.ports import ControllerView
from wirecrypt.rotation.phases import FINISHED
from wirecrypt.settings import Settings

STUCK_SECONDS: Final = 120.0  # a loop that has not come round for so long hangs
_log = logs.get(__name__)


class ControllerEndpoints:
    """The metrics of one controller and the port that shows them; the port is the agent's plus one."""

    def __init__(self, address: str = "0.0.0.0", *, default: Settings | None = None) -> None:  # noqa: S104 - fetched from elsewhere
        self.metrics = ControllerMetrics()
        self._address = address
        self._default = default or Settings()
        self._port = 0
        self._served: Served | None = None
        self._round = time.monotonic()

    def came_round(self) -> None:
        """Note that the loop lives."""
        self._round = time.monotonic()

    def show(self, settings: Settings | None) -> None:
        """Open the port that *settings* name, or none; a port that cannot be opened is logged and tried no more.

        Without settings it is the default one: a controller that waits for its configuration lives, and probes are to see it.
        """
        settings = settings or self._default
        port = settings.metrics.port + 1 if settings.metrics.port else 0
        if port == self._port:
            return
        self.close()
        self._port = port
        if port:
            try:
                self._served = serve(port, self._address, self.metrics.registry, self._problem)
            except ConfigError as error:
                _log.error("no port for metrics", error=str(error), port=port)

    def look(self, view: ControllerView | None, *, leads: bool) -> None:
        """Set the metrics to what *view* shows; only the leader's speak of the cluster, and those of all others are 0."""
        if not leads:
            view = None
        elif view is None:
            return  # the copies lag behind: what they showed last stands
        running = [r for r in view.rotations if r.phase not in FINISHED] if view else []
        self.metrics.removals_held.set(len(held_back(view)) if view else 0)
        self.metrics.labelled.set(sum(n.label == LABEL_ENABLED for n in view.nodes.values()) if view else 0)
        self.metrics.nodes(p.state for p in (view.peers.values() if view else ()))
        self.metrics.rotations(r.phase or Phase.PENDING for r in running)
        self.metrics.laggards.set(sum(len(r.laggards) for r in running))

    def close(self) -> None:
        """Close the port."""
        if self._served is not None:
            self._served.close()
            self._served = None

    def _problem(self) -> str:
        silent = time.monotonic() - self._round
        return f"the loop has not come round for {silent:.0f} s" if silent > STUCK_SECONDS else ""
