"""An output that cannot be written is one line and an exit code; what was not lost is written whole."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from wirecrypt.outputs import UNREAD, UNWRITTEN

CLI = "from wirecrypt.cli.main import main; main()"
LINE = "error: write the output: No space left on device. Next: see where it goes to\n"
ANSWERS = (["--help"], ["--version"], ["spi", "0x04100100"], ["-o", "json", "spi", "0x04100100"], ["lab", "up", "--help"])


def run(code: str, words: Sequence[str] = (), **streams: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401
    environment = {**os.environ, "KUBECONFIG": "/nonexistent", "PYTHONIOENCODING": streams.pop("encoding", "utf-8")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.run([sys.executable, "-c", code, *words], text=True, env=environment, timeout=60, check=False, **pipes)


@pytest.mark.parametrize("words", ANSWERS, ids=" ".join)
def test_an_answer_that_finds_no_room_is_one_line(words: list[str]) -> None:
    """Of all verbs and of the help: the reason, the next step, and a code that no answer has."""
    with Path("/dev/full").open("w") as full:
        done = run(CLI, words, stdout=full)
    assert done.returncode == UNWRITTEN
    assert done.stderr.splitlines(keepends=True)[-1] == LINE
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [["status"], ["teleport"], ["lab", "status", "--name", "."]], ids=" ".join)
def test_an_error_that_finds_no_room_is_told_by_the_code(words: list[str]) -> None:
    """Nothing else is left to tell it."""
    with Path("/dev/full").open("w") as full:
        done = run(CLI, words, stderr=full)
    assert (done.returncode, done.stdout) == (UNWRITTEN, "")


def test_a_reader_that_has_gone_is_no_error_to_tell() -> None:
    """As in `| head -1`: silence, and the code of a program that the signal ends."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = run(CLI, ["--help"], stdout=writing)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (UNREAD, "")


def test_outputs_that_were_closed_before_are_written_nowhere() -> None:
    """`>&- 2>&-` is a wish, and no file that is opened later takes their place."""
    code = "import os, sys; os.close(1); os.close(2); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    done = run(code, ["-c", CLI, "--version"])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_characters_that_the_terminal_does_not_know_are_escapes() -> None:
    """No name of a node and no sign of ours ends a program."""
    done = run("from wirecrypt import outputs; outputs.run(lambda: print('a … b'))", encoding="ascii")
    assert (done.returncode, done.stdout) == (0, "a \\u2026 b\n")


def test_a_slow_reader_gets_everything() -> None:
    """Also from an end that does not block, as some terminals are left behind."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    code = "from wirecrypt import outputs; outputs.run(lambda: print('x' * 1_000_000))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE) as process:
        os.close(writing)
        with open(reading, "rb") as end:  # noqa: PTH123 - a descriptor
            assert len(end.read()) == 1_000_001
        assert process.stderr
        assert (process.wait(), process.stderr.read()) == (0, b"")


def test_a_log_that_cannot_be_written_ends_no_program() -> None:
    """An agent goes on without its log: what it does is worth more."""
    code = """
import sys
from wirecrypt import logs, outputs
def program():
    logs.setup("info", "json")
    for number in range(2_000):
        logs.get("x").info("still here")
    print("went on")
outputs.run(program)
"""
    with Path("/dev/full").open("w") as full:
        done = run(code, stderr=full)
    assert done.stdout == "went on\n"


@pytest.mark.parametrize("module", ["demo", "attack"])
def test_the_demo_and_the_attacks_keep_the_rule(module: str) -> None:
    """They are programs for people, too."""
    with Path("/dev/full").open("w") as full:
        done = run("import runpy, sys; runpy.run_module(sys.argv.pop(1), run_name='__main__')",
                   [f"wirecrypt.lab.{module}", "--help"], stdout=full)  # fmt: skip
    assert (done.returncode, done.stderr) == (UNWRITTEN, LINE)
