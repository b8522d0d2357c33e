"""The control protocol's sockets: the mark of a datagram picks its SA, the mark reported on arrival tells which SA it came by.

The port is this agent's on all addresses of both families, whichever are the node's, and shared with nobody (SO_REUSEADDR,
SO_REUSEPORT): of two sockets that share one, the kernel gives every datagram to one alone, and a probe that is not answered
stops a rotation. Sockets of single addresses are not enough: whoever has another address of the port, with SO_REUSEPORT, gets
the wildcard and then those addresses too, as the kernel looks no further than to a socket of the same user (net/ipv4/udp.c,
udp_lib_lport_inuse). A port of UDP is free as soon as its holder is gone, so a restart needs no option.
What one address or one peer is refused is that address's or peer's: the pass goes on to block what is to be blocked.
Strangers can send to the port as well. A filter has the kernel refuse them before they take a place in the queue; where it
cannot be had that is told. What is read at once is little either way: the loop goes on.
`SO_RCVMARK` (kernel >= 5.19, include/uapi/asm-generic/socket.h) reports the mark that the receiving SA set.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Final, Protocol

from wirecrypt import logs
from wirecrypt.errors import FeatureError, KernelError
from wirecrypt.model.link import Arrived
from wirecrypt.model.mark import MarkLayout
from wirecrypt.model.xfrm import Address

log = logs.get(__name__)

SO_MARK: Final = 36
SO_RCVMARK: Final = 75
IP_PKTINFO: Final = 8
REPEAT_SECONDS: Final = 600.0  # between two lines about the same refusal
_MAX_DATAGRAM: Final = 65535
_BATCH: Final = 64
_ANCILLARY: Final = 128  # bytes: the mark and the address that a datagram was sent to
_V4, _V6 = 4, 6
_FAMILIES: Final = {_V4: socket.AF_INET, _V6: socket.AF_INET6}
_ALL: Final = {_V4: "0.0.0.0", _V6: "::"}  # noqa: S104 - to have the port; what is sent to other addresses is not read
_HELD: Final = "see who holds the port with `ss -ulpn`, on whatever address, or set controlPort in the configuration"
_GONE: Final = "see with `ip address` whether the node has the address; the Node's status says that it has"


class SocketFilter(Protocol):
    """Has sockets take datagrams of known senders alone; each raises `KernelError`."""

    def attach(self, sockets: Iterable[socket.socket]) -> None:
        """Have *sockets* take what `admit` names and nothing else; done already, it is left."""

    def admit(self, senders: Iterable[Address], mark_shift: int) -> None:
        """Hear *senders*, whose SAs mark at *mark_shift*, and nobody else."""

    def detach(self, sockets: Iterable[socket.socket]) -> None:
        """Have *sockets* take everything again."""

    def close(self) -> None:
        """Forget the sockets."""


class KernelControlChannel:
    """Implement `ports.ControlChannel`; used by the one thread that made it.

    *take* gets a port for an address, by version of IP; *require_own* refuses an address that is not the node's;
    *only* has the sockets take known senders' datagrams alone; *clock* is monotonic.
    """

    def __init__(
        self,
        take: Callable[[Address, int], Mapping[int, socket.socket]] | None = None,
        require_own: Callable[[Address], None] | None = None,
        *,
        only: SocketFilter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._take = take or port_of
        self._require_own = require_own or own_address
        self._filter, self._clock = only, clock
        self._filtered, self._unfiltered = False, ""  # and why not
        self._port = 0
        self._sockets: Mapping[int, socket.socket] = {}
        self._addresses: set[Address] = set()
        self._failed: dict[Address, KernelError] = {}
        self._logged: dict[tuple[Address, int], float] = {}  # (peer, errno) of refusals, and when that was logged

    def listen(self, addresses: Iterable[Address], port: int) -> Mapping[Address, KernelError]:
        """Have UDP *port*, for *addresses* and no other; return those that cannot be listened on, with the error."""
        wanted = set(addresses)
        if port != self._port:
            self.close()
            self._port = port
        self._addresses &= wanted
        now = self._clock()
        self._logged = {refusal: when for refusal, when in self._logged.items() if now - when < REPEAT_SECONDS}
        before, self._failed = self._failed, {}
        for address in sorted(wanted - self._addresses, key=str):
            try:
                self._sockets = self._sockets or self._take(address, self._port)
                self._require_own(address)
                self._addresses.add(address)
            except KernelError as error:
                self._failed[address] = error
                if str(error) != str(before.get(address)):
                    log.error("no control socket", address=str(address), error=str(error))  # noqa: TRY400 - the message says all
        self._filtered = bool(self._sockets) and self._step(lambda only: only.attach(self._sockets.values()))
        return self.failed()

    def admit(self, senders: Iterable[Address], marks: MarkLayout) -> None:
        """Have datagrams of *senders* alone read, if an SA of theirs marked them; if that fails, everybody's are."""
        self._filtered = self._filtered and self._step(lambda only: only.admit(senders, marks.shift))
        if self._filtered:
            self._unfiltered = ""

    def unfiltered(self) -> str:
        return self._unfiltered

    def failed(self) -> Mapping[Address, KernelError]:
        return dict(self._failed)

    def files(self) -> Sequence[int]:
        return [s.fileno() for s in self._sockets.values()]

    def send(self, src: Address, dst: Address, mark: int, data: bytes) -> bool:
        if src not in self._addresses:
            return False
        sock = self._sockets[src.version]
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
            sock.sendmsg([data], [_from(src)], 0, (str(dst), self._port))
        except OSError as error:
            self._refused(src, dst, error)
            return False
        return True

    def receive(self) -> Sequence[Arrived]:
        """Return all datagrams that have arrived, at most 64 a socket, without waiting."""
        return [arrived for sock in self._sockets.values() for dst, arrived in _drain(sock) if dst in self._addresses]

    def close(self) -> None:
        for sock in self._sockets.values():
            sock.close()
        if self._filter is not None:
            self._filter.close()
        self._filtered, self._unfiltered = False, ""
        self._sockets = {}
        self._addresses.clear()
        self._failed.clear()

    def _step(self, step: Callable[[SocketFilter], None]) -> bool:
        """Do a step of filtering; where it fails that is told, and the sockets take everything: too much, but not nothing."""
        if self._filter is None:
            return False
        try:
            step(self._filter)
        except KernelError as error:
            self._filter.detach(self._sockets.values())
            if str(error) != self._unfiltered:
                self._unfiltered = str(error)
                log.error("control port not filtered", error=self._unfiltered)  # noqa: TRY400 - the message says all
            return False
        return True

    def _refused(self, src: Address, dst: Address, error: OSError) -> None:
        number = error.errno or 0
        if (dst, number) in self._logged:
            return
        self._logged[dst, number] = self._clock()
        log.warning("datagram refused", address=str(dst), reason=f"from {src}: {os.strerror(number)}")


def port_of(address: Address, port: int) -> Mapping[int, socket.socket]:
    """Return sockets that have UDP *port* on all addresses and report marks, by version of IP; both, if *address* is of either.

    Of a version that the kernel has not got there is none. Raises `KernelError`, which names *address*, and `FeatureError`.
    """
    taken: dict[int, socket.socket] = {}
    try:
        for version in (_V4, _V6):
            taken[version] = _opened(version, port)
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT and address.version in taken:
            return taken
        _close_all(taken.values())
        raise _error(f"{address} UDP port {port}", error, _HELD) from error
    except FeatureError:
        _close_all(taken.values())
        raise
    return taken


def own_address(address: Address) -> None:
    """Raise `KernelError` if *address* is not one of this node's."""
    try:
        with socket.socket(_FAMILIES[address.version], socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.bind((str(address), 0))
    except OSError as error:
        raise _error(str(address), error, _GONE) from error


def _error(what: str, error: OSError, hint: str) -> KernelError:
    number = error.errno or 0
    return KernelError("listen for control datagrams", what=what, answer=os.strerror(number), errno=number, hint=hint)


def _close_all(sockets: Iterable[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def _opened(version: int, port: int) -> socket.socket:
    sock = socket.socket(_FAMILIES[version], socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if version == _V6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        _ask_for_marks(sock)
        sock.bind((_ALL[version], port))
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


def _from(src: Address) -> tuple[int, int, bytes]:
    """Return the ancillary message by which a datagram leaves from *src* (in_pktinfo, in6_pktinfo; on any link)."""
    if src.version == _V6:
        return socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, struct.pack("=16sI", src.packed, 0)
    return socket.IPPROTO_IP, IP_PKTINFO, struct.pack("=I4s4s", 0, src.packed, bytes(4))


def _drain(sock: socket.socket) -> Iterator[tuple[Address | None, Arrived]]:
    """Yield each datagram with the address that it was sent to."""
    for _ in range(_BATCH):
        try:
            data, ancillary, _, source = sock.recvmsg(_MAX_DATAGRAM, _ANCILLARY)
        except BlockingIOError:
            return
        except OSError:
            # An ICMP error of an earlier send is reported on the next call: it says nothing about what arrived.
            continue
        mark, dst = 0, None
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, SO_MARK):
                mark = struct.unpack("=I", payload[:4])[0]
            elif (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
                dst = ip_address(payload[8:12])
            elif (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
                dst = ip_address(payload[:16])
        with contextlib.suppress(ValueError):
            yield dst, Arrived(ip_address(source[0].partition("%")[0]), mark, data)
