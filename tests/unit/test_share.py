"""Shares hold every test once, and what is no share is refused."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.share import number_of, share_of

ROOT = Path(__file__).resolve().parents[2]
CONFTEST = """
from tests import share

def pytest_addoption(parser):
    share.add_option(parser)

def pytest_collection_modifyitems(config, items):
    share.leave_out(config, items)
"""
TESTS = """
import pytest

@pytest.mark.parametrize("number", range(40))
def test_one(number):
    print(f"ran {number}.")
"""


def ran(folder: Path, name: str) -> list[str]:
    """Return which of forty tests a share ran."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_many.py").write_text(TESTS)
    argv = [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", "--share", name]
    done = subprocess.run(argv, cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)
    return re.findall(r"ran \d+\.", done.stdout)


def test_the_shares_run_every_test_once(tmp_path: Path) -> None:
    """And none of them runs nothing, or everything."""
    shares = [ran(tmp_path, f"{number}/3") for number in (1, 2, 3)]
    assert sorted(itertools.chain(*shares)) == sorted(f"ran {number}." for number in range(40))
    assert all(shares)


def test_one_share_is_everything() -> None:
    """As where no share is named."""
    assert {share_of(f"test-{number}", 1) for number in range(100)} == {1}


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b"])
def test_what_is_no_share_is_refused(text: str) -> None:
    """Rather than run nothing and succeed."""
    with pytest.raises(ValueError, match="names a share"):
        number_of(text)
