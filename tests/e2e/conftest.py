"""Labs for end-to-end tests: three nodes, one lab per kernel, shared; with wirecrypt installed when a test asks for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e import product
from wirecrypt.lab import kernels
from wirecrypt.lab.capture import Capture
from wirecrypt.lab.demo import cluster as demo
from wirecrypt.lab.lab import Lab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wirecrypt.lab.kernels import Kernel


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
    demo.deploy(lab, drain=3)  # packets are in flight for milliseconds here; the default is for real networks
    return lab


@pytest.fixture
def protected(deployed: Lab) -> Lab:
    """Return the lab with node-1 and node-2 protected from each other, and node-3 not labelled."""
    product.protect(deployed, *product.PAIR)
    return deployed


@pytest.fixture
def exposed(deployed: Lab) -> Lab:
    """Return the lab with no node labelled and no kernel object left."""
    product.expose(deployed)
    return deployed


@pytest.fixture
def observer(protected: Lab, tmp_path: Path) -> Iterator[Capture]:
    """Record the wire during a test on protected nodes: at its end, no cleartext between their pods may have been seen."""
    with Capture.start(protected, tmp_path / "wire.pcap") as capture:
        yield capture
        assert product.leaks(protected, capture) == []
