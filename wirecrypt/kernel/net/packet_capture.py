"""Watch what leaves a node's uplinks: ESP by SPI, and packets that should have been ESP.

Only leaving packets are judged: one that was decrypted here appears on the same link again, readable, at ingress. Two packet
sockets a link, told apart by filters in the kernel, so that a flood of ESP cannot push a readable packet out of the buffer;
each takes the first bytes of a packet only. What a buffer could not hold is counted as lost. Needs NET_RAW.
Kernel side: net/packet/af_packet.c, include/uapi/linux/filter.h.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Final, Self

from wirecrypt.errors import LinkError
from wirecrypt.kernel.net.frames import ESP, IPV4, IPV6, VLANS, IpHeader, Tunnels, headers
from wirecrypt.model.verify_facts import CapturedPackets, Clear
from wirecrypt.model.xfrm import Address

# Bytes of a packet, from its IP header on. Outer IPv6, UDP, VXLAN, Ethernet, IPv6 and ports are 40+8+8+14+40+4 = 114; with an
# ICMPv6 error around or inside 48 more, 162. The rest is for a tag, or options of Geneve.
SNAP: Final = 192
MOST_FLOWS: Final = 256  # distinct readable flows that are told apart
_BUFFER: Final = 8 << 20
_BATCH: Final = 64
_ETH_P_ALL: Final = 3
_OUTGOING: Final = 4
_SO_ATTACH_FILTER: Final = 26
_SO_RCVBUFFORCE: Final = 33
_SOL_PACKET: Final = 263
_PACKET_STATISTICS: Final = 6

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_LOAD_BYTE: Final = 0x30  # BPF_LD | BPF_B | BPF_ABS
_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_AD_PROTOCOL: Final = 0xFFFFF000  # SKF_AD_OFF + SKF_AD_PROTOCOL
_AD_PKTTYPE: Final = 0xFFFFF004

Relevant = Callable[[Address, Address], bool]


class PacketCapture:
    """A running capture on *links*; leave the block, or `close`, and its sockets are gone.

    *relevant* says of (source, target) whether a readable packet between them is to be told. Raises `LinkError`.
    """

    def __init__(self, links: Sequence[str], tunnels: Tunnels, relevant: Relevant) -> None:
        self._tunnels = tunnels
        self._relevant = relevant
        self._esp: Counter[tuple[Address, int]] = Counter()
        self._clear: Counter[tuple[str, str, int, int, int, str]] = Counter()
        self._packets = self._lost = 0
        self._sockets: list[socket.socket] = []
        with ExitStack() as undo:
            for link in links:
                for program in (_filter(esp=True), _filter(esp=False)):
                    opened = _opened(link, program)
                    undo.callback(opened.close)
                    self._sockets.append(opened)
            self._undo = undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what reads the wire."""
        self._undo.close()
        self._sockets.clear()

    def watch(self, until: float) -> None:
        """Read what leaves until monotonic time *until*."""
        poll = select.poll()
        known = {s.fileno(): s for s in self._sockets}
        for number in known:
            poll.register(number, select.POLLIN)
        while (left := until - time.monotonic()) > 0:
            for number, _ in poll.poll(left * 1000):
                self._read(known[number])

    def finish(self) -> CapturedPackets:
        """Stop, read what waits in the buffers, and return all that was seen."""
        for each in self._sockets:
            _attach(each, _line(0, _RETURN, 0))  # takes nothing any more
        for each in self._sockets:
            while self._read(each):
                pass
            _, dropped = struct.unpack("=II", each.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))  # reading sets it to 0
            self._lost += dropped
        flows = [Clear(*flow, packets) for flow, packets in self._clear.most_common()]
        return CapturedPackets(dict(self._esp), flows, self._packets, self._lost)

    def _read(self, source: socket.socket) -> bool:
        """Read at most one batch; say whether more may wait."""
        for _ in range(_BATCH):
            try:
                data, address = source.recvfrom(SNAP)
            except OSError:  # nothing waits; or the link went down, which is told once
                return False
            self._packets += 1
            for header in headers(address[1], data, self._tunnels):
                self._note(header)
        return True

    def _note(self, header: IpHeader) -> None:
        if header.protocol == ESP:
            if header.spi and not header.quoted:  # a later fragment was counted with its first
                self._esp[header.target, header.spi] += 1
        elif not header.neighbour and self._relevant(header.source, header.target):
            flow = (str(header.source), str(header.target), header.protocol, header.sport, header.dport, header.inside)
            if flow in self._clear or len(self._clear) < MOST_FLOWS:
                self._clear[flow] += 1
            else:
                self._lost += 1


def _opened(link: str, program: bytes) -> socket.socket:
    """Return a packet socket that gets what *program* accepts of the leaving packets of *link*, from now on."""
    try:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    except OSError as error:
        raise _refused(link, error) from error
    try:
        _attach(made, program)
        made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        made.bind((link, _ETH_P_ALL))  # only now packets come: all of them went through the filter
    except OSError as error:
        made.close()
        raise _refused(link, error) from error
    return made


def _attach(to: socket.socket, program: bytes) -> None:
    code = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    to.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)


def _filter(*, esp: bool) -> bytes:
    """Return a classic BPF program: leaving packets that are ESP, or leaving IP packets (also tagged) that are not."""
    tagged, single = sorted(VLANS)
    lines = (
        (_LOAD, _AD_PKTTYPE),
        (_EQUAL, _OUTGOING, 2, _NOTHING),
        (_LOAD, _AD_PROTOCOL),
        (_EQUAL, IPV4, 7, 4),
        (_EQUAL, IPV6, 9, 5),
        (_EQUAL, tagged, _OTHER, 6),
        (_EQUAL, single, _OTHER, _NOTHING),
        (_LOAD_BYTE, 9),  # protocol of IPv4
        (_EQUAL, ESP, _IS_ESP, _OTHER),
        (_LOAD_BYTE, 6),  # next header of IPv6
        (_EQUAL, ESP, _IS_ESP, _OTHER),
        (_RETURN, SNAP if esp else 0),
        (_RETURN, 0 if esp else SNAP),
        (_RETURN, 0),
    )
    return b"".join(_line(number, *line) for number, line in enumerate(lines))


_IS_ESP, _OTHER, _NOTHING = 11, 12, 13  # lines of the program above


def _line(number: int, code: int, k: int, yes: int | None = None, no: int | None = None) -> bytes:
    """Return one instruction; *yes* and *no* are lines, which the kernel wants as distances from the next one."""
    jumps = (0 if target is None else target - number - 1 for target in (yes, no))
    return struct.pack("=HBBI", code, *jumps, k)


def _refused(link: str, error: OSError) -> LinkError:
    answer = os.strerror(error.errno or 0)
    hint = "the agent needs the capability NET_RAW, and the link must exist"
    return LinkError("watch a link", what=link, answer=answer, errno=error.errno or 0, hint=hint)
