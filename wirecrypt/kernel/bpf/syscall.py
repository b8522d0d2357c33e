"""The bpf(2) system call, as far as wirecrypt needs it: maps, programs at tc and at sockets, pins, attachments by tcx.

Descriptors are plain integers owned by a `contextlib.closing`-like block of the caller: use `opened` and `opened_map`.
Layouts: union bpf_attr in include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

from wirecrypt.errors import BpfError

_NUMBERS: Final = {"x86_64": 321, "aarch64": 280}  # __NR_bpf
_POSSIBLE_CPUS: Final = Path("/sys/devices/system/cpu/possible")
_NAME_BYTES: Final = 15
_INFO_BYTES: Final = 256
_PER_CPU_ALIGN: Final = 8
_INSTRUCTION_BYTES: Final = 8
_LOAD_TRIES: Final = 5  # a signal ends the verifier's work with EAGAIN
_LOG_BYTES: Final = (1 << 24) - 1  # room for all the words: before Linux 6.4 it is the last ones that are cut off
_LOG_LINES: Final = 15
_REFILL_WAITS: Final = (0.001,) * 50 + (0.05,) * 20  # seconds: a second in all, mostly one or two of the short ones

BPF_F_NO_PREALLOC: Final = 1
_BEFORE: Final = 1 << 3  # BPF_F_BEFORE: alone, before all others
_AFTER: Final = 1 << 4  # BPF_F_AFTER
_RELATIVE_TO_LINK: Final = 1 << 13  # BPF_F_LINK: the descriptor is a link's, not a program's


class MapType(IntEnum):
    """enum bpf_map_type, what is used of it."""

    HASH = 1
    ARRAY = 2
    PERCPU_HASH = 5
    PERCPU_ARRAY = 6
    LPM_TRIE = 11
    RINGBUF = 27


class ProgramType(IntEnum):
    """enum bpf_prog_type, what is used of it."""

    SOCKET_FILTER = 1
    SCHED_CLS = 3


class TcxHook(IntEnum):
    """enum bpf_attach_type, what is used of it (kernel >= 6.6)."""

    INGRESS = 46
    EGRESS = 47


class _Command(IntEnum):
    MAP_CREATE = 0
    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    MAP_GET_NEXT_KEY = 4
    PROG_LOAD = 5
    OBJ_PIN = 6
    OBJ_GET = 7
    OBJ_GET_INFO_BY_FD = 15
    PROG_QUERY = 16
    LINK_CREATE = 28
    LINK_UPDATE = 29
    LINK_DETACH = 34


@dataclass(frozen=True, slots=True)
class MapShape:
    """What a map is made of: sizes in bytes."""

    type: MapType
    key_size: int
    value_size: int
    max_entries: int
    flags: int = 0


def create_map(name: str, shape: MapShape) -> int:
    """Make a map and return its descriptor; raises `BpfError`."""
    sizes = (shape.type, shape.key_size, shape.value_size, shape.max_entries, shape.flags)
    attr = struct.pack("=7I16s", *sizes, 0, 0, name.encode()[:_NAME_BYTES])
    return _call(_Command.MAP_CREATE, attr, tried="create an eBPF map", what=name)


def load_program(name: str, instructions: bytes, kind: ProgramType = ProgramType.SCHED_CLS) -> int:
    """Load a program and return its descriptor; raises `BpfError` with the verifier's last lines."""
    for _ in range(_LOAD_TRIES):
        try:
            return _load(name, instructions, kind, None)
        except BpfError as error:
            refused = error
            if error.errno != errno.EAGAIN:
                break
    if refused.errno == errno.EPERM:
        raise refused
    log = ctypes.create_string_buffer(_LOG_BYTES)
    with suppress(BpfError):  # the same answer, now with words
        return _load(name, instructions, kind, log)
    words = log.value.decode(errors="replace").strip().splitlines()[-_LOG_LINES:]
    answer = "\n".join([refused.answer, *words])
    raise BpfError(refused.tried, what=name, answer=answer, hint=_REPORT, errno=refused.errno) from refused


def _load(name: str, instructions: bytes, kind: ProgramType, log: ctypes.Array[ctypes.c_char] | None) -> int:
    code, licence = ctypes.create_string_buffer(instructions, len(instructions)), ctypes.create_string_buffer(b"GPL")
    program = (kind, len(instructions) // _INSTRUCTION_BYTES, ctypes.addressof(code), ctypes.addressof(licence))
    words = (1, _LOG_BYTES, ctypes.addressof(log)) if log is not None else (0, 0, 0)
    attr = struct.pack("=IIQQIIQII16s", *program, *words, 0, 0, name.encode()[:_NAME_BYTES])
    return _call(_Command.PROG_LOAD, attr, tried="load an eBPF program", what=name)


def pin(fd: int, path: Path) -> None:
    """Pin an object at a path that does not exist yet, on a bpf file system; raises `BpfError`."""
    text = ctypes.create_string_buffer(os.fsencode(path))
    attr = struct.pack("=QII", ctypes.addressof(text), fd, 0)
    _call(_Command.OBJ_PIN, attr, tried="pin an eBPF object", what=str(path))


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """Open the object that is pinned at *path* for the length of the block; raises `BpfError`."""
    text = ctypes.create_string_buffer(os.fsencode(path))
    attr = struct.pack("=QII", ctypes.addressof(text), 0, 0)
    fd = _call(_Command.OBJ_GET, attr, tried="open a pinned eBPF object", what=str(path))
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def opened_map(path: Path) -> Iterator[Map]:
    """Open a pinned map for the length of the block; raises `BpfError`."""
    with opened(path) as fd:
        yield Map(fd, map_shape(fd), str(path))


def map_shape(fd: int) -> MapShape:
    """Return what the open map is made of (struct bpf_map_info)."""
    kind, _, key_size, value_size, max_entries, flags = struct.unpack_from("=6I", _info(fd))
    return MapShape(MapType(kind), key_size, value_size, max_entries, flags)


def program_id(fd: int) -> int:
    """Return the kernel's id of the open program (struct bpf_prog_info)."""
    return int(struct.unpack_from("=II", _info(fd))[1])


def tcx_supported(index: int) -> bool:
    """Return whether this kernel can attach programs to the link *index* without a qdisc; raises `BpfError`."""
    attr = struct.pack("=2I56x", index, TcxHook.INGRESS)  # whole: the kernel writes its answer up to the last field
    try:
        _call(_Command.PROG_QUERY, attr, tried="ask for the programs of a link", what=f"link {index}")
    except BpfError as error:
        if error.errno == errno.EINVAL:
            return False
        raise
    return True


def create_tcx_link(program_fd: int, index: int, hook: TcxHook, *, after: int | None = None) -> int:
    """Attach an open program to a link and return the descriptor of the attachment, with which it ends unless it is pinned.

    It runs before all others, or right after the attachment *after* (a descriptor). Raises `BpfError`.
    """
    flags = _BEFORE if after is None else _AFTER | _RELATIVE_TO_LINK
    attr = struct.pack("=4IIIQ", program_fd, index, hook, flags, after or 0, 0, 0)
    return _call(_Command.LINK_CREATE, attr, tried="attach a program to a link", what=f"link {index} {hook.name.lower()}")


def update_link(fd: int, program_fd: int) -> None:
    """Put another program into the place of an attachment's present one, atomically; raises `BpfError`."""
    attr = struct.pack("=4I", fd, program_fd, 0, 0)
    _call(_Command.LINK_UPDATE, attr, tried="replace an attached program", what=f"descriptor {fd}")


def detach_link(fd: int) -> None:
    """End an attachment whoever else holds it open; raises `BpfError`."""
    _call(_Command.LINK_DETACH, struct.pack("=I", fd), tried="detach a program", what=f"descriptor {fd}")


def tcx_link_info(fd: int) -> tuple[int, int]:
    """Return the program's id and the link's index (0: that link is gone) of an open attachment (struct bpf_link_info)."""
    _, _, program, _, index, _ = struct.unpack_from("=6I", _info(fd))
    return program, index


def possible_cpus() -> int:
    """Return how many slots a per-CPU value has: CPUs that may ever come up, 1 + the highest number."""
    try:
        text = _POSSIBLE_CPUS.read_text(encoding="ascii").strip()
    except OSError as error:
        hint = "mount sysfs at /sys"
        raise BpfError("count CPUs", what=str(_POSSIBLE_CPUS), answer=str(error), hint=hint) from error
    return int(text.replace("-", ",").split(",")[-1]) + 1


class Map:
    """An open map: lookups and updates by whole keys and values; one value is *value_bytes* long, with all CPUs' slots."""

    def __init__(self, fd: int, shape: MapShape, name: str) -> None:
        self.fd = fd
        self.shape = shape
        self._name = name
        per_cpu = shape.type in {MapType.PERCPU_HASH, MapType.PERCPU_ARRAY}
        slot = -(-shape.value_size // _PER_CPU_ALIGN) * _PER_CPU_ALIGN
        self.value_bytes = slot * possible_cpus() if per_cpu else shape.value_size

    def get(self, key: bytes) -> bytes | None:
        """Return the value of *key*, of a per-CPU map all CPUs' values in a row, or None when there is none."""
        value = ctypes.create_string_buffer(self.value_bytes)
        found = self._element(_Command.MAP_LOOKUP_ELEM, key, value, absent=(errno.ENOENT,))
        return value.raw if found else None

    def set(self, key: bytes, value: bytes) -> None:
        """Add or replace one element; wait for the kernel's allocator when it is out of ready elements.

        Tries without memory take elements from a small stock that an interrupt refills (kernel/bpf/memalloc.c); a
        burst of updates can be faster and gets ENOMEM, on kernels that have no cheap self-interrupt often.
        """
        for wait in (*_REFILL_WAITS, None):
            try:
                self._element(_Command.MAP_UPDATE_ELEM, key, ctypes.create_string_buffer(value, len(value)))
            except BpfError as error:
                if error.errno != errno.ENOMEM or wait is None:
                    raise
                time.sleep(wait)
            else:
                return

    def delete(self, key: bytes) -> bool:
        """Delete one element; say whether it was there."""
        return self._element(_Command.MAP_DELETE_ELEM, key, None, absent=(errno.ENOENT,))

    def keys(self) -> Iterator[bytes]:
        """Yield all keys in the kernel's order; the map must not change meanwhile."""
        key: bytes | None = None
        following = ctypes.create_string_buffer(self.shape.key_size)
        while self._element(_Command.MAP_GET_NEXT_KEY, key, following, absent=(errno.ENOENT,)):
            key = following.raw
            yield key

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield all elements that are still there when they are read."""
        for key in self.keys():
            value = self.get(key)
            if value is not None:
                yield key, value

    def _element(
        self, command: _Command, key: bytes | None, value: ctypes.Array[ctypes.c_char] | None, *, absent: tuple[int, ...] = ()
    ) -> bool:
        key_buffer = ctypes.create_string_buffer(key, len(key)) if key is not None else None
        attr = struct.pack("=IIQQQ", self.fd, 0, _address(key_buffer), _address(value), 0)
        tried = command.name.lower().replace("_", " ").replace("elem", "element")
        try:
            _call(command, attr, tried=tried, what=self._name)
        except BpfError as error:
            if error.errno in absent:
                return False
            raise
        return True


def _address(buffer: ctypes.Array[ctypes.c_char] | None) -> int:
    return ctypes.addressof(buffer) if buffer is not None else 0


def _info(fd: int) -> bytes:
    room = ctypes.create_string_buffer(_INFO_BYTES)
    attr = struct.pack("=IIQ", fd, _INFO_BYTES, ctypes.addressof(room))
    _call(_Command.OBJ_GET_INFO_BY_FD, attr, tried="ask what an eBPF object is", what=f"descriptor {fd}")
    return room.raw


_REPORT: Final = "report these lines and the kernel's version; it may be built without what the programs use"
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_HINTS: Final = {
    errno.EPERM: "run as root with CAP_BPF and CAP_NET_ADMIN, on a path where a bpf file system is mounted",
    errno.ENOENT: "load the programs first; after a reboot or an unmount the pins are gone",
    errno.E2BIG: "the map is full: `wirecrypt doctor` shows how many prefixes there are",
    errno.ENOSPC: "the map is full: `wirecrypt doctor` shows how many prefixes there are",
    errno.ENOSYS: "this kernel is built without CONFIG_BPF_SYSCALL",
}


def _call(command: _Command, attr: bytes, *, tried: str, what: str) -> int:
    number = _NUMBERS.get(platform.machine())
    if number is None:
        raise BpfError(tried, what=what, answer=f"unknown machine {platform.machine()}", hint="use x86_64 or aarch64")
    room = ctypes.create_string_buffer(attr, len(attr))
    result = int(_LIBC.syscall(number, int(command), room, len(attr)))
    if result < 0:
        code = ctypes.get_errno()
        hint = _HINTS.get(code, "see bpf(2)")
        raise BpfError(tried, what=what, answer=os.strerror(code), hint=hint, errno=code)
    return result
