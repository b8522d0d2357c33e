"""The filter of the control port's sockets: whom the agent hears, written down before anything of theirs is expected.

Everybody who reaches the node can send to the port, and a queue that strangers fill loses what peers send: so the kernel asks
before it queues. What is asked stands in bpf/wirecrypt.c: a peer's address, brought by an SA, of the right size, and not more
than an agent takes. Program and maps are pinned and loaded with the guard's. A socket keeps the program that it has, which
keeps its maps; so the map is held open with it, and both change together when the guard was loaded anew.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from wirecrypt.errors import BpfError
from wirecrypt.kernel.bpf import records, syscall
from wirecrypt.kernel.bpf.pins import Pins
from wirecrypt.kernel.bpf.source import CONTROL
from wirecrypt.model.xfrm import Address

_SO_ATTACH_BPF: Final = 50  # include/uapi/asm-generic/socket.h
_SO_DETACH_BPF: Final = 27
_MAPPED: Final = bytes(10) + b"\xff\xff"  # an IPv4 address as one of IPv6 (RFC 4291, 2.5.5.2)


class ControlFilter:
    """Implement `net.control_socket.SocketFilter` with the pins below *bpffs_dir*/wirecrypt; raises `BpfError`."""

    def __init__(self, bpffs_dir: Path) -> None:
        self._pins = Pins(bpffs_dir)
        self._program = 0
        self._senders: syscall.Map | None = None
        self._admitted: dict[bytes, int] = {}  # shift of the marks by address, as the map has it
        self._open = ExitStack()

    def attach(self, sockets: Iterable[socket.socket]) -> None:
        """Have *sockets* take what `admit` names and nothing else.

        Done already with the pinned program, it is left, and so it is when somebody removed the pin.
        """
        if self._program and not self._pins.program(CONTROL).exists():
            return
        with syscall.opened(self._pins.program(CONTROL)) as fd:
            program = syscall.program_id(fd)
            if program == self._program:
                return
            self.close()
            self._senders = self._open.enter_context(syscall.opened_map(self._pins.map("senders")))
            self._admitted = {key: records.unpack("wc_sender", value).mark_shift for key, value in self._senders.items()}
            for sock in sockets:
                _attach(sock, fd)
            self._program = program

    def admit(self, senders: Iterable[Address], mark_shift: int) -> None:
        """Hear *senders*, whose SAs mark at *mark_shift*, and nobody else; what is so already is not written."""
        if self._senders is None:
            return
        wanted = dict.fromkeys(map(_key, senders), mark_shift)
        for key in sorted(wanted):
            if self._admitted.get(key) != mark_shift:
                self._senders.set(key, records.pack("wc_sender", mark_shift=mark_shift))
        for key in sorted(self._admitted.keys() - wanted.keys()):
            self._senders.delete(key)
        self._admitted = wanted

    def detach(self, sockets: Iterable[socket.socket]) -> None:
        """Have *sockets* take everything again."""
        for sock in sockets:
            with suppress(OSError):  # it has none
                sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_BPF, 0)
        self.close()

    def close(self) -> None:
        """Forget the sockets, which are gone or go."""
        self._program, self._senders = 0, None
        self._open.close()


def _attach(sock: socket.socket, program: int) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_BPF, program)
    except OSError as error:
        number = error.errno or 0
        hint = "raise net.core.optmem_max if it is low; else report the kernel's version"
        what, answer = "control port", os.strerror(number)
        raise BpfError("filter what a socket takes", what=what, answer=answer, errno=number, hint=hint) from error


def _key(address: Address) -> bytes:
    return (_MAPPED if isinstance(address, IPv4Address) else b"") + address.packed
