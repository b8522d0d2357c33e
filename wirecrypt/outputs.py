"""What a program of ours writes for its users; that it cannot be written is one line and an exit code, never a traceback.

A full disk behind `>`, a terminal that is gone and a reader that has read enough (`| head`) are no faults of the program. Such
an error is an `Unwritten`: an OSError, so that who goes on without output (a log) goes on, and without a number, so that no
library takes it for one that it knows.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

UNWRITTEN: Final = 74  # sysexits.h: EX_IOERR
UNREAD: Final = 141  # as of a program that SIGPIPE ends
_NAMES: Final = ("stdout", "stderr")


class Unwritten(OSError):
    """An output of this program could not be written; the cause is the kernel's answer."""


class _Output(io.FileIO):
    """The raw end of an output; after *given_up* it takes everything and writes nothing."""

    given_up = False

    def write(self, content: ReadableBuffer, /) -> int:
        """Write some of *content*, waiting where the other end is slow, and return how many bytes; raises `Unwritten`."""
        if self.given_up:
            return memoryview(content).nbytes
        try:
            while (written := super().write(content)) is None:  # it is full, and does not block
                select.select((), (self,), ())
        except OSError as error:
            raise Unwritten(str(error.strerror)) from error
        return written


def run(program: Callable[[], object]) -> None:
    """Run *program*; one whose output cannot be written ends with `UNWRITTEN`, or `UNREAD` when nobody reads any more.

    Characters that the other end does not know are written as escapes.
    """
    ends = {name: _replace(name) for name in _NAMES}
    try:
        try:
            program()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
    except Unwritten as error:
        for end in ends.values():
            end.given_up = True
        sys.exit(_told(error))


def _replace(name: str) -> _Output:
    """Put an output of ours in the place of `sys.NAME`; one that was closed before we began is written nowhere."""
    old = getattr(sys, name)
    end = _Output(old.fileno() if old else os.open(os.devnull, os.O_WRONLY), "wb", closefd=False)
    encoding, lines = (old.encoding, old.line_buffering) if old else ("utf-8", False)
    text = io.TextIOWrapper(io.BufferedWriter(end), encoding=encoding, errors="backslashreplace", line_buffering=lines)
    setattr(sys, name, text)
    return end


def _told(error: Unwritten) -> int:
    """Say what could not be written, where that can be said, and return the exit code."""
    if isinstance(error.__cause__, BrokenPipeError):
        return UNREAD
    with contextlib.suppress(OSError):
        os.write(2, f"error: write the output: {error}. Next: see where it goes to\n".encode())
    return UNWRITTEN
