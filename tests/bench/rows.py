"""Rows of a bench, one a size: shown as they come, and written down together."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path


def write_rows(file: Path, what: str, measured: Callable[[int], Mapping[str, float]], sizes: Iterable[int]) -> None:
    """Measure each size and write *what* was measured, with all rows, to *file*."""
    rows = []
    for size in sizes:
        rows.append(measured(size))
        sys.stdout.write(f"{json.dumps(rows[-1])}\n")
        sys.stdout.flush()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"what": what, "rows": rows}) + "\n")
