"""`--share 2/3` runs a third of the tests: several processes, one for each share, run them all, and each test once."""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence


def add_option(parser: pytest.Parser) -> None:
    """Add the option that names a share."""
    parser.addoption("--share", type=number_of, default=(1, 1), metavar="K/N", help="run the K-th of N shares of the tests")


def number_of(text: str) -> tuple[int, int]:
    """Return K and N of `K/N`; ValueError for what names no share."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    number, shares = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= shares:
        raise ValueError(f"K/N with K from 1 to N names a share, not {text!r}")
    return number, shares


def leave_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is in another share. A test's id alone tells its share, whatever the order and whatever else runs."""
    number, shares = config.getoption("--share")
    mine = [item for item in items if share_of(item.nodeid, shares) == number]
    if others := _without(items, mine):
        config.hook.pytest_deselected(items=others)
        items[:] = mine


def share_of(name: str, shares: int) -> int:
    """Return in which of *shares* the test called *name* is, from 1."""
    return zlib.crc32(name.encode()) % shares + 1


def _without(items: Sequence[pytest.Item], mine: Sequence[pytest.Item]) -> list[pytest.Item]:
    kept = set(mine)
    return [item for item in items if item not in kept]
