"""What completes the processor state of older guests takes nothing away and adds nothing, and is used where it is needed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from wirecrypt.errors import LabError
from wirecrypt.lab.machine import vehicles, xstate
from wirecrypt.lab.machine.kernels import Kernel

SCRIPTS = Path(__file__).parents[4] / "scripts"
LEGACY = 512  # bytes of x87 and SSE, the least that a guest sets
UNIT = 8  # bytes; the machine's kernel takes multiples of it


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache in which scripts/build-xstate has compiled both programs."""
    if shutil.which("gcc") is None:
        pytest.skip("there is no C compiler: scripts/build-xstate installs gcc")
    folder = tmp_path_factory.mktemp("cache")
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder)}
    subprocess.run([SCRIPTS / "build-xstate"], env=environment, check=True, capture_output=True)
    return folder


@pytest.fixture
def built(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of both programs; the lab finds them there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    return cache / "wirecrypt/xstate"


def attempt(folder: Path, length: int, *, completed: bool) -> subprocess.CompletedProcess[str]:
    """Set *length* bytes of a process's state, with the library or without."""
    environment = {**os.environ, **({"LD_PRELOAD": str(folder / "xstate.so")} if completed else {})}
    argv = [folder / "xstate-try", str(length)]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)


def complete(folder: Path) -> int:
    """Return the length of this machine's state: the least that its kernel takes."""
    lengths = range(LEGACY, 65536, UNIT)
    return next(length for length in lengths if attempt(folder, length, completed=False).returncode == xstate.TAKEN)


def test_a_state_of_every_length_is_completed(built: Path) -> None:
    """From the legacy area to the whole: what was set is there, and what is behind it is as before."""
    full = complete(built)
    assert full > LEGACY
    for length in range(LEGACY, full + UNIT, UNIT):
        done = attempt(built, length, completed=True)
        assert (done.returncode, done.stderr) == (xstate.TAKEN, ""), f"{length} of {full} bytes"


def test_a_state_without_the_legacy_area_is_refused_as_ever(built: Path) -> None:
    """Completing it would be guessing."""
    assert attempt(built, LEGACY - UNIT, completed=True).returncode == xstate.REFUSED


def test_the_library_is_loaded_where_the_machine_refuses_and_only_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer of the trial decides, and the kernel: one that does not trace its processes is started as it is."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "wirecrypt/xstate"
    folder.mkdir(parents=True)
    started: list[list[str]] = []
    for answer in (xstate.TAKEN, xstate.REFUSED):
        answers(folder, f"exit {answer}")
        for traced in (False, True):
            kernel = Kernel("6.1", Path("/linux"), (), traced=traced)
            argv = vehicles.command_line(kernel, 256, tmp_path, [])
            started.append(argv[: argv.index("/linux")])
    assert started == [[], [], [], ["env", f"LD_PRELOAD={folder}/xstate.so"]]


def test_a_trial_that_cannot_be_made_is_an_error_with_the_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer is not taken for a yes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(LabError, match="scripts/build-xstate compiles it"):
        xstate.preload()
    folder = tmp_path / "wirecrypt/xstate"
    folder.mkdir(parents=True)
    answers(folder, "echo no such request >&2; exit 2")
    with pytest.raises(LabError, match="no such request"):
        xstate.preload()


def answers(folder: Path, script: str) -> None:
    """Put a trial in place that does as *script* says."""
    trial = folder / "xstate-try"
    trial.write_text(f"#!/bin/sh\n{script}\n")
    trial.chmod(0o755)
