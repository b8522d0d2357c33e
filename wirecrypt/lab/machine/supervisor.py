"""First process of a lab's own network, mount and process namespaces: everything of the lab ends with it.

It starts the guest, etcd and the API server once a byte on a pipe says that all is prepared, relays connections from outside,
and ends when the process that asked for the lab closes its end of the pipe or dies; it then removes the lab's folder, for
nobody else may be left to do that. The document on its command line, config.json in the state folder, has `taps` (link name ->
addresses), `peers` (link name -> its inner end, for a veth pair in place of a tap), `routes` (prefix -> gateway), `programs`
(name -> argv), `api` and `relays` (socket path -> [host, port]).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from wirecrypt.lab.machine import folders
from wirecrypt.lab.machine.relay import relay
from wirecrypt.lab.machine.supervisor_client import SOCKET

STOP_GRACE = 5.0  # seconds between SIGTERM and SIGKILL
LOOPBACK = "127.0.0.1"


class Supervisor:
    """The programs of one lab and the doors into it."""

    def __init__(self, config: dict[str, Any], folder: Path) -> None:
        self.config = config
        self.folder = folder
        self.running: dict[str, asyncio.subprocess.Process] = {}
        self.relays: dict[asyncio.Future[None], str] = {}
        self.watchers: list[asyncio.Future[None]] = []
        self.ended = asyncio.Event()
        self.orphaned = False

    async def run(self, listener: socket.socket, lifeline: int) -> None:
        """Serve until the lifeline (a pipe's reading end) is closed or `down` is asked."""
        asyncio.get_running_loop().add_reader(lifeline, self._orphan)
        _lay_network(self.config)
        for name in self.config["programs"]:
            await self.start(name)
        servers = [await asyncio.start_server(functools.partial(self._relay, self.config["api"]), sock=listener)]
        for path, address in self.config["relays"].items():
            servers.append(await asyncio.start_unix_server(functools.partial(self._relay, address), path))
        servers.append(await asyncio.start_unix_server(self._control, self.folder / SOCKET))
        await self.ended.wait()
        for program in self.running.values():
            with contextlib.suppress(ProcessLookupError):
                program.kill()
            await program.wait()

    def _orphan(self) -> None:
        self.orphaned = True
        self.ended.set()

    async def _relay(self, address: list[Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection; it is in the list while it lives, so that the end of the other side can end it."""
        task = asyncio.ensure_future(relay((address[0], address[1]), reader, writer))
        self.relays[task] = address[0]
        with contextlib.suppress(asyncio.CancelledError):
            await task
        del self.relays[task]

    async def _watch(self, name: str) -> None:
        """When the guest ends, its ends of connections never say so: close ours."""
        await self.running[name].wait()
        if name == "guest":
            for task, address in self.relays.items():
                if address != LOOPBACK:
                    task.cancel()

    async def start(self, name: str) -> None:
        """Start the program *name*; what it says goes to NAME.log in the state folder."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = await asyncio.create_subprocess_exec(
                *self.config["programs"][name], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder
            )
        self.watchers.append(asyncio.ensure_future(self._watch(name)))

    async def stop(self, name: str, number: int) -> None:
        """Send signal *number* to the program and wait for its end; one that takes too long is killed."""
        process = self.running[name]
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
            try:
                await asyncio.wait_for(process.wait(), STOP_GRACE)
            except TimeoutError:
                process.kill()
                await process.wait()

    async def _control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request: a line of JSON with `do` (status, start, stop, down) and, where needed, `name` and `signal`."""
        request = json.loads(await reader.readline())
        answer: dict[str, Any] = {}
        try:
            if request["do"] == "start":
                await self.start(request["name"])
            elif request["do"] == "stop":
                await self.stop(request["name"], request["signal"])
            elif request["do"] == "down":
                self.ended.set()
            answer = {name: {"pid": process.pid, "status": process.returncode} for name, process in self.running.items()}
        except (OSError, KeyError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        with contextlib.suppress(OSError):
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        writer.close()


def _lay_network(config: dict[str, Any]) -> None:
    """Make the links to the guest and routes, which exist in this process's own network namespace only."""
    commands = ["link set lo up"]
    for name, addresses in config["taps"].items():
        peer = config["peers"].get(name)
        commands.append(f"link add {name} type veth peer name {peer}" if peer else f"tuntap add dev {name} mode tap")
        commands += [f"address add {address} dev {name}{' nodad' if ':' in address else ''}" for address in addresses]
        commands.append(f"link set {name} up")
    commands += [f"route add {prefix} via {gateway}" for prefix, gateway in config["routes"].items()]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), text=True, check=True)


def _private_memory() -> None:
    """User-mode Linux keeps its memory in /dev/shm, which may be small in a container: take one of our own."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=75%", "wirecrypt-lab", "/dev/shm"], check=True)  # noqa: S108


def main() -> None:
    """Start with: config file, descriptor of the API's listener, of the lifeline, of the folder's lock."""
    config_file, (listener, lifeline, lock) = Path(sys.argv[1]), map(int, sys.argv[2:])
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.umask(0o077)
    _private_memory()
    if not os.read(lifeline, 1):  # its maker died before all was prepared
        folders.give_back(config_file.parent, lock)
        os._exit(0)
    supervisor = Supervisor(json.loads(config_file.read_text()), config_file.parent)
    asyncio.run(supervisor.run(socket.socket(fileno=listener), lifeline))
    if supervisor.orphaned:
        folders.give_back(config_file.parent, lock)
    os._exit(0)


if __name__ == "__main__":
    main()
