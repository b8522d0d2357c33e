"""Whether the agent can run on a machine: what image and programs are made for, against what a Node's kubelet says of it."""

from __future__ import annotations

import re
from typing import Final

ARCHITECTURE: Final = "amd64"
OLDEST_KERNEL: Final = (5, 19)  # SO_RCVMARK, by which control datagrams are told from forged ones


def unfit(*, linux: bool, architecture: str, kernel: str) -> str:
    """Return why no agent can run on a machine, empty when one can; what was not said is not taken for well."""
    if not linux:
        return "does not run Linux"
    if not architecture or not kernel:
        return "has not said what it runs on: its kubelet has never reported"
    if architecture != ARCHITECTURE:
        return f"is {architecture}, and the agent is for {ARCHITECTURE}"
    version = re.match(r"(\d+)\.(\d+)", kernel)
    if version is None or (int(version[1]), int(version[2])) < OLDEST_KERNEL:
        return f"runs Linux {kernel}, and the agent needs {'.'.join(map(str, OLDEST_KERNEL))} or newer"
    return ""
