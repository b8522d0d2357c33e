"""How long packets may be on their way: by the answers of probes and the kernel's counters, never longer than the drain."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.pairs.views import JOINING, LEAVING, NOW, TIMING, complete, esp, g, heard, inputs, own, receiving
from wirecrypt.pairs import decide, probing
from wirecrypt.pairs.inputs import Observed, Out, PairInputs, Receive
from wirecrypt.pairs.memory import PairMemory, Sent

QUICK = PairMemory(trips=(0.001,))
MOVED = PairMemory(announcement=heard(g(2, 1), in_use=g(2, 1)), trips=(0.001,))


def moving(packets: int | None) -> PairInputs:
    """Return a pair whose peer sends with the old generation no more: so many packets of it have come."""
    seen = esp(g(2, 1), {g(1, 1): receiving(0, packets), g(2, 1): complete(1)})
    return inputs(seen, own_sessions=(own(1), own(2)))


def kept(memory: PairMemory, seen: PairInputs, at: float) -> tuple[PairMemory, bool]:
    """Return what is remembered after a look at a time, and whether the old receiving SA stays."""
    memory = probing.observe(memory, seen, at, TIMING)
    return memory, g(1, 1) in decide.decide(seen, memory, at, TIMING).keep


def test_the_old_receiving_sa_goes_when_nothing_came_over_it_for_a_flight() -> None:
    """The peer sends over it no more, answers come at once, and so does all else: a second later nothing is on its way."""
    memory, _ = kept(MOVED, moving(5), NOW)
    assert memory.due(NOW, TIMING) == NOW + 1.0
    assert kept(memory, moving(5), NOW + 0.9)[1]
    assert not kept(memory, moving(5), NOW + 1.0)[1]


def test_packets_that_still_come_keep_it() -> None:
    """What a queue let go late shows in the counter: the flight starts anew with it."""
    memory, _ = kept(MOVED, moving(5), NOW)
    memory, stays = kept(memory, moving(6), NOW + 1.0)
    assert stays
    assert memory.due(NOW + 1.0, TIMING) == NOW + 2.0
    assert not kept(memory, moving(6), NOW + 2.0)[1]


def test_whatever_comes_it_goes_after_the_drain() -> None:
    """Who holds packets back, and lets one go each second, does not keep an old key alive for longer than was configured."""
    memory, count, stays = MOVED, 0, True
    for second in range(int(TIMING.drain)):
        memory, stays = kept(memory, moving(count := count + 1), NOW + second)
        assert stays
    assert not kept(memory, moving(count + 1), NOW + TIMING.drain)[1]


@pytest.mark.parametrize("memory", [MOVED, replace(MOVED, trips=())])
def test_what_was_not_measured_takes_the_whole_drain(memory: PairMemory) -> None:
    """Without an answer, or without the kernel's counter, nothing is known of what is on its way."""
    packets = None if memory.trips else 5
    memory, _ = kept(memory, moving(packets), NOW)
    assert kept(memory, moving(packets), NOW + 9.9)[1]
    assert not kept(memory, moving(packets), NOW + 10.0)[1]


@pytest.mark.parametrize(
    ("trips", "flight"),
    [((0.0,), 1), ((0.2,), 1), ((0.3,), 2), ((0.5,), 2), ((0.6,), 4), ((3.0,), 16), ((0.6, 0.01, 0.01), 4)],
)
def test_a_flight_is_four_round_trips_of_the_slowest_answer_lately(trips: tuple[float, ...], flight: float) -> None:
    """A second at least, and in steps: answers that take a little longer change nothing."""
    assert replace(QUICK, trips=trips).flight == flight


def test_a_slow_answer_counts_until_eight_others_came() -> None:
    """A queue that was full lengthens the flight; after eight quick answers it is taken to be gone."""
    memory = QUICK.sent(b"slow", Sent(g(1, 1), 0, NOW, None), proving=False)
    memory = slow = memory.answer(b"slow", (g(1, 1), 0), heard(), NOW + 0.4)
    for number in range(8):
        assert memory.flight == 2.0
        nonce = bytes([number])
        memory = memory.sent(nonce, Sent(g(1, 1), 0, NOW + number, None), proving=False)
        memory = memory.answer(nonce, (g(1, 1), 0), heard(), NOW + number + 0.1)
    assert memory.flight == 1.0
    assert slow.taught(QUICK.heard(heard()))
    assert memory.taught(slow)
    assert not replace(memory, trips=(0.15, 0.2)).taught(memory)


def test_esp_is_required_a_flight_after_the_peers_word() -> None:
    """Of plaintext there is no counter of a pair: the answers tell how long it may be on its way."""
    seen = inputs(replace(esp(g(1, 1), {g(1, 1): complete()}), receive=Receive.OPTIONAL), own_state=JOINING)
    memory = probing.observe(replace(QUICK, announcement=heard(g(1, 1), in_use=g(1, 1))), seen, NOW, TIMING)
    assert decide.decide(seen, memory, NOW + 0.9, TIMING).receive is Receive.OPTIONAL
    assert decide.decide(seen, memory, NOW + 1.0, TIMING).receive is Receive.REQUIRED


def test_the_leaver_removes_all_when_nothing_came_for_a_flight() -> None:
    """ESP that is still on its way shows in the counters; probes do, too, so the drain is the longest."""
    word = heard(g(1, 1), accepts_plain=True, sends_plain=True)
    first = Observed({g(1, 1): complete(packets=5)}, Out.PLAIN, None, Receive.OPTIONAL)
    seen = inputs(first, own_state=LEAVING)
    later = inputs(replace(first, installed={g(1, 1): complete(packets=6)}), own_state=LEAVING)
    said = QUICK.heard(word).announce(decide.announcement(seen))
    knows = probing.observe(replace(said, confirmed=decide.announcement(seen)), seen, NOW, TIMING)
    assert decide.decide(seen, knows, NOW + 1.0, TIMING).remove_all
    more = probing.observe(knows, later, NOW + 1.0, TIMING)
    assert not decide.decide(later, more, NOW + 1.9, TIMING).remove_all
    assert decide.decide(later, more, NOW + 2.0, TIMING).remove_all
