"""A node's uplink between two observers: what leaves is seen on the wire, what enters is seen behind the node.

::

    namespace wire           namespace node                              namespace sink
    out ───────────────────► uplink ── br0 (uplink, back) ── back ───────► in

The bridge only carries frames on: whatever enters `uplink` and survives tc ingress is flooded to the sink. Nobody but packet
sockets judges, and a sentinel frame sent after each frame ends the wait: what did not come before it does not come.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Self

_CLONE_NEWNET = 0x40000000
_ALL = 0x0003  # ETH_P_ALL
_SENTINEL_TYPE = 0x88B5  # for local experiments (IEEE 802)
_SO_RCVMARK = 75
_PATIENCE = 60.0
_LIBC = ctypes.CDLL(None, use_errno=True)


def run(command: str, stdin: str = "") -> str:
    """Run a command and return its output; its words are in the error if it fails."""
    done = subprocess.run(command.split(), input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Be in a network namespace for the length of the block, with this thread."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(f"/run/netns/{namespace}")
        yield
    finally:
        assert _LIBC.setns(home, _CLONE_NEWNET) == 0
        os.close(home)


def _enter(path: str) -> None:
    there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        assert _LIBC.setns(there, _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
    finally:
        os.close(there)


def sender(namespace: str, link: str) -> socket.socket:
    """Open a packet socket that sends on a link and receives nothing (protocol 0)."""
    with inside(namespace):
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        s.bind((link, 0))
    return s


class Observer:
    """Takes all that passes a link from its making on, each frame with its mark; gives up after a while."""

    def __init__(self, namespace: str, link: str) -> None:
        with inside(namespace):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.htons(_ALL))
            self._socket.bind((link, _ALL))
        self._socket.settimeout(_PATIENCE)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVMARK, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def until(self, sentinel: bytes) -> list[tuple[bytes, int]]:
        """Return all (frame, mark) that arrived before the sentinel."""
        return list(itertools.takewhile(lambda seen: seen[0][14:].rstrip(b"\0") != sentinel, iter(self._take, None)))

    def _take(self) -> tuple[bytes, int]:
        frame, ancillary, _, _ = self._socket.recvmsg(65536, 256)
        said = {(level, kind): data for level, kind, data in ancillary}
        return frame, int.from_bytes(said.get((socket.SOL_SOCKET, socket.SO_MARK), b""), sys.byteorder)


class Wire:
    """The three namespaces; all names begin with *prefix*."""

    def __init__(self, prefix: str) -> None:
        self.node, self.wire, self.sink = (f"{prefix}{part}" for part in ("node", "wire", "sink"))
        self._serial = itertools.count()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for namespace in (self.node, self.wire, self.sink):
            run(f"ip netns add {namespace}")
            self._stack.callback(run, f"ip netns del {namespace}")
            run(f"ip netns exec {namespace} sysctl -qw net.ipv6.conf.default.disable_ipv6=1")
        for family in ("iptables", "ip6tables"):  # br_netfilter, where there is one, would drop what has no checksum
            run(f"ip netns exec {self.node} sysctl -eqw net.bridge.bridge-nf-call-{family}=0")
        self._link("uplink", self.wire, "out")
        self._link("back", self.sink, "in")
        run(f"ip -n {self.node} link add br0 type bridge mcast_snooping 0 forward_delay 0")
        for port in ("uplink", "back"):
            run(f"ip -n {self.node} link set dev {port} master br0")
        run(f"ip -n {self.node} link set dev br0 up")
        self.inside_out = self._stack.enter_context(sender(self.node, "uplink"))
        self.outside = self._stack.enter_context(sender(self.wire, "out"))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _link(self, name: str, namespace: str, peer: str) -> None:
        run(f"ip -n {self.node} link add {name} type veth peer name {peer} netns {namespace}")
        run(f"ip -n {self.node} link set dev {name} up")
        run(f"ip -n {namespace} link set dev {peer} up")

    def leaves(self, frame: bytes, *, mark: int = 0) -> bool:
        """Send *frame* out of the node's uplink; say whether the wire sees it (VLAN tags may be taken off)."""
        self.inside_out.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        with Observer(self.wire, "out") as observer:
            return self._crosses(frame, self.inside_out, observer)

    def enters(self, frame: bytes) -> bool:
        """Send *frame* from the wire; say whether it passes the node's uplink."""
        with Observer(self.sink, "in") as observer:
            return self._crosses(frame, self.outside, observer)

    def throw(self, frame: bytes) -> None:
        """Send *frame* out of the node's uplink and look at nothing."""
        self._send([frame], self.inside_out)

    def marks(self, frames: list[bytes], sender: socket.socket) -> list[int]:
        """Send frames by *sender*, and return the marks that the node forwards them with."""
        with Observer(self.node, "back") as observer:
            sentinel = self._send(frames, sender)
            return [mark for seen, mark in observer.until(sentinel) if any(_same(seen, frame) for frame in frames)]

    def _crosses(self, frame: bytes, sender: socket.socket, observer: Observer) -> bool:
        sentinel = self._send([frame], sender)
        return any(_same(seen, frame) for seen, _ in observer.until(sentinel))

    def _send(self, frames: list[bytes], sender: socket.socket) -> bytes:
        sentinel = f"sentinel-{next(self._serial)}".encode()
        for frame in frames:
            with suppress(OSError):  # ENOBUFS is how a drop at tc egress shows to the sender
                sender.send(frame)
        sender.send(b"\xff" * 6 + b"\x02\x00\x00\x00\x00\x09" + _SENTINEL_TYPE.to_bytes(2) + sentinel)
        return sentinel


def _same(seen: bytes, sent: bytes) -> bool:
    """Compare what stands behind the Ethernet header: the first VLAN tag moves out of the frame on its way."""
    return len(seen) > 14 and sent.endswith(seen[14:])
