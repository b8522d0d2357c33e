"""What README tells a person to try, word for word."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from wirecrypt.lab.machine import folders

ROOT = Path(__file__).resolve().parents[2]
NEWEST_KERNEL = True  # what is judged here does not depend on the kernel
QUIET = True
BLOCK = re.compile(r"^To try things by hand.*?```\n(.*?)```", re.MULTILINE | re.DOTALL)


def run(line: str, name: str) -> subprocess.CompletedProcess[str]:
    """Run a line of README, on a lab of another name than the one that somebody may have."""
    program, lab, verb, *words = shlex.split(line)
    assert (program, lab) == (".venv/bin/wirecrypt", "lab")
    argv = [str(Path(sys.executable).parent / "wirecrypt"), "lab", verb, "--name", name, *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=600)


def test_the_three_commands_show_security_associations() -> None:
    """A cluster with wirecrypt installed and all nodes protected; SAs each way; and nothing is left."""
    block = BLOCK.search((ROOT / "README.md").read_text())
    assert block
    up, show, down = block[1].splitlines()
    name = f"wc-hand-{os.getpid()}"
    try:
        done = run(up, name)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("export KUBECONFIG=")
        assert "until each is protected from the others" in done.stderr
        ends = re.findall(r"^src (\S+) dst (\S+)$", run(show, name).stdout, re.MULTILINE)
        one, other = sorted(set(ends))
        assert one == other[::-1]
        assert ends.count(one) == ends.count(other)
    finally:
        assert run(down, name).returncode == 0
    assert not (folders.base() / name).exists()
