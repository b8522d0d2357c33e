"""The processor state of a guest's processes: which user-mode Linux needs help with it, and on which machines.

User-mode Linux before 7.0 runs its processes under ptrace, with a buffer of fixed length for their state. The machine's kernel
wants the whole state, and a processor with AMX, for one, has more: there the guest panics at its first process. What completes
the buffer is a library that is loaded before libc, `scripts/kernel/xstate.c`. Whether it is needed is tried, not told by the
processor's name: `scripts/kernel/xstate-try.c` sets a state of that length. Both are compiled by `scripts/build-xstate`.
"""

from __future__ import annotations

import subprocess
from typing import Final

from wirecrypt.errors import LabError
from wirecrypt.lab.machine import kernels

LENGTH: Final = 2696  # bytes; HOST_FP_SIZE in arch/x86/um/user-offsets.c of Linux 6.1 and 6.12
TAKEN, REFUSED = 0, 1  # what xstate-try ends with


def preload() -> list[str]:
    """Return what stands before the command line of a kernel that knows *LENGTH* bytes of state; nothing where they are all.

    LabError when it cannot be found out.
    """
    trial = kernels.cache() / "xstate/xstate-try"
    hint = "scripts/build-xstate compiles it"
    try:
        done = subprocess.run([trial, str(LENGTH)], capture_output=True, text=True, check=False)
    except OSError as error:
        answer = error.strerror or str(error)
        raise LabError("cannot try this machine's processor state", what=str(trial), answer=answer, hint=hint) from error
    if done.returncode not in {TAKEN, REFUSED}:
        answer = done.stderr.strip() or f"status {done.returncode}"
        raise LabError("this machine's processor state cannot be set", what=f"{LENGTH} bytes", answer=answer)
    return ["env", f"LD_PRELOAD={trial.with_name('xstate.so')}"] if done.returncode == REFUSED else []
