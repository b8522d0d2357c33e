"""Run tests inside guests and hear of them: one guest per kernel boots when tests are known, all run at the same time."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tests import boots
from tests.reports import Elsewhere
from wirecrypt.errors import WirecryptError
from wirecrypt.lab.machine import kernels
from wirecrypt.lab.machine.channel import Command
from wirecrypt.lab.machine.machine import Build, Machine

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

    from wirecrypt.lab.machine.channel import Process

MEMORY = 2048  # MB


class GuestRun(Elsewhere):
    """One guest that runs some tests."""

    place = "guest"
    silence = 420.0  # longer than one test's own time-out

    def __init__(self, config: pytest.Config, version: str, names: Iterable[str]) -> None:
        self.machine = Machine.boot(Build(kernels.find(version=version), memory=MEMORY))
        super().__init__(config, self.machine.folder / "reports.jsonl")
        self._process = self._start(version, names)

    def _start(self, version: str, names: Iterable[str]) -> Process:
        wanted = self.machine.folder / "tests"
        wanted.write_text("\n".join(names))
        argv = [
            sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider", "-q", f"--kernel={version}",
            f"--guest-reports={self._file}", f"@{wanted}",
        ]  # fmt: skip
        command = Command(argv, cwd=str(self._config.rootpath))
        return self.machine.channel.spawn("guest", command)

    def end(self) -> None:
        """End the guest."""
        self.machine.down()

    def running(self) -> bool:
        """Return whether the guest's pytest runs."""
        try:
            return self._process.running
        except WirecryptError:
            return False

    def said(self) -> str:
        """Return the end of pytest's output and of the console."""
        return "\n".join([self._process.output()[-3000:], "console:", self.machine.log("guest", 10)])


class GuestRuns:
    """All guests of a test session."""

    def __init__(self, config: pytest.Config, known: boots.Boots) -> None:
        self._config = config
        self._boots = known
        self._runs: dict[str, GuestRun] = {}

    def reports(self, item: pytest.Item) -> list[pytest.TestReport]:
        """Return the reports of one test, once its guest has run it."""
        return self._runs[boots.version(item)].reports(item.nodeid, item.location)

    def end(self) -> None:
        """End all guests."""
        for run in self._runs.values():
            run.end()
        self._runs.clear()

    def start(self, items: Iterable[pytest.Item]) -> None:
        """Boot a guest for each kernel that *items* want one of; they run beside the tests that come before theirs."""
        names: dict[str, list[str]] = {}
        for item in items:
            names.setdefault(boots.version(item), []).append(item.nodeid)
        for version, own in names.items():
            try:
                self._runs[version] = GuestRun(self._config, version, own)
            except WirecryptError as error:
                self._boots.failed(version, str(error))
