"""However the demo ends, it says so: a result for machines, a status, and an error that nothing later hides.

What it writes goes to a folder that was empty or that an earlier demo filled; what else is in a folder is not the demo's.
"""

from __future__ import annotations

import shutil
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wirecrypt.errors import InputError, LabError, WirecryptError
from wirecrypt.lab import operations
from wirecrypt.lab.demo.record import EVIDENCE, TIMELINE, Record
from wirecrypt.lab.lab import Lab

HELD, FAILED, INTERRUPTED = 0, 1, 130
LOGS, TRACEBACK = "logs", "traceback.txt"


@dataclass(frozen=True, slots=True)
class Ending:
    """The exit status, and what went wrong, empty when nothing did."""

    status: int
    error: str = ""


def fresh(folder: Path) -> Record:
    """Return an empty record in *folder*, without what an earlier demo left there.

    Raises InputError for a folder that holds anything else, LabError for one that cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()) and not (folder / TIMELINE).exists():
            answer = "it is not empty, and no demo has filled it; nothing was changed"
            raise InputError("keep the evidence", what=str(folder), answer=answer, hint="name another folder with --out")
        (folder / TIMELINE).write_text("")
        for name in (*EVIDENCE, TRACEBACK):
            if name != TIMELINE:
                (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / LOGS, ignore_errors=True)
    except OSError as error:
        raise LabError("cannot keep the evidence", what=str(folder), answer=str(error)) from error
    return Record(folder)


def conclude(record: Record, story: Callable[[], None]) -> Ending:
    """Run *story* to its end and write the result, whatever the end is; the status is 0 only if everything held."""
    error = "it ended before its end"
    try:
        story()
        error = ""
    except WirecryptError as failure:
        error = str(failure)
    except KeyboardInterrupt:
        error = "interrupted; the lab is ended, and nothing of it is left"
        return Ending(INTERRUPTED, error)
    except Exception as failure:  # noqa: BLE001 - what nobody foresaw must be in the result as well
        error = f"{type(failure).__name__}: {failure}{_kept(record, traceback.format_exc())}"
    finally:
        error = _written(record, error)
    return Ending(HELD if record.held and not error else FAILED, error)


def _kept(record: Record, text: str) -> str:
    """Keep a traceback, and return where, for a message; nothing where there is no room."""
    try:
        (record.folder / TRACEBACK).write_text(text)
    except OSError:
        return ""
    return f" ({record.folder / TRACEBACK})"


def _written(record: Record, error: str) -> str:
    """Write the result with *error*, and return that, or that it could not be written."""
    try:
        record.write(error)
    except OSError as failure:
        return f"{error}; " * bool(error) + f"the result could not be written: {failure}"
    return error


def interrupt_once() -> None:
    """Let SIGINT and SIGTERM interrupt what runs; the way down is not to be interrupted again."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def _interrupt(*_: object) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def keep_logs(lab: Lab, record: Record, say: Callable[[str], None]) -> None:
    """Copy what the programs wrote; what cannot be copied is said, and hides no error that came before."""
    try:
        folder = record.folder / LOGS
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for pod in lab.kubelet.pods():
            (folder / f"{pod.node}-{pod.name}.log").write_text(pod.log())
        (folder / "cluster.txt").write_text(operations.summary(lab))
    except Exception as error:  # noqa: BLE001 - as it says: the first error is the one to tell
        say(f"the logs could not all be kept: {type(error).__name__}: {error}")
