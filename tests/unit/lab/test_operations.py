"""Questions to a lab that are put again where the answer shows nothing."""

from __future__ import annotations

import subprocess
from typing import Any, cast

import pytest

from wirecrypt.cli.verbs import verify
from wirecrypt.lab import operations


@pytest.mark.parametrize(
    ("statuses", "asked"),
    [([0], 1), ([verify.BROKEN], 1), ([verify.NOT_SHOWN, 0], 2), ([verify.NOT_SHOWN] * 3, 3)],
    ids=["protected", "broken", "late", "silent"],
)
def test_a_verdict_that_shows_nothing_is_asked_for_again(
    statuses: list[int], asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three times in all; one that shows a fault is the answer."""
    assert operations.NOT_SHOWN == verify.NOT_SHOWN
    said: list[tuple[str, ...]] = []

    def wirecrypt(_lab: object, *words: str, **_more: object) -> subprocess.CompletedProcess[str]:
        said.append(words)
        return subprocess.CompletedProcess(words, statuses[len(said) - 1], "", "")

    monkeypatch.setattr(operations, "wirecrypt", wirecrypt)
    lab: Any = cast("Any", None)
    assert operations.verify(lab, "--seconds", "4").returncode == statuses[-1]
    assert said == [("verify", "--seconds", "4")] * asked
