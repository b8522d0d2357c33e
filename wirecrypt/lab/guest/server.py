"""The guest's command server: runs commands in the namespaces of nodes, pods and containers for the lab outside.

One connection is one request: a line of JSON and, where it says so, bytes. The answer is frames (kind, 32-bit length, content):
`o` and `e` carry what the command wrote, `p` its process id, `x` the result as JSON, `!` an error. Each connection has its own
process, so that nothing is shared but the registry of names. The caller proves itself with a token from the state folder.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from wirecrypt.lab.guest import sandbox, syscalls

HEADER = struct.Struct("!cI")
LINGER = 0.5  # seconds that output of a process's children is still read after its own end


class GuestConnection:
    """The caller's end: frames out, bytes in."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self._file = link.makefile("rb")

    def request(self) -> dict[str, Any]:
        """Read the one request of this connection."""
        document: dict[str, Any] = json.loads(self._file.readline())
        return document

    def body(self, size: int) -> bytes:
        """Read *size* bytes that follow the request."""
        return self._file.read(size)

    def send(self, kind: bytes, content: bytes) -> None:
        """Send one frame."""
        self.link.sendall(HEADER.pack(kind, len(content)) + content)

    def result(self, **values: Any) -> None:  # noqa: ANN401  # any JSON
        """Send the last frame."""
        self.send(b"x", json.dumps(values).encode())


def serve(config: dict[str, Any]) -> NoReturn:
    """Answer requests until the guest halts."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.create_server((config["address"], config["port"]), backlog=128)
    while True:
        link, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _answer(GuestConnection(link), config)
            os._exit(0)
        link.close()


def _answer(connection: GuestConnection, config: dict[str, Any]) -> None:
    with contextlib.suppress(ConnectionError):
        try:
            connection.link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            request = connection.request()
            _check(request["token"], config["token"])
            HANDLERS[request["do"]](connection, request, config)
        except Exception as error:  # noqa: BLE001  # every failure goes to the caller
            connection.send(b"!", f"{type(error).__name__}: {error}".encode())


def _check(given: str, right: str) -> None:
    if not hmac.compare_digest(given, right):
        raise PermissionError("wrong token")


def _hello(connection: GuestConnection, _: dict[str, Any], __: dict[str, Any]) -> None:
    connection.result(time=time.time(), kernel=os.uname().release, names=sandbox.names())


def _signal(connection: GuestConnection, request: dict[str, Any], _: dict[str, Any]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(request["pid"], request["signal"])
    connection.result()


def _write(connection: GuestConnection, request: dict[str, Any], _: dict[str, Any]) -> None:
    syscalls.enter(sandbox.resolve(request["where"]))
    for path, content in request["files"].items():
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.new")
        draft.write_bytes(base64.b64decode(content))
        draft.chmod(request["mode"])
        draft.rename(target)
    connection.result()


def _frame(connection: GuestConnection, request: dict[str, Any], _: dict[str, Any]) -> None:
    syscalls.enter(sandbox.resolve(request["where"]))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as link:
        link.bind((request["link"], 0))
        for content in request["frames"]:
            link.send(base64.b64decode(content))
    connection.result()


def _sandbox(connection: GuestConnection, request: dict[str, Any], config: dict[str, Any]) -> None:
    ready, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            if request["kind"] == "node":
                sandbox.become_node(request["name"], config["shares"], request["boot_id"])
            else:
                sandbox.become_pod(request["node"], request["name"].rpartition("/")[2])
            os.write(writing, b"+")
            os.execv("/bin/sleep", ["pause", "infinity"])  # noqa: S606  # no shell wanted
        except BaseException as error:  # noqa: BLE001  # a forked child must not return
            os.write(writing, str(error).encode())
        os._exit(1)
    os.close(writing)
    answer = os.read(ready, 4096).decode()
    if answer != "+":
        raise RuntimeError(f"cannot make {request['name']}: {answer}")
    sandbox.register(request["name"], pid)
    connection.result(pid=pid)


def _end(connection: GuestConnection, request: dict[str, Any], _: dict[str, Any]) -> None:
    """End every process that has the network of *where*, then forget the name."""
    holder = sandbox.resolve(request["where"])
    network = Path(f"/proc/{holder}/ns/net").readlink()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "ns/net").readlink() == network:
                os.kill(int(entry.name), signal.SIGKILL)
    sandbox.forget(request["where"])
    connection.result()


def _run(connection: GuestConnection, request: dict[str, Any], config: dict[str, Any]) -> None:
    body = connection.body(request["stdin"])
    given, stdin = os.pipe()
    streams = _Streams(request.get("log"))
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.close(stdin)
            for number, descriptor in enumerate((given, streams.out, streams.err)):
                os.dup2(descriptor, number)
            _become(request, config)
        except BaseException as error:  # noqa: BLE001  # a forked child must not return
            os.write(2, f"lab: {request['argv'][0]}: {error}\n".encode())
        os._exit(127)
    os.close(given)
    streams.close_own_ends()
    if request.get("name"):
        sandbox.register(request["name"], pid)
    connection.send(b"p", str(pid).encode())
    _feed(stdin, body)
    status = os.waitpid(pid, 0)[1] if request["detached"] else _relay(connection, streams, pid)
    if request.get("name"):
        sandbox.forget(request["name"])
    connection.result(status=os.waitstatus_to_exitcode(status), time=time.time())


def _feed(stdin: int, body: bytes) -> None:
    """Write *body* (a few kilobytes: more than a pipe holds would need a program that reads) and close."""
    with contextlib.suppress(BrokenPipeError), os.fdopen(stdin, "wb") as pipe:
        pipe.write(body)


def _become(request: dict[str, Any], config: dict[str, Any]) -> NoReturn:
    where = sandbox.resolve(request["where"])
    if where != 1:
        syscalls.enter(where)
    if request.get("container"):
        sandbox.Container.parse({"shares": config["shares"], **request["container"]}).enter()
    os.chdir(request["cwd"])
    os.execvpe(request["argv"][0], request["argv"], request["env"])  # noqa: S606  # no shell wanted


class _Streams:
    """Standard output and error of a command: pipes to relay, or one log file."""

    def __init__(self, log: str | None) -> None:
        self.pipes: dict[int, bytes] = {}
        if log:
            self.out = self.err = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        else:
            (read_out, self.out), (read_err, self.err) = os.pipe(), os.pipe()
            self.pipes = {read_out: b"o", read_err: b"e"}

    def close_own_ends(self) -> None:
        """Close the ends that the command writes to, so that its end is seen."""
        for descriptor in {self.out, self.err}:
            os.close(descriptor)


def _relay(connection: GuestConnection, streams: _Streams, pid: int) -> int:
    """Pass the command's output on until it ends; a caller that goes away ends the command. Returns the wait status."""
    process = os.pidfd_open(pid)
    ended = None
    watched = [*streams.pipes, process, connection.link.fileno()]
    while streams.pipes:
        ready = select.select(watched, [], [], None if ended is None else LINGER)[0]
        if ended is not None and not ready:
            break
        for descriptor in ready:
            if descriptor in streams.pipes:
                content = os.read(descriptor, 65536)
                if content:
                    connection.send(streams.pipes[descriptor], content)
                else:
                    del streams.pipes[descriptor]
                    watched.remove(descriptor)
            elif descriptor == process:
                ended = os.waitpid(pid, 0)[1]
                watched.remove(process)
            elif not connection.link.recv(1):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                os._exit(0)
    return os.waitpid(pid, 0)[1] if ended is None else ended


HANDLERS = {"hello": _hello, "run": _run, "signal": _signal, "write": _write, "frame": _frame, "sandbox": _sandbox, "end": _end}

if __name__ == "__main__":
    serve(json.loads(Path(sys.argv[1]).read_text()))
