"""The bench of `scripts/bench`, with few peers: that it measures, not how much."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import peers


def test_an_agent_is_measured_by_the_number_of_its_peers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All its work and no other's: passes while it joins, and one each five seconds at rest."""
    peers.main(tmp_path, (2, 4))
    few, more = json.loads((tmp_path / "peers.json").read_text())["rows"]
    assert (few["peers"], more["peers"]) == (2, 4)
    assert few["at rest, passes a minute"] == more["at rest, passes a minute"] == pytest.approx(60 / 5, rel=0.1)
    assert 0 < few["at rest, share of a CPU"] < few["joined"] < more["joined"] * 10
    assert few["kept, MB"] < more["kept, MB"] < 2 * few["kept, MB"]
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [few, more]
