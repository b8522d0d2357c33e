"""When which probe is sent, what an answer proves, and when a pair is reported as failing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.pairs.views import JOINING, NOW, TIMING, complete, esp, g, heard, inputs, own, receiving, session
from wirecrypt.model.objects import NodeState
from wirecrypt.model.session import Generation
from wirecrypt.pairs import decide, generations, probing
from wirecrypt.pairs.inputs import Observed, Out, Receive
from wirecrypt.pairs.memory import PairMemory, Sent, Timing
from wirecrypt.pairs.probing import Due, ProbeReason, failing, observe, protected, schedule

PEERS_TURN = 1.125 * TIMING.steady
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
    memory = observe(PairMemory(), MOVING, NOW, TIMING)
    assert {at for _, _, at in proofs(schedule(MOVING, memory, NOW, TIMING))} == {NOW + 2 * TIMING.patience}
    known = memory.probed(g(2, 1), NOW)
    assert {at for _, _, at in proofs(schedule(MOVING, known, NOW, TIMING))} == {NOW}
    listed = memory.heard(heard(g(1, 1), g(2, 1)))
    assert {at for _, _, at in proofs(schedule(MOVING, listed, NOW, TIMING))} == {NOW}


def test_nothing_is_probed_blindly_while_the_generation_in_use_is_answered() -> None:
    """The peer's word comes over it and will tell; only a silence, or a very long wait, lets a probe go without a sign."""
    memory = replace(observe(PairMemory(), MOVING, NOW, TIMING), answered=NOW + 1)
    assert {at for _, _, at in proofs(schedule(MOVING, memory, NOW + 1, TIMING))} == {NOW + 1 + 2 * TIMING.patience}
    silent = replace(memory, answered=NOW - 10 * TIMING.patience)
    assert {at for _, _, at in proofs(schedule(MOVING, silent, NOW, TIMING))} == {NOW + 2 * TIMING.patience}
    asked = memory.probed(g(1, 1), NOW + TIMING.patience)
    assert {at for _, _, at in proofs(schedule(MOVING, asked, NOW, TIMING))} == {NOW + 3 * TIMING.patience}
    late = replace(memory, answered=NOW + 100 * TIMING.patience)
    assert {at for _, _, at in proofs(schedule(MOVING, late, NOW, TIMING))} == {NOW + 4 * TIMING.patience}


def test_a_pause_before_the_installation_is_no_silence() -> None:
    """The last word may be a whole steady interval old when a rotation begins, and the peer's pass may take seconds."""
    memory = replace(observe(PairMemory(), MOVING, NOW, TIMING), answered=NOW - TIMING.steady)
    assert {at for _, _, at in proofs(schedule(MOVING, memory, NOW, TIMING))} == {NOW + 2 * TIMING.patience}


def test_no_word_is_waited_for_over_what_has_lost_its_sas() -> None:
    """The generation in use carries nothing any more: a sign would come over nothing, so a new one is probed soon."""
    broken = inputs(esp(g(1, 1), {g(1, 1): receiving(), g(2, 1): complete(1)}), own_sessions=(own(1), own(2)))
    memory = replace(observe(PairMemory(), broken, NOW, TIMING), answered=NOW)
    assert {at for _, _, at in proofs(schedule(broken, memory, NOW, TIMING))} == {NOW + TIMING.blind}


def test_first_contact_waits_less() -> None:
    """When nothing works yet, waiting costs more than a probe."""
    joining = inputs(Observed({g(1, 1): complete()}, Out.PLAIN, None, Receive.OPTIONAL), own_state=JOINING)
    memory = observe(PairMemory(), joining, NOW, TIMING)
    assert [at for _, _, at in proofs(schedule(joining, memory, NOW, TIMING))] == [NOW + TIMING.blind_first]


def test_proofs_back_off_and_never_end() -> None:
    """Intervals grow from quick to slow, and stay there however often it is tried."""
    seen = inputs(esp(g(1, 1), {g(1, 1): complete(), g(2, 1): complete(1)}), own_sessions=(own(1), own(2)))
    memory, waits = observe(PairMemory(), seen, NOW, TIMING).probed(g(2, 1), NOW), []
    for n in range(100):
        memory = memory.sent(n.to_bytes(16, "big"), probe(g(2, 1)), proving=True)
        waits.append(proofs(schedule(seen, memory, NOW, TIMING))[0][2] - NOW)
    assert waits[0] == pytest.approx(2 * TIMING.quick)
    assert waits == sorted(waits)
    assert set(waits[10:]) == {TIMING.slow}


def test_word_is_told_until_confirmed_then_slowly() -> None:
    """A new word goes out at once and with back-off; when an answer shows that it arrived, only steady probes remain."""
    memory = observe(PairMemory(), STEADY, NOW, TIMING)
    assert schedule(STEADY, memory, NOW, TIMING) == [Due(NOW, g(1, 1), 0, ProbeReason.ANNOUNCE)]
    sent = memory.sent(b"n", Sent(g(1, 1), 0, NOW, decide.announcement(STEADY)), proving=False)
    assert schedule(STEADY, sent, NOW, TIMING)[0].at == pytest.approx(NOW + 2 * TIMING.quick)
    confirmed = sent.answer(b"n", (g(1, 1), 0), heard(g(1, 1)), NOW)
    assert schedule(STEADY, confirmed, NOW, TIMING)[0].at == NOW + PEERS_TURN


def test_changed_word_is_told_anew() -> None:
    """A word that differs from the confirmed one is due at once."""
    memory = observe(
        replace(PairMemory(), confirmed=heard(newest=9), announcing=heard(newest=9), announcement_tries=(5, NOW)),
        STEADY,
        NOW,
        TIMING,
    )
    assert schedule(STEADY, memory, NOW, TIMING)[0].at == NOW


def test_steady_probes_go_round_the_lanes() -> None:
    """In the steady state each lane of the generation in use is looked at in pair_view."""
    seen = inputs(esp(g(1, 1), {g(1, 1): complete(lanes=3)}))
    lanes = [
        schedule(seen, replace(observe(PairMemory(), seen, NOW, TIMING), announcement_tries=(n, NOW)), NOW, TIMING)[0].lane
        for n in range(4)
    ]
    assert lanes == [0, 1, 2, 0]


def silent(probes: int, at: float = NOW) -> PairMemory:
    """Return what is known of a peer that has our word and left so many probes without an answer, the last one at *at*."""
    memory = observe(PairMemory(), STEADY, NOW, TIMING)
    return replace(memory, confirmed=memory.announcing, announcement_tries=(probes, at), lost_in_row=probes)


def test_a_probe_that_was_not_answered_is_repeated_until_the_pair_is_reported() -> None:
    """Once a second, and from then on as often as one that is answered: who is silent for long costs no more."""
    times = [schedule(STEADY, silent(probes), NOW, TIMING)[0].at - NOW for probes in range(1, 9)]
    assert times == [TIMING.again] * 5 + [TIMING.steady] * 3
    answered = replace(silent(1), lost_in_row=0)
    assert schedule(STEADY, answered, NOW, TIMING)[0].at == NOW + PEERS_TURN


def test_the_ends_of_a_pair_take_turns() -> None:
    """Who sent the last probe lets the peer send the next, and one of the peer's stands for one of ours but not for two."""
    sent = replace(silent(1), lost_in_row=0)
    times = [schedule(STEADY, sent.probed(g(1, 1), NOW + at), NOW, TIMING)[0].at - NOW for at in (0.1, 2.0, 4.0, 7.0)]
    assert times == [PEERS_TURN, 2.0 + TIMING.steady, 4.0 + TIMING.steady, PEERS_TURN + TIMING.steady]


def test_a_probe_over_another_generation_stands_for_none() -> None:
    """It shows nothing of the SAs that traffic takes, and a peer hears our word over these ◆R7."""
    sent = replace(silent(1), lost_in_row=0).probed(g(2, 1), NOW + 2.0)
    assert schedule(STEADY, sent, NOW, TIMING)[0].at == NOW + PEERS_TURN


def test_a_peer_that_asks_and_does_not_answer_is_asked_again() -> None:
    """What it sends arrives, and shows nothing of what is sent to it."""
    assert schedule(STEADY, silent(1).probed(g(1, 1), NOW + 0.5), NOW, TIMING)[0].at == NOW + TIMING.again


LANED = inputs(esp(g(1, 1), {g(1, 1): complete(lanes=3)}))


def probed_with(dead: set[int], probes: int) -> tuple[PairMemory, list[int], float]:
    """Probe a pair of three lanes as is due, of which those in *dead* answer nothing; return the lanes that were probed."""
    memory, lanes, now = observe(PairMemory(), LANED, NOW, TIMING), list[int](), NOW
    memory = replace(memory, confirmed=memory.announcing, announcement_tries=(1, NOW))
    for number in range(probes):
        due = schedule(LANED, memory, now, TIMING)[0]
        now, nonce = due.at, bytes([number])
        memory = memory.sent(nonce, Sent(g(1, 1), due.lane, now, memory.announcing), proving=False)
        if due.lane not in dead:
            memory = memory.answer(nonce, (g(1, 1), due.lane), heard(g(1, 1)), now)
        lanes.append(due.lane)
    return memory, lanes, now


def test_a_probe_is_repeated_over_the_lane_that_lost_it() -> None:
    """Whether that lane is dead no other one tells; once it is reported each lane has its turn again."""
    _, lanes, _ = probed_with({2}, 12)
    assert lanes == [1, 2, 2, 2, 2, 2, 2, 2, 0, 1, 2, 0]


def test_a_lane_that_is_dead_alone_makes_the_pair_fail() -> None:
    """Flows are spread over all lanes: one that answers says nothing of another, and the report names the dead one."""
    memory, _, now = probed_with({2}, 9)
    assert failing(LANED, memory, now, TIMING).endswith("without an answer over lane 2")
    assert failing(LANED, memory, now + TIMING.again, TIMING).endswith("without an answer over lane 2")
    answered = memory.sent(b"again", Sent(g(1, 1), 2, now, None), proving=False)
    answered = answered.answer(b"again", (g(1, 1), 2), heard(g(1, 1)), now)
    assert failing(LANED, answered, now + TIMING.again, TIMING) == ""


def test_what_a_lane_lost_is_forgotten_with_its_generation() -> None:
    """The lanes of another one are other SAs."""
    memory, _, now = probed_with({2}, 9)
    moved = inputs(esp(g(1, 2), {g(1, 2): complete(lanes=3)}))
    after = observe(memory, moved, now, TIMING)
    assert failing(moved, after, now + TIMING.again, TIMING) == ""
    assert after.lost == {}


def test_a_word_that_is_not_confirmed_goes_round_the_lanes() -> None:
    """What is lost on one path may pass on another, and the peer waits for it."""
    told = [replace(silent(probes), confirmed=None, lost={(g(1, 1), 1): 1}) for probes in range(1, 5)]
    assert [schedule(LANED, memory, NOW, TIMING)[0].lane for memory in told] == [1, 2, 0, 1]


def test_a_pair_fails_when_the_fifth_probe_in_a_row_was_lost_and_not_when_it_is_sent() -> None:
    """One that was sent a moment ago is not lost yet, neither the fifth nor any after it."""
    told = [failing(STEADY, silent(probes, NOW), NOW + waited, TIMING) != "" for probes in (4, 5, 6) for waited in (0.0, 1.0)]
    assert told == [False, False, False, True, True, True]


def test_who_is_silent_for_seconds_alone_is_not_reported() -> None:
    """An agent that starts anew takes up to four seconds, and one packet of a hundred may be lost."""
    timing = Timing()
    assert 4.0 < 5 * timing.again < 6.0


def test_what_tells_a_word_quickly_is_told_at_once_and_what_looks_at_a_path_waits_for_its_turn() -> None:
    """A word that nobody answers is a look at the path from its fourth telling on."""
    memory = observe(PairMemory(), STEADY, NOW, TIMING)
    needs = [schedule(STEADY, replace(memory, announcement_tries=(n, NOW)), NOW, TIMING)[0].need for n in range(6)]
    assert needs == [ProbeReason.ANNOUNCE] * 4 + [ProbeReason.CHECK] * 2
    assert schedule(STEADY, silent(1), NOW, TIMING)[0].need is ProbeReason.CHECK


def test_nothing_is_told_without_a_channel() -> None:
    """No whole generation, or one that the peer may not have: nothing to tell it over."""
    assert schedule(inputs(esp(g(1, 1), {g(1, 1): receiving()})), PairMemory(), NOW, TIMING) == []
    waiting = inputs(Observed({g(1, 1): complete()}, Out.PLAIN, None, Receive.OPTIONAL), own_state=JOINING)
    assert [d.need for d in schedule(waiting, observe(PairMemory(), waiting, NOW, TIMING), NOW, TIMING)] == [ProbeReason.PROVE]


def test_answer_proves_only_the_sa_it_was_asked_over() -> None:
    """An answer over the current generation, because the peer gave up the one asked about, proves neither."""
    memory = PairMemory().sent(b"n", probe(g(2, 1)), proving=True)
    elsewhere = memory.answer(b"n", (g(1, 1), 0), heard(g(1, 1)), NOW)
    assert elsewhere.proved == {}
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
    after = observe(memory, STEADY, NOW, TIMING)
    assert (after.proved, after.evidence, after.tries) == ({}, frozenset(), {})


def test_facts_count_from_when_they_began_to_hold() -> None:
    """The time of a fact goes on while it holds, and starts anew after it did not."""
    memory = PairMemory().holds([("idle", g(1, 1))], 10.0).holds([("idle", g(1, 1))], 12.0)
    timing = Timing(linger=5.0, drain=0.0)
    assert memory.held("idle", g(1, 1), 15.0, timing)
    assert not memory.held("gone", g(1, 1), 15.0, timing)
    assert not memory.holds([], 13.0).holds([("idle", g(1, 1))], 14.0).held("idle", g(1, 1), 15.0, timing)


def test_a_step_is_due_when_a_fact_will_have_held_long_enough() -> None:
    """The earliest of linger and drain that is still to come; what has passed is waited for no more."""
    timing = Timing(drain=10.0, linger=1.0)
    memory = PairMemory().holds([("idle", g(1, 1)), ("gone", g(2, 1)), ("esp", None)], 100.0)
    assert memory.due(100.5, timing) == 101.0
    assert memory.held("idle", g(1, 1), memory.due(100.5, timing), timing)
    assert memory.due(101.0, timing) == 110.0
    assert memory.due(110.0, timing) == float("inf")
    assert replace(memory, plain_known_since=105.0).due(110.0, timing) == 115.0
    assert PairMemory().due(0.0, timing) == float("inf")


def test_drain_starts_when_the_word_was_heard() -> None:
    """A drain before that would be over too soon: the fact begins at the first look after the word."""
    seen = inputs(esp(g(2, 1), {g(1, 1): receiving(), g(2, 1): complete(1)}), own_sessions=(own(1), own(2)))
    memory = observe(PairMemory(), seen, NOW, TIMING)
    memory = observe(memory.heard(heard(g(2, 1))), seen, NOW + 50, TIMING)
    assert not memory.held("gone", g(1, 1), NOW + 55, TIMING)


def test_word_of_an_older_boot_is_forgotten() -> None:
    """A word whose newest number is below the first of the peer's present boot does not count ◆R23."""
    memory = PairMemory(announcement=heard(newest=1), confirmed=heard(), evidence=frozenset({g(1, 1)}), plain_known_since=NOW)
    assert memory.forget_words_before(1) == memory
    after = memory.forget_words_before(2)
    assert (after.announcement, after.confirmed, after.plain_known_since, after.evidence) == (None, None, None, frozenset())


def test_failing_says_why() -> None:
    """No answer, not every lane, blocked, probes in a row lost; and nothing when all is well."""
    memory = observe(PairMemory(), MOVING, NOW, TIMING)
    late = NOW + TIMING.patience + 1
    assert failing(MOVING, memory, NOW + 1, TIMING) == ""
    assert failing(MOVING, memory, late, TIMING).startswith("no answer on generation 1.2.1")
    half = replace(memory, proved={g(2, 1): frozenset({0})})
    assert failing(MOVING, half, late, TIMING).startswith("not every lane is answered")
    assert "blocked" in failing(inputs(Observed({}, Out.BLOCK)), PairMemory(), NOW, TIMING)
    assert "5 probes" in failing(STEADY, replace(PairMemory(), lost_in_row=5), NOW, TIMING)


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
    assert generations.candidates(seen) == [g(1, 2)]


def test_plaintext_knowledge_is_dropped_when_esp_is_sent() -> None:
    """That the peer knows of our plaintext counts only while we send it."""
    memory = PairMemory(plain_known_since=NOW)
    assert observe(memory, STEADY, NOW, TIMING).plain_known_since is None
    assert probing.observe(memory, inputs(Observed({g(1, 1): complete()}, Out.PLAIN)), NOW, TIMING).plain_known_since == NOW


def test_a_word_that_was_confirmed_before_another_one_is_not_confirmed_when_it_comes_back() -> None:
    """◆R35 Neither by the answer that came before, nor by one to a probe of that time that comes late."""
    first, other = heard(g(1, 1)), heard(g(1, 1), exempts_nodes=True)
    told = PairMemory().announce(first).sent(b"n", Sent(g(1, 1), 0, NOW, first), proving=False)
    confirmed = told.answer(b"n", (g(1, 1), 0), heard(g(1, 1)), NOW)
    assert confirmed.confirmed == first
    assert confirmed.announce(other).announce(first).confirmed is None
    late = told.announce(other).announce(first).answer(b"n", (g(1, 1), 0), heard(g(1, 1)), NOW)
    assert late.confirmed is None


@pytest.mark.parametrize("steady", [10.0, 100.0])
def test_a_peer_that_is_down_is_away_when_it_did_not_answer_the_last_probe(steady: float) -> None:
    """And not only because the probes of a large cluster, or those that were configured, are far apart."""
    timing = replace(TIMING, steady=steady)
    leaving = inputs(esp(g(1, 1), {g(1, 1): complete()}), own_state=NodeState.LEAVING, peer_down=True)
    answered = replace(PairMemory(), answered=NOW)
    soon = observe(answered, leaving, NOW + 1.4 * steady, timing)
    late = observe(answered, leaving, NOW + 1.6 * steady, timing)
    assert [("away", None) in memory.since for memory in (soon, late)] == [False, True]
    asked = replace(answered, first_seen={g(1, 1): NOW}).probed(g(1, 1), NOW + steady)
    assert ("away", None) not in observe(asked, leaving, NOW + 1.6 * steady, timing).since
