"""The bench of `scripts/bench idle`, with short hours: nothing is written, and nothing grows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import idle


def test_a_node_at_rest_writes_nothing_and_keeps_no_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks at its own object now and then, and at everything every five seconds."""
    monkeypatch.setattr(idle, "HOUR", 240.0)
    idle.main(tmp_path, (1, 3))
    first, last = json.loads((tmp_path / "idle.json").read_text())["rows"]
    assert first["writes"] == last["writes"] == 0
    assert first["reads"] == pytest.approx(2, abs=0.5)
    assert last["objects kept"] < 1.05 * first["objects kept"]
    assert last["bytes on disk"] == first["bytes on disk"]
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [first, last]
