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
from pathlib import Path
from types import FrameType
from typing import Any

from wirecrypt.errors import WirecryptError
from wirecrypt.lab import operations
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.machine import kernels

PROTECTED_MORE = 15.0  # seconds that each node more may take to be protected
INTERVAL = 1.0  # seconds between looks at the workloads
RECORD = "lab.json"
FIELDS = ("name", "process", "began", "since", "kernel", "vehicle", "kubeconfig", "pods", "nodes")  # of the record


class _GivenUp(BaseException):
    """Asked to end while the lab is starting; no error, so that nothing on the way takes it for "not yet"."""


def main() -> None:
    """Start the lab that the JSON document on the command line describes, and stay."""
    ending = threading.Event()
    try:
        _on_signals(_give_up)
        try:
            _hold(json.loads(sys.argv[1]), ending)
        except (WirecryptError, OSError) as error:
            _on_signals(signal.SIG_IGN)
            _emit(error=str(error))
            sys.exit(1)
    except _GivenUp:
        _emit(error="it was ended while it was starting")
        sys.exit(1)


def _hold(wanted: dict[str, Any], ending: threading.Event) -> None:
    """Start the lab that *wanted* describes, say that it is ready, and keep it until *ending* or its own end."""
    esp = wanted.pop("require_esp", True)
    installed, enabled = wanted.pop("installed", False), wanted.pop("enabled", False)
    kernel = kernels.find(wanted.pop("vehicle"), wanted.pop("kernel"), require_esp=esp)
    with Lab.up(kernel=kernel, progress=_progress, **wanted) as lab:
        if installed:
            _progress("installing wirecrypt: controllers, and an agent on each node")
            operations.deploy(lab)
        if enabled:
            _progress("labelling all nodes, until each is protected from the others")
            operations.label(lab, *lab.nodes)
            operations.wait_protected(lab, lab.nodes, operations.PROTECTED + PROTECTED_MORE * len(lab.nodes))
        _on_signals(lambda *_: ending.set())
        _write_record(lab)
        _emit(ready=lab.folder.name)
        _detach()
        _serve(lab, ending)


def _on_signals(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


def _give_up(*_: object) -> None:
    """Leave the start where it is; the way down is not to be interrupted again."""
    _on_signals(signal.SIG_IGN)
    raise _GivenUp


def _serve(lab: Lab, ending: threading.Event) -> None:
    """Do as kubelets and controllers do; an error is logged and tried again."""
    while not ending.wait(INTERVAL) and not lab.machine.ended:
        try:
            for run in lab.kubelet.sync(restart=True):
                _log(lab, f"started {run.name} on {run.node}")
        except (WirecryptError, OSError) as error:
            _log(lab, str(error))


def _log(lab: Lab, text: str) -> None:
    """Write a line to the kubelets' log; a full disk ends no lab."""
    with contextlib.suppress(OSError), (lab.folder / "kubelet.log").open("a") as log:
        log.write(f"{time.time():.3f} {text}\n")


def _write_record(lab: Lab) -> None:
    """Write what other commands are to know of the lab, at once, so that nobody reads half of it."""
    draft = lab.folder / f"{RECORD}.new"
    draft.write_text(json.dumps(_describe(lab)))
    draft.rename(lab.folder / RECORD)


def _describe(lab: Lab) -> dict[str, Any]:
    kernel = lab.machine.build.kernel
    return {
        "name": lab.folder.name, "process": os.getpid(), "began": began(os.getpid()), "since": time.time(),
        "kernel": kernel.version if kernel else "", "vehicle": kernel.vehicle if kernel else "",
        "kubeconfig": str(lab.kubeconfig), "pods": [asdict(pod) for pod in lab.pods.values()],
        "nodes": [
            {"name": node.name, "addresses": [str(node.addresses.wire4.ip), str(node.addresses.wire6.ip)],
             "podCIDRs": [str(node.addresses.pods4), str(node.addresses.pods6)]}
            for node in lab.nodes.values()
        ],
    }  # fmt: skip


def began(process: int) -> int:
    """Return when *process* began, in ticks since the boot (proc(5), stat, field 22): no later one of its number has this."""
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19])


def _progress(text: str) -> None:
    _emit(progress=text)


def _emit(**values: str) -> None:
    """Tell whoever started this; where they are gone, what is starting ends."""
    try:
        print(json.dumps(values), flush=True)  # noqa: T201  # read by the command that waits
    except BrokenPipeError:
        _detach()  # or what is left in the buffer would be an error at the end
        raise _GivenUp from None


def _detach() -> None:
    """Let go of the terminal or pipe of whoever started this."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


if __name__ == "__main__":
    main()
