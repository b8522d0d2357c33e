"""What the controller takes of memory and time by the number of nodes that are Active and at rest.

python3 -m tests.bench.controller FOLDER [NODES ...] writes FOLDER/controller.json: the controller's program against a server
that lists so many nodes, with all that belongs to each, and from which nothing more comes (tests.bench.real.listed).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tests.bench.rows import write_rows
from tests.cluster.conftest import ROOT
from wirecrypt.controller.loop import TICK_SECONDS

SIZES: Final = (10, 1000, 5000)
PATIENCE: Final = 300.0
LOOK: Final = 0.25
WATCHED: Final = 30.0  # seconds at rest
PROGRAM: Final = "from wirecrypt.cli.main import main; main()"


def measured(nodes: int, watched: float = WATCHED) -> dict[str, float]:
    """Return what a controller takes that finds so many nodes, from its start on and then at rest."""
    with tempfile.TemporaryDirectory() as room, ExitStack() as ends:
        folder = Path(room)
        kubeconfig, log = folder / "kubeconfig", folder / "log"
        written = _started(ends, folder / "writes", "-m", "tests.bench.real.listed", str(kubeconfig), str(nodes))
        _wait(kubeconfig.exists, written)
        controller = _started(ends, log, "-c", PROGRAM, "controller", "--log-format", "json", "--kubeconfig", str(kubeconfig))
        _wait(lambda: '"leader"' in log.read_text(), controller)
        _wait(lambda: _settled(controller.pid), controller)
        began, before = time.monotonic(), seconds(controller.pid)
        _wait(lambda: time.monotonic() - began >= watched, controller)
        return {
            "nodes": nodes,
            "memory, MB, most": memory(controller.pid, "VmHWM"),
            "memory, MB, at rest": memory(controller.pid, "VmRSS"),
            "CPU seconds until then": round(before, 1),
            "at rest, share of a CPU": round((seconds(controller.pid) - before) / (time.monotonic() - began), 4),
            "writes": len((folder / "writes").read_text().splitlines()),
        }


def seconds(pid: int) -> float:
    """Return the processor seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int, which: str) -> float:
    """Return the memory of a process in MB: what /proc calls VmRSS, or VmHWM for the most that it had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return round(next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(which)), 1)


def _settled(pid: int) -> bool:
    """Return whether the most memory that a process had stands for two of its ticks: all is read, and was looked at."""
    before = memory(pid, "VmHWM")
    time.sleep(2 * TICK_SECONDS)
    return memory(pid, "VmHWM") == before


def _started(ends: ExitStack, out: Path, *words: str) -> subprocess.Popen[bytes]:
    with out.open("wb") as file:
        process = subprocess.Popen([sys.executable, *words], stdout=file, stderr=file, cwd=ROOT)
    ends.callback(process.wait)
    ends.callback(process.kill)
    return process


def _wait(until: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE
    while not until():
        if process.poll() is not None or time.monotonic() > end:
            raise TimeoutError(f"{process.args!r}: {process.poll()}")
        time.sleep(LOOK)


def main(folder: Path, sizes: tuple[int, ...]) -> None:
    """Measure and write down; what was measured is shown as it comes."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and end what was started
    what = "the controller by the number of nodes that are Active and at rest, Nodes as kubelets write them"
    write_rows(folder / "controller.json", what, measured, sizes)


if __name__ == "__main__":
    main(Path(sys.argv[1]), tuple(map(int, sys.argv[2:])) or SIZES)
