"""How long a person waits for a lab: measured and written down, judged by whoever reads it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

NODES = 3


def test_the_time_until_a_lab_of_three_nodes_is_up_is_measured(pytestconfig: pytest.Config) -> None:
    """`wirecrypt lab up`, from the command until it returns, with a warm cache: the second of two labs."""
    name = f"wc-bench-{os.getpid()}"
    seconds = [_up_and_down(name) for _ in range(2)][-1]
    folder: Path = pytestconfig.rootpath / pytestconfig.getoption("--bench-results")
    folder.mkdir(parents=True, exist_ok=True)
    figure = {"what": f"lab of {NODES} nodes up", "seconds": round(seconds, 2), "at": round(time.time())}
    (folder / "lab-up.json").write_text(json.dumps(figure) + "\n")


def _up_and_down(name: str) -> float:
    begin = time.monotonic()
    try:
        _lab("up", "--name", name, "--nodes", str(NODES))
        return time.monotonic() - begin
    finally:
        _lab("down", "--name", name)


def _lab(*words: str) -> None:
    program = str(Path(sys.executable).parent / "wirecrypt")
    done = subprocess.run([program, "lab", *words], capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
