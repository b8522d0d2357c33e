"""The control protocol's sockets: the mark of a datagram picks its SA, the mark reported on arrival tells which SA it came by.

What one address or one peer is refused is that address's or peer's: the pass goes on to block what is to be blocked.
`SO_RCVMARK` (kernel >= 5.19, include/uapi/asm-generic/socket.h) reports the mark that the receiving SA set.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Final

from wirecrypt import logs
from wirecrypt.errors import FeatureError, KernelError
from wirecrypt.model.xfrm import Address
from wirecrypt.ports import Arrived

log = logs.get(__name__)

SO_MARK: Final = 36
SO_RCVMARK: Final = 75
_MAX_DATAGRAM: Final = 65535
_BATCH: Final = 256
_V6: Final = 6


class KernelControlChannel:
    """Implement `ports.ControlChannel`; used by the one thread that made it. *bind* makes the socket of one address."""

    def __init__(self, bind: Callable[[Address, int], socket.socket] | None = None) -> None:
        self._bind = bind or bound
        self._port = 0
        self._sockets: dict[Address, socket.socket] = {}
        self._failed: dict[Address, KernelError] = {}
        self._logged: set[tuple[Address, int]] = set()  # (peer, errno) of refusals that stand in the log

    def listen(self, addresses: Iterable[Address], port: int) -> Mapping[Address, KernelError]:
        """Have one socket for each of *addresses* on UDP *port*, and no other; return those that got none, with the error."""
        wanted = set(addresses)
        if port != self._port:
            self.close()
            self._port = port
        for address in self._sockets.keys() - wanted:
            self._sockets.pop(address).close()
        before, self._failed = self._failed, {}
        for address in sorted(wanted - self._sockets.keys(), key=str):
            try:
                self._sockets[address] = self._bind(address, self._port)
            except KernelError as error:
                self._failed[address] = error
                if str(error) != str(before.get(address)):
                    log.error("no control socket", address=str(address), error=str(error))  # noqa: TRY400 - the message says all
        return self.failed()

    def failed(self) -> Mapping[Address, KernelError]:
        """Return the addresses that the last `listen` found no socket for; each next one tries them again."""
        return dict(self._failed)

    def files(self) -> Sequence[int]:
        """Return the descriptors to wait on."""
        return [s.fileno() for s in self._sockets.values()]

    def send(self, src: Address, dst: Address, mark: int, data: bytes) -> bool:
        """Send one datagram; False when the kernel refused it, for whatever reason: each is logged once a peer."""
        sock = self._sockets.get(src)
        if sock is None:
            return False
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
            sock.sendto(data, (str(dst), self._port))
        except OSError as error:
            self._refused(src, dst, error)
            return False
        return True

    def receive(self) -> Sequence[Arrived]:
        """Return all datagrams that have arrived, at most 256 a socket, without waiting."""
        return [arrived for sock in self._sockets.values() for arrived in _drain(sock)]

    def close(self) -> None:
        """Close all sockets."""
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()
        self._failed.clear()

    def _refused(self, src: Address, dst: Address, error: OSError) -> None:
        number = error.errno or 0
        if (dst, number) in self._logged:
            return
        self._logged.add((dst, number))
        log.warning("datagram refused", address=str(dst), reason=f"from {src}: {os.strerror(number)}")


def bound(address: Address, port: int) -> socket.socket:
    """Return a socket on *address* and UDP *port* that reports marks; raises `KernelError`, `FeatureError`."""
    try:
        return _opened(address, port)
    except OSError as error:
        raise KernelError(
            "listen for control datagrams",
            what=f"{address} UDP port {port}",
            answer=os.strerror(error.errno or 0),
            errno=error.errno or 0,
            hint="see who holds the port with `ss -ulpn`, or set controlPort in the configuration",
        ) from error


def _opened(address: Address, port: int) -> socket.socket:
    family = socket.AF_INET6 if address.version == _V6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _ask_for_marks(sock)
        sock.bind((str(address), port))
    except (OSError, FeatureError):
        sock.close()
        raise
    return sock


def _ask_for_marks(sock: socket.socket) -> None:
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
