"""Attach eBPF programs to links without a qdisc: tcx, for kernels that have it (6.6, kernel/bpf/tcx.c).

Adding a clsact qdisc takes the link's transmit queues out of service for a moment, and packets are lost
(docs/adr/0006-tcx-where-the-kernel-has-it.md); tcx only exchanges a pointer. An attachment lives as long as its pin, so
each is pinned below one folder, as NAMESPACE-INDEX-PROGRAM: a link's index alone is unique in its network namespace
only. `hold` keeps them open as well, so that who removes the pins takes no guard away. What was never pinned there is
somebody else's and is not touched. Programs run in a chain: ours come first and end with TCX_NEXT, the same number as
TC_ACT_UNSPEC. All functions act in the thread's own network namespace.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wirecrypt.errors import BpfError
from wirecrypt.kernel.bpf import syscall
from wirecrypt.kernel.bpf.pins import make_folder, remove, remove_folder
from wirecrypt.kernel.bpf.syscall import TcxHook

_SO_NETNS_COOKIE: Final = 71  # include/uapi/asm-generic/socket.h; never given twice between two boots


@dataclass(frozen=True, slots=True, order=True)
class TcxAttachment:
    """A pinned attachment: of which program (*program_id*: the kernel's number) to which link."""

    index: int
    program: str
    program_id: int
    pin: Path


class Tcx:
    """Our attachments, by their pins in *folder*. Raises `BpfError`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[Path, int] = {}

    def attached(self) -> list[TcxAttachment]:
        """Return our attachments to the links of this namespace, sorted."""
        links = {index for index, _ in socket.if_nameindex()}
        return sorted(one for one in map(_read, self._own_pins()) if one and one.index in links)

    def at(self, index: int) -> dict[str, TcxAttachment]:
        """Return our attachments to one link, by program."""
        found = (_read(pin) for pin in self._own_pins() if _index(pin) == index)
        return {one.program: one for one in found if one}

    def attach(self, index: int, hook: TcxHook, program: str, fd: int, *, after: str = "") -> bool:
        """Put the open program *fd* first on a link, or behind our program *after* if that is there.

        Our older program of this name is replaced atomically, in its place. Say whether anything was written.
        """
        present = self.at(index)
        if program not in present:
            self._create(index, hook, program, fd, present.get(after))
            return True
        if present[program].program_id == syscall.program_id(fd):
            return False
        with syscall.opened(present[program].pin) as link:
            syscall.update_link(link, fd)
        return True

    def detach(self, index: int) -> int:
        """Detach all that is ours from a link; say how many attachments that were."""
        present = self.at(index)
        for one in present.values():
            self._end(one.pin)
        return len(present)

    def hold(self) -> int:
        """Keep our attachments to the links of this namespace open until this process ends: they outlive their pins.

        Where somebody removed the pin of one that was held, it is pinned again, so that all that follows finds it and
        replaces it in its place. Say how many that were.
        """
        pinned = 0
        for pin, fd in list(self._held.items()):
            if not syscall.tcx_link_info(fd)[1]:
                self._let_go(pin)  # detached, or its link has gone
            elif not pin.exists():
                make_folder(self._folder.parent)
                make_folder(self._folder)
                syscall.pin(fd, pin)
                pinned += 1
        for one in self.attached():
            if one.pin not in self._held:
                with syscall.opened(one.pin) as fd:
                    self._held[one.pin] = os.dup(fd)
        return pinned

    def _let_go(self, pin: Path) -> None:
        held = self._held.pop(pin, None)
        if held is not None:
            os.close(held)

    def _end(self, pin: Path) -> None:
        with syscall.opened(pin) as fd:
            syscall.detach_link(fd)
        remove(pin)
        self._let_go(pin)

    def remove_gone(self) -> int:
        """Remove the pins of links that are gone, with the namespace or out of it; say how many."""
        links = {index for index, _ in socket.if_nameindex()}
        own = self._own_pins()
        gone = [pin for pin in own if _index(pin) not in links]
        gone += [pin for pin in self._pins() if pin not in own and _read(pin) is None]
        for pin in gone:
            self._end(pin)
        return len(gone)

    def remove_all(self) -> int:
        """Detach everything in the folder, of whichever namespace, and remove the folder; say how many changes that were."""
        pins = self._pins()
        for pin in pins:
            self._end(pin)
        return len(pins) + remove_folder(self._folder)

    def _create(self, index: int, hook: TcxHook, program: str, fd: int, after: TcxAttachment | None) -> None:
        make_folder(self._folder)
        pin = self._folder / f"{_namespace():x}-{index}-{program}"
        remove(pin)  # of a link that had this index and left
        if after is None:
            link = syscall.create_tcx_link(fd, index, hook)
        else:
            with syscall.opened(after.pin) as relative:
                link = syscall.create_tcx_link(fd, index, hook, after=relative)
        try:
            syscall.pin(link, pin)
        finally:
            os.close(link)

    def _own_pins(self) -> list[Path]:
        """Return the pins of this namespace's links."""
        pins = self._pins()
        own = f"{_namespace():x}-" if pins else ""
        return [pin for pin in pins if pin.name.startswith(own)]

    def _pins(self) -> list[Path]:
        try:
            return sorted(self._folder.iterdir())
        except FileNotFoundError:
            return []


def _index(pin: Path) -> int:
    return int(pin.name.split("-")[1])


def _read(pin: Path) -> TcxAttachment | None:
    """Return what is pinned there, None when its link has gone or the pin itself has meanwhile."""
    try:
        with syscall.opened(pin) as fd:
            program_id, index = syscall.tcx_link_info(fd)
    except BpfError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return TcxAttachment(index, pin.name.split("-", 2)[2], program_id, pin) if index == _index(pin) else None


def _namespace() -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as s:
        return int.from_bytes(s.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), sys.byteorder)
