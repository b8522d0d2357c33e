"""Inside a guest: what each way between two nodes carries, and how long an answer takes, ways taken in turns.

python3 -m tests.bench.transfers PLAN, a document with `algorithm`, `lanes`, `rounds`, `seconds` and `pings`. Each line of
output is a document: `begin` when bytes begin to flow, `end` with what came through, `times` of pings, `lacks` of a way.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from tests.bench.compared import Way, ways
from tests.bench.tunnels import TUNNELS, Node, Tunnel, nodes
from wirecrypt.model.xfrm import Algorithm

STREAMS: Final = (1, 8)
PORT: Final = 5001
CHUNK: Final = 1 << 18
INTERVAL: Final = "0.002"  # seconds between pings
PATIENCE: Final = 30.0
_TIME: Final = re.compile(r"time=([\d.]+) ms")


class Sink:
    """A process in the other pod that takes streams, and says at the end of each how much has come."""

    def __init__(self, there: Node) -> None:
        with there.pod.entered():
            self._listener = socket.create_server((str(there.inner), PORT), backlog=64)

    def serve(self) -> None:
        """Serve until the process ends."""
        while True:
            link, _ = self._listener.accept()
            threading.Thread(target=_take, args=(link,), daemon=True).start()


def _take(link: socket.socket) -> None:
    room, taken = bytearray(CHUNK), 0
    with link:
        while got := link.recv_into(room):
            taken += got
        link.sendall(taken.to_bytes(8))


@contextmanager
def sink(there: Node) -> Iterator[None]:
    """Have streams taken in the other pod, by another process."""
    taker = Sink(there)
    pid = os.fork()
    if not pid:
        taker.serve()
    try:
        yield
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def transfer(here: Node, there: Node, streams: int, seconds: float) -> tuple[int, float]:
    """Send as much as goes by so many streams for so long; return how many bytes came, and how long it took."""
    with here.pod.entered():
        links = [socket.create_connection((str(there.inner), PORT), timeout=PATIENCE) for _ in range(streams)]
    began, taken = time.monotonic(), [0] * streams

    def send(number: int) -> None:
        with links[number] as link:
            chunk = bytes(CHUNK)
            link.sendall(chunk)  # however late this thread may begin
            while time.monotonic() < began + seconds:
                link.sendall(chunk)
            link.shutdown(socket.SHUT_WR)
            taken[number] = int.from_bytes(link.recv(8, socket.MSG_WAITALL))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(taken), time.monotonic() - began


def ping(here: Node, there: Node, count: int) -> list[float]:
    """Return the round trips of so many pings, in milliseconds; all must be answered."""
    words = ["ping", "-n", "-i", INTERVAL, "-W", "5", "-c", str(count), str(there.inner)]
    times = [float(found) for found in _TIME.findall(here.pod.run(*words))]
    assert len(times) == count, f"{count - len(times)} of {count} pings were lost"
    return times


def begin(here: Node, there: Node) -> None:
    """Ping until answers come: a way may begin with a handshake, which takes longer than ping waits for the last of them."""
    here.pod.run("ping", "-n", "-i", "0.2", "-W", "5", "-c", "5", str(there.inner))  # succeeds when any is answered


def say(**what: Any) -> None:  # noqa: ANN401 - a document
    """Write a line for who started this."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def measure(way: Way, pair: tuple[Node, Node], tunnel: Tunnel, plan: Mapping[str, Any]) -> None:
    """Set a way up, carry streams and pings over it, and take it down."""
    for node in pair:
        node.steer(on=way.steering)
    tunnel.up(way.lanes)
    try:
        begin(*pair)
        for streams in STREAMS:
            say(begin=str(way))
            taken, seconds = transfer(*pair, streams, plan["seconds"])
            say(end=str(way), streams=streams, bytes=taken, seconds=seconds)
        say(times=ping(*pair, plan["pings"]), way=str(way))
    finally:
        tunnel.down()


def main(plan: Mapping[str, Any]) -> None:
    """Measure all ways that this kernel has, in turns, each second round backwards."""
    with nodes() as pair, sink(pair[1]):
        tunnels = {name: made(pair, Algorithm(plan["algorithm"])) for name, made in TUNNELS.items()}
        lacks = {name: tunnel.missing() for name, tunnel in tunnels.items()}
        say(kernel=os.uname().release, processors=os.cpu_count(), lacks={name: what for name, what in lacks.items() if what})
        wanted = [way for way in ways(plan["lanes"]) if not lacks[way.name]]
        for number in range(plan["rounds"]):
            for way in wanted if number % 2 == 0 else wanted[::-1]:
                measure(way, pair, tunnels[way.name], plan)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
