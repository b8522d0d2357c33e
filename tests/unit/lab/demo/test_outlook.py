"""What to do after the demo fits a terminal, and its commands can be copied."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from wirecrypt.lab.demo.outlook import PodPrefixes, after_failure, after_success, command

PODS = PodPrefixes(("10.1.0.0/24", "fd00:11::/64"), ("10.2.0.0/24", "fd00:12::/64"))


def commands(lines: list[str]) -> list[list[str]]:
    """Return the commands as a shell would read them that got the lines."""
    text = "\n".join(line for line in lines if line.startswith("    "))
    return [shlex.split(line) for line in text.replace("\\\n", "").splitlines()]


@pytest.mark.parametrize("width", [80, 100])
def test_no_line_is_wider_than_a_terminal(width: int) -> None:
    """So no terminal breaks one."""
    lines = [*after_success(Path("demo-out"), PODS), *after_failure(Path("demo-out"), Path("demo-out/logs"))]
    assert max(map(len, lines)) <= width


def test_commands_say_where_the_evidence_is() -> None:
    """Words that a shell would take apart are quoted."""
    found = commands(after_success(Path("/a place/out"), PODS))
    ends = ["-l", "10.1.0.0/24", "-l", "fd00:11::/64", "-r", "10.2.0.0/24", "-r", "fd00:12::/64"]
    assert ["sh", "scripts/check-encryption.sh", "-f", "/a place/out/wire-protected.pcap", *ends] in found
    assert ["sh", "scripts/check-encryption.sh", "-f", "/a place/out/wire.pcap", *ends] in found
    assert [".venv/bin/wirecrypt", "lab", "up", "--nodes", "2", "--installed", "--enabled"] in found


def test_a_failure_points_at_what_was_kept() -> None:
    """And at no logs where there are none."""
    assert any("out/logs" in line for line in after_failure(Path("out"), Path("out/logs")))
    assert not any("logs" in line for line in after_failure(Path("out"), None))


@pytest.mark.parametrize("words", [["a"], ["a" * 200], ["a" * 60, "b" * 60, "c" * 60], ["word"] * 60])
def test_a_long_command_goes_on_behind_a_backslash(words: list[str]) -> None:
    """A shell that gets the lines reads the same words."""
    assert commands(command(*words)) == [words]
    assert all(len(line) <= 80 or max(map(len, words)) > 74 for line in command(*words))
