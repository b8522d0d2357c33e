"""Which control datagrams are believed: those under the key of the very SA that they came by."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from tests.unit.agent.sessionports import ONE, SETTINGS, TWO, Node, peer, rotation, session
from wirecrypt import keys
from wirecrypt.agent.control.probe_timer import ProbeBudget
from wirecrypt.agent.control.protocol import BURST, CALLS, REFILL, ControlProtocol, PeerSession
from wirecrypt.agent.store.state import LedgerEntry
from wirecrypt.model.link import Arrived
from wirecrypt.model.objects import Phase
from wirecrypt.model.session import Announcement, Generation
from wirecrypt.model.xfrm import Address
from wirecrypt.pairs.memory import Timing
from wirecrypt.ports import ControlChannel

UID = "uid-b"
MARKS = SETTINGS.mark.layout
SAID = Announcement(frozenset(), None, 1)


class Channel:
    """Datagrams in memory: what is to arrive, and what was sent; *refuses* to send anything."""

    def __init__(self) -> None:
        self.arriving: list[Arrived] = []
        self.sent: list[bytes] = []
        self.refuses = False

    def receive(self) -> list[Arrived]:
        """Return what arrives, once."""
        found, self.arriving = self.arriving, []
        return found

    def send(self, _src: Address, _dst: Address, _mark: int, data: bytes) -> bool:
        """Keep what is sent."""
        if not self.refuses:
            self.sent.append(data)
        return not self.refuses


class Talking:
    """Node a, whose pair with b has two generations of two lanes, and what it hears."""

    def __init__(self, disk: Path) -> None:
        self.node = Node(disk, peer("b", 17, session(1, ONE, lanes=2), session(2, TWO, lanes=2)))
        self.node.lanes = 2
        self.node.api.epochs = (ONE, TWO)
        self.node.run()
        self.node.rotations = (rotation(ONE), rotation(TWO, Phase.SWITCHING, 1))
        pass_state = self.node.run()
        pass_state = self.node.run()
        self.old, self.new = sorted(pass_state.pair_views[UID].inputs.observed.installed)
        self.peer_session = PeerSession(pair_view=pass_state.pair_views[UID])
        self.channel = Channel()
        channel = cast("ControlChannel", self.channel)
        self.protocol = ControlProtocol(channel, self.node.state, MARKS, Timing())

    def entry(self, generation: Generation) -> LedgerEntry:
        """Return the ledger's entry."""
        found = self.node.state.entry(UID, generation)
        assert found is not None
        return found

    def hear(
        self,
        claims: tuple[Generation, int],
        *,
        under: Generation,
        by: tuple[Generation, int],
        said: Announcement = SAID,
        now: float = 1.0,
    ) -> bool:
        """Take in a probe that claims an SA, is under the key of *under*, and came by the SA of *by*."""
        message = keys.ControlMessage(
            kind=keys.DatagramKind.PROBE, lane=claims[1], generation=claims[0], nonce=bytes(16), announcement=said
        )
        data = keys.seal(message, self.entry(under).control_peer)
        assert self.peer_session.pair_view is not None
        slot = self.peer_session.pair_view.inputs.observed.installed[by[0]].slot
        mark = MARKS.decrypted(slot, by[1]).value
        self.channel.arriving = [Arrived(self.peer_session.pair_view.pair.outer()[1], mark, data)]
        return self.protocol.take_in({UID: self.peer_session}, now)


@pytest.fixture
def protocol(tmp_path: Path) -> Talking:
    return Talking(tmp_path)


def test_a_probe_that_came_by_the_sa_it_claims_is_answered(protocol: Talking) -> None:
    """The mark that the SA set, the key and the claim agree: heard and answered."""
    via = (protocol.new, 1)
    assert protocol.hear(via, under=protocol.new, by=via)
    assert protocol.peer_session.memory.announcement == SAID
    assert len(protocol.channel.sent) == 1
    assert protocol.protocol.refused == {}


def test_a_probe_that_teaches_nothing_is_answered_and_calls_for_no_pass(protocol: Talking) -> None:
    """The same word again, over an SA that the peer is known to have, is answered; a new word calls for a pass."""
    via = (protocol.new, 1)
    assert protocol.hear(via, under=protocol.new, by=via)
    assert not protocol.hear(via, under=protocol.new, by=via)
    assert len(protocol.channel.sent) == 2
    assert protocol.hear(via, under=protocol.new, by=via, said=replace(SAID, newest=2))


def test_a_peer_that_always_has_news_does_not_take_the_loop(protocol: Talking) -> None:
    """All its words count, and those beyond its measure wait for a pass that others call for; later it may call again."""
    via = (protocol.new, 1)
    words = [replace(SAID, newest=2 + number % 2) for number in range(400)]
    times = [2.0 + number / REFILL for number in range(400)]
    calls = [protocol.hear(via, under=protocol.new, by=via, said=said, now=at) for said, at in zip(words, times, strict=True)]
    assert protocol.peer_session.memory.announcement == words[-1]
    assert (len(protocol.channel.sent), protocol.protocol.refused) == (400, {})
    assert BURST <= sum(calls) <= BURST + CALLS * (times[-1] - times[0]) + 1
    assert protocol.hear(via, under=protocol.new, by=via, said=words[0], now=times[-1] + 1)


@pytest.mark.parametrize(
    ("claims", "under", "why"),
    [
        (("new", 0), "new", "claims another SA than it came by"),
        (("old", 1), "new", "claims another SA than it came by"),
        (("old", 1), "old", "not authentic"),
        (("new", 1), "old", "not authentic"),
    ],
    ids=["other lane", "other generation", "key and claim of another", "key of another"],
)
def test_a_claim_must_fit_the_sa_that_it_came_by(protocol: Talking, claims: tuple[str, int], under: str, why: str) -> None:
    """An authentic datagram over another SA than it claims proves nothing ◆R12: it is refused, counted and not answered."""
    named = {"old": protocol.old, "new": protocol.new}
    assert not protocol.hear((named[claims[0]], claims[1]), under=named[under], by=(protocol.new, 1))
    assert protocol.protocol.refused == {why: 1}
    assert protocol.channel.sent == []
    assert protocol.peer_session.memory.announcement is None


@pytest.mark.parametrize("mark", [0, MARKS.decrypted(2, 0).value, MARKS.control(0, 0).value])
def test_what_no_receiving_sa_decrypted_is_refused(protocol: Talking, mark: int) -> None:
    """A datagram without the mark of one of the pair's SAs came in clear, or by nothing that is known."""
    assert protocol.peer_session.pair_view is not None
    protocol.channel.arriving = [Arrived(protocol.peer_session.pair_view.pair.outer()[1], mark, b"x" * 256)]
    assert not protocol.protocol.take_in({UID: protocol.peer_session}, 1.0)
    assert protocol.protocol.refused == {"not decrypted by a receiving SA of the pair": 1}


def test_looks_at_paths_take_turns() -> None:
    """A fiftieth of a second each, in the order in which they are asked for; turns that nobody took are lost."""
    budget = ProbeBudget()
    assert [budget.turn(10.0), budget.turn(10.0), budget.turn(10.03)] == pytest.approx([10.0, 10.02, 10.04])
    assert budget.turn(20.0) == 20.0


def test_a_refused_send_is_counted_and_the_others_go_on(protocol: Talking) -> None:
    """A kernel that refuses an answer is counted; what was heard counts nevertheless."""
    protocol.channel.refuses = True
    via = (protocol.new, 0)
    assert protocol.hear(via, under=protocol.new, by=via)
    assert protocol.protocol.refused == {"not sent: the kernel refused it": 1}
    assert protocol.peer_session.memory.announcement == SAID


def test_what_a_pair_waits_for_is_worked_out_anew_when_it_comes_or_something_changed(protocol: Talking) -> None:
    """Until the next probe is due a pass asks nothing of a pair that said nothing; then its probe is sent, and not before."""
    session, via = protocol.peer_session, (protocol.new, 1)
    protocol.hear(via, under=protocol.new, by=via)
    first = protocol.protocol.moments(session, 1.0)
    assert first.probe > 1.0
    sent = len(protocol.channel.sent)
    assert protocol.protocol.moments(session, math.nextafter(first.probe, 0.0)) is first
    assert len(protocol.channel.sent) == sent
    due = protocol.protocol.moments(session, first.probe)
    assert (due.probe > first.probe, len(protocol.channel.sent) > sent) == (True, True)
    assert protocol.protocol.moments(session, first.probe) is due
    protocol.hear(via, under=protocol.new, by=via, said=replace(SAID, newest=2), now=first.probe)
    assert protocol.protocol.moments(session, first.probe) is not due
    session.pair_view = None
    assert protocol.protocol.moments(session, first.probe).probe == first.probe + Timing().steady
