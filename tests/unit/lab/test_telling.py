"""A long program shows that it goes on, and breaks no line in which there is a command."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import pytest

from wirecrypt.lab.telling import Teller
from wirecrypt.lab.waiting import until

COMMAND = "kubectl label node node-1 node-2 wirecrypt.io/encryption=enabled"


def soon(probe: Callable[[], object]) -> None:
    until(probe, what="a sign of life", seconds=60)


def test_a_long_step_shows_signs_of_life_that_say_what_is_going_on() -> None:
    """Plain lines where there is no terminal, none of them broken or wider than 80 columns."""
    said = io.StringIO()
    with Teller(said, quiet=0.01) as teller:
        teller.say("a step: " + "long " * 40)
        teller.show(COMMAND, "x" * 300)
        soon(lambda: "… 0 s: a step: long" in said.getvalue())
        teller.doing("waiting for something")
        soon(lambda: "s: waiting for something\n" in said.getvalue())
    lines = said.getvalue().splitlines()
    assert re.search(r"^ +\d+\.\d s  a step: (long )*$", said.getvalue(), re.MULTILINE)
    assert f"          $ {COMMAND}" in lines
    assert "          $ " + "x" * 300 in lines
    signs = [line for line in lines if "…" in line]
    assert max(map(len, signs)) <= 80
    assert "\x1b" not in said.getvalue()


def test_steps_that_follow_one_another_show_no_signs_of_life() -> None:
    """What speaks for itself needs none."""
    said = io.StringIO()
    with Teller(said, quiet=3600) as teller:
        for number in range(100):
            teller.say(f"step {number}")
    assert len(said.getvalue().splitlines()) == 100
    assert "…" not in said.getvalue()


def test_on_a_terminal_the_last_line_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is overwritten by the next one, and fits."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    outer, inner = pty.openpty()
    os.set_blocking(outer, False)
    seen = bytearray()

    def read() -> bytes:
        with contextlib.suppress(BlockingIOError):
            seen.extend(os.read(outer, 65536))
        return bytes(seen)

    with os.fdopen(inner, "w") as terminal:
        with Teller(terminal) as teller:
            teller.say("a step of a name that is too long for the terminal")
            soon(lambda: "… 1 s".encode() in read() or "… 2 s".encode() in read())
            teller.say("next")
        text = read().decode()
    os.close(outer)
    counters = re.findall(r"\r\x1b\[K([^\r\n]*…[^\r\n]*)(?=\r)", text)
    assert counters
    assert max(map(len, counters)) < 40
    assert "next\r\n" in text


def test_signs_that_cannot_be_written_leave_it_to_the_next_step_to_say_so() -> None:
    """The thread of the signs ends; the program learns of it where it can act."""

    def program(full: TextIO) -> None:
        with Teller(full, quiet=0.01) as teller:
            soon(lambda: "signs-of-life" not in [thread.name for thread in threading.enumerate()])
            teller.say("a step")

    with Path("/dev/full").open("w") as full:
        with pytest.raises(OSError, match="No space left"):
            program(full)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, full.fileno())
        os.close(nowhere)
