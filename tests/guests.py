"""Run tests inside guests and hear of them: one guest per kernel boots when tests are known, all run at the same time."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from wirecrypt.errors import WirecryptError
from wirecrypt.lab import kernels
from wirecrypt.lab.channel import Command
from wirecrypt.lab.machine import Build, Machine

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from wirecrypt.lab.channel import Process

Location = tuple[str, int | None, str]
SILENCE = 420.0  # seconds without any report after which a guest counts as dead; longer than one test's own time-out
MEMORY = 2048  # MB


class Recorder:
    """Inside the guest: writes every report as a line of JSON, at once."""

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


class GuestRun:
    """One guest that runs some tests."""

    def __init__(self, config: pytest.Config, version: str, names: Iterable[str]) -> None:
        self._config = config
        self._reports: dict[str, list[dict[str, Any]]] = {}
        self._position = 0
        self.machine = Machine.boot(Build(kernels.find(version=version), memory=MEMORY))
        self._file = self.machine.folder / "reports.jsonl"
        self._process = self._start(version, names)

    def _start(self, version: str, names: Iterable[str]) -> Process:
        wanted = self.machine.folder / "tests"
        wanted.write_text("\n".join(names))
        argv = [
            sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider", "-q", f"--kernel={version}",
            f"--guest-reports={self._file}", f"@{wanted}",
        ]  # fmt: skip
        command = Command(argv, cwd=str(self._config.rootpath), env={"WIRECRYPT_REQUIRE_KERNEL": "1"})
        return self.machine.channel.spawn("guest", command)

    def reports(self, name: str, location: Location) -> list[pytest.TestReport]:
        """Wait for the reports of the test *name*; a guest that dies or falls silent makes it fail."""
        last = time.monotonic()
        while True:
            ended = not self._running()
            if self._read():
                last = time.monotonic()
            found = self._reports.get(name, [])
            if any(report.get("when") == "teardown" for report in found):
                return [self._report(document) for document in found]
            if ended:
                return [_failure(name, location, f"the guest ended before this test did\n{self._explain(name)}")]
            if time.monotonic() - last > SILENCE:
                return [_failure(name, location, f"the guest said nothing for {SILENCE:.0f} s\n{self._explain(name)}")]
            time.sleep(0.05)

    def _report(self, document: dict[str, Any]) -> pytest.TestReport:
        if document["outcome"] == "skipped" and isinstance(document["longrepr"], list):
            document["longrepr"] = tuple(document["longrepr"])  # JSON has no tuples
        report: pytest.TestReport = self._config.hook.pytest_report_from_serializable(config=self._config, data=document)
        return report

    def end(self) -> None:
        """End the guest."""
        self.machine.down()

    def _running(self) -> bool:
        try:
            return self._process.running
        except WirecryptError:
            return False

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
        return "\n".join([*collecting, self._process.output()[-3000:], "console:", self.machine.log("guest", 10)])


class GuestRuns:
    """All guests of a test session."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._runs: dict[str, GuestRun] = {}
        self._broken: dict[str, str] = {}

    def reports(self, item: pytest.Item) -> list[pytest.TestReport]:
        """Return the reports of one test, once its guest has run it."""
        version = _version(item)
        if version in self._broken:
            return [_failure(item.nodeid, item.location, self._broken[version])]
        return self._runs[version].reports(item.nodeid, item.location)

    def end(self) -> None:
        """End all guests."""
        for run in self._runs.values():
            run.end()
        self._runs.clear()

    def start(self, items: Iterable[pytest.Item]) -> None:
        """Boot a guest for each kernel that *items* want one of; they run beside the tests that come before theirs."""
        names: dict[str, list[str]] = {}
        for item in items:
            if _version(item):
                names.setdefault(_version(item), []).append(item.nodeid)
        for version, own in names.items():
            try:
                self._runs[version] = GuestRun(self._config, version, own)
            except WirecryptError as error:
                self._broken[version] = str(error)


def _version(item: pytest.Item) -> str:
    parameters: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    return str(parameters.get("guest_kernel", ""))


def _failure(name: str, location: Location, text: str) -> pytest.TestReport:
    return pytest.TestReport(name, location, {}, outcome="failed", longrepr=text, when="call")
