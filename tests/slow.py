"""Tests marked slow run with `--slow`; without it, only where the environment gives them time, and as long as it lasts."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Self

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

BEFORE = "WIRECRYPT_TEST_SLOW_BEFORE"  # seconds after the start until which a slow test may begin
STARTED = "WIRECRYPT_TEST_STARTED"  # the start, in UNIX seconds; default: that of pytest


def add_option(parser: pytest.Parser) -> None:
    """Add the option that asks for slow tests."""
    parser.addoption("--slow", action="store_true", help="also run what is marked slow")


def is_slow(item: pytest.Item) -> bool:
    """Return whether a test is marked slow."""
    return item.get_closest_marker("slow") is not None


class Slow:
    """Leaves slow tests out, or skips those for which there is no time any more."""

    def __init__(self, deadline: float | None, *, asked: bool, clock: Callable[[], float] = time.time) -> None:
        self._deadline = deadline
        self._asked = asked
        self._clock = clock
        self._left_out = 0

    @classmethod
    def of(cls, config: pytest.Config, environment: Mapping[str, str] = os.environ) -> Self:
        """Return what option and environment ask for."""
        seconds = environment.get(BEFORE)
        started = float(environment.get(STARTED) or time.time())
        return cls(started + float(seconds) if seconds else None, asked=config.getoption("--slow"))

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave slow tests out where nobody asked for them and no time was given."""
        if self._asked or self._deadline is not None:
            return
        slow = [item for item in items if is_slow(item)]
        if slow:
            config.hook.pytest_deselected(items=slow)
            items[:] = [item for item in items if not is_slow(item)]
            self._left_out = len(slow)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Skip a slow test that would begin too late."""
        if self._asked or self._deadline is None or not is_slow(item):
            return
        late = self._clock() - self._deadline
        if late > 0:
            pytest.skip(f"slow, and {late:.0f} s later than {BEFORE} lets one begin")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say how to run what was left out."""
        if self._left_out:
            terminalreporter.write_line(f"{self._left_out} tests marked slow were left out; --slow runs them")
