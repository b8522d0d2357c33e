"""Tell a person how far a long program is: a line a step, and signs of life while a step takes its time.

On a terminal the last line is a counter, which the next step overwrites; elsewhere a plain line comes every few seconds. No
line is broken here: what is shown as a command can be copied.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from typing import Final, Self, TextIO

QUIET: Final = 5.0  # seconds without a line, after which one says that the step goes on
COUNTED: Final = 1.0  # seconds between two looks of the counter on a terminal
INDENT: Final = " " * 10  # the width of the time before each line
_WIDTH: Final = 80  # columns of what is no terminal
_BEGIN, _BOLD, _PLAIN = "\r\x1b[K", "\x1b[1m", "\x1b[0m"


class Teller:
    """Tells steps on *stream*; within its `with` block signs of life as well, the first after *quiet* seconds."""

    def __init__(self, stream: TextIO, quiet: float = QUIET) -> None:
        self._stream = stream
        self._terminal = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._every = COUNTED if self._terminal else quiet
        self._began = self._step_began = self._told = time.monotonic()
        self._doing = "beginning"
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._live, name="signs-of-life", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        if self._terminal:
            self._write(_BEGIN)

    @property
    def seconds(self) -> float:
        """Seconds since this began to tell."""
        return time.monotonic() - self._began

    def say(self, text: str) -> None:
        """Begin a step with a line that says what it is."""
        with self._lock:
            self._doing, self._step_began = text.rstrip(":"), time.monotonic()
            stamp = f"{self.seconds:6.1f} s"
            self._write(f"{_BEGIN}{_BOLD}{stamp}{_PLAIN}  {text}\n" if self._terminal else f"{stamp}  {text}\n")

    def doing(self, text: str) -> None:
        """Say in the signs of life of this step, from now on, what is going on in it."""
        self._doing = text

    def show(self, *commands: str) -> None:
        """Show what is run in this step, each on a line of its own that can be copied."""
        with self._lock:
            begin = _BEGIN if self._terminal else ""
            self._write(begin + "".join(f"{INDENT}$ {command}\n" for command in commands))

    def _live(self) -> None:
        """Say every few seconds that a step goes on; where nothing can be written, the next step will say that."""
        while not self._ended.wait(max(0.0, self._told + self._every - time.monotonic())):
            with self._lock:
                if time.monotonic() - self._told < self._every:
                    continue
                try:
                    self._write(self._sign())
                except (OSError, ValueError):
                    return

    def _sign(self) -> str:
        text = f"{self.seconds:6.1f} s  … {time.monotonic() - self._step_began:.0f} s: {self._doing}"
        if not self._terminal:
            return f"{_cut(text, _WIDTH)}\n"
        return _BEGIN + _cut(text, shutil.get_terminal_size().columns - 1)

    def _write(self, text: str) -> None:
        self._told = time.monotonic()
        self._stream.write(text)
        self._stream.flush()


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
