"""The reference page explains every verdict and every cause."""

from pathlib import Path

import pytest

from wirecrypt.verify import CauseKind, Standing

PAGE = (Path(__file__).parents[3] / "docs/reference/verify.md").read_text()


@pytest.mark.parametrize("kind", CauseKind)
def test_every_cause_is_explained(kind: CauseKind) -> None:
    """Each cause has a row with where to look."""
    assert f"| {kind.value} | " in PAGE


@pytest.mark.parametrize("standing", Standing)
def test_every_verdict_is_explained(standing: Standing) -> None:
    """Each verdict is in the table."""
    assert f"`{standing.value}`" in PAGE
