"""Run tests beside the others, in two pytests of their own: with labs of an older kernel, and quiet ones.

Labs mostly wait, and an older kernel uses one processor: the tests of this process lose little by it. A module is quiet
(`QUIET`) when it puts little load on its lab and judges nothing by how fast something was. Slow tests without a lab come
after those of the older kernel.
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
from tests.slow import is_slow

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

LONGEST = 1200.0  # seconds that a test with a lab may take
GRACE = 60.0  # seconds for its labs to go down
UNIT = Path(__file__).parent / "unit"


class BesideRun(Elsewhere):
    """A pytest that runs some tests, interrupted and awaited at the end; interrupted as well when this process dies."""

    place = "run beside"
    silence = LONGEST + 60

    def __init__(self, config: pytest.Config, versions: str, names: Iterable[str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="wirecrypt-beside-"))
        self._interrupted = False
        super().__init__(config, self.folder / "reports.jsonl")
        wanted, self._log = self.folder / "tests", self.folder / "log"
        wanted.write_text("\n".join(names))
        argv = [
            "setpriv", "--pdeathsig", "INT", sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider",
            "-q", "--slow", f"--kernel={versions}", f"--reports={self._file}", f"@{wanted}",
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

    def interrupt(self) -> None:
        """Interrupt it, as Ctrl-C would; once, for a second time would cut its cleaning up short."""
        if self.running() and not self._interrupted:
            self.process.send_signal(signal.SIGINT)
            self._interrupted = True

    def end(self) -> None:
        """Interrupt it, and wait for its end."""
        self.interrupt()
        if self.running():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(GRACE)
        if self.running():
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder)


def is_quiet(item: pytest.Item) -> bool:
    """Return whether a test's module says that it may run beside others."""
    return bool(getattr(getattr(item, "module", None), "QUIET", False))


def is_older(item: pytest.Item, newest: str) -> bool:
    """Return whether a test wants a lab of an older kernel than the *newest*."""
    parameters: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    return parameters.get("lab_kernel", newest) != newest


def is_slow_unit(item: pytest.Item) -> bool:
    """Return whether a slow test needs no lab."""
    return is_slow(item) and item.path.is_relative_to(UNIT)


def is_beside(item: pytest.Item, newest: str) -> bool:
    """Return whether a test runs beside those of the *newest* kernel."""
    return is_slow_unit(item) or (not is_slow(item) and (is_quiet(item) or is_older(item, newest)))


class Beside:
    """What runs beside a test session: two labs more, of which one has one processor; three keep two processors at work."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._runs: list[BesideRun] = []
        self._places: dict[str, BesideRun] = {}

    def start(self, items: Iterable[pytest.Item], versions: list[str]) -> None:
        """Start what is to run beside those of *items* that are not."""
        if self._config.getoption("--reports"):
            return  # this is such a run
        items, newest = list(items), versions[-1]
        beside = [item for item in items if is_beside(item, newest)]
        if len(beside) == len(items):
            return  # nothing else is to run
        quiet = [item for item in beside if is_quiet(item) and not is_older(item, newest)]
        for kind in filter(None, ([item for item in beside if item not in quiet], quiet)):
            run = BesideRun(self._config, ",".join(versions), [item.nodeid for item in kind])
            self._runs.append(run)
            self._places |= {item.nodeid: run for item in kind}

    def has(self, item: pytest.Item) -> bool:
        """Return whether a test runs beside."""
        return item.nodeid in self._places

    def reports(self, item: pytest.Item) -> list[pytest.TestReport] | None:
        """Return the reports of one test, once it has run; None for a test that does not run beside."""
        run = self._places.get(item.nodeid)
        return run.reports(item.nodeid, item.location) if run else None

    def end(self) -> None:
        """End them, all at the same time."""
        for run in self._runs:
            run.interrupt()
        for run in self._runs:
            run.end()
