"""A test that runs here for one kernel and beside for another: run by tests/unit/test_beside.py alone."""

import pytest


@pytest.fixture(scope="session")
def lab_kernel(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def kept() -> str:
    return "as long as this file's tests run"


def test_each(kept: str, lab_kernel: str) -> None:
    assert lab_kernel
