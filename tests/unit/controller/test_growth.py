"""What a controller does for nodes grows as their number; counted, not timed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.fakes.builders import node
from tests.unit.controller.test_passes import controller, encrypted_cluster
from tests.unit.controller.watched import WatchedServer, agents
from tests.unit.lines import Lines, grown, lines
from wirecrypt.model.objects import NodeState, Phase


def of_a_pass(size: int) -> Lines:
    """Return the lines of a pass without a change, with as many nodes without the label as with it."""
    server = encrypted_cluster(*range(1, size + 1))
    server.nodes |= {f"n{number}": node(number, label=None) for number in range(100, 100 + size)}
    leader = controller(server)
    leader.once()
    return lines(leader.once)


def until_rest(server: WatchedServer) -> Lines:
    """Return the lines of all passes until nothing changes any more, every agent doing its part after each."""
    counted = Lines()
    leader = controller(server)
    for _ in range(30):
        before = server.version, server.writes
        counted += lines(leader.once)
        agents(server)
        if before == (server.version, server.writes):
            return counted
    return pytest.fail(f"{len(server.nodes)} nodes, and the controller does not come to rest")


def of_joining(size: int) -> Lines:
    """Return the lines of all passes until nodes that were labelled at once are Active."""
    return until_rest(WatchedServer.of(*(node(number) for number in range(1, size + 1))))


def of_a_rotation(size: int) -> Lines:
    """Return the lines of all passes of a rotation."""
    server = encrypted_cluster(*range(1, size + 1))
    server.create_rotation("r", "a test")
    counted = until_rest(server)
    assert server.rotations["r"].phase is Phase.COMPLETE
    return counted


def of_leaving(size: int) -> Lines:
    """Return the lines of all passes until nodes whose labels were taken off at once are gone."""
    server = encrypted_cluster(*range(1, size + 1))
    server.nodes = {name: replace(shown, label=None) for name, shown in server.nodes.items()}
    counted = until_rest(server)
    assert {peer.state for peer in server.peers.values()} == {NodeState.REMOVED}
    return counted


@pytest.mark.parametrize("of", [of_a_pass, of_joining, of_a_rotation, of_leaving])
def test_each_node_costs_the_same_whatever_their_number(of: Callable[[int], Lines]) -> None:
    """Twice as many nodes more take twice as many lines more, and a logarithm: nothing compares each with each."""
    few, some, many = of(16), of(32), of(64)
    assert grown(few, some, many) == []
    assert (many.total() - some.total()) / (some.total() - few.total()) == pytest.approx(2, rel=0.04)
