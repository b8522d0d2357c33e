"""What a controller tells about itself: /metrics on the port that the configuration names, health on one of its own."""

from __future__ import annotations

from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from wirecrypt import logs
from wirecrypt.controller.leaving import held_back
from wirecrypt.http_server import KeptPort, Listener, LoopHealth, Response, at_once, dispatch, serve, serve_health
from wirecrypt.metrics import ControllerMetrics
from wirecrypt.model.objects import LABEL_ENABLED, ControllerView, KeyRotation, Phase
from wirecrypt.rotation.phases import FINISHED
from wirecrypt.settings import CONTROLLER_HEALTH_PORT, Settings

STUCK_SECONDS: Final = 120.0  # a loop that has not come round for so long hangs
_log = logs.get(__name__)


class ControllerEndpoints:
    """The metrics of one controller and the ports that it has; that of the metrics is the agent's plus one."""

    def __init__(self, address: str = "0.0.0.0", *, health_port: int = CONTROLLER_HEALTH_PORT) -> None:  # noqa: S104 - fetched from elsewhere
        self.metrics = ControllerMetrics()
        self.loop = LoopHealth(lambda: STUCK_SECONDS)
        self._address, self.health_port = address, health_port
        self._running: frozenset[str] = frozenset()  # UIDs of the rotations that the last look showed
        self._health = KeptPort(lambda port: serve_health(port, self.loop))
        self._open = KeptPort(self._listening)

    def start(self) -> None:
        """Open the port of health, which needs no configuration."""
        self._keep(self._health, self.health_port)

    def came_round(self, *, failed: bool) -> None:
        """Note that the loop lives, and whether it did its work."""
        self.loop.passed(failed=failed)
        self._keep(self._health, self.health_port)

    def show(self, settings: Settings) -> None:
        """Open the port that *settings* name, or none; one that cannot be opened is logged and tried again later."""
        self._keep(self._open, settings.metrics.port + 1 if settings.metrics.port else 0)

    def look(self, view: ControllerView | None, *, leads: bool) -> None:
        """Set the metrics to what *view* shows; only the leader's speak of the cluster, and those of all others are 0."""
        if not leads:
            view = None
        elif view is None:
            return  # the copies lag behind: what they showed last stands
        running = [r for r in view.rotations if r.phase not in FINISHED] if view else []
        for rotation in view.rotations if view else ():
            if rotation.uid in self._running and rotation.phase in FINISHED:
                self._ended(rotation)
        self._running = frozenset(r.uid for r in running)
        self.metrics.removals_held.set(len(held_back(view)) if view else 0)
        self.metrics.labelled.set(sum(n.label == LABEL_ENABLED for n in view.nodes.values()) if view else 0)
        self.metrics.nodes(p.state for p in (view.peers.values() if view else ()))
        self.metrics.rotations(r.phase or Phase.PENDING for r in running)
        self.metrics.laggards.set(sum(len(r.laggards) for r in running))

    def _ended(self, rotation: KeyRotation) -> None:
        """Count a rotation that this process saw running as the leader."""
        began = rotation.started or rotation.created
        took = (rotation.completed or began) - began
        self.metrics.rotation_ended(took.total_seconds(), aborted=rotation.phase is Phase.ABORTED)

    def close(self) -> None:
        """Close the ports."""
        self._health.close()
        self._open.close()

    def _listening(self, port: int) -> Listener:
        return serve(port, self._address, dispatch({"/metrics": at_once(self._rendered)}))

    def _rendered(self) -> Response:
        return 200, CONTENT_TYPE_LATEST, generate_latest(self.metrics.registry)

    def _keep(self, kept: KeptPort, port: int) -> None:
        if (error := kept.want(port)) is not None:
            _log.error("port not opened", error=str(error), port=port)
