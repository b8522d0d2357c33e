"""What a guest said last on its console, without what helps nobody who reads it in an error message."""

from __future__ import annotations

import re
from typing import Final

BEFORE: Final = 2  # lines before the panic, in which the kernel or init.sh says why
LAST: Final = 3  # lines, where there is no panic
_PANIC: Final = "Kernel panic"
_NOISE: Final = re.compile(
    r"^\W*$|SELinux: |mmapper_init|Failed to initialize ubd"  # said at every start
    r"|^\s*(Call Trace|Stack|CPU:|\[<|[0-9a-f]{8,} )"  # the stack
)


def last_words(console: str) -> str:
    """Return the panic and what was said just before it, or the last lines, separated by semicolons; empty for no word."""
    lines = [line.strip() for line in console.splitlines() if not _NOISE.search(line)]
    panic = next((number for number, line in enumerate(lines) if _PANIC in line), None)
    chosen = lines[-LAST:] if panic is None else lines[max(0, panic - BEFORE) : panic + 1]
    return "; ".join(chosen)
