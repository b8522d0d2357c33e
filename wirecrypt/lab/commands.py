"""What `wirecrypt lab` does, as plain functions: a lab that stays up in the background, known by its name."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from wirecrypt.errors import InputError, LabError
from wirecrypt.lab.daemon import FIELDS, RECORD, began
from wirecrypt.lab.machine import folders
from wirecrypt.lab.machine.channel import Channel, Command, guest_environment
from wirecrypt.lab.machine.supervisor_client import control
from wirecrypt.lab.waiting import DEADLINE, until
from wirecrypt.lab.wire.capture import Capture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

DEFAULT_NAME = "lab"
FOREVER = 365 * 86400.0  # seconds; a person's command runs until they end it


@dataclass(frozen=True, slots=True)
class Running:
    """A lab that another process holds."""

    folder: Path
    record: dict[str, Any]

    @property
    def channel(self) -> Channel:
        """The door into its guest."""
        token = _read(self.folder / "guest.json", "token")["token"]
        environment = guest_environment({"KUBECONFIG": str(self.folder / "cluster/kubeconfig-inside")})
        return Channel(self.folder / "guest.sock", token, self.folder / "logs", environment)


@dataclass(frozen=True, slots=True)
class LabOptions:
    """What `up` shall start; an empty *kernel* is the vehicle's default.

    *installed*: with wirecrypt installed; *enabled*: with all nodes labelled too, and protected from each other.
    """

    name: str = DEFAULT_NAME
    nodes: int = 3
    cni: str = "bridge"
    vehicle: str = "auto"
    kernel: str = ""
    installed: bool = False
    enabled: bool = False


def up(options: LabOptions, progress: Callable[[str], None] = lambda _: None) -> Running:
    """Start a lab in the background; LabError when it does not come up or something of this name is there."""
    name = options.name
    folders.refuse_taken(folders.place(name))
    if options.enabled and not options.installed:
        hint = "say --installed as well"
        raise InputError("enable the nodes", what=name, answer="nothing is installed that would encrypt", hint=hint)
    argv = [sys.executable, "-m", "wirecrypt.lab.daemon", json.dumps(asdict(options))]
    daemon = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True)
    if daemon.stdout is None:
        raise LabError("the lab's process has no output", what=name)
    try:
        _wait_ready(daemon, daemon.stdout, name, progress)
        return find(name)
    except BaseException:  # interrupted, above all: what nobody waits for any more must not come up
        daemon.terminate()
        daemon.wait()
        raise
    finally:
        daemon.returncode = 0  # it stays, and is nobody's child to wait for


def _wait_ready(daemon: subprocess.Popen[str], said: IO[str], name: str, progress: Callable[[str], None]) -> None:
    """Pass the daemon's progress on until it is ready; LabError when it says that it will not be, or ends."""
    with said as lines:
        for line in lines:
            event = json.loads(line)
            if "ready" in event:
                return
            if "error" in event:
                raise LabError("the lab did not come up", what=name, answer=event["error"])
            progress(event["progress"])
    raise LabError("the lab's process ended at its start", what=name, answer=f"status {daemon.wait()}")


def find(name: str = DEFAULT_NAME) -> Running:
    """Return the running lab called *name*; LabError when there is none, or its record cannot be read."""
    folder = folders.place(name)
    if not folders.held(folder):
        raise LabError("no lab of this name is up", what=name, hint="`wirecrypt lab up` starts one")
    if not (folder / RECORD).exists():
        raise LabError("the lab is still starting, or was started by a test", what=name)
    return Running(folder, _read(folder / RECORD, *FIELDS))


def _read(file: Path, *fields: str) -> dict[str, Any]:
    """Return a lab's file, which has all *fields*; LabError when it is damaged."""
    hint = f"`wirecrypt lab down --name {file.parent.name}` ends this lab"
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise LabError("cannot read what the lab has written down", what=str(file), answer=str(error), hint=hint) from error
    if not isinstance(found, dict) or not found.keys() >= set(fields):
        raise LabError("cannot read what the lab has written down", what=str(file), answer="fields are missing", hint=hint)
    return found


def labs() -> list[str]:
    """Return the names of all labs that are up, sorted."""
    return sorted(folder.name for folder in folders.base().glob("*/") if folders.recorded(folder) and folders.held(folder))


def status(name: str = DEFAULT_NAME) -> dict[str, Any]:
    """Return what is known of the lab: kernel, nodes and pods with addresses, kubeconfig, and the `names` that `exec` takes."""
    running = find(name)
    hello = running.channel.hello()
    return {**running.record, "release": hello["kernel"], "time": hello["time"], "names": hello["names"]}


def execute(name: str, where: str, argv: Sequence[str], stdin: str = "") -> int:
    """Run *argv* in `node-1`, `pod/node-1/a`, `guest` or `container/POD/NAME`; its output goes to ours. Returns its status."""
    streams = {b"o": sys.stdout.buffer, b"e": sys.stderr.buffer}

    def show(kind: bytes, content: bytes) -> None:
        streams[kind].write(content)
        streams[kind].flush()

    command = Command(argv, stdin=stdin)
    return find(name).channel.run(where, command, check=False, timeout=FOREVER, on_output=show).status


def capture(name: str, target: Path, seconds: float, expression: str = "") -> Path:
    """Record the wire for *seconds* (or until interrupted) into *target*; LabError, before that, when it cannot be written."""
    running = find(name)
    try:
        target.open("ab").close()
    except OSError as error:
        raise LabError("cannot write the recording", what=str(target), answer=str(error)) from error
    with Capture.start(running, target, expression), contextlib.suppress(KeyboardInterrupt):
        signal.sigtimedwait([], seconds)  # interrupted: the wish to end, and what was seen until now is kept
    return target


def down(name: str = DEFAULT_NAME) -> None:
    """End the lab, also one that is still starting, and wait until nothing of it is left; one that is not up is no error.

    LabError for what has its name and no lab made: it is left as it is.
    """
    folder = folders.place(name)
    folders.refuse_foreign(folder)
    with _daemon(folder) as daemon:
        until(lambda: _asked_to_end(folder, daemon), what=f"lab {name} is told to end", seconds=DEADLINE, every=0.2)
        until(lambda: not folders.held(folder), what=f"the end of lab {name}", seconds=DEADLINE)
        until(lambda: folders.remove(folder), what=f"removal of {folder}", seconds=DEADLINE)
        until(lambda: _has_ended(daemon), what=f"the end of the process of lab {name}", seconds=DEADLINE)


def _asked_to_end(folder: Path, daemon: int) -> bool:
    """Ask who holds the lab to end it: its supervisor or, where that does not answer, its daemon; false when neither hears."""
    if not folders.held(folder):
        return True
    try:
        control(folder, "down")
    except LabError:
        if daemon >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(daemon, signal.SIGTERM)
        return daemon >= 0
    return True


@contextlib.contextmanager
def _daemon(folder: Path) -> Iterator[int]:
    """Yield a descriptor of the very process that wrote the lab's record, -1 where there is none, or no such record."""
    descriptor = _proven(folder)
    try:
        yield descriptor
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _proven(folder: Path) -> int:
    """Open the process that the lab's record names, if it began when the record says; -1 otherwise."""
    try:
        record = _read(folder / RECORD, *FIELDS)
        descriptor = os.pidfd_open(record["process"])
    except (LabError, OSError, TypeError, OverflowError):
        return -1
    with contextlib.suppress(OSError):
        if began(record["process"]) == record["began"]:
            return descriptor
    os.close(descriptor)
    return -1


def _has_ended(daemon: int) -> bool:
    return daemon < 0 or bool(select.select((daemon,), (), (), 0)[0])
