"""What the programs that run for ever have in common at their beginning."""

from __future__ import annotations

import gc
import resource
from typing import Final

from wirecrypt import logs

GARBAGE: Final = (100_000, 20, 20)


def begin(log_format: str) -> None:
    """Set up the log and the process: no core, which would hold keys, and a collector of cycles that comes rarely.

    Hardly anything here is a cycle (600 objects while an agent joined 400 peers), and a search for them walks all that is kept
    of every peer: with Python's own thresholds it took 40 percent of each pass.
    """
    logs.setup("info", log_format)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    gc.set_threshold(*GARBAGE)
