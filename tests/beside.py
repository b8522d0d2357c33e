"""Run end-to-end tests beside all that comes before them, in a pytest of their own: those of an older kernel, and quiet ones.

Labs mostly wait, and an older kernel uses one processor: the tests of this process lose little by it. A module is quiet
(`QUIET`) when it puts little load on its lab and judges nothing by how fast something was.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.reports import Elsewhere

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

LONGEST = 1200.0  # seconds that a test with a lab may take
GRACE = 60.0  # seconds for its labs to go down


class BesideRun(Elsewhere):
    """A pytest that runs some tests, interrupted and awaited at the end; interrupted as well when this process dies."""

    place = "run beside"
    silence = LONGEST + 60

    def __init__(self, config: pytest.Config, version: str, names: Iterable[str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="wirecrypt-beside-"))
        super().__init__(config, self.folder / "reports.jsonl")
        wanted, self._log = self.folder / "tests", self.folder / "log"
        wanted.write_text("\n".join(names))
        argv = [
            "setpriv", "--pdeathsig", "INT", sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider",
            "-q", f"--kernel={version}", f"--reports={self._file}", f"@{wanted}",
        ]  # fmt: skip
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                argv, cwd=config.rootpath, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, process_group=0
            )

    def running(self) -> bool:
        """Return whether that pytest runs."""
        return self.process.poll() is None

    def said(self) -> str:
        """Return the end of its output."""
        return self._log.read_text(errors="replace")[-3000:]

    def end(self) -> None:
        """Interrupt it, as Ctrl-C would, and wait for its end."""
        if self.running():
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(GRACE)
        if self.running():
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder)


def is_quiet(item: pytest.Item) -> bool:
    """Return whether a test's module says that it may run beside others."""
    return bool(getattr(getattr(item, "module", None), "QUIET", False))


class BesideRuns:
    """The runs of a test session: one per older kernel, and, once end-to-end tests run here, one of quiet modules."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._runs: list[BesideRun] = []
        self._names: dict[str, BesideRun] = {}
        self._quiet: tuple[str, list[str]] = ("", [])

    def start(self, items: Iterable[pytest.Item], newest: str) -> None:
        """Start a run for each kernel but the *newest* that *items* want a lab of; what is quiet on that one comes later."""
        if self._config.getoption("--reports"):
            return  # this is such a run
        items = list(items)
        older: dict[str, list[str]] = {}
        quiet = []
        for item in items:
            parameters: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
            version = str(parameters.get("lab_kernel", newest))
            if version != newest:
                older.setdefault(version, []).append(item.nodeid)
            elif is_quiet(item):
                quiet.append(item.nodeid)
        if not all(map(is_quiet, items)):  # else there is nothing that they could run beside of
            self._quiet = (newest, quiet)
        for version, names in older.items():
            self._start(version, names)

    def start_quiet(self) -> None:
        """Start the run of quiet modules, if there is one and it does not run yet: two labs at a time are enough."""
        (version, names), self._quiet = self._quiet, ("", [])
        if names:
            self._start(version, names)

    def _start(self, version: str, names: list[str]) -> None:
        run = BesideRun(self._config, version, names)
        self._runs.append(run)
        self._names.update(dict.fromkeys(names, run))

    def has(self, item: pytest.Item) -> bool:
        """Return whether a test runs beside."""
        return item.nodeid in self._names or item.nodeid in self._quiet[1]

    def reports(self, item: pytest.Item) -> list[pytest.TestReport] | None:
        """Return the reports of one test, once it has run; None for a test that does not run beside."""
        if item.nodeid in self._quiet[1]:
            self.start_quiet()
        run = self._names.get(item.nodeid)
        return run.reports(item.nodeid, item.location) if run else None

    def end(self) -> None:
        """End all runs."""
        for run in self._runs:
            run.end()
        self._runs.clear()
