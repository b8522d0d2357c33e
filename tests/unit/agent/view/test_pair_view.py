"""What of the ledger is a peer's that began again, and when that is believed."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

from tests.unit.agent.node import GENERATION, PAIR, peer, state
from wirecrypt.agent.view.pair_view import _replaced
from wirecrypt.agent.view.peers import ASK, Deletions
from wirecrypt.errors import Unreachable
from wirecrypt.model.objects import NodePeer
from wirecrypt.model.session import Epoch, Session
from wirecrypt.model.xfrm import Algorithm
from wirecrypt.ports import AgentApi

ENTRY = next(e for entries in state().ledger.values() for e in entries)


def session(public: bytes, number: int = GENERATION.hi) -> Session:
    """Return a session of the peer."""
    return Session(number, Epoch(1, "1" * 32), public, 1, Algorithm.AES_256_GCM)


class Api:
    """An API server that shows one object, or none, or does not answer; it counts the questions."""

    def __init__(self, shows: NodePeer | None, *, down: bool = False) -> None:
        self.shows, self.down, self.asked = shows, down, 0

    def node_peer(self, _name: str) -> NodePeer | None:
        """Return what is there."""
        self.asked += 1
        if self.down:
            raise Unreachable("ask", answer="nothing")
        return self.shows


@pytest.mark.parametrize(
    ("shown", "found"),
    [
        ((), False),
        ((session(ENTRY.peer_public),), False),
        ((session(b"x" * 32, GENERATION.hi + 1),), False),
        ((session(b"x" * 32),), True),
    ],
    ids=["nothing shown", "the same", "another number", "the number with another key"],
)
def test_a_generation_is_replaced_when_its_number_of_the_peer_has_another_key(
    shown: tuple[Session, ...],
    found: bool,  # noqa: FBT001 - a parameter
) -> None:
    """◆R43 A session of a peer is its number and its key; a number that is not shown says nothing."""
    those = replace(peer("b", 17), sessions=shown)
    assert _replaced(PAIR, those, state()) == (frozenset({GENERATION}) if found else frozenset())


@pytest.mark.parametrize(("answer", "believed"), [("same", True), ("another", False), ("none", False), ("silence", False)])
def test_that_a_peer_began_again_is_asked_of_the_api_server_itself(answer: str, believed: bool) -> None:  # noqa: FBT001 - a parameter
    """A copy may be of before: then the keys that are installed are the later ones. It is asked once in a while."""
    seen = replace(peer("b", 17), uid="np-1")
    api = Api({"same": seen, "another": replace(seen, uid="np-2")}.get(answer), down=answer == "silence")
    deletions = Deletions(cast("AgentApi", api))
    assert [deletions.current(seen, now) for now in (0.0, ASK - 0.1, ASK)] == [believed] * 3
    assert api.asked == 2
