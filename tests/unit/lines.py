"""How often each line of the product runs: work is counted where it must not grow as a square."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Callable
from functools import _lru_cache_wrapper
from pathlib import Path
from types import FrameType

import wirecrypt

PACKAGE = str(Path(wirecrypt.__file__).parent)
MOST = 2.6  # times as many rounds more between 2 n and 4 n as between n and 2 n
Lines = Counter[tuple[str, int]]  # by file and number


def lines(of: Callable[[], object]) -> Lines:
    """Return how often *of* runs each line of the product; a comprehension counts each of its rounds.

    What the product remembers for the whole process is forgotten first: what other tests have asked must not count.
    """
    forget()
    counted: Lines = Counter()

    def line(frame: FrameType, event: str, _what: object) -> Callable[..., object]:
        if event == "line":
            counted[frame.f_code.co_filename, frame.f_lineno] += 1
        return line

    def call(frame: FrameType, _event: str, _what: object) -> Callable[..., object] | None:
        return line if frame.f_code.co_filename.startswith(PACKAGE) else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        of()
    finally:
        sys.settrace(before)
    return counted


def forget() -> None:
    """Empty every cache of the product's functions."""
    for kept in gc.get_objects():
        if isinstance(kept, _lru_cache_wrapper) and kept.__module__.partition(".")[0] == wirecrypt.__name__:
            kept.cache_clear()


def grown(few: Lines, some: Lines, many: Lines) -> list[str]:
    """Return which lines grow faster than n log n, for n, 2 n and 4 n of what is counted: as a square they would by four."""
    return [
        f"{Path(name).relative_to(PACKAGE)}:{number} ran {few[name, number]}, {some[name, number]}, {count} times"
        for (name, number), count in sorted(many.items())
        if count - some[name, number] > MOST * (some[name, number] - few[name, number]) + some.total() / 1e4
    ]
