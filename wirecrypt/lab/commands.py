"""What `wirecrypt lab` does, as plain functions: a lab that stays up in the background, known by its name."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from wirecrypt.errors import LabError
from wirecrypt.lab.daemon import RECORD
from wirecrypt.lab.machine import folders
from wirecrypt.lab.machine.channel import Channel, Command, guest_environment
from wirecrypt.lab.machine.supervisor_client import control
from wirecrypt.lab.waiting import until
from wirecrypt.lab.wire.capture import Capture

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DEFAULT_NAME = "lab"
DOWN_DEADLINE = 30.0  # seconds
FOREVER = 365 * 86400.0  # seconds; a person's command runs until they end it


@dataclass(frozen=True, slots=True)
class Running:
    """A lab that another process holds."""

    folder: Path
    record: dict[str, Any]

    @property
    def channel(self) -> Channel:
        """The door into its guest."""
        token = json.loads((self.folder / "guest.json").read_text())["token"]
        environment = guest_environment({"KUBECONFIG": str(self.folder / "cluster/kubeconfig-inside")})
        return Channel(self.folder / "guest.sock", token, self.folder / "logs", environment)


@dataclass(frozen=True, slots=True)
class LabOptions:
    """What `up` shall start; an empty *kernel* is the vehicle's default."""

    name: str = DEFAULT_NAME
    nodes: int = 3
    cni: str = "bridge"
    vehicle: str = "auto"
    kernel: str = ""


def up(options: LabOptions, progress: Callable[[str], None] = lambda _: None) -> Running:
    """Start a lab in the background; LabError when it does not come up or one of this name is up."""
    name = options.name
    if (folders.base() / name).is_dir() and folders.held(folders.base() / name):
        raise LabError("a lab of this name is up already", what=name, hint="`wirecrypt lab down` ends it")
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
    """Return the running lab called *name*; LabError when there is none."""
    folder = folders.base() / name
    if not folders.held(folder):
        raise LabError("no lab of this name is up", what=name, hint="`wirecrypt lab up` starts one")
    try:
        record = json.loads((folder / RECORD).read_text())
    except FileNotFoundError:
        raise LabError("the lab is still starting, or was started by a test", what=name) from None
    return Running(folder, record)


def labs() -> list[str]:
    """Return the names of all labs that are up, sorted."""
    return sorted(folder.name for folder in folders.base().glob("*/") if folders.held(folder))


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
    """Record the wire for *seconds* (or until interrupted) into *target*."""
    with Capture.start(find(name), target, expression), contextlib.suppress(KeyboardInterrupt):
        signal.sigtimedwait([], seconds)  # interrupted: the wish to end, and what was seen until now is kept
    return target


def down(name: str = DEFAULT_NAME) -> None:
    """End the lab, also one that is still starting, and wait until nothing of it is left; one that is not up is no error."""
    folder = folders.base() / name
    until(lambda: _asked_to_end(name), what=f"lab {name} is told to end", seconds=DOWN_DEADLINE)
    until(lambda: not folders.held(folder), what=f"the end of lab {name}", seconds=DOWN_DEADLINE)
    until(
        lambda: folders.remove_leftovers() is not None and not folder.exists(),
        what=f"removal of {folder}",
        seconds=DOWN_DEADLINE,
    )


def _removed(folder: Path) -> bool:
    """Remove what is left of ended labs, and tell whether *folder* is gone."""
    folders.remove_leftovers()
    return not folder.exists()


def _asked_to_end(name: str) -> bool:
    """Ask who holds the lab to end it: its daemon, or the supervisor while it starts; false when neither hears yet."""
    folder = folders.base() / name
    if not folders.held(folder):
        return True
    try:
        os.kill(find(name).record["process"], signal.SIGTERM)
    except (ProcessLookupError, LabError):
        try:
            control(folder, "down")
        except LabError:
            return not folders.held(folder)
    return True
