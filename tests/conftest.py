"""`--kernel` chooses kernels; tests under tests/kernel/ run inside a guest of each, end-to-end tests in a lab of each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import share, slow
from tests.beside import LONGEST, Beside, is_beside
from tests.boots import Boots
from tests.guests import GuestRuns
from tests.reports import Recorder
from tests.slow import Slow, is_slow
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.machine import kernels

if TYPE_CHECKING:
    from collections.abc import Iterator

AREAS = ("unit", "cluster", "kernel", "e2e", "bench", "image")
HERE = Path(__file__).parent
STATES = ("exposed", "protected", "all_protected")  # fixtures of the shared lab; tests without one have labs of their own
RUNS = pytest.StashKey[GuestRuns]()
BESIDE = pytest.StashKey[Beside]()
BOOTS = pytest.StashKey[Boots]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kernel", default="both", help="version of the kernels to test on, e.g. 6.1, or both (default: all there are)"
    )
    parser.addoption(
        "--bench-results", type=Path, default=Path("bench-results"), help="folder for the figures that tests/bench/ measures"
    )
    slow.add_option(parser)
    share.add_option(parser)
    parser.addoption("--guest-reports", type=Path, help="this run is inside a guest: write the tests' reports to this file")
    parser.addoption("--reports", type=Path, help="this run is beside another one: write the tests' reports to this file")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[BOOTS] = Boots()
    config.stash[RUNS], config.stash[BESIDE] = GuestRuns(config, config.stash[BOOTS]), Beside(config)
    config.pluginmanager.register(config.stash[BOOTS])
    if path := config.getoption("--guest-reports") or config.getoption("--reports"):
        config.pluginmanager.register(Recorder(config, path))
    if not in_guest(config):
        config.pluginmanager.register(Slow.of(config))


def pytest_unconfigure(config: pytest.Config) -> None:
    if RUNS in config.stash:
        config.stash[RUNS].end()
        config.stash[BESIDE].end()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test of tests/kernel/, and each that uses a lab, once per kernel, or as its module says on the newest."""
    chosen = versions(metafunc.config)
    if getattr(metafunc.module, "NEWEST_KERNEL", False):
        chosen = chosen[-1:]
    if area(metafunc.definition.path) == "kernel":
        metafunc.parametrize("guest_kernel", chosen, indirect=True, scope="session")
    elif "lab_kernel" in metafunc.fixturenames:
        metafunc.parametrize("lab_kernel", chosen, indirect=True, scope="session")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Quick areas first, and one lab after another: nothing else may take the processors while packets are counted.

    Tests that want one state of the shared lab follow one another, whatever their file: bringing a cluster from one state to
    another takes longer than most tests. What is marked slow comes last, and there the image, which tells most about a
    release, first. What runs beside the others is told after them, in the order in which it runs there.
    """
    share.leave_out(config, items)
    newest = versions(config)[-1]

    def order(item: pytest.Item) -> tuple[bool, int, bool, str, int]:
        parameters: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
        late, number = is_slow(item), AREAS.index(area(item.path))
        states = [rank for rank, name in enumerate(STATES, 1) if name in getattr(item, "fixturenames", ())]
        area_rank = -number if late else number
        return late, area_rank, is_beside(item, newest), str(parameters.get("lab_kernel", "")), max(states, default=0)

    items.sort(key=order)
    for item in items:
        if area(item.path) in {"e2e", "image"} and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(LONGEST))  # its own deadlines, which tell more, end before


def pytest_runtestloop(session: pytest.Session) -> None:
    """Start what runs elsewhere: it runs while the first tests run here, and is reported when it is its turn."""
    config = session.config
    if not in_guest(config) and not config.option.collectonly and not session.testsfailed:
        config.stash[RUNS].start(item for item in session.items if area(item.path) == "kernel")
        bootable = config.stash[BOOTS].without(session.items)
        config.stash[BESIDE].start(bootable, versions(config))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Replay what was reported elsewhere, instead of running such a test here."""
    reports = _elsewhere(item)
    if reports is None:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    # The test before kept what it has in common with this one; whatever the next one does not want ends here.
    item.session._setupstate.teardown_exact(nextitem)  # noqa: SLF001  # the hook for it wants a test that was set up
    return True


def _elsewhere(item: pytest.Item) -> list[pytest.TestReport] | None:
    """Return the reports of a test that runs in a guest or beside this run, or cannot run; None for one that runs here."""
    if in_guest(item.config):
        return None
    if reports := item.config.stash[BOOTS].reports(item):
        return reports
    if area(item.path) == "kernel":
        return item.config.stash[RUNS].reports(item)
    return item.config.stash[BESIDE].reports(item)


@pytest.hookimpl(optionalhook=True)
def pytest_timeout_set_timer(item: pytest.Item) -> bool | None:
    """Set no timer for a test that runs elsewhere: its time-out is there, and `Elsewhere` has a deadline of its own."""
    if in_guest(item.config):
        return None
    return True if area(item.path) == "kernel" or item.config.stash[BESIDE].has(item) else None


def area(path: Path) -> str:
    """Return which kind of test a file holds: the name of its folder below tests/."""
    name = path.relative_to(HERE).parts[0] if path.is_relative_to(HERE) else ""
    return name if name in AREAS else AREAS[0]


def in_guest(config: pytest.Config) -> bool:
    """Return whether this pytest runs inside a guest."""
    return config.getoption("--guest-reports") is not None


def versions(config: pytest.Config) -> list[str]:
    """Return the versions of the kernels that were asked for."""
    wanted: str = config.getoption("--kernel")
    if wanted == "both" and not in_guest(config):
        return kernels.tested()
    return wanted.split(",")


@pytest.fixture(scope="session", autouse=True)
def guest_kernel(request: pytest.FixtureRequest) -> str:
    """Version of the kernel that a test of tests/kernel/ runs on."""
    return str(getattr(request, "param", ""))


@pytest.fixture(scope="session")
def api_server() -> Iterator[Lab]:
    """Return a real API server without nodes: `.api`, `.kubectl(...)`, `.kubeconfig`, `.plane.node_token(...)`, `.audit()`."""
    with Lab.up(0) as lab:
        yield lab
