"""Compile the programs into one file, then exit: ``python -m wirecrypt.kernel.bpf.compile FOLDER``.

The only user of bcc, in a process of its own, so that no LLVM stays in the agent's memory. It needs no privilege and makes no
bpf(2) call: the sources name maps by number, so bcc has none to create, and without debug information it has no types
to load. Headers of any kernel version do (only UAPI types are used); BCC_KERNEL_SOURCE names their tree.
"""

from __future__ import annotations

import sys
from pathlib import Path

from wirecrypt.errors import BpfError
from wirecrypt.kernel.bpf import object as bpf_object
from wirecrypt.kernel.bpf.pins import map_numbers
from wirecrypt.kernel.bpf.source import FOLDER, PROGRAMS, SOURCE


def main(argv: list[str]) -> int:
    """Do it for the folder in *argv*; 1 and a line on standard error when it fails."""
    try:
        bpf_object.write(Path(argv[0]), _compile())
    except BpfError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _compile() -> list[bpf_object.Program]:
    try:
        from bcc import BPF  # noqa: PLC0415 - half a second and 100 MB, only when it is really needed
    except ImportError as error:
        hint = "install Debian's python3-bpfcc where this Python finds it (never PyPI's `bcc`)"
        raise BpfError("import bcc", what=sys.executable, answer=str(error), hint=hint) from error
    try:
        module = BPF(src_file=str(SOURCE), cflags=[f"-I{FOLDER}", "-Wno-macro-redefined", "-g0"])
        code = {name: module.dump_func(name.encode()) for name in PROGRAMS}
    except Exception as error:
        hint = "kernel headers: set BCC_KERNEL_SOURCE; else see the compiler's words above"
        raise BpfError("compile the eBPF programs", what=str(SOURCE), answer=str(error), hint=hint) from error
    return [bpf_object.Program.compiled(name, instructions, map_numbers()) for name, instructions in code.items()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
