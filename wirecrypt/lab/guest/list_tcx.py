"""Print a line for every program that is attached by tcx to a link of this network namespace: its link, its direction.

Asks the kernel itself (BPF_PROG_QUERY), so that nothing of what is judged has a say. Prints nothing before kernel 6.6.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import struct

BPF = {"x86_64": 321, "aarch64": 280}  # the number of the system call
PROG_QUERY = 16
HOOKS = {46: "ingress", 47: "egress"}  # enum bpf_attach_type, include/uapi/linux/bpf.h
ATTRIBUTES = struct.Struct(
    "=IIIIQIIQQQQ"
)  # target_ifindex, attach_type, two flags, prog_ids, count, padding, and what is not asked
COUNT = 24  # offset


def attached(index: int, hook: int) -> int:
    """Return how many programs are attached to a link's *hook*; 0 when the kernel has no tcx. Raises OSError."""
    asked = ctypes.create_string_buffer(ATTRIBUTES.pack(index, hook, 0, 0, 0, 0, 0, 0, 0, 0, 0), ATTRIBUTES.size)
    if ctypes.CDLL(None, use_errno=True).syscall(BPF[platform.machine()], PROG_QUERY, asked, ATTRIBUTES.size) < 0:
        number = ctypes.get_errno()
        if number in {errno.EINVAL, errno.ENOENT}:
            return 0
        raise OSError(number, os.strerror(number), f"tcx of link {index}")
    (count,) = struct.unpack_from("=I", asked, COUNT)
    return int(count)


if __name__ == "__main__":
    for number, name in socket.if_nameindex():
        for hook, direction in HOOKS.items():
            for _ in range(attached(number, hook)):
                print(f"tcx {name} {direction}")  # noqa: T201  # the program's output
