"""`--kernel` chooses kernels; tests under tests/kernel/ run inside a guest of each, end-to-end tests in a lab of each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.guests import GuestRuns, Recorder
from tests.slow import Slow, add_option, is_slow
from wirecrypt.lab import kernels
from wirecrypt.lab.lab import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator

AREAS = ("unit", "cluster", "kernel", "e2e", "bench", "image")
HERE = Path(__file__).parent
STATES = ("exposed", "protected", "all_protected")  # fixtures of the shared lab; tests without one have labs of their own
LONG = 1200  # seconds for a test with a lab, whose own deadlines, which tell more, end before
RUNS = pytest.StashKey[GuestRuns]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kernel", default="both", help="version of the kernels to test on, e.g. 6.1, or both (default: all there are)"
    )
    parser.addoption(
        "--bench-results", type=Path, default=Path("bench-results"), help="folder for the figures that tests/bench/ measures"
    )
    add_option(parser)
    parser.addoption("--guest-reports", type=Path, help="this run is inside a guest: write the tests' reports to this file")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RUNS] = GuestRuns(config)
    if path := config.getoption("--guest-reports"):
        config.pluginmanager.register(Recorder(config, path))
    else:
        config.pluginmanager.register(Slow.of(config))


def pytest_unconfigure(config: pytest.Config) -> None:
    if RUNS in config.stash:
        config.stash[RUNS].end()


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
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick areas first, and one lab after another: nothing else may take the processors while packets are counted.

    Tests that want one state of the shared lab follow one another, whatever their file: bringing a cluster from one state to
    another takes longer than most tests. What is marked slow comes last, and there the image, which tells most about a
    release, first.
    """

    def order(item: pytest.Item) -> tuple[bool, int, str, int]:
        parameters: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
        slow, number = is_slow(item), AREAS.index(area(item.path))
        states = [rank for rank, name in enumerate(STATES, 1) if name in getattr(item, "fixturenames", ())]
        return slow, -number if slow else number, str(parameters.get("lab_kernel", "")), max(states, default=0)

    items.sort(key=order)
    for item in items:
        if area(item.path) in {"e2e", "image"} and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(LONG))


def pytest_runtestloop(session: pytest.Session) -> None:
    """Start the guests: their tests run while the first ones run here, and are reported when it is their turn."""
    if not in_guest(session.config) and not session.config.option.collectonly and not session.testsfailed:
        session.config.stash[RUNS].start(session.items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Replay what the guest reported, instead of running a test of tests/kernel/ here."""
    if in_guest(item.config) or area(item.path) != "kernel":
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in item.config.stash[RUNS].reports(item):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.hookimpl(optionalhook=True)
def pytest_timeout_set_timer(item: pytest.Item) -> bool | None:
    """Set no timer for a test that runs in a guest: its time-out is there, and `GuestRun` has a deadline of its own."""
    return True if not in_guest(item.config) and area(item.path) == "kernel" else None


def area(path: Path) -> str:
    """Return which kind of test a file holds: the name of its folder below tests/."""
    name = path.relative_to(HERE).parts[0] if path.is_relative_to(HERE) else ""
    return name if name in AREAS else AREAS[0]


def in_guest(config: pytest.Config) -> bool:
    """Tell whether this pytest runs inside a guest."""
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
