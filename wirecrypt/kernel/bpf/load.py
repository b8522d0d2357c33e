"""Load compiled programs into the kernel and pin them, with the maps they name: bpf(2) calls alone, no compiler.

Maps that are pinned already are used as they are. All programs are accepted by the verifier before the first pin is
replaced, and each pin is complete by itself: a run that was killed is repaired by the next.
It takes CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack

from wirecrypt.kernel.bpf import syscall
from wirecrypt.kernel.bpf.object import Program
from wirecrypt.kernel.bpf.pins import MapSpec, Pins, make_folder, maps, remove
from wirecrypt.kernel.bpf.source import CONTROL
from wirecrypt.kernel.bpf.syscall import ProgramType


def load(pins: Pins, programs: Iterable[Program]) -> None:
    """Pin the maps that are missing and every program; raises `BpfError`."""
    make_folder(pins.folder)
    with ExitStack() as stack:
        for spec in maps():
            _pin_map(spec, pins)
        descriptors = {spec.name: stack.enter_context(syscall.opened(pins.map(spec.name))) for spec in maps()}
        loaded = {}
        for program in programs:
            kind = ProgramType.SOCKET_FILTER if program.name == CONTROL else ProgramType.SCHED_CLS
            loaded[program.name] = syscall.load_program(program.name, program.bound(descriptors), kind)
            stack.callback(os.close, loaded[program.name])
        for name, fd in loaded.items():
            remove(pins.program(name))
            syscall.pin(fd, pins.program(name))


def _pin_map(spec: MapSpec, pins: Pins) -> None:
    path = pins.map(spec.name)
    if path.exists():
        return
    fd = syscall.create_map(spec.name, spec.shape)
    try:
        syscall.pin(fd, path)
    finally:
        os.close(fd)
