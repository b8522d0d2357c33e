"""The bench of `scripts/bench guard`, with few peers: that it measures, not how much."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import guard

NO_PROGRAMS = "Operation not permitted"


def test_the_guard_is_measured_by_the_number_of_its_peers(tmp_path: Path) -> None:
    """Every kind of packet that the guard lets pass takes some time, with each number of peers."""
    words = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        sys.executable,
        "-m",
        "tests.bench.guard",
        str(tmp_path),
        "2",
        "4",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode and NO_PROGRAMS in done.stderr:
        pytest.skip(f"this machine's kernel takes no programs: {done.stderr.splitlines()[-1]}")
    assert not done.returncode, done.stderr
    rows = json.loads((tmp_path / "guard.json").read_text())["rows"]
    assert [row["peers"] for row in rows] == [2, 4]
    assert all(row.keys() == {"peers", *guard.packets(2)} and min(row.values()) > 0 for row in rows)
