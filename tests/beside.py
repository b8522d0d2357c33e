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

    def __init__(self, config: pytest.Config, versions: str, names: Iterable[str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="wirecrypt-beside-"))
        super().__init__(config, self.folder / "reports.jsonl")
        wanted, self._log = self.folder / "tests", self.folder / "log"
        wanted.write_text("\n".join(names))
        argv = [
            "setpriv", "--pdeathsig", "INT", sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider",
            "-q", f"--kernel={versions}", f"--reports={self._file}", f"@{wanted}",
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


def is_beside(item: pytest.Item, newest: str) -> bool:
    """Return whether a test runs beside those of the *newest* kernel: it is quiet, or wants a lab of an older one."""
    parameters: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    return is_quiet(item) or parameters.get("lab_kernel", newest) != newest


class Beside:
    """What runs beside a test session, one lab after another: two at a time are enough for two processors."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._run: BesideRun | None = None
        self._names: frozenset[str] = frozenset()

    def start(self, items: Iterable[pytest.Item], versions: list[str]) -> None:
        """Start what is to run beside those of *items* that are not."""
        if self._config.getoption("--reports"):
            return  # this is such a run
        items = list(items)
        names = [item.nodeid for item in items if is_beside(item, versions[-1])]
        if names and len(names) < len(items):
            self._run, self._names = BesideRun(self._config, ",".join(versions), names), frozenset(names)

    def has(self, item: pytest.Item) -> bool:
        """Return whether a test runs beside."""
        return item.nodeid in self._names

    def reports(self, item: pytest.Item) -> list[pytest.TestReport] | None:
        """Return the reports of one test, once it has run; None for a test that does not run beside."""
        return self._run.reports(item.nodeid, item.location) if self._run and self.has(item) else None

    def end(self) -> None:
        """End it."""
        if self._run:
            self._run.end()
