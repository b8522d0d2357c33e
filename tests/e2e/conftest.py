"""Labs for end-to-end tests: three nodes, one lab per kernel, shared; with wirecrypt installed when a test asks for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e import product
from wirecrypt.lab import operations as demo
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.machine import kernels
from wirecrypt.lab.wire.capture import Capture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wirecrypt.lab.machine.kernels import Kernel


@pytest.fixture(scope="session")
def lab_kernel(request: pytest.FixtureRequest) -> Kernel:
    """Kernel that the lab runs on."""
    return kernels.find(version=request.param)


@pytest.fixture(scope="session")
def lab(lab_kernel: Kernel) -> Iterator[Lab]:
    """Return a lab of three nodes, two pods each; nothing is installed."""
    with Lab.up(3, kernel=lab_kernel) as running:
        yield running


@pytest.fixture
def wire(lab: Lab, tmp_path: Path) -> Iterator[Capture]:
    """Record the wire during one test; `wire.observe()` says what it has shown until now."""
    with Capture.start(lab, tmp_path / "wire.pcap") as capture:
        yield capture


@pytest.fixture
def make_cli() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs `wirecrypt lab ...`."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [str(Path(sys.executable).parent / "wirecrypt"), "lab", *words]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)

    return run


@pytest.fixture(scope="session")
def deployed(lab: Lab) -> Lab:
    """Return the lab with the product installed and configured for the lab's ranges."""
    demo.deploy(lab)
    return lab


@pytest.fixture
def wire_of(deployed: Lab, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Capture]]:
    """Return a function that protects nodes from each other and has the wire watched from then until the test's end.

    Nothing between them may have been readable then: this is the judge of every test on protected nodes (L1). A test that
    exempts node→node says so by its mark.
    """
    exempt = request.node.get_closest_marker("exempts_nodes") is not None
    watched: list[tuple[tuple[str, ...], Capture]] = []

    def protect(*nodes: str) -> Capture:
        product.protect(deployed, *nodes)
        watched.append((nodes, Capture.start(deployed, tmp_path / f"wire-{len(watched)}.pcap")))
        return watched[-1][1]

    yield protect
    for nodes, capture in watched:
        seen = capture.observe()
        capture.stop()
        assert product.leaks(deployed, seen, *nodes, exempt=exempt) == []


@pytest.fixture
def observer(wire_of: Callable[..., Capture]) -> Capture:
    """Return the recording of the wire, with node-1 and node-2 protected from each other and node-3 not labelled."""
    return wire_of(*product.PAIR)


@pytest.fixture
def protected(deployed: Lab, observer: Capture) -> Lab:
    """Return the lab with node-1 and node-2 protected from each other, and node-3 not labelled; the wire is judged."""
    return deployed


@pytest.fixture
def all_protected(deployed: Lab, wire_of: Callable[..., Capture]) -> Lab:
    """Return the lab with all three nodes protected from each other; the wire is judged."""
    wire_of(*product.ALL)
    return deployed


@pytest.fixture
def exposed(deployed: Lab) -> Lab:
    """Return the lab with no node labelled and no kernel object left."""
    product.expose(deployed)
    return deployed
