"""Traffic that counts itself: numbered UDP packets and a TCP stream of numbered bytes, a sender and a receiver program each.

Runs in pods of the lab as `python3 -SE load.py DOCUMENT`, standard library only, so that it starts fast and takes little of a
slow guest. The document is JSON: `do` (one of `ROLES`), `address`, `port`, `rate` (packets or bytes a second), `size` (bytes of
a packet), `seconds` (upper bound), `marker` (text in every packet). SIGTERM or the bound ends it. Standard output gets one JSON
object a line: `ready`, at the first packet `flowing`, and the result last. Times are UNIX seconds.
"""

from __future__ import annotations

import contextlib
import json
import select
import signal
import socket
import struct
import sys
import time
from typing import Any

DRAIN = 1.0  # seconds without a packet after which a receiver that was told to end does so
BUFFER = 1 << 25  # bytes: seconds of traffic, so that a program that is not run for a while loses nothing
TICK = 0.005  # seconds between looks at the clock: the sender sends what is due, a few packets at a time
NUMBER = struct.Struct("!Qd")
BLOCK = 4096
_SO_RCVBUFFORCE, _SO_MEMINFO, _DROPS = 33, 55, 8
_TOTAL_RETRANSMISSIONS, _DSACK_DUPLICATES = 100, 216  # offsets in struct tcp_info (include/uapi/linux/tcp.h)

stopping = False


def _stop(*_: object) -> None:
    global stopping  # noqa: PLW0603  # the only thing that a signal handler may do
    stopping = True


def say(**values: Any) -> None:  # noqa: ANN401  # any JSON
    """Write one line of the result."""
    print(json.dumps(values), flush=True)  # noqa: T201  # the program's output


def _socket(document: dict[str, Any], kind: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in document["address"] else socket.AF_INET
    link = socket.socket(family, kind)
    if document.get("extended"):
        _extend(link)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return link


def _extend(link: socket.socket) -> None:
    """Have all packets carry options that say nothing (RFC 791, 3.1; RFC 8200, 4.2: PadN)."""
    if link.family == socket.AF_INET:
        link.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, b"\1\1\1\0")
        return
    for header in (socket.IPV6_HOPOPTS, socket.IPV6_DSTOPTS):
        link.setsockopt(socket.IPPROTO_IPV6, header, b"\0\0\1\4\0\0\0\0")


def udp_send(document: dict[str, Any]) -> None:
    """Send numbered packets at the asked rate; one that the kernel refuses counts as sent, and as refused."""
    link = _socket(document, socket.SOCK_DGRAM)
    target, rate = (document["address"], document["port"]), document["rate"]
    marker = document["marker"].encode()
    filler = (marker * (document["size"] // len(marker) + 1))[: document["size"] - NUMBER.size]
    sent, refused, begin = 0, 0, time.monotonic()
    first = time.time()
    while not stopping and time.monotonic() - begin < document["seconds"]:
        due = int((time.monotonic() - begin) * rate) + 1
        while sent < due:
            try:
                link.sendto(NUMBER.pack(sent, time.time()) + filler, target)
            except OSError:
                refused += 1
            sent += 1
        time.sleep(TICK)
    say(sent=sent, refused=refused, first=first, last=time.time())


class Arrivals:
    """What a UDP receiver knows of the packets' numbers."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self.received = self.duplicates = self.reordered = 0
        self.first = self.last = self.longest_gap = self.longest_delay = 0.0

    def add(self, number: int, sent: float, now: float) -> None:
        """Count packet *number*, sent and received at the given times."""
        if number >= len(self.seen):
            self.seen.extend(bytes(number + 1 - len(self.seen)))
        elif self.seen[number]:
            self.duplicates += 1
            return
        else:
            self.reordered += 1
        self.seen[number] = 1
        self.received += 1
        self.longest_gap = max(self.longest_gap, now - (self.last or now))
        self.longest_delay = max(self.longest_delay, now - sent)
        self.first, self.last = self.first or now, now

    def missing(self, limit: int = 20) -> list[tuple[int, int]]:
        """Return the first gaps as (first missing number, how many)."""
        gaps: list[tuple[int, int]] = []
        position = self.seen.find(0)
        while position >= 0 and len(gaps) < limit:
            end = self.seen.find(1, position)
            gaps.append((position, end - position))
            position = self.seen.find(0, end)
        return gaps


def udp_receive(document: dict[str, Any]) -> None:
    """Count numbered packets until told to end and none has come for `DRAIN` seconds."""
    link = _socket(document, socket.SOCK_DGRAM)
    with contextlib.suppress(PermissionError):
        link.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER)
    link.bind((document["address"], document["port"]))
    link.settimeout(DRAIN)
    say(ready=True)
    arrivals, begin = Arrivals(), time.monotonic()
    while time.monotonic() - begin < document["seconds"]:
        try:
            packet = link.recv(65536)
        except TimeoutError:
            if stopping:
                break
            continue
        number, sent = NUMBER.unpack_from(packet)
        arrivals.add(number, sent, time.time())
        if arrivals.received == 1:
            say(flowing=True)
    drops = struct.unpack_from("I", link.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 64), _DROPS * 4)[0]
    say(
        received=arrivals.received, duplicates=arrivals.duplicates, reordered=arrivals.reordered, first=arrivals.first,
        last=arrivals.last, longest_gap=arrivals.longest_gap, longest_delay=arrivals.longest_delay, missing=arrivals.missing(),
        dropped_by_receiver=drops,
    )  # fmt: skip


def _block(number: int, marker: bytes) -> bytes:
    return (NUMBER.pack(number, 0) + marker * (BLOCK // len(marker) + 1))[:BLOCK]


def tcp_send(document: dict[str, Any]) -> None:
    """Send numbered blocks over one connection at the asked rate (bytes a second), then wait until the other side has all."""
    link = _socket(document, socket.SOCK_STREAM)
    link.settimeout(document["seconds"])
    link.connect((document["address"], document["port"]))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    marker, sent, begin, longest = document["marker"].encode(), 0, time.monotonic(), 0.0
    while not stopping and time.monotonic() - begin < document["seconds"]:
        if sent * BLOCK < (time.monotonic() - begin) * document["rate"]:
            before = time.monotonic()
            link.sendall(_block(sent, marker))
            longest = max(longest, time.monotonic() - before)
            sent += 1
        else:
            time.sleep(TICK)
    link.shutdown(socket.SHUT_WR)
    confirmed = link.recv(8)
    information = link.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    retransmissions, unneeded = (
        struct.unpack_from("I", information, offset)[0] for offset in (_TOTAL_RETRANSMISSIONS, _DSACK_DUPLICATES)
    )
    say(
        sent=sent * BLOCK, confirmed=int.from_bytes(confirmed, "big"), retransmissions=retransmissions, unneeded=unneeded,
        longest_stall=longest,
    )  # fmt: skip


def tcp_receive(document: dict[str, Any]) -> None:
    """Take one connection, check every byte of it, and confirm how many came."""
    listener = _socket(document, socket.SOCK_STREAM)
    listener.bind((document["address"], document["port"]))
    listener.listen(1)
    say(ready=True)
    while not select.select([listener], [], [], DRAIN)[0]:
        if stopping:
            say(received=0, intact=False, longest_gap=0)
            return
    link = listener.accept()[0]
    marker, received, intact, longest, last = document["marker"].encode(), 0, True, 0.0, time.monotonic()
    rest = b""
    while content := link.recv(65536):
        if not received and not rest:
            say(flowing=True)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
        rest += content
        while len(rest) >= BLOCK:
            intact = intact and rest[:BLOCK] == _block(received // BLOCK, marker)
            received, rest = received + BLOCK, rest[BLOCK:]
    link.sendall(received.to_bytes(8, "big"))
    say(received=received, intact=intact and not rest, longest_gap=longest)


ROLES = {"udp-send": udp_send, "udp-receive": udp_receive, "tcp-send": tcp_send, "tcp-receive": tcp_receive}

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    job = json.loads(sys.argv[1])
    ROLES[job["do"]](job)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # all is said; an ending interpreter would let itself be killed
