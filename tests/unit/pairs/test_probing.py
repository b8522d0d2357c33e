"""When which probe is sent, what an answer proves, and when a pair is reported as failing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.pairs.views import JOINING, NOW, TIMING, complete, esp, g, heard, inputs, own, receiving, session
from wirecrypt.model.session import Generation
from wirecrypt.pairs import decide, probing
from wirecrypt.pairs.decide import Observed, Out, Receive
from wirecrypt.pairs.memory import PairMemory, Sent, Timing
from wirecrypt.pairs.probing import Due, ProbeReason, failing, observe, protected, schedule

STEADY = inputs(esp(g(1, 1), {g(1, 1): complete()}))
MOVING = inputs(esp(g(1, 1), {g(1, 1): complete(), g(2, 1): complete(1, lanes=2)}), own_sessions=(own(1), own(2)))


def probe(generation: Generation, lane: int = 0, at: float = NOW) -> Sent:
    return Sent(generation, lane, at, heard())


def proofs(due: list[Due]) -> list[tuple[Generation, int, float]]:
    return [(d.generation, d.lane, d.at) for d in due if d.need is ProbeReason.PROVE]


def test_probes_due_at_one_moment_are_in_order() -> None:
    """A proof and a telling over the same SA at the same time can be compared."""
    assert min(Due(1.0, g(1, 1), 0, ProbeReason.ANNOUNCE), Due(1.0, g(1, 1), 0, ProbeReason.PROVE)).need is ProbeReason.PROVE


def test_every_lane_of_a_candidate_is_probed() -> None:
    """Each lane that has no answer yet is due; one that was answered is not."""
    due = schedule(MOVING, PairMemory(proved={g(2, 1): frozenset({1})}), NOW, TIMING)
    assert [(d.generation, d.lane) for d in due if d.need is ProbeReason.PROVE] == [(g(2, 1), 0)]


def test_first_probe_waits_for_a_sign_of_the_peer() -> None:
    """Without evidence the peer gets time to install; with it the first probe goes at once."""
    memory = observe(PairMemory(), MOVING, NOW)
    assert {at for _, _, at in proofs(schedule(MOVING, memory, NOW, TIMING))} == {NOW + TIMING.blind}
    known = memory.probed(g(2, 1), NOW)
    assert {at for _, _, at in proofs(schedule(MOVING, known, NOW, TIMING))} == {NOW}
    listed = memory.heard(heard(g(1, 1), g(2, 1)))
    assert {at for _, _, at in proofs(schedule(MOVING, listed, NOW, TIMING))} == {NOW}


def test_nothing_is_probed_blindly_while_the_generation_in_use_is_answered() -> None:
    """The peer's word comes over it and will tell; only a silence, or a very long wait, lets a probe go without a sign."""
    memory = replace(observe(PairMemory(), MOVING, NOW), answered=NOW + 1)
    assert {at for _, _, at in proofs(schedule(MOVING, memory, NOW + 1, TIMING))} == {NOW + 1 + TIMING.patience}
    silent = replace(memory, answered=NOW - 10 * TIMING.patience)
    assert {at for _, _, at in proofs(schedule(MOVING, silent, NOW, TIMING))} == {NOW + TIMING.blind}
    late = replace(memory, answered=NOW + 100 * TIMING.patience)
    assert {at for _, _, at in proofs(schedule(MOVING, late, NOW, TIMING))} == {NOW + 4 * TIMING.patience}


def test_first_contact_waits_less() -> None:
    """When nothing works yet, waiting costs more than a probe."""
    joining = inputs(Observed({g(1, 1): complete()}, Out.PLAIN, None, Receive.OPTIONAL), own_state=JOINING)
    memory = observe(PairMemory(), joining, NOW)
    assert [at for _, _, at in proofs(schedule(joining, memory, NOW, TIMING))] == [NOW + TIMING.blind_first]


def test_proofs_back_off_and_never_end() -> None:
    """Intervals grow from quick to slow, and stay there however often it is tried."""
    seen = inputs(esp(g(1, 1), {g(1, 1): complete(), g(2, 1): complete(1)}), own_sessions=(own(1), own(2)))
    memory, waits = observe(PairMemory(), seen, NOW).probed(g(2, 1), NOW), []
    for n in range(100):
        memory = memory.sent(n.to_bytes(16, "big"), probe(g(2, 1)), proving=True)
        waits.append(proofs(schedule(seen, memory, NOW, TIMING))[0][2] - NOW)
    assert waits[0] == pytest.approx(2 * TIMING.quick)
    assert waits == sorted(waits)
    assert set(waits[10:]) == {TIMING.slow}


def test_word_is_told_until_confirmed_then_slowly() -> None:
    """A new word goes out at once and with back-off; when an answer shows that it arrived, only steady probes remain."""
    memory = observe(PairMemory(), STEADY, NOW)
    assert schedule(STEADY, memory, NOW, TIMING) == [Due(NOW, g(1, 1), 0, ProbeReason.ANNOUNCE)]
    sent = memory.sent(b"n", Sent(g(1, 1), 0, NOW, decide.announcement(STEADY)), proving=False)
    assert schedule(STEADY, sent, NOW, TIMING)[0].at == pytest.approx(NOW + 2 * TIMING.quick)
    confirmed = sent.answer(b"n", (g(1, 1), 0), heard(g(1, 1)), NOW)
    assert schedule(STEADY, confirmed, NOW, TIMING)[0].at == NOW + TIMING.steady


def test_changed_word_is_told_anew() -> None:
    """A word that differs from the confirmed one is due at once."""
    memory = observe(
        replace(PairMemory(), confirmed=heard(newest=9), announcing=heard(newest=9), announcement_tries=(5, NOW)), STEADY, NOW
    )
    assert schedule(STEADY, memory, NOW, TIMING)[0].at == NOW


def test_steady_probes_go_round_the_lanes() -> None:
    """In the steady state each lane of the generation in use is looked at in pair_view."""
    seen = inputs(esp(g(1, 1), {g(1, 1): complete(lanes=3)}))
    lanes = [
        schedule(seen, replace(observe(PairMemory(), seen, NOW), announcement_tries=(n, NOW)), NOW, TIMING)[0].lane
        for n in range(4)
    ]
    assert lanes == [0, 1, 2, 0]


def test_nothing_is_told_without_a_channel() -> None:
    """No whole generation, or one that the peer may not have: nothing to tell it over."""
    assert schedule(inputs(esp(g(1, 1), {g(1, 1): receiving()})), PairMemory(), NOW, TIMING) == []
    waiting = inputs(Observed({g(1, 1): complete()}, Out.PLAIN, None, Receive.OPTIONAL), own_state=JOINING)
    assert [d.need for d in schedule(waiting, observe(PairMemory(), waiting, NOW), NOW, TIMING)] == [ProbeReason.PROVE]


def test_answer_proves_only_the_sa_it_was_asked_over() -> None:
    """An answer over the current generation, because the peer gave up the one asked about, proves neither."""
    memory = PairMemory().sent(b"n", probe(g(2, 1)), proving=True)
    elsewhere = memory.answer(b"n", (g(1, 1), 0), heard(g(1, 1)), NOW + 0.25)
    assert elsewhere.proved == {}
    assert elsewhere.round_trip == pytest.approx(0.25)
    other_lane = memory.answer(b"n", (g(2, 1), 1), heard(g(1, 1)), NOW)
    assert other_lane.proved == {}
    same = memory.answer(b"n", (g(2, 1), 0), heard(g(1, 1)), NOW)
    assert same.proved_lanes(g(2, 1)) == {0}


def test_answer_counts_once() -> None:
    """A doubled answer, or one to a nonce that is not ours, brings only the word."""
    memory = PairMemory().sent(b"n", probe(g(2, 1)), proving=True)
    unknown = memory.answer(b"x", (g(2, 1), 0), heard(g(1, 1)), NOW)
    assert (unknown.proved, unknown.announcement, unknown.confirmed) == ({}, heard(g(1, 1)), None)
    first = memory.answer(b"n", (g(2, 1), 0), heard(g(1, 1)), NOW)
    again = first.answer(b"n", (g(2, 1), 0), heard(g(2, 1)), NOW + 5)
    assert again.answered == NOW
    assert again.proved == first.proved


def test_unanswered_probes_are_forgotten_beyond_a_number() -> None:
    """Memory of one pair is bounded, and the newest probes are those remembered."""
    memory = PairMemory()
    for n in range(200):
        memory = memory.sent(n.to_bytes(16, "big"), probe(g(1, 1)), proving=False)
    assert len(memory.outstanding) == 64
    assert (199).to_bytes(16, "big") in memory.outstanding


def test_proofs_are_forgotten_with_the_generation() -> None:
    """What was known of a generation that is not installed any more is gone."""
    memory = PairMemory(proved={g(2, 1): frozenset({0})}, evidence=frozenset({g(2, 1)}), tries={(g(2, 1), 0): (3, NOW)})
    after = observe(memory, STEADY, NOW)
    assert (after.proved, after.evidence, after.tries) == ({}, frozenset(), {})


def test_facts_count_from_when_they_began_to_hold() -> None:
    """The time of a fact goes on while it holds, and starts anew after it did not."""
    memory = PairMemory().holds([("idle", g(1, 1))], 10.0).holds([("idle", g(1, 1))], 12.0)
    assert memory.passed("idle", g(1, 1), 15.0, 5.0)
    assert not memory.passed("gone", g(1, 1), 15.0, 0.0)
    assert not memory.holds([], 13.0).holds([("idle", g(1, 1))], 14.0).passed("idle", g(1, 1), 15.0, 5.0)


def test_a_step_is_due_when_a_fact_will_have_held_long_enough() -> None:
    """The earliest of linger and drain that is still to come; what has passed is waited for no more."""
    timing = Timing(drain=10.0, linger=1.0)
    memory = PairMemory().holds([("idle", g(1, 1)), ("gone", g(2, 1)), ("esp", None)], 100.0)
    assert memory.due(100.5, timing) == 101.0
    assert memory.passed("idle", g(1, 1), memory.due(100.5, timing), timing.linger)
    assert memory.due(101.0, timing) == 110.0
    assert memory.due(110.0, timing) == float("inf")
    assert replace(memory, plain_known_since=105.0).due(110.0, timing) == 115.0
    assert PairMemory().due(0.0, timing) == float("inf")


def test_drain_starts_when_the_word_was_heard() -> None:
    """A drain before that would be over too soon: the fact begins at the first look after the word."""
    seen = inputs(esp(g(2, 1), {g(1, 1): receiving(), g(2, 1): complete(1)}), own_sessions=(own(1), own(2)))
    memory = observe(PairMemory(), seen, NOW)
    memory = observe(memory.heard(heard(g(2, 1))), seen, NOW + 50)
    assert not memory.passed("gone", g(1, 1), NOW + 55, TIMING.drain)


def test_word_of_an_older_boot_is_forgotten() -> None:
    """A word whose newest number is below the first of the peer's present boot does not count ◆."""
    memory = PairMemory(announcement=heard(newest=1), confirmed=heard(), evidence=frozenset({g(1, 1)}), plain_known_since=NOW)
    assert memory.forget_words_before(1) == memory
    after = memory.forget_words_before(2)
    assert (after.announcement, after.confirmed, after.plain_known_since, after.evidence) == (None, None, None, frozenset())


def test_failing_says_why() -> None:
    """No answer, not every lane, blocked, probes in a row lost; and nothing when all is well."""
    memory = observe(PairMemory(), MOVING, NOW)
    late = NOW + TIMING.patience + 1
    assert failing(MOVING, memory, NOW + 1, TIMING) == ""
    assert failing(MOVING, memory, late, TIMING).startswith("no answer on generation 1.2.1")
    half = replace(memory, proved={g(2, 1): frozenset({0})})
    assert failing(MOVING, half, late, TIMING).startswith("not every lane is answered")
    assert "blocked" in failing(inputs(Observed({}, Out.BLOCK)), PairMemory(), NOW, TIMING)
    assert "3 probes" in failing(STEADY, replace(PairMemory(), lost_in_row=3), NOW, TIMING)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (STEADY.observed, True),
        (replace(STEADY.observed, receive=Receive.OPTIONAL), False),
        (replace(STEADY.observed, complete=False), False),
        (replace(STEADY.observed, out=Out.BLOCK, in_use=None), False),
        (esp(g(1, 1), {g(1, 1): receiving()}), False),
        (esp(g(1, 1), {}), False),
    ],
)
def test_protected_means_both_ways(seen: Observed, expected: bool) -> None:  # noqa: FBT001 - a table's column
    """ESP out over an SA that is there, nothing else accepted in, and no flow without its policies."""
    assert protected(inputs(seen)) is expected


def test_times_fit_together() -> None:
    """The usual times: a drain is longer than a linger, quick is shorter than slow, patience longer than slow."""
    timing = Timing()
    assert 0 < timing.linger < timing.drain
    assert 0 < timing.quick < timing.slow <= timing.steady
    assert timing.patience > timing.slow
    assert timing.blind_first < timing.blind < timing.patience


def test_candidates_of_an_older_boot_are_not_probed() -> None:
    """A generation with a session of the peer's older boot is no candidate."""
    seen = inputs(
        Observed({g(1, 1): complete(), g(1, 2): complete(1)}, Out.BLOCK, None, Receive.REQUIRED),
        peer_sessions=(session(2),),
        peer_boot_session=2,
    )
    assert decide.candidates(seen) == [g(1, 2)]


def test_plaintext_knowledge_is_dropped_when_esp_is_sent() -> None:
    """That the peer knows of our plaintext counts only while we send it."""
    memory = PairMemory(plain_known_since=NOW)
    assert observe(memory, STEADY, NOW).plain_known_since is None
    assert probing.observe(memory, inputs(Observed({g(1, 1): complete()}, Out.PLAIN)), NOW).plain_known_since == NOW
