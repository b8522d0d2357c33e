"""A test that runs here after others: run by tests/unit/test_beside.py alone."""

import pytest


@pytest.mark.slow
def test_comes_last() -> None:
    pass
