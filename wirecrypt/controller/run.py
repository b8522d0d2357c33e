"""`wirecrypt controller`: the loop with its threads, until a signal ends it."""

from __future__ import annotations

import os
import signal
import socket
import threading

from wirecrypt import logs
from wirecrypt.controller.endpoints import ControllerEndpoints
from wirecrypt.controller.leader import DEFAULT, Elector, Timings
from wirecrypt.controller.leaving import GRACE_SECONDS
from wirecrypt.controller.loop import Controller, WatchedCluster
from wirecrypt.ports import LeaseStore

_log = logs.get(__name__)


def identity() -> str:
    """Return a name for this process that no other has: pod or host, and process id."""
    return f"{os.environ.get('POD_NAME') or socket.gethostname()}_{os.getpid()}"


def run(  # noqa: PLR0913 - the parts that a test or the command puts together
    cluster: WatchedCluster,
    leases: LeaseStore,
    *,
    timings: Timings = DEFAULT,
    grace: float = GRACE_SECONDS,
    endpoints: ControllerEndpoints | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Stand for election and work until SIGTERM or SIGINT (in the main thread) or *stop*; the Lease is given up at the end.

    With *endpoints*, /metrics is served on the port that the configuration names, /healthz and /readyz on one of their own.
    """
    ended = stop or threading.Event()
    controller = Controller(cluster, Elector(leases, identity(), timings=timings), grace=grace, endpoints=endpoints)

    def end(number: int, _frame: object) -> None:
        _log.info("stopping", reason=signal.Signals(number).name)
        ended.set()
        controller.wake()

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
    controller.run(ended)
