"""Sealing and exempting node→node under traffic: every order of passes, words, losses and changes of mind, for two ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import pytest

from wirecrypt.model.session import Announcement
from wirecrypt.pairs import node_traffic
from wirecrypt.pairs.node_traffic import EXEMPT, SEALED, NodeTraffic

pytestmark = pytest.mark.simulation

PLAIN = "plain"  # a packet in clear on its way
TURNS = 2  # changes of mind and restarts, of either end
ROOM = 2  # packets on their way in one direction

Word = tuple[bool, bool, bool]  # seals, requires, exempts
Asked = Word | Literal["ask", "old"]  # what an answer answers to: a word of ours, or one that we have left since
Packet = str | tuple[Word, Asked, bool]  # a word; ask, or what it answers to; whether it is an answer


@dataclass(frozen=True)
class End:
    """One end: what its kernel has, its wish, the peer's word, and the own word that the peer surely has."""

    has: NodeTraffic
    exempts: bool
    heard: Word | None = None
    confirmed: Word | None = None

    @property
    def exempt(self) -> bool:
        """Return whether an end, as far as this one knows, wishes it in clear."""
        return self.exempts or (self.heard is not None and self.heard[2])

    @property
    def word(self) -> Word:
        """Return what this end says of itself."""
        return (self.has.sends and not self.exempt, self.has.requires, self.exempts)

    def decided(self, *, drained: bool) -> NodeTraffic:
        """Return what a pass writes; *drained*: nothing that the peer sent in clear is on its way."""
        heard = None if self.heard is None else Announcement(frozenset(), None, 1, False, False, *self.heard)  # noqa: FBT003
        confirmed = self.confirmed == self.word
        sends = node_traffic.sends_next(self.has, heard, exempt=self.exempt, free=False, confirmed=confirmed)
        long = drained and heard is not None and heard.seals_nodes
        return NodeTraffic(sends, node_traffic.requires_next(self.has, exempt=self.exempt, required=True, sealed_long=long))


@dataclass(frozen=True)
class Both:
    """Both ends and what is on its way from each, the oldest first."""

    ends: tuple[End, End]
    ways: tuple[tuple[Packet, ...], tuple[Packet, ...]] = ((), ())
    turns: int = TURNS

    def end(self, side: int, end: End) -> Both:
        """Return the state with another end; with another word of its own what it said before confirms nothing."""
        changed = end.word != self.ends[side].word
        state = self._with(side, replace(end, confirmed=None) if changed else end)
        if not changed:
            return state
        mine = tuple(p if isinstance(p, str) or p[2] else (p[0], "old", False) for p in state.ways[side])
        theirs = tuple(p if isinstance(p, str) or not p[2] else (p[0], "old", True) for p in state.ways[1 - side])
        return state.way(side, mine).way(1 - side, theirs)

    @property
    def mirrored(self) -> Both:
        """Return the state with the ends in each other's place."""
        return Both(self.ends[::-1], self.ways[::-1], self.turns)

    def _with(self, side: int, end: End) -> Both:
        return replace(self, ends=(end, self.ends[1]) if side == 0 else (self.ends[0], end))

    def way(self, side: int, packets: tuple[Packet, ...]) -> Both:
        """Return the state with other packets on their way from *side*."""
        return replace(self, ways=(packets, self.ways[1]) if side == 0 else (self.ways[0], packets))

    def sent(self, side: int, packet: Packet) -> Both:
        """Return the state with one more packet from *side*; one that finds no room is lost."""
        return self.way(side, (*self.ways[side], packet)) if len(self.ways[side]) < ROOM else self


class LostError(AssertionError):
    """A packet in clear came to an end that requires ESP."""


def arrived(state: Both, sender: int) -> Both:
    packet, *rest = state.ways[sender]
    state, receiver = state.way(sender, tuple(rest)), 1 - sender
    end = state.ends[receiver]
    if isinstance(packet, str):
        if end.has.requires:
            raise LostError
        return state
    word, asked, is_answer = packet
    if is_answer:
        confirmed = asked if isinstance(asked, tuple) else end.confirmed
        return state.end(receiver, replace(end, heard=word, confirmed=confirmed))
    state = state.end(receiver, replace(end, heard=word))
    return state.sent(receiver, (state.ends[receiver].word, word if asked == "ask" else "old", True))


def passed(state: Both, side: int) -> Both:
    end = state.ends[side]
    return state.end(side, replace(end, has=end.decided(drained=PLAIN not in state.ways[1 - side])))


def probed(state: Both, side: int) -> Both:
    return state.sent(side, (state.ends[side].word, "ask", False))


def successors(state: Both) -> Iterator[Both]:
    for side in (0, 1):
        end = state.ends[side]
        yield passed(state, side)
        yield probed(state, side)
        if not end.has.sends and PLAIN not in state.ways[side]:
            yield state.sent(side, PLAIN)
        if state.ways[side]:
            yield arrived(state, side)
            yield state.way(side, state.ways[side][1:])
        if state.turns:
            rest = replace(state, turns=state.turns - 1)
            yield rest.end(side, replace(end, exempts=not end.exempts))
            yield rest.end(side, replace(end, heard=None, confirmed=None))  # a restart: what was heard is forgotten


def reachable(start: Both, may: Callable[[Both], bool] = lambda _: True) -> set[Both]:
    """Return every state that follows from *start* by states that *may* be; of two that mirror each other one is enough."""
    seen, waiting = {start}, [start]
    while waiting:
        for after in successors(waiting.pop()):
            if after not in seen and after.mirrored not in seen and may(after):
                seen.add(after)
                waiting.append(after)
    return seen


def settled(state: Both) -> Both:
    """Return where a state comes to when nobody changes his mind and nothing is lost any more."""
    for _ in range(8):
        for side in (0, 1):
            state = passed(passed(probed(state, side), 0), 1)
            while any(state.ways):
                state = arrived(state, 0 if state.ways[0] else 1)
    return state


STARTS = {
    "both in clear": Both((End(EXEMPT, exempts=True), End(EXEMPT, exempts=True))),
    "both sealed": Both((End(SEALED, exempts=False), End(SEALED, exempts=False))),
    "not agreed": Both((End(NodeTraffic(sends=True), exempts=False), End(EXEMPT, exempts=True))),
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_no_order_of_events_loses_a_packet_and_all_end_where_they_are_wished(start: Both) -> None:
    """Whatever happens no packet in clear meets an end that refuses it, and then both ends come to what is wished ◆R34."""
    found = reachable(start)
    assert len(found) > 1_000, "the search went somewhere"
    for state in (each for each in found if not any(each.ways)):  # whatever is on its way may be lost
        end = settled(state)
        wish = any(e.exempts for e in state.ends)
        assert [e.has for e in end.ends] == [EXEMPT if wish else SEALED] * 2


def test_two_ends_that_wish_it_sealed_never_send_in_clear() -> None:
    """Without a change of mind what is sealed stays sealed, through losses and restarts ◆R34."""
    found = reachable(STARTS["both sealed"], lambda state: not any(end.exempts for end in state.ends))
    assert len(found) > 100, "the search went somewhere"
    assert all(end.has == SEALED for state in found for end in state.ends)


@pytest.mark.parametrize("rule", ["confirmed", "refused", "word"])
def test_each_rule_is_needed(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the peer's having our word, its not refusing, or its word that it seals, a packet is lost ◆R34."""
    sends, requires = node_traffic.sends_next, node_traffic.requires_next

    def without(seen: NodeTraffic, heard: Announcement | None, *, exempt: bool, free: bool, confirmed: bool) -> bool:
        if rule == "refused" and heard is not None:
            heard = replace(heard, requires_nodes=False)
        return sends(seen, heard, exempt=exempt, free=free, confirmed=confirmed or rule == "confirmed")

    def at_once(seen: NodeTraffic, *, exempt: bool, required: bool, sealed_long: bool) -> bool:
        return requires(seen, exempt=exempt, required=required, sealed_long=sealed_long or rule == "word")

    monkeypatch.setattr(node_traffic, "sends_next", without)
    monkeypatch.setattr(node_traffic, "requires_next", at_once)
    with pytest.raises(LostError):
        [reachable(start) for start in STARTS.values()]
