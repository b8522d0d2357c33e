"""What a run beside this one reports is what is heard here, and its end is no test's success."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.beside import BesideRun

SAMPLES = (Path(__file__).parent / "samples").relative_to(Path(__file__).parents[2])
SAMPLE = SAMPLES / "ends.py"


def outcomes(run: BesideRun, *names: str) -> list[list[tuple[str, str]]]:
    found = [run.reports(f"{SAMPLE}::{name}", (str(SAMPLE), 0, name)) for name in names]
    return [[(report.when or "", report.outcome) for report in reports if report.when == "call"] for reports in found]


def test_each_outcome_is_told_and_a_run_that_ends_early_fails_the_rest(pytestconfig: pytest.Config) -> None:
    """Passed, failed and skipped arrive as they were; what was running when the run died, and what comes after, has failed."""
    names = ["test_passes", "test_fails", "test_is_skipped", "test_ends_the_run", "test_comes_after"]
    run = BesideRun(pytestconfig, "6.1", [f"{SAMPLE}::{name}" for name in names])
    try:
        said = outcomes(run, *names)
    finally:
        run.end()
    assert said == [[("call", word)] for word in ("passed", "failed", "skipped", "failed", "failed")]


def test_nothing_is_left_of_a_run_that_is_ended(pytestconfig: pytest.Config) -> None:
    """Its process is gone, and its folder with it."""
    run = BesideRun(pytestconfig, "6.1", [f"{SAMPLE}::test_passes"])
    pid, folder = run.process.pid, run.folder
    run.end()
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_what_a_test_keeps_for_one_that_runs_beside_is_gone_before_the_next(pytestconfig: pytest.Config) -> None:
    """A fixture of their file ends after the second, though nothing ran here for it: the third begins with nothing."""
    argv = [sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider", "--kernel=6.1,7.2", "--slow",
            str(SAMPLES / "each_kernel.py"), str(SAMPLES / "comes_last.py")]  # fmt: skip
    done = subprocess.run(argv, cwd=pytestconfig.rootpath, capture_output=True, text=True, check=False)
    assert "3 passed" in done.stdout, done.stdout
