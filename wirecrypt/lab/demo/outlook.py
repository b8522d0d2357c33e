"""What to do after the demo, as text: lines that fit a terminal of 80 columns, with commands that can be copied.

Pure. A command that is too long for a line goes on behind a backslash.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wirecrypt.lab.demo.record import CAPTURE, PROTECTED, RESULT

_WIDTH = 80


@dataclass(frozen=True, slots=True)
class PodPrefixes:
    """The pods' prefixes of the two nodes, empty before they are known."""

    one: Sequence[str] = ()
    other: Sequence[str] = ()


def after_success(out: Path, prefixes: PodPrefixes) -> list[str]:
    """Return what can be done once all held, with the evidence in *out*."""
    protected, whole = (shlex.quote(str(out / name)) for name in (PROTECTED, CAPTURE))
    ends = [f"-l {prefix}" for prefix in prefixes.one] + [f"-r {prefix}" for prefix in prefixes.other]
    return [
        "What to do next",
        "  look at the wire while the two nodes were protected, and judge it:",
        *command("tcpdump", f"-nr {protected}", "net 192.0.2.8/29"),
        *command("sh", "scripts/check-encryption.sh", f"-f {protected}", *ends),
        "  the whole recording, in which the same script finds cleartext, rightly:",
        *command("sh", "scripts/check-encryption.sh", f"-f {whole}", *ends),
        "  try it by hand, in a cluster that stays:",
        *command(".venv/bin/wirecrypt", "lab", "up", "--nodes", "2", "--installed", "--enabled"),
        *command(".venv/bin/wirecrypt", "lab", "exec", "node-1", "--", "ip", "xfrm", "state"),
        *command(".venv/bin/wirecrypt", "lab", "down"),
        "  see how it holds against attackers (some minutes):",
        *command("./scripts/attack"),
        "  install it on a cluster of yours: docs/how-to/install.md",
    ]


def after_failure(out: Path, logs: Path | None) -> list[str]:
    """Return what can be done when something did not hold: what was found is in *out*, what programs wrote in *logs*."""
    lines = ["What to do next", f"  see which claim did not hold, and why: {out / RESULT}"]
    if logs:
        lines.append(f"  see what the programs wrote: {logs}")
    again = command("./scripts/demo", "--keep", "--kernel", "6.1")
    return [*lines, "  run it again, on another kernel if there is one:", *again]


def command(*words: str) -> list[str]:
    """Return a command as lines of at most 80 columns, all but the last with a backslash at the end.

    *words* are such parts as no line should break; those that are longer than a line are not broken either.
    """
    lines = ["    " + words[0]]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) > _WIDTH - 2:
            lines.append("      " + word)
        else:
            lines[-1] += " " + word
    return [f"{line} \\" for line in lines[:-1]] + lines[-1:]
