"""Reports of tests that run elsewhere: written there as lines of JSON, read here when it is a test's turn."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

Location = tuple[str, int | None, str]


class Recorder:
    """Where the tests run: writes every report as a line of JSON, at once."""

    def __init__(self, config: pytest.Config, path: Path) -> None:
        self._config = config
        self._path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write how a phase of a test went."""
        self._write(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Write why a file could not be read."""
        if report.failed:
            self._write(report)

    def _write(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        document = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        with self._path.open("a") as file:
            file.write(json.dumps(document, default=str) + "\n")


class Elsewhere(ABC):
    """One run of some tests in another process, called *place* in messages.

    *silence*: seconds without any report after which it counts as dead.
    """

    place: str
    silence: float

    def __init__(self, config: pytest.Config, file: Path) -> None:
        self._config = config
        self._file = file
        self._reports: dict[str, list[dict[str, Any]]] = {}
        self._position = 0

    @abstractmethod
    def running(self) -> bool:
        """Return whether it still runs."""

    @abstractmethod
    def said(self) -> str:
        """Return the end of what it has written, for messages."""

    @abstractmethod
    def end(self) -> None:
        """End it."""

    def reports(self, name: str, location: Location) -> list[pytest.TestReport]:
        """Wait for the reports of the test *name*; a run that dies or falls silent makes it fail."""
        last = time.monotonic()
        while True:
            ended = not self.running()
            if self._read():
                last = time.monotonic()
            found = self._reports.get(name, [])
            if any(report.get("when") == "teardown" for report in found):
                return [self._report(document) for document in found]
            if ended:
                return [failure(name, location, f"the {self.place} ended before this test did\n{self._explain(name)}")]
            if time.monotonic() - last > self.silence:
                text = f"the {self.place} said nothing for {self.silence:.0f} s\n{self._explain(name)}"
                return [failure(name, location, text)]
            time.sleep(0.05)

    def _report(self, document: dict[str, Any]) -> pytest.TestReport:
        if document["outcome"] == "skipped" and isinstance(document["longrepr"], list):
            document["longrepr"] = tuple(document["longrepr"])  # JSON has no tuples
        report: pytest.TestReport = self._config.hook.pytest_report_from_serializable(config=self._config, data=document)
        return report

    def _read(self) -> bool:
        """Take in what is new in the file; a line that is still being written waits for the next time."""
        if not self._file.exists():
            return False
        with self._file.open() as file:
            file.seek(self._position)
            lines = [line for line in file if line.endswith("\n")]
        self._position += sum(len(line.encode()) for line in lines)
        for line in lines:
            report = json.loads(line)
            self._reports.setdefault(report["nodeid"], []).append(report)
        return bool(lines)

    def _explain(self, test: str) -> str:
        collecting = [
            str(report["longrepr"]) for name, reports in self._reports.items() if test.startswith(name)
            for report in reports if report.get("$report_type") == "CollectReport"
        ]  # fmt: skip
        return "\n".join([*collecting, self.said()])


def failure(name: str, location: Location, text: str) -> pytest.TestReport:
    """Return the report of a test that nothing is known of but *text*."""
    return pytest.TestReport(name, location, {}, outcome="failed", longrepr=text, when="call")


def skipped(name: str, location: Location, reason: str) -> pytest.TestReport:
    """Return the report of a test that was not run, and why."""
    where = (location[0], location[1] or 0, f"Skipped: {reason}")
    return pytest.TestReport(name, location, {}, outcome="skipped", longrepr=where, when="setup")
