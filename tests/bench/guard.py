"""What the guard costs a packet by the number of peers: the programs themselves, in this machine's kernel, attached to nothing.

python3 -m tests.bench.guard FOLDER [PEERS ...] writes FOLDER/guard.json: nanoseconds a run of the program, by BPF_PROG_TEST_RUN
(kernel/bpf/test_run.c), the median of interleaved repetitions. Root, in a mount namespace of its own.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import json
import os
import platform
import statistics
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final

from tests.kernel.guard import frames
from wirecrypt.errors import BpfError
from wirecrypt.kernel.bpf import syscall
from wirecrypt.kernel.bpf.guard import KernelGuard
from wirecrypt.kernel.bpf.pins import Pins
from wirecrypt.model.guard import GuardAction, GuardEntry, GuardSettings

SIZES: Final = (10, 5000)
REPETITIONS: Final = 7
RUNS: Final = 200_000
NUMBERS: Final = {"x86_64": 321, "aarch64": 280}  # __NR_bpf
TEST_RUN: Final = 10  # BPF_PROG_TEST_RUN
OWN: Final = "172.16.0.1"
OWN6: Final = "fd00::1"
SETTINGS: Final = GuardSettings(
    mark_shift=20, strict=True, vxlan_ports=(4789, 8472), geneve_ports=(6081,), control_port=7700, node_id=1,
    own=(ip_address(OWN), ip_address(OWN6)),
)  # fmt: skip
CLUSTER: Final = {"10.0.0.0/8": GuardAction.UNKNOWN, "fd01::/32": GuardAction.UNKNOWN, "10.0.0.0/24": GuardAction.OWN}
PASSED: Final = -1  # TC_ACT_UNSPEC
PAYLOAD: Final = bytes(1000)
OUT, IN = "wirecrypt_guard_egress", "wirecrypt_guard_ingress"


def addresses(number: int) -> tuple[str, str]:
    """Return the addresses of a peer's node."""
    return str(ip_address(OWN) + number), str(ip_address(OWN6) + number)


def entries(peers: int) -> Iterator[GuardEntry]:
    """Yield what a dual-stack node with so many peers tells its guard."""
    for number in range(1, peers + 1):
        nodes = (ip_network(address) for address in addresses(number))
        pods = (
            ip_network((ip_address("10.0.0.0") + (number << 8), 24)),
            ip_network((ip_address("fd01::") + (number << 64), 64)),
        )
        yield from (GuardEntry(prefix, GuardAction.SEALED, GuardAction.SEALED, number + 1) for prefix in nodes)
        yield from (GuardEntry(prefix, GuardAction.DROP, GuardAction.DROP, number + 1) for prefix in pods)
    yield from (GuardEntry(ip_network(prefix), action, action) for prefix, action in CLUSTER.items())


def packets(peers: int) -> Mapping[str, tuple[str, bytes]]:
    """Return the program that judges each kind of packet, and one: its peer is the last one."""
    there, there6 = addresses(peers)
    esp, back = frames.esp(1, PAYLOAD), frames.esp(peers + 1, PAYLOAD)
    return {
        "ESP out": (OUT, frames.ether(frames.ip(OWN, there, frames.ESP, esp))),
        "ESP in": (IN, frames.ether(frames.ip(there, OWN, frames.ESP, back))),
        "ESP out, IPv6": (OUT, frames.ether(frames.ip(OWN6, there6, frames.ESP, esp))),
        "ESP in, IPv6": (IN, frames.ether(frames.ip(there6, OWN6, frames.ESP, back))),
        "to the outside": (OUT, frames.ether(frames.ip(OWN, "203.0.113.9", frames.TCP, frames.tcp(PAYLOAD)))),
        "from the outside": (IN, frames.ether(frames.ip("203.0.113.9", OWN, frames.TCP, frames.tcp(PAYLOAD)))),
    }


@contextmanager
def loaded(folder: Path, programs: Path, peers: int) -> Iterator[Pins]:
    """Load the programs with entries for so many peers below a bpf file system, and remove them in the end."""
    folder.mkdir()
    guard = KernelGuard(folder, programs_dir=programs)
    guard.load(SETTINGS)
    try:
        guard.set_entries(entries(peers))
        yield Pins(folder)
    finally:
        guard.unload()


def nanoseconds(pins: Pins, program: str, frame: bytes, runs: int) -> int:
    """Return what one run of the program took for a frame that it lets pass, the mean of so many."""
    data, run = ctypes.create_string_buffer(frame, len(frame)), ctypes.CDLL(None, use_errno=True).syscall
    with syscall.opened(pins.program(program)) as fd:
        words = (fd, 0, len(frame), 0, ctypes.addressof(data), 0, runs, 0)  # union bpf_attr, struct test
        attr = ctypes.create_string_buffer(struct.pack("=IIIIQQII", *words), 128)
        while run(NUMBERS[platform.machine()], TEST_RUN, attr, len(attr)):
            if ctypes.get_errno() != errno.EINTR:
                raise BpfError("run an eBPF program", what=program, answer=os.strerror(ctypes.get_errno()), hint="see bpf(2)")
    verdict, taken = struct.unpack_from("=4xi28xI", attr.raw)
    if verdict != PASSED:
        raise BpfError("run an eBPF program", what=program, answer=f"verdict {verdict}", hint="measure what passes")
    return int(taken)


def measured(folder: Path, programs: Path, sizes: tuple[int, ...], runs: int = RUNS) -> list[dict[str, float]]:
    """Return a row a size: the median of each kind of packet, in nanoseconds, sizes and kinds taken in turns."""
    found: dict[tuple[int, str], list[int]] = {}
    with ExitStack() as stack:
        places = {peers: stack.enter_context(loaded(folder / str(peers), programs, peers)) for peers in sizes}
        for _, (peers, pins) in itertools.product(range(REPETITIONS), places.items()):
            for kind, (program, frame) in packets(peers).items():
                found.setdefault((peers, kind), []).append(nanoseconds(pins, program, frame, runs))
    return [{"peers": peers, **{kind: statistics.median(found[peers, kind]) for kind in packets(peers)}} for peers in sizes]


def main(folder: Path, sizes: tuple[int, ...]) -> None:
    """Measure on a bpf file system of its own and write down."""
    with tempfile.TemporaryDirectory(prefix="wirecrypt-bench-") as place, tempfile.TemporaryDirectory() as programs:
        subprocess.run(["mount", "-t", "bpf", "bpf", place], check=True)
        try:
            rows = measured(Path(place), Path(programs), sizes)
        finally:
            subprocess.run(["umount", place], check=True)
    for row in rows:
        sys.stdout.write(f"{json.dumps(row)}\n")
    folder.mkdir(parents=True, exist_ok=True)
    what = "the guard's time a packet by the number of peers, in nanoseconds, compiled by the kernel"
    (folder / "guard.json").write_text(json.dumps({"what": what, "rows": rows}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), tuple(map(int, sys.argv[2:])) or SIZES)
