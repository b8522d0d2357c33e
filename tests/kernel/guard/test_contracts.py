"""The adapters keep what the ports promise, and so does what stands in for them (tests/unit/fakes)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.contracts import GUARD, XFRM
from tests.kernel.guard.conftest import SETTINGS
from wirecrypt.kernel.bpf.guard import KernelGuard
from wirecrypt.kernel.xfrm.adapter import KernelXfrm
from wirecrypt.model.guard import GuardSettings
from wirecrypt.ports import Guard, Xfrm


@pytest.fixture
def own_guard(bpffs: Path) -> Iterator[KernelGuard]:
    """Return a guard in a folder of its own."""
    folder = bpffs / "contracts"
    folder.mkdir(exist_ok=True)
    guard = KernelGuard(folder)
    yield guard
    guard.unload()
    folder.rmdir()


@pytest.mark.parametrize("promise", XFRM, ids=lambda promise: promise.__name__)
def test_sas_and_policies_of_the_kernel(xfrm: KernelXfrm, promise: Callable[[Xfrm], None]) -> None:
    """As those in memory."""
    promise(xfrm)


@pytest.mark.parametrize("promise", GUARD, ids=lambda promise: promise.__name__)
def test_a_guard_of_the_kernel(own_guard: KernelGuard, promise: Callable[[Guard, GuardSettings], None]) -> None:
    """As the one in memory."""
    promise(own_guard, SETTINGS)
