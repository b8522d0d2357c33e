"""The reference pages are those that the commands make, and every link of doctor leads to a heading."""

import re
from pathlib import Path

import pytest

from wirecrypt.cli.reference import PAGES, commands, exit_codes, text
from wirecrypt.doctor import inspect_cluster, inspect_node

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "scripts/check-encryption.sh"


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_up_to_date(page: str) -> None:
    """`python -m wirecrypt.cli.reference PAGE > docs/reference/PAGE.md` changes nothing."""
    assert (ROOT / f"docs/reference/{page}.md").read_text(encoding="utf-8") == text(page)


def test_links_of_doctor_lead_somewhere() -> None:
    """Each check has its heading in the page that its findings name."""
    headings = set(re.findall(r"^### (.*)$", text("doctor"), re.MULTILINE))
    assert {c.name for c in (*inspect_cluster.CHECKS, *inspect_node.CHECKS)} == headings


def test_exit_codes_are_found_in_the_help() -> None:
    """The page has the codes of each verb as its help has them."""
    found = {verb: exit_codes(command) for verb, command in commands()}
    assert set(found["rotate"]) == {0, 1, 2, 3, 130}
    assert set(found["doctor"]) == {0, 1, 2, 4}
    assert set(found["verify"]) == {0, 1, 2, 4, 5, 6}


def test_the_scripts_codes_are_those_of_its_usage() -> None:
    """What the page says of the check script is what the script says itself."""
    usage = re.findall(r"^  (\d+) +(.*)$", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE)
    page = text("exit-codes").partition("check-encryption.sh")[2]
    for code, words in usage:
        assert f"| {code} | {words.partition(':')[0]} |" in page
