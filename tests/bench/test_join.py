"""The bench of `scripts/bench join`, with few nodes: real API server, controller and agents, and those that stand in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bench import join

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SETTINGS = {"drain": "1s"}
JOINING = 16  # requests of a node at most next to its statuses, of which there are as many as fit into its time


def test_requests_of_a_node_do_not_grow_with_their_number(tmp_path: Path) -> None:
    """Three nodes and six, labelled at once and rotated then: each asks as much, and hears of each other node as often."""
    few = list(join.measured(3, tmp_path / "few", **SETTINGS))
    more = list(join.measured(6, tmp_path / "more", **SETTINGS))
    for joined, rotated in (few, more):
        assert joined["whole agents"] == joined["nodes"]
        assert rotated["reads"] - 2 < 1, "the Secret and the own NodePeer, and now and then what a watch begins with"
        assert 4 <= rotated["writes"] <= 6, "a token, a publication, and a status for each step"
        assert joined["events"] == 4 * joined["nodes"], "made, published, its addresses proposed, Active"
        assert rotated["events"] == rotated["nodes"]
        assert (joined["waves"], joined["nodes of the largest wave"]) == (1, joined["nodes"])
    for before, after in zip(few, more, strict=True):
        assert after["writes by the controller"] <= before["writes by the controller"]
        assert after["writes"] <= 1.5 * before["writes"]


def test_who_stands_in_asks_as_a_whole_agent_does(tmp_path: Path) -> None:
    """The same requests in a rotation, and the same events; joining takes fewer statuses, for nothing is to be proved."""
    joined, rotated = join.measured(4, tmp_path / "half", whole=False, **SETTINGS)
    assert (rotated["reads"], rotated["writes"]) == (2, 5)
    assert (joined["events"], rotated["events"]) == (4 * 4, 4)
    assert 3 <= joined["reads"] <= 6
    assert 8 <= joined["writes"] <= 14
