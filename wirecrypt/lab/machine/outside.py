"""Run a program on this machine, outside the guest: kubectl and the command line, as an administrator does."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from wirecrypt.errors import LabError


def run(
    argv: Sequence[str], *, environment: Mapping[str, str], stdin: str = "", seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run *argv* to its end, whatever its status, *environment* added to ours; LabError when it takes more than *seconds*."""
    try:
        return subprocess.run(
            argv, input=stdin, capture_output=True, text=True, env={**os.environ, **environment}, check=False, timeout=seconds
        )
    except subprocess.TimeoutExpired as error:
        said = "".join(part.decode(errors="replace") for part in (error.stdout, error.stderr) if isinstance(part, bytes))
        answer = f"more than {seconds:g} s; it said: {said.strip()[-1000:] or 'nothing'}"
        raise LabError("took too long", what=" ".join(argv), answer=answer) from error
