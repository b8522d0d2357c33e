"""The few system calls about namespaces and mounts that Python 3.11 does not offer."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_REMOUNT = 32
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
LAST_CAPABILITY = Path("/proc/sys/kernel/cap_last_cap")
SYS_PIVOT_ROOT = 155  # x86-64, the only architecture that user-mode Linux has here

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def unshare(flags: int) -> None:
    """Give the calling process namespaces of its own."""
    _check(_libc.unshare(flags), f"unshare {flags:#x}")


def enter(pid: int) -> None:
    """Move the calling process into the network, mount and host-name namespaces of process *pid*."""
    names = (("net", CLONE_NEWNET), ("uts", CLONE_NEWUTS), ("mnt", CLONE_NEWNS))
    opened = [(os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC), flag) for name, flag in names]
    for descriptor, flag in opened:
        _check(_libc.setns(descriptor, flag), f"setns to process {pid}")
        os.close(descriptor)
    os.chdir("/")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount *source* at *target*; empty texts are passed as null pointers."""
    words = [text.encode() if text else None for text in (source, target, kind, options)]
    _check(_libc.mount(words[0], words[1], words[2], flags, words[3]), f"mount {source} on {target}")


def bind(source: str, target: str) -> None:
    """Show the file or folder *source*, with what is mounted below it, at *target*."""
    mount(source, target, flags=MS_BIND | MS_REC)


def make_read_only(path: str) -> None:
    """Forbid writing through the mount at *path*."""
    mount("", path, flags=MS_BIND | MS_REMOUNT | MS_RDONLY)


def unmount(path: str) -> None:
    """Take the mount at *path* away."""
    _check(_libc.umount2(path.encode(), MNT_DETACH), f"unmount {path}")


def pivot(root: str) -> None:
    """Make the mount *root* the root of this mount namespace and forget the old one."""
    os.chdir(root)
    _check(_libc.syscall(SYS_PIVOT_ROOT, b".", b"."), f"pivot_root to {root}")
    _check(_libc.umount2(b".", MNT_DETACH), "detach the old root")
    os.chdir("/")


def link_up(name: str) -> None:
    """Set the link *name* of this network namespace up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh22x", name.encode(), 0)
        flags = struct.unpack("16sh22x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh22x", name.encode(), flags | _IFF_UP))


def drop_capabilities(keep: frozenset[int]) -> None:
    """Take every capability but *keep* (numbers) out of the bounding set: what is executed next cannot have them."""
    for number in range(int(LAST_CAPABILITY.read_text()) + 1):
        if number not in keep:
            _check(_libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0), f"drop capability {number}")


def no_new_privileges() -> None:
    """Forbid set-user-id programs to this process and its children."""
    _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
