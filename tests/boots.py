"""A kernel that does not boot is one failure, which names it: other tests that want it are skipped and say where to look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.reports import failure, skipped
from wirecrypt.errors import BootError

if TYPE_CHECKING:
    from collections.abc import Iterable


class Boots:
    """The kernels of a test session that did not boot."""

    def __init__(self) -> None:
        self._untold: dict[str, str] = {}
        self._said: dict[str, str] = {}

    def failed(self, version: str, reason: str) -> None:
        """Take note of a kernel that did not boot, before any test has failed for it."""
        self._untold.setdefault(version, reason)

    def without(self, items: Iterable[pytest.Item]) -> list[pytest.Item]:
        """Return the tests whose kernel is not known to fail."""
        return [item for item in items if version(item) not in self._untold]

    def reports(self, item: pytest.Item) -> list[pytest.TestReport] | None:
        """Return a failure for the first test whose kernel did not boot, a skip for each other one, None for the rest."""
        wanted = version(item)
        if wanted in self._said:
            return [skipped(item.nodeid, item.location, f"Linux {wanted} did not boot, see {self._said[wanted]}")]
        if wanted not in self._untold:
            return None
        self._said[wanted] = item.nodeid
        return [failure(item.nodeid, item.location, self._untold[wanted])]

    @pytest.hookimpl
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        """Take note of a kernel that a test of this process could not boot: that test fails with the reason."""
        error = call.excinfo.value if call.excinfo else None
        if isinstance(error, BootError) and error.kernel == version(item):
            self._said.setdefault(error.kernel, item.nodeid)


def version(item: pytest.Item) -> str:
    """Return the version of the kernel that a test runs on, empty for none or one that it chooses itself."""
    parameters: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    return str(parameters.get("guest_kernel", "") or parameters.get("lab_kernel", ""))
