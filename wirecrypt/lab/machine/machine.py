"""A guest kernel with its command server, in namespaces that vanish with it; with or without a control plane next to it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import wirecrypt
from wirecrypt.errors import BootError, LabError, TimedOut
from wirecrypt.lab import addresses
from wirecrypt.lab.machine import folders, kernels, vehicles
from wirecrypt.lab.machine.channel import Channel, guest_environment
from wirecrypt.lab.machine.console import last_words
from wirecrypt.lab.machine.controlplane import ETCD_PORT, ControlPlane
from wirecrypt.lab.machine.supervisor_client import SOCKET, control
from wirecrypt.lab.waiting import DEADLINE, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from wirecrypt.lab.machine.kernels import Kernel

CONSOLE = 10_000  # lines of it that are kept of a guest that did not boot
SOURCE = Path(wirecrypt.__file__).resolve().parent.parent
ROOM = 200  # MB; etcd alone takes 64 at its start
CONFIG = "config.json"
GUEST_PYTHON = "/usr/bin/python3"  # the distribution's: starts fastest, has bcc


@contextlib.contextmanager
def _swept() -> Iterator[None]:
    """Have what is left removed should this process die within the block, in which a folder is nobody's yet."""
    sweep = "from wirecrypt.lab.machine import folders; folders.remove_leftovers()"
    argv = ["sh", "-c", 'read -r _ || exec "$0" -c "$1"', sys.executable, sweep]
    sweeper = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(SOURCE)}, start_new_session=True,
    )  # fmt: skip
    try:
        yield
    finally:
        sweeper.communicate(b"\n")


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Tell an error of the machine, such as a full disk, as one of the lab's."""
    try:
        yield
    except OSError as error:
        raise LabError("cannot prepare the lab", what=str(folder), answer=str(error)) from error


@dataclass(frozen=True, slots=True)
class Build:
    """What to boot: the kernel (None: no guest, a control plane alone) and its memory in MB.

    *shares*: further folders of the host that the guest may write; *routes*: prefix to gateway, on the API server's side.
    """

    kernel: Kernel | None
    memory: int = 1024
    shares: tuple[Path, ...] = ()
    control_plane: bool = False
    routes: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


class Machine:
    """One booted guest. Leave the `with` block, or call `down`, and nothing of it is left."""

    def __init__(self, build: Build, name: str = "") -> None:
        """Start the supervisor, which removes what it finds should this process die, and only then prepare what it starts."""
        self.build = build
        with _swept():
            self._begin(name)
        try:
            with _told(self.folder):
                self.plane = self._prepare(self._port)
                os.write(self._lifeline, b"\n")
        except BaseException:
            self.down()
            raise

    def _begin(self, name: str) -> None:
        """Make the folder and start the supervisor that it belongs to from then on."""
        self.folder, self._lock = folders.create(name)
        self._token = secrets.token_hex(16)
        self.channel = Channel(self.folder / "guest.sock", self._token, self.folder / "logs", self._environment())
        listener = socket.create_server(("127.0.0.1", 0))
        reading, self._lifeline = os.pipe()
        try:
            with listener, _told(self.folder):
                self._port = listener.getsockname()[1]
                self._supervisor = self._start(listener.fileno(), reading)
        except BaseException:
            self._let_go()
            raise
        finally:
            os.close(reading)

    @classmethod
    def boot(cls, build: Build, name: str = "") -> Machine:
        """Start the guest and wait until it takes commands; BootError with its last words when it does not."""
        machine = cls(build, name)
        try:
            machine.wait_for_guest()
        except BaseException:
            machine.down()
            raise
        return machine

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def wait_for_guest(self) -> None:
        """Wait until the guest takes commands; BootError when its kernel ends first, or takes too long."""
        kernel = self.build.kernel
        if kernel is None:
            return

        def answered() -> bool:
            try:
                return bool(self.channel.hello(seconds=5))
            except LabError:
                if "guest" in self._ended():
                    raise self._not_booted(kernel, "it ended") from None
                self.check_alive()
                return False

        try:
            until(answered, what="the guest's command server", seconds=DEADLINE)
        except TimedOut as error:
            raise self._not_booted(kernel, f"no answer for {DEADLINE:.0f} s") from error

    def _not_booted(self, kernel: Kernel, how: str) -> BootError:
        """Return the error that tells the guest's last words; its whole console outlives the lab."""
        console = kernels.cache() / f"not-booted-{kernel.version}.log"
        console.write_text(text := self.log("guest", CONSOLE))
        others = ", ".join(other.version for other in kernels.available() if other.version != kernel.version)
        hint = f"see the whole console in {console}" + (f", or take another kernel (there are: {others})" if others else "")
        what, answer = f"Linux {kernel.version}, {kernel.vehicle}", f"{how}; {last_words(text)}".removesuffix("; ")
        return BootError("the guest's kernel did not boot", what=what, answer=answer, hint=hint, kernel=kernel.version)

    def control(self, do: str, name: str = "", number: int = 0) -> dict[str, Any]:
        """Ask the supervisor to `start` or `stop` (with a signal) one of its programs, or for their `status`."""
        return control(self.folder, do, name, number)

    def down(self) -> None:
        """End the guest and all programs, and remove the state folder; only then may another lab have its name."""
        self.channel.close()
        self._close_lifeline()
        try:
            self._supervisor.wait(5)
        except subprocess.TimeoutExpired:
            self._supervisor.kill()
            self._supervisor.wait()
        self._let_go()

    def _close_lifeline(self) -> None:
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    def _let_go(self) -> None:
        """Remove the folder, and only then let another lab have its name."""
        self._close_lifeline()
        if self._lock >= 0:
            folders.give_back(self.folder, self._lock)
            os.close(self._lock)
            self._lock = -1

    @property
    def ended(self) -> bool:
        """Return whether the supervisor has ended, and all of the lab with it."""
        return self._supervisor.poll() is not None

    def log(self, program: str, lines: int = 20) -> str:
        """Return the last *lines* of what `guest`, `etcd`, `kube-apiserver` or `supervisor` said."""
        path = self.folder / f"{program}.log"
        text = path.read_text(errors="replace") if path.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def check_alive(self) -> None:
        """Raise LabError, with what was said last, when the supervisor or one of its programs has ended."""
        if self.ended:
            answer = f"{self.log('supervisor')}\n{self.log('guest')}"
            raise LabError("the lab ended while it was starting", what=self.folder.name, answer=answer)
        for name in self._ended():
            free = shutil.disk_usage(self.folder).free >> 20
            hint = f"make room: {free} MB are free in {self.folder.parent}" if free < ROOM else ""
            raise LabError("a program of the lab ended", what=name, answer=self.log(name), hint=hint)

    def _ended(self) -> list[str]:
        """Return the supervisor's programs that have ended; none while it does not answer yet."""
        if not (self.folder / SOCKET).exists() or self.ended:
            return []
        return [name for name, values in self.control("status").items() if values["status"] is not None]

    def _start(self, listener: int, reading: int) -> subprocess.Popen[bytes]:
        """Start the supervisor, which waits for what `_prepare` writes; it gets the API's listener and the lifeline's end."""
        descriptors = (listener, reading, self._lock)
        argv = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-m",
                "wirecrypt.lab.machine.supervisor", str(self.folder / CONFIG), *map(str, descriptors)]  # fmt: skip
        with (self.folder / "supervisor.log").open("ab") as log:
            return subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=descriptors,
                env={**os.environ, "PYTHONPATH": str(SOURCE)}, start_new_session=True,
            )  # fmt: skip

    def _prepare(self, port: int) -> ControlPlane | None:
        """Write all that the supervisor and its programs read; *port* is where the API server's relay listens."""
        (self.folder / "logs").mkdir()
        plane = ControlPlane.prepare(self.folder / "cluster", port) if self.build.control_plane else None
        self._write_guest_files()
        (self.folder / CONFIG).write_text(json.dumps(self._config(plane)))
        return plane

    def _environment(self) -> dict[str, str]:
        headers = kernels.cache() / "headers"
        bcc = {"BCC_KERNEL_SOURCE": str(headers)} if headers.is_dir() else {}
        return guest_environment({**bcc, **self.build.environment})

    def _write_guest_files(self) -> None:
        shares = sorted({self.folder, SOURCE, kernels.cache(), *self.build.shares})
        vehicle = self.build.kernel.vehicle if self.build.kernel else ""
        disks = [disk for disk in self._disks() if Path(disk) not in shares]
        server = {
            "address": str(addresses.GUEST_END.ip), "port": addresses.GUEST_PORT, "token": self._token,
            "shares": [*disks, *map(str, shares)],
        }  # fmt: skip
        (self.folder / "guest.json").write_text(json.dumps(server))
        run = f"{GUEST_PYTHON}|-S|-m|wirecrypt.lab.guest.server|{self.folder}/guest.json"
        settings = {
            "WC_VEHICLE": vehicle, "WC_MODULES": str(self.build.kernel.modules) if self.build.kernel else "",
            "WC_DISKS": ":".join(disks), "WC_SHARE": ":".join(map(str, shares)), "WC_ADDRESS": str(addresses.GUEST_END),
            "WC_RUN": run, "WC_WIRE": "1" if self.build.control_plane else "0", "PYTHONPATH": str(SOURCE),
        }  # fmt: skip
        text = "".join(f"{key}='{value}'\n" for key, value in settings.items()) + "export PYTHONPATH\n"
        (self.folder / "guest.env").write_text(text)

    def _disks(self) -> list[str]:
        """Return what an overlay over the root does not show; a kernel of its own sees this machine's disk as one."""
        if self.build.kernel is None or self.build.kernel.vehicle != "host":
            return []
        from wirecrypt.lab.machine import hostkernel  # noqa: PLC0415 - it imports the kernel's adapters, and few runs need them

        return hostkernel.disks()

    def _config(self, plane: ControlPlane | None) -> dict[str, Any]:
        taps = {"wclab0": [str(addresses.OUTSIDE_END)]}
        programs = plane.programs() if plane else {}
        relays = {str(self.folder / "guest.sock"): [str(addresses.GUEST_END.ip), addresses.GUEST_PORT]}
        if plane:
            taps["wclab1"] = [str(addresses.API_HOST4), str(addresses.API_HOST6)]
            relays[str(self.folder / "etcd.sock")] = ["127.0.0.1", ETCD_PORT]
        if self.build.kernel:
            programs["guest"] = vehicles.command_line(self.build.kernel, self.build.memory, self.folder, list(taps))
        return {
            "taps": taps, "peers": vehicles.peers(self.build.kernel, list(taps)), "routes": dict(self.build.routes),
            "relays": relays, "api": ["127.0.0.1", addresses.API_PORT], "programs": programs,
        }  # fmt: skip
