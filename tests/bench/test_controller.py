"""The bench of `scripts/bench controller`, with few nodes: what it lists is a cluster at rest."""

from __future__ import annotations

from tests.bench import controller


def test_a_controller_finds_nothing_to_do() -> None:
    """It leads, and writes nothing: every node is Active, with keys that it may read."""
    row = controller.measured(20, watched=1.0)
    assert row["writes"] == 0
    assert 30 < row["memory, MB, at rest"] <= row["memory, MB, most"] < 150
