"""Ask a lab's supervisor, through the socket in the lab's state folder."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from wirecrypt.errors import LabError

SOCKET = "control.sock"
TIMEOUT = 20.0  # seconds; stopping a program takes 5 at most


def control(folder: Path, do: str, name: str = "", number: int = 0) -> dict[str, Any]:
    """Ask to `start` or `stop` (with signal *number*) the program *name*, for all programs' `status`, or to end (`down`)."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(TIMEOUT)
        try:
            link.connect(str(folder / SOCKET))
            link.sendall(json.dumps({"do": do, "name": name, "signal": number}).encode() + b"\n")
            answer: dict[str, Any] = json.loads(link.makefile().readline())
        except (OSError, ValueError) as error:
            raise LabError("the lab's supervisor does not answer", what=do, answer=str(error)) from error
    if "error" in answer:
        raise LabError("the lab's supervisor refused", what=f"{do} {name}", answer=answer["error"])
    return answer
