"""Talk to the guest's command server: run commands in the namespaces of nodes, pods and containers."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import secrets
import select
import signal as signals
import socket
import struct
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wirecrypt.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from wirecrypt.lab.guest.sandbox import Container

HEADER = struct.Struct("!cI")
DEFAULT_TIMEOUT = 60.0  # seconds
INNER_LABS = "/run/lab/labs"
LOST = -1000  # status of a process whose guest has ended
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Completed:
    """How a command ended: its status (negative: the signal that ended it) and what it wrote."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Command:
    """What to run and how: environment next to the guest's own, folder, standard input, a container's view."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "/"
    stdin: str = ""
    container: Container | None = None
    name: str = ""


class Process:
    """A command that runs in the guest in the background; what it writes is in the file *log* on the host."""

    def __init__(self, channel: Channel, link: socket.socket, pid: int, log: Path) -> None:
        self._channel = channel
        self._link = link
        self._status: int | None = None
        self.pid = pid
        self.log = log

    def kill(self, number: int = signals.SIGTERM) -> None:
        """Send the signal *number*."""
        if self._status is None:
            self._channel.signal(self.pid, number)

    def wait(self, timeout: float = DEFAULT_TIMEOUT) -> int:
        """Wait at most *timeout* seconds for the end and return the exit status; LabError when it still runs then."""
        if self._status is None and not select.select([self._link], [], [], timeout)[0]:
            raise LabError("still runs", what=f"process {self.pid}", answer=f"after {timeout} s: {self.tail()}")
        if self._status is None:
            results = (json.loads(body)["status"] for kind, body in _frames(self._link) if kind == b"x")
            self._status = next(results, LOST)
            self._channel.release(self._link)
        if self._status == LOST:
            raise LabError("the guest ended before the process did", what=f"process {self.pid}", answer=self.tail())
        return self._status

    @property
    def running(self) -> bool:
        """Return whether it still runs."""
        with contextlib.suppress(LabError):
            self.wait(timeout=0)
        return self._status is None

    def stop(self, grace: float = 10.0) -> int:
        """SIGTERM, after *grace* seconds SIGKILL; return the exit status."""
        self.kill()
        with contextlib.suppress(LabError):
            return self.wait(grace)
        self.kill(signals.SIGKILL)
        return self.wait()

    def output(self) -> str:
        """Return what it has written until now."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def tail(self, lines: int = 5) -> str:
        """Return the last *lines* of what it has written."""
        return " | ".join(self.output().splitlines()[-lines:])


class Channel:
    """The door into one guest: *path* is the relay's socket, *token* proves that we may, *logs* takes background output."""

    def __init__(self, path: Path, token: str, logs: Path, environment: Mapping[str, str]) -> None:
        self.path = path
        self.logs = logs
        self.environment = dict(environment)
        self._token = token
        self._links: set[socket.socket] = set()

    def hello(self, *, seconds: float = DEFAULT_TIMEOUT) -> dict[str, Any]:
        """Return the guest's clock (`time`, UNIX seconds), `kernel` release and the `names` of nodes and pods."""
        return self._ask({"do": "hello"}, timeout=seconds)

    def run(
        self, where: str, command: Command, *, check: bool = True, timeout: float = DEFAULT_TIMEOUT,
        on_output: Callable[[bytes, bytes], None] | None = None,
    ) -> Completed:  # fmt: skip
        """Run *command* in the namespaces of *where* to its end; LabError when it takes longer, or fails and *check* is set.

        *on_output* gets (b"o" or b"e", content) as the command writes, instead of its being collected.
        """
        output = {b"o": bytearray(), b"e": bytearray()}
        status = None
        with self._open({**self._describe(where, command), "detached": False}, command.stdin, timeout) as link:
            for kind, content in self._read(link, where, command, timeout):
                if kind == b"x":
                    status = json.loads(content)["status"]
                elif kind in output and on_output:
                    on_output(kind, content)
                elif kind in output:
                    output[kind] += content
        if status is None:
            raise LabError("the guest ended while a command ran", what=f"{where}: {' '.join(command.argv)}")
        stdout, stderr = (bytes(output[kind]).decode(errors="replace") for kind in (b"o", b"e"))
        if check and status:
            answer = f"status {status}: {(stderr or stdout).strip()[-2000:]}"
            raise LabError("command failed", what=f"{where}: {' '.join(command.argv)}", answer=answer)
        return Completed(tuple(command.argv), status, stdout, stderr)

    def spawn(self, where: str, command: Command, log: Path | None = None) -> Process:
        """Start *command* in the background; its output is appended to *log* (default: a new file in the state folder)."""
        log = log or fresh_log(self.logs, command.argv[0])
        log.touch(mode=0o600)
        request = {**self._describe(where, command), "detached": True, "log": str(log)}
        link = self._connect(request, command.stdin, DEFAULT_TIMEOUT)
        self._links.add(link)
        for kind, content in self._read(link, where, command, DEFAULT_TIMEOUT):
            if kind == b"p":
                return Process(self, link, int(content), log)
        raise LabError("the guest ended while a command was started", what=f"{where}: {' '.join(command.argv)}")

    def release(self, link: socket.socket) -> None:
        """Close the connection of a background process that has ended."""
        self._links.discard(link)
        link.close()

    def close(self) -> None:
        """Close all connections; background processes run on."""
        for link in list(self._links):
            self.release(link)

    def signal(self, pid: int, number: int) -> None:
        """Send signal *number* to process *pid* of the guest; one that is gone is no error."""
        self._ask({"do": "signal", "pid": pid, "signal": number})

    def write(self, where: str, files: Mapping[str, bytes], mode: int = 0o644) -> None:
        """Write *files* (path -> content) on the disk of *where*, each at once (rename), making folders."""
        encoded = {path: base64.b64encode(content).decode() for path, content in files.items()}
        self._ask({"do": "write", "where": where, "files": encoded, "mode": mode})

    def frame(self, where: str, link: str, *frames: bytes) -> None:
        """Send raw Ethernet frames from *where* on its link."""
        encoded = [base64.b64encode(frame).decode() for frame in frames]
        self._ask({"do": "frame", "where": where, "link": link, "frames": encoded})

    def make_node(self, name: str, boot_id: str) -> int:
        """Make a node's namespaces; return the id of the process that holds them."""
        return int(self._ask({"do": "sandbox", "kind": "node", "name": name, "boot_id": boot_id})["pid"])

    def make_pod(self, node: str, name: str) -> int:
        """Make a pod's namespaces on *node*; return the id of the process that holds them."""
        return int(self._ask({"do": "sandbox", "kind": "pod", "node": node, "name": name})["pid"])

    def end(self, where: str) -> None:
        """Kill every process in the network of *where* and forget the name."""
        self._ask({"do": "end", "where": where})

    def _describe(self, where: str, command: Command) -> dict[str, Any]:
        container = asdict(command.container) if command.container else None
        if container:
            del container["shares"]
        return {
            "do": "run", "where": where, "argv": list(command.argv), "cwd": command.cwd, "name": command.name,
            "env": {**self.environment, **command.env}, "container": container,
        }  # fmt: skip

    def _ask(self, request: dict[str, Any], timeout: float = DEFAULT_TIMEOUT) -> dict[str, Any]:
        command = Command([request["do"]])
        with self._open(request, "", timeout) as link:
            for kind, content in self._read(link, request.get("where", request.get("name", "guest")), command, timeout):
                if kind == b"x":
                    answer: dict[str, Any] = json.loads(content)
                    return answer
        raise LabError("the guest does not answer", what=request["do"])

    @contextlib.contextmanager
    def _open(self, request: dict[str, Any], stdin: str, timeout: float) -> Iterator[socket.socket]:
        link = self._connect(request, stdin, timeout)
        try:
            yield link
        finally:
            link.close()

    def _connect(self, request: dict[str, Any], stdin: str, timeout: float) -> socket.socket:
        body = stdin.encode()
        link = socket.socket(socket.AF_UNIX)
        link.settimeout(timeout)
        try:
            link.connect(str(self.path))
            link.sendall(json.dumps({**request, "token": self._token, "stdin": len(body)}).encode() + b"\n" + body)
        except OSError as error:
            link.close()
            raise LabError("the guest cannot be reached", what=str(self.path), answer=str(error)) from error
        return link

    @staticmethod
    def _read(link: socket.socket, where: str, command: Command, timeout: float) -> Iterator[tuple[bytes, bytes]]:
        """Yield the answer's frames; LabError for one that tells an error, and when *timeout* seconds have passed in all."""
        end = time.monotonic() + timeout
        what = f"{where}: {' '.join(command.argv)}"
        try:
            for kind, content in _frames(link):
                if kind == b"!":
                    raise LabError("the guest refused", what=what, answer=content.decode(errors="replace"))
                yield kind, content
                link.settimeout(max(0.001, end - time.monotonic()))
        except TimeoutError:
            raise LabError("took too long", what=what, answer=f"more than {timeout} s") from None


def _frames(link: socket.socket) -> Iterator[tuple[bytes, bytes]]:
    """Yield (kind, content) until the other end closes."""
    while header := _exactly(link, HEADER.size):
        kind, size = HEADER.unpack(header)
        yield kind, _exactly(link, size)


def _exactly(link: socket.socket, size: int) -> bytes:
    content = bytearray()
    while len(content) < size:
        try:
            piece = link.recv(size - len(content))
        except ConnectionError:
            return b""
        if not piece:
            return b""
        content += piece
    return bytes(content)


def fresh_log(folder: Path, program: str) -> Path:
    """Return a name in *folder* for what *program* writes, which no other process that uses this lab can come upon."""
    return folder / f"{next(_numbers):03}-{Path(program).name}-{secrets.token_hex(4)}.log"


def guest_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Environment of programs in the guest: this interpreter's programs first on the PATH, temporary files in memory.

    Labs inside a lab have their state elsewhere: the locks of those outside are not seen in a guest.
    """
    programs = f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    base = {"PATH": programs, "HOME": "/root", "LANG": "C.UTF-8", "TMPDIR": "/tmp", "WIRECRYPT_LAB_DIR": INNER_LABS}  # noqa: S108
    if source := os.environ.get("BCC_KERNEL_SOURCE"):
        base["BCC_KERNEL_SOURCE"] = source
    return {**base, **extra}
