"""The bench of `scripts/bench requests`, with few nodes: what must not grow with their number does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import requests


def test_a_node_asks_as_much_whatever_their_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a rotation: two reads, one publication, and a status for each step that it has gone.

    These are that it has both epochs, that it sends with the new one, and that it accepts no other any more. Joining: as many
    statuses as fit into its time.
    """
    requests.main(tmp_path, (2, 5))
    few, more = json.loads((tmp_path / "requests.json").read_text())["rows"]
    for row in (few, more):
        assert row["a rotation: reads"] == 2
        assert row["a rotation: writes"] == 4
        assert row["joining: reads"] <= 5
        assert row["joining: writes"] <= 8
        assert row["a rotation: events"] == row["nodes"]
    assert more["a rotation: writes by the controller"] < few["a rotation: writes by the controller"]
    assert more["joining: writes by the controller"] < few["joining: writes by the controller"]
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [few, more]
