"""Tests of a run beside another one: run by tests/unit/test_beside.py alone."""

import os

import pytest


def test_passes() -> None:
    pass


def test_fails() -> None:
    raise AssertionError("as it should")


def test_is_skipped() -> None:
    pytest.skip("as it should be")


def test_ends_the_run() -> None:
    os._exit(1)


def test_comes_after() -> None:
    pass
