"""The process behind `wirecrypt lab up`: it holds a lab, plays its kubelets, and ends it on SIGTERM, also while it starts.

Its standard output is read by the command that started it, one JSON object a line: `progress`, and at last `ready` or `error`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from types import FrameType
from typing import Any

from wirecrypt.errors import WirecryptError
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.machine import kernels

INTERVAL = 1.0  # seconds between looks at the workloads
RECORD = "lab.json"


class _GivenUp(BaseException):
    """Asked to end while the lab is starting; no error, so that nothing on the way takes it for "not yet"."""


def main() -> None:
    """Start the lab that the JSON document on the command line describes, and stay."""
    wanted = json.loads(sys.argv[1])
    ending = threading.Event()
    _on_signals(_give_up)
    try:
        esp = wanted.pop("require_esp", True)
        kernel = kernels.find(wanted.pop("vehicle"), wanted.pop("kernel"), require_esp=esp)
        with Lab.up(kernel=kernel, progress=lambda text: _emit(progress=text), **wanted) as lab:
            _on_signals(lambda *_: ending.set())
            (lab.folder / RECORD).write_text(json.dumps(_describe(lab)))
            _emit(ready=lab.folder.name)
            _detach()
            _serve(lab, ending)
    except WirecryptError as error:
        _emit(error=str(error))
        sys.exit(1)
    except _GivenUp:
        with contextlib.suppress(BrokenPipeError):  # whoever started it may be gone
            _emit(error="it was ended while it was starting")
        sys.exit(1)


def _on_signals(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


def _give_up(*_: object) -> None:
    """Leave the start where it is; the way down is not to be interrupted again."""
    _on_signals(signal.SIG_IGN)
    raise _GivenUp


def _serve(lab: Lab, ending: threading.Event) -> None:
    """Do as kubelets and controllers do; an error is logged and tried again."""
    with (lab.folder / "kubelet.log").open("a", buffering=1) as log:
        while not ending.wait(INTERVAL):
            try:
                for run in lab.kubelet.sync(restart=True):
                    log.write(f"{time.time():.3f} started {run.name} on {run.node}\n")
            except WirecryptError as error:
                log.write(f"{time.time():.3f} {error}\n")


def _describe(lab: Lab) -> dict[str, Any]:
    kernel = lab.machine.build.kernel
    return {
        "name": lab.folder.name, "process": os.getpid(), "since": time.time(), "kernel": kernel.version if kernel else "",
        "vehicle": kernel.vehicle if kernel else "",
        "kubeconfig": str(lab.kubeconfig), "pods": [asdict(pod) for pod in lab.pods.values()],
        "nodes": [
            {"name": node.name, "addresses": [str(node.addresses.wire4.ip), str(node.addresses.wire6.ip)],
             "podCIDRs": [str(node.addresses.pods4), str(node.addresses.pods6)]}
            for node in lab.nodes.values()
        ],
    }  # fmt: skip


def _emit(**values: str) -> None:
    print(json.dumps(values), flush=True)  # noqa: T201  # read by the command that waits


def _detach() -> None:
    """Let go of the terminal or pipe of whoever started this."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


if __name__ == "__main__":
    main()
