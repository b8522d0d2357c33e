"""Attaching to links that carry traffic, where that needs no qdisc (docs/adr/0006-tcx-where-the-kernel-has-it.md)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import IO, Self

import pytest

from tests.kernel.guard.wire import inside, run
from wirecrypt.kernel.bpf.guard import KernelGuard

ROUNDS = 20
RATE = 2000  # datagrams per second
GROUP = 32  # datagrams between two words of the receiver

SEND = """
import os, select, socket, sys, time
os.sched_setaffinity(0, range(os.cpu_count()))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((sys.argv[1], 7))
begin, sent = time.monotonic(), 0
while not select.select([0], [], [], 0)[0]:
    while sent < (time.monotonic() - begin) * int(sys.argv[2]):
        s.send(sent.to_bytes(8, "big"))
        sent += 1
    time.sleep(0.0005)
try:
    for _ in range(50):
        s.send(b"end")
        time.sleep(0.01)
except ConnectionRefusedError:
    pass  # heard, and gone
print(sent)
"""

RECEIVE = """
import os, socket, sys
os.sched_setaffinity(0, range(os.cpu_count()))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
s.bind(("", 7))
s.settimeout(60)
print("ready", flush=True)
seen = set()
while (data := s.recv(100)) != b"end":
    seen.add(data)
    if len(seen) % int(sys.argv[1]) == 0:
        print("some", flush=True)
print(len(seen))
"""


class Stream:
    """Numbered datagrams from one namespace to another, through a third that forwards: links `pods` and `uplink`."""

    def __init__(self, prefix: str) -> None:
        self.source, self.node, self.target = (f"{prefix}{part}" for part in ("from", "via", "to"))
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for namespace in (self.source, self.node, self.target):
            run(f"ip netns add {namespace}")
            self._stack.callback(run, f"ip netns del {namespace}")
        self._plug("pods", self.source, 1)
        self._plug("uplink", self.target, 2)
        run(f"ip netns exec {self.node} sysctl -qw net.ipv4.ip_forward=1")
        self._receiver = self._start(self.target, RECEIVE, str(GROUP))
        assert self._line(self._receiver) == "ready"
        self._sender = self._start(self.source, SEND, "10.77.2.2", str(RATE))
        self.flow()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def flow(self) -> None:
        """Wait until some more datagrams have arrived."""
        assert self._line(self._receiver) == "some"

    def end(self) -> tuple[int, int]:
        """Stop; return how many were sent and how many of them arrived."""
        sent, _ = self._sender.communicate("\n")
        received, _ = self._receiver.communicate()
        return int(sent), int(received.splitlines()[-1])

    def _plug(self, link: str, namespace: str, number: int) -> None:
        run(f"ip -n {self.node} link add {link} type veth peer name eth0 netns {namespace}")
        run(f"ip -n {self.node} addr add 10.77.{number}.1/24 dev {link}")
        run(f"ip -n {namespace} addr add 10.77.{number}.2/24 dev eth0")
        run(f"ip -n {self.node} link set dev {link} up")
        run(f"ip -n {namespace} link set dev eth0 up")
        run(f"ip -n {namespace} route add default via 10.77.{number}.1")

    def _start(self, namespace: str, script: str, *arguments: str) -> subprocess.Popen[str]:
        command = ["nsenter", f"--net=/run/netns/{namespace}", sys.executable, "-S", "-c", script, *arguments]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._stack.enter_context(process)
        self._stack.callback(process.kill)
        return process

    def _line(self, process: subprocess.Popen[str]) -> str:
        output: IO[str] | None = process.stdout
        assert output is not None
        return output.readline().strip()


@pytest.fixture
def stream() -> Iterator[Stream]:
    with Stream(f"wc{os.getpid()}") as stream:
        yield stream


@pytest.mark.usefixtures("tcx")
def test_attaching_and_detaching_lose_no_packet(guard: KernelGuard, stream: Stream) -> None:
    """Guard and mark come to live links twenty times and go again, and every one of thousands of datagrams arrives."""
    before = guard.counters()
    with inside(stream.node):
        for _ in range(ROUNDS):
            guard.attach_guard("uplink")
            guard.attach_mark("pods")
            stream.flow()
            guard.detach("uplink")
            guard.detach("pods")
            stream.flow()
    after = guard.counters()
    sent, received = stream.end()
    assert received == sent >= 2 * ROUNDS * GROUP
    assert all(after[reason] - before[reason] >= ROUNDS for reason in ("passed", "marked"))
