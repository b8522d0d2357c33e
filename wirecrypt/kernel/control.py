"""The control protocol's sockets: the mark of a datagram picks its SA, the mark reported on arrival tells which SA it came by.

`SO_RCVMARK` (kernel >= 5.19, include/uapi/asm-generic/socket.h) reports the mark that the receiving SA set.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address
from typing import Final

from wirecrypt.errors import FeatureError, KernelError
from wirecrypt.model.xfrm import Address
from wirecrypt.ports import Arrived

SO_MARK: Final = 36
SO_RCVMARK: Final = 75
_MAX_DATAGRAM: Final = 65535
_BATCH: Final = 256
_REFUSED: Final = (errno.EPERM, errno.EAGAIN, errno.ESRCH, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EMSGSIZE, errno.ENOBUFS)
_V6: Final = 6


class KernelControlChannel:
    """Implement `ports.ControlChannel`; used by the one thread that made it."""

    def __init__(self) -> None:
        self._port = 0
        self._sockets: dict[Address, socket.socket] = {}

    def listen(self, addresses: Iterable[Address], port: int) -> None:
        """Have one socket for each of *addresses* on UDP *port*, and no other; raises `KernelError`, `FeatureError`."""
        wanted = set(addresses)
        if port != self._port:
            self.close()
            self._port = port
        for address in self._sockets.keys() - wanted:
            self._sockets.pop(address).close()
        for address in sorted(wanted - self._sockets.keys(), key=str):
            self._sockets[address] = _bound(address, self._port)

    def files(self) -> Sequence[int]:
        """Return the descriptors to wait on."""
        return [s.fileno() for s in self._sockets.values()]

    def send(self, src: Address, dst: Address, mark: int, data: bytes) -> bool:
        """Send one datagram; False when the kernel refused it."""
        sock = self._sockets.get(src)
        if sock is None:
            return False
        sock.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
        try:
            sock.sendto(data, (str(dst), self._port))
        except OSError as error:
            if error.errno in _REFUSED:
                return False
            raise KernelError(
                "send a control datagram",
                what=f"{src} to {dst}",
                answer=os.strerror(error.errno or 0),
                errno=error.errno or 0,
                hint="`wirecrypt doctor` looks at routes and policies",
            ) from error
        return True

    def receive(self) -> Sequence[Arrived]:
        """Return all datagrams that have arrived, at most 256 a socket, without waiting."""
        return [arrived for sock in self._sockets.values() for arrived in _drain(sock)]

    def close(self) -> None:
        """Close all sockets."""
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()


def _bound(address: Address, port: int) -> socket.socket:
    family = socket.AF_INET6 if address.version == _V6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVMARK, 1)
        except OSError as error:
            raise FeatureError(
                "ask for the mark of received datagrams",
                what="SO_RCVMARK",
                answer=os.strerror(error.errno or 0),
                errno=error.errno or 0,
                hint="a kernel of 5.19 or newer is needed",
            ) from error
        sock.bind((str(address), port))
    except FeatureError:
        sock.close()
        raise
    except OSError as error:
        sock.close()
        raise KernelError(
            "listen for control datagrams",
            what=f"{address} UDP port {port}",
            answer=os.strerror(error.errno or 0),
            errno=error.errno or 0,
            hint="see who holds the port with `ss -ulpn`, or set controlPort in the configuration",
        ) from error
    return sock


def _drain(sock: socket.socket) -> Iterator[Arrived]:
    for _ in range(_BATCH):
        try:
            data, ancillary, _, source = sock.recvmsg(_MAX_DATAGRAM, 64)
        except BlockingIOError:
            return
        except OSError:
            # An ICMP error of an earlier send is reported on the next call: it says nothing about what arrived.
            continue
        mark = 0
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, SO_MARK):
                mark = struct.unpack("=I", payload[:4])[0]
        with contextlib.suppress(ValueError):
            yield Arrived(ip_address(source[0].partition("%")[0]), mark, data)
