"""Have the programs compiled before they are needed: from the file that is there, else by a child that makes it.

Compiling takes half a second of a quiet processor, many of a busy one; loading what is compiled takes system calls alone. So
`wirecrypt agent prepare` compiles at the start of the node's agent, and a node that is labelled later only loads.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import wirecrypt
from wirecrypt.errors import BpfError
from wirecrypt.kernel.bpf import object as bpf_object

FOLDER: Final = Path("/run/wirecrypt")
_SECONDS: Final = 120
_ANSWER_CHARS: Final = 1500


def ensure(folder: Path) -> bool:
    """Compile unless the programs of the present sources are in *folder*; say whether it was done. Raises `BpfError`."""
    if bpf_object.read(folder) is not None:
        return False
    _compile(folder)
    return True


def programs(folder: Path) -> tuple[bpf_object.Program, ...]:
    """Return the programs of the present sources, compiled now if they are not in *folder*; raises `BpfError`."""
    ensure(folder)
    found = bpf_object.read(folder)
    if found is None:
        hint = "see whether another version of wirecrypt is running on this node"
        raise BpfError("read the compiled eBPF programs", what=str(folder), answer="gone as soon as written", hint=hint)
    return found


def _compile(folder: Path) -> None:
    """Run the child that compiles; its words become the error's answer."""
    command = [sys.executable, "-m", "wirecrypt.kernel.bpf.compile", str(folder)]
    package = str(Path(wirecrypt.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        hint = "see whether the node is short of memory or CPU"
        raise BpfError("run the eBPF compiler", what=str(folder), answer=str(error), hint=hint) from error
    if done.returncode:
        answer = done.stderr.strip()[-_ANSWER_CHARS:] or f"exit status {done.returncode}"
        raise BpfError("compile the eBPF programs ahead", what=str(folder), answer=answer, hint="see the last line")
