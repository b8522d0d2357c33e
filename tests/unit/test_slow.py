"""Slow tests run when they were asked for, or when there is time, and never by surprise."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.slow import BEFORE, STARTED

ROOT = Path(__file__).resolve().parents[2]
CONFTEST = """
from tests.slow import Slow, add_option

def pytest_addoption(parser):
    add_option(parser)

def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes long")
    config.pluginmanager.register(Slow.of(config))
"""
TESTS = """
import pytest

def test_quick():
    pass

@pytest.fixture
def costly():
    print("costly")

@pytest.mark.slow
def test_slow(costly):
    pass
"""


def run(folder: Path, *words: str, **environment: str) -> list[str]:
    """Run a quick and a slow test, and return the lines of the output."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_both.py").write_text(TESTS)
    mine = {name: value for name, value in os.environ.items() if name not in {BEFORE, STARTED}}
    argv = [sys.executable, "-m", "pytest", "-ra", "-s", "-p", "no:cacheprovider", "-p", "no:randomly", *words]
    done = subprocess.run(
        argv, cwd=folder, env={**mine, "PYTHONPATH": str(ROOT), **environment}, capture_output=True, text=True, check=False
    )
    return done.stdout.strip().splitlines()


@pytest.mark.parametrize("words", [[], ["test_both.py"], ["-k", "test"]])
def test_a_slow_test_is_left_out_and_said(tmp_path: Path, words: list[str]) -> None:
    """Whatever is named; the last line is pytest's own."""
    lines = run(tmp_path, *words)
    assert "1 passed, 1 deselected" in lines[-1]
    assert "1 tests marked slow were left out; --slow runs them" in lines


def test_a_slow_test_that_is_asked_for_runs(tmp_path: Path) -> None:
    """With the option, also when it is late."""
    assert "2 passed" in run(tmp_path, "--slow", **{BEFORE: "1", STARTED: "1000"})[-1]


def test_a_slow_test_runs_when_there_is_time(tmp_path: Path) -> None:
    """Measured from the start of the whole run, which is told, or else from that of pytest."""
    assert "2 passed" in run(tmp_path, **{BEFORE: "3600", STARTED: str(time.time() - 60)})[-1]
    assert "2 passed" in run(tmp_path, **{BEFORE: "3600"})[-1]


def test_a_slow_test_that_would_begin_too_late_is_skipped_with_the_reason(tmp_path: Path) -> None:
    """Before its fixtures cost anything; the last line is pytest's own."""
    lines = run(tmp_path, **{BEFORE: "1800", STARTED: str(time.time() - 3600)})
    assert "1 passed, 1 skipped" in lines[-1]
    assert any("SKIPPED" in line and f"later than {BEFORE} lets one begin" in line for line in lines)
    assert "costly" not in lines
