"""One netlink socket of one thread: batches with an answer for each request, and dumps.

pyroute2's `NetlinkSocket` makes, tunes, binds and closes the socket; its own request layer is left aside, for it sends
nothing until it is read, drops attributes that it cannot spell, and logs requests (with their keys) at DEBUG. So
datagrams go out and in as bytes here. NETLINK_CAP_ACK keeps the kernel from echoing a refused request, key included;
NETLINK_EXT_ACK makes it say in words what it refused. Formats: RFC 3549, include/uapi/linux/netlink.h.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import select
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, Self

from pyroute2.netlink.nlsocket import NetlinkSocket

from wirecrypt.kernel.xfrm.wire import NLM_F_ACK, Request, attributes

logging.getLogger("pyroute2").setLevel(logging.WARNING)  # at DEBUG it logs keys

CHUNK: Final = 128  # requests a datagram: their answers (about 1 kB of kernel memory each) fit the smallest buffer
RECEIVE: Final = 65536  # the kernel fills dumps by the size of the reader's buffer, up to 32 kB
# The kernel hands this on in what it tells of a change (xfrm_send_state_notify, net/xfrm/xfrm_user.c): our own are known by it.
# Drawn, for others use 0 or their process id.
OWN_PORT: Final = 1 << 30 | secrets.randbits(30)
PATIENCE_MS: Final = 10_000  # answers are queued before send() returns; only a stuck kernel takes longer
ATTEMPTS: Final = 6

_HEADER: Final = struct.Struct("=IHHII")
_ERROR: Final = struct.Struct("=i")
_ECHO: Final = 20  # nlmsgerr with NETLINK_CAP_ACK: the error and the request's header
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_NLM_F_DUMP_INTR: Final = 0x10
_NLM_F_ACK_TLVS: Final = 0x200
_NLMSGERR_ATTR_MSG: Final = 1
_SOL_NETLINK: Final = 270
_NETLINK_CAP_ACK: Final = 10
_SEQUENCES: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class NetlinkAnswer:
    """What the kernel said to one request: errno (0: done) and its words; *payload* is what it returned."""

    errno: int
    words: str = ""
    payload: bytes = b""


class InterruptedDumpError(OSError):
    """What was being listed changed too often, or answers were lost, in every attempt."""


class NetlinkChannel:
    """Requests over one socket, in the network namespace of the thread that made it; only that thread may use it.

    Raises `OSError` when the socket cannot be made or fails.
    """

    def __init__(self, protocol: int) -> None:
        self._protocol = protocol
        self._thread = threading.get_ident()
        self._sequence = count(1)
        self._socket = self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; from the same thread, or its event loop stays open."""
        self._socket.close()

    def batch(self, requests: Sequence[Request]) -> list[NetlinkAnswer]:
        """Send all requests in order and return their answers in the same order; one refusal stops nothing."""
        self._check_thread()
        answers: list[NetlinkAnswer] = []
        for start in range(0, len(requests), CHUNK):
            answers.extend(self._chunk(requests[start : start + CHUNK]))
        return answers

    def dump(self, request: Request) -> list[bytes]:
        """Return the payloads of all listed objects, from one undisturbed pass.

        Raises `InterruptedDumpError` when no pass was, another `OSError` when the kernel refuses.
        """
        self._check_thread()
        for _ in range(ATTEMPTS):
            try:
                payloads = self._dump(request)
            except OSError as e:
                if e.errno not in {errno.ENOBUFS, errno.EBUSY}:
                    raise
                payloads = None
            if payloads is not None:
                return payloads
            self._reopen()
        raise InterruptedDumpError(errno.EINTR, f"the list changed while it was read, {ATTEMPTS} times")

    def _chunk(self, requests: Sequence[Request]) -> list[NetlinkAnswer]:
        numbers = [next(self._sequence) & _SEQUENCES for _ in requests]
        self._socket.send(b"".join(map(_acknowledged, requests, numbers)))
        waiting = dict.fromkeys(numbers)
        found: dict[int, NetlinkAnswer] = {}
        try:
            while waiting:
                for kind, flags, number, payload in self._receive():
                    if number not in waiting:
                        continue
                    if kind == _NLMSG_ERROR:
                        found[number] = _answer(flags, payload, found.get(number))
                        del waiting[number]
                    else:
                        found[number] = NetlinkAnswer(0, payload=payload)
        except OSError as e:
            self._reopen()
            lost = NetlinkAnswer(e.errno or errno.EIO, "no answer came: the outcome is unknown")
            found.update(dict.fromkeys(waiting, lost))
        return [found[number] for number in numbers]

    def _dump(self, request: Request) -> list[bytes] | None:
        """Return one pass, or None when it was disturbed."""
        sequence = next(self._sequence) & _SEQUENCES
        self._socket.send(_message(request, sequence, request.flags))
        payloads: list[bytes] = []
        while True:
            for kind, flags, number, payload in self._receive():
                if number != sequence:
                    continue
                if flags & _NLM_F_DUMP_INTR:
                    return None
                if kind in {_NLMSG_DONE, _NLMSG_ERROR}:
                    _raise(payload)
                    return payloads
                payloads.append(payload)

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Wait for one datagram and yield (type, flags, sequence number, payload) of its messages."""
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLIN)
        if not poll.poll(PATIENCE_MS):
            raise TimeoutError(errno.ETIMEDOUT, "the kernel did not answer")
        return messages(self._socket.recv(RECEIVE))

    def _check_thread(self) -> None:
        if threading.get_ident() != self._thread:
            raise OSError(errno.EBADF, "this socket belongs to another thread")

    def _open(self) -> Any:  # noqa: ANN401 - pyroute2 is untyped
        channel = NetlinkSocket(family=self._protocol, ext_ack=True)
        channel.bind()
        channel.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        return channel

    def _reopen(self) -> None:
        self._socket.close()
        self._socket = self._open()


def messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield (type, flags, sequence number, payload) of the messages in one datagram."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, number, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            return
        yield kind, flags, number, data[offset + _HEADER.size : offset + length]
        offset += length + -length % 4


def senders(data: bytes) -> Iterator[int]:
    """Yield the port of who caused each message in one datagram of events: *OWN_PORT*, or another's."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, _, _, _, port = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            return
        yield port
        offset += length + -length % 4


def _acknowledged(request: Request, sequence: int) -> bytes:
    return _message(request, sequence, request.flags | NLM_F_ACK)


def _message(request: Request, sequence: int, flags: int) -> bytes:
    length = _HEADER.size + len(request.payload)
    header = _HEADER.pack(length, request.type, flags, sequence, OWN_PORT)
    return header + request.payload + bytes(-length % 4)


def _answer(flags: int, payload: bytes, returned: NetlinkAnswer | None) -> NetlinkAnswer:
    code = -_ERROR.unpack_from(payload)[0]
    raw = attributes(payload, _ECHO).get(_NLMSGERR_ATTR_MSG, b"") if flags & _NLM_F_ACK_TLVS else b""
    return NetlinkAnswer(code, raw.rstrip(b"\0").decode(errors="replace"), returned.payload if returned else b"")


def _raise(payload: bytes) -> None:
    """Raise the `OSError` that ended a dump, if one did; both kinds of last message begin with it."""
    code = -_ERROR.unpack_from(payload)[0] if payload else 0
    if code > 0:
        raise OSError(code, os.strerror(code))
