"""However a demo ends, nothing of its lab is left: no folder, no process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_lab import processes
from wirecrypt.lab.demo.record import RESULT
from wirecrypt.lab.waiting import DEADLINE, until
from wirecrypt.outputs import UNREAD

NEWEST_KERNEL = True  # what is judged here does not depend on the kernel
QUIET = True
STEPS = {"while the lab starts": "kube-apiserver", "while the product is installed": "wirecrypt is installed"}


@pytest.fixture
def labs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder for labs, in which the demo's is the only one."""
    with tempfile.TemporaryDirectory(prefix="wirecrypt-", dir="/tmp") as folder:
        monkeypatch.setenv("WIRECRYPT_LAB_DIR", f"{folder}/labs")
        yield Path(folder) / "labs"


def start(out: Path) -> subprocess.Popen[str]:
    argv = ["env", "--default-signal=INT", sys.executable, "-m", "wirecrypt.lab.demo", "--out", str(out)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout
    for line in process.stdout:
        if text in line:
            return
    assert process.stderr
    pytest.fail(f"the demo ended before it said {text!r}: {process.stderr.read()}")


def nothing_is_left(labs: Path) -> bool:
    return list(labs.glob("*/")) == [] and str(labs) not in processes()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_demo_that_is_ended_leaves_nothing(labs: Path, tmp_path: Path, step: str, number: signal.Signals) -> None:
    """By Ctrl-C, by another program, or by force; the result says so where the demo still could."""
    with start(tmp_path / "out") as demo:
        try:
            wait_for(demo, STEPS[step])
            demo.send_signal(number)
            said, complained = demo.communicate(timeout=DEADLINE)
        finally:
            demo.kill()
    until(lambda: nothing_is_left(labs), what="the end of the lab", seconds=DEADLINE)
    assert "Traceback" not in complained
    if number != signal.SIGKILL:
        assert demo.returncode == 130
        assert "interrupted; the lab is ended, and nothing of it is left" in said
        assert json.loads((tmp_path / "out" / RESULT).read_text())["held"] is False


def test_a_demo_that_nobody_reads_any_more_ends_with_its_lab(labs: Path, tmp_path: Path) -> None:
    """As with `| head`: in silence."""
    with start(tmp_path / "out") as demo:
        assert demo.stdout
        assert demo.stderr
        wait_for(demo, "kube-apiserver")
        demo.stdout.close()
        assert (demo.wait(DEADLINE), demo.stderr.read()) == (UNREAD, "")
    until(lambda: nothing_is_left(labs), what="the end of the lab", seconds=DEADLINE)


def test_a_folder_that_no_demo_has_filled_is_left_alone(labs: Path, tmp_path: Path) -> None:
    """It is said before anything begins."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/precious").write_text("")
    with start(tmp_path) as demo:
        said, complained = demo.communicate(timeout=DEADLINE)
    assert (demo.returncode, said, len(complained.splitlines())) == (1, "", 1)
    assert "no demo has filled it" in complained
    assert [entry.name for entry in tmp_path.iterdir()] == ["logs"]
    assert (tmp_path / "logs/precious").exists()
    assert not labs.exists()
