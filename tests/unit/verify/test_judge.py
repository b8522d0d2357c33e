"""The verdict about one direction of a pair, from the facts of both ends."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.verify.pairs import A_TO_B, B_TO_A, changed, healthy, joining, rekeyed, sa, without
from wirecrypt.model.verify_facts import CaptureSummary, Clear, Deviation, EspSeen, LaneProbe, NodeEvidence
from wirecrypt.verify import CauseKind, Silent, Standing, Unasked, Verdict, judge

LEAK = Clear("10.1.0.2", "10.2.0.2", 6, 40000, 80, "vxlan", 12)
GONE = Deviation("policy out 0.0.0.0/0 → 10.2.0.0/24", "missing")
UNANSWERED = (LaneProbe(A_TO_B, 0, sent=3, refused=0, answered=0),)

Change = Callable[[NodeEvidence], NodeEvidence]


def kinds(verdict: Verdict) -> set[CauseKind]:
    return {c.kind for c in verdict.causes}


def test_a_pair_in_order_is_protected_both_ways() -> None:
    """Without any fault both directions are protected, with ESP seen and probes answered as evidence."""
    a, b = healthy()
    for sender, receiver in ((a, b), (b, a)):
        verdict = judge(sender, receiver)
        assert (verdict.standing, verdict.causes, verdict.notes) == (Standing.PROTECTED, (), ())
        assert (verdict.esp, verdict.probes, verdict.seconds) == (6, (3, 3), 0.001)


@pytest.mark.V1
def test_an_sa_deleted_at_the_receiver_is_named() -> None:
    """The direction is broken; the cause names SPI and node, and the other direction is still protected."""
    a, b = healthy()
    b = without(b, A_TO_B)
    (cause,) = judge(a, b).causes
    assert (cause.kind, cause.node) == (CauseKind.SA_MISSING_AT_RECEIVER, "b")
    assert f"0x{A_TO_B:08x}" in cause.detail
    assert judge(b, a).standing is Standing.PROTECTED


@pytest.mark.V1
def test_an_sa_deleted_at_the_sender_is_named() -> None:
    """A policy that points at no SA is broken at the sender."""
    a, b = healthy()
    (cause,) = judge(without(a, A_TO_B), b).causes
    assert (cause.kind, cause.node) == (CauseKind.SA_MISSING_AT_SENDER, "a")


def test_an_sa_that_no_traffic_uses_is_missed_as_well() -> None:
    """An SA of a newer generation that the agent had installed and that is gone is a fault of its direction."""
    a, b = healthy()
    assert kinds(judge(changed(a, sending_missing=(0x08100100,)), b)) == {CauseKind.SA_MISSING_AT_SENDER}
    assert kinds(judge(b, changed(a, receiving_missing=(0x08100110,)))) == {CauseKind.SA_MISSING_AT_RECEIVER}


def test_a_generation_that_comes_meanwhile_is_no_fault() -> None:
    """The receiver answered before a new generation was installed there and the sender after its switch: nothing is missing."""
    a, b = healthy()
    early = changed(b, sas=tuple(s for s in b.peers[0].sas if s.spi != A_TO_B))  # it is there at the end
    assert judge(a, early).standing is Standing.PROTECTED


@pytest.mark.V1
@pytest.mark.parametrize(("where", "kind"), [("policies_out", CauseKind.POLICY), ("guard_out", CauseKind.GUARD)])
def test_what_is_missing_at_the_sender_breaks_what_it_sends(where: str, kind: CauseKind) -> None:
    """A deleted policy or guard entry towards a peer breaks that direction alone, and is named."""
    a, b = healthy()
    a = changed(a, **{where: (GONE,)})
    (cause,) = judge(a, b).causes
    assert (cause.kind, cause.node, cause.detail) == (kind, "a", str(GONE))
    assert judge(b, a).standing is Standing.PROTECTED


@pytest.mark.V1
@pytest.mark.parametrize(("where", "kind"), [("policies_in", CauseKind.POLICY), ("guard_in", CauseKind.GUARD)])
def test_what_is_missing_at_the_receiver_breaks_what_it_receives(where: str, kind: CauseKind) -> None:
    """A deleted policy or guard entry about a peer's packets breaks that direction alone."""
    a, b = healthy()
    b = changed(b, **{where: (GONE,)})
    assert [(c.kind, c.node) for c in judge(a, b).causes] == [(kind, "b")]
    assert judge(b, a).standing is Standing.PROTECTED


@pytest.mark.V1
def test_all_policies_deleted_is_plaintext() -> None:
    """Without any policy the kernel sends plaintext; that is said in these words."""
    a, b = healthy()
    verdict = judge(changed(a, out="plain", in_use="", uses=(), policies_out=(GONE,), probes=()), b)
    assert verdict.standing is Standing.BROKEN
    assert {CauseKind.PLAINTEXT, CauseKind.POLICY} <= kinds(verdict)


def test_different_keys_are_named_with_both_fingerprints() -> None:
    """The ends' fingerprints of one SPI differ: wrong key, and both are shown."""
    a, b = healthy()
    verdict = judge(a, rekeyed(b, A_TO_B, fingerprint="ffffffffffff"))
    assert kinds(verdict) == {CauseKind.WRONG_KEY}
    assert "ffffffffffff" in verdict.causes[0].detail
    assert f"{A_TO_B:012x}" in verdict.causes[0].detail


@pytest.mark.parametrize("more", [{"right_key": False}, {"errors": 4}])
def test_a_key_that_one_end_knows_to_be_wrong(more: dict[str, object]) -> None:
    """A key that the agent did not derive, or packets that fail authentication, are a wrong key."""
    a, b = healthy()
    assert kinds(judge(a, rekeyed(b, A_TO_B, **more))) == {CauseKind.WRONG_KEY}


def test_a_claim_that_was_not_granted_breaks_both_directions() -> None:
    """What the Node has and its NodePeer has not is in no tunnel, whatever the pair's tunnel does."""
    a, b = healthy()
    b = replace(b, ungranted=("10.77.0.0/24",))
    for verdict in (judge(a, b), judge(b, a)):
        assert (verdict.standing, kinds(verdict)) == (Standing.BROKEN, {CauseKind.UNGRANTED})
        assert (verdict.causes[0].node, "10.77.0.0/24" in verdict.causes[0].detail) == ("b", True)


def test_cleartext_is_the_first_cause() -> None:
    """Readable packets on the uplink are broken whatever else is in order; flow and tunnel are told."""
    a, b = healthy()
    verdict = judge(changed(a, clear=(LEAK,), policies_out=(GONE,)), b)
    assert verdict.standing is Standing.BROKEN
    assert verdict.causes[0].kind is CauseKind.CLEARTEXT
    assert "10.1.0.2 → 10.2.0.2" in verdict.causes[0].detail
    assert "vxlan" in verdict.causes[0].detail


def test_esp_that_does_not_arrive_is_told_from_a_lost_answer() -> None:
    """The receiver's counter decides which direction is blamed for probes without an answer."""
    a, b = healthy()
    silent = changed(a, probes=UNANSWERED)
    assert kinds(judge(silent, rekeyed(b, A_TO_B, grown=0))) == {CauseKind.NOT_RECEIVED}
    answers_lost = rekeyed(silent, B_TO_A, grown=0)
    verdict = judge(answers_lost, b)  # what is sent arrives, says a counter, and nobody says what became of it ...
    assert (verdict.standing, kinds(verdict)) == (Standing.UNKNOWN, {CauseKind.ANSWERS_LOST})
    back = changed(b, probes=(LaneProbe(B_TO_A, 0, sent=3, refused=0, answered=0),))
    assert kinds(judge(back, answers_lost)) == {CauseKind.NOT_RECEIVED}  # ... and what comes back does not


def test_no_answer_without_counters() -> None:
    """When the other end's counters are not known, the missing answer itself is the fault."""
    a, b = healthy()
    assert kinds(judge(changed(a, probes=UNANSWERED), rekeyed(b, A_TO_B, grown=None))) == {CauseKind.NO_ANSWER}


def test_a_probe_that_the_kernel_refused() -> None:
    """A probe that could not even be sent is told as that."""
    a, b = healthy()
    assert kinds(judge(changed(a, probes=(LaneProbe(A_TO_B, 0, sent=0, refused=3, answered=0),)), b)) == {CauseKind.NOT_SENT}


def test_probes_that_leave_by_another_link() -> None:
    """Answered probes that no uplink showed mean that the guard watches the wrong links; a lossy capture proves nothing."""
    a, b = healthy()
    unseen, lossy = changed(a, esp=()), CaptureSummary(("eth0",), 2.0, 9, lost=5)
    assert kinds(judge(unseen, b)) == {CauseKind.NOT_ON_UPLINK}
    verdict = judge(replace(unseen, watched=lossy), b)
    assert (verdict.standing, kinds(verdict)) == (Standing.UNKNOWN, {CauseKind.NOT_WATCHED})
    assert judge(replace(a, watched=lossy), b).standing is Standing.PROTECTED


def two_lanes(*answered: int) -> tuple[NodeEvidence, NodeEvidence]:
    """Return both ends of a pair with two lanes; a's probes were *answered* as often on each lane that was probed."""
    a, b = healthy()
    ab, ba = (A_TO_B, A_TO_B + 1), (B_TO_A, B_TO_A + 1)

    def end(facts: NodeEvidence, out: tuple[int, ...], inbound: tuple[int, ...], counts: tuple[int, ...]) -> NodeEvidence:
        return changed(
            facts,
            uses=out,
            sas=(*(sa(s, sending=True, lane=s & 15) for s in out), *(sa(s, sending=False, lane=s & 15) for s in inbound)),
            probes=tuple(LaneProbe(out[n], n, sent=3, refused=0, answered=count) for n, count in enumerate(counts)),
            esp=tuple(EspSeen(s, 6) for s in out),
            later=(*out, *inbound),
        )

    return end(a, ab, ba, answered), end(b, ba, ab, (3, 3))


def test_every_lane_needs_a_probe_of_its_own() -> None:
    """An SA that traffic takes and no probe went over makes its direction unknown, whatever counters and policies say."""
    a, b = two_lanes(3, 3)
    assert judge(a, b).standing is judge(b, a).standing is Standing.PROTECTED
    a, b = two_lanes(3)
    verdict = judge(a, b)
    assert (verdict.standing, kinds(verdict)) == (Standing.UNKNOWN, {CauseKind.NOT_PROBED})
    assert f"0x{A_TO_B + 1:08x}" in verdict.causes[0].detail
    assert judge(b, a).standing is Standing.PROTECTED
    assert judge(two_lanes(3, 0)[0], b).standing is Standing.BROKEN


def test_policies_that_point_at_two_generations_need_probes_over_both() -> None:
    """Probes over one of two generations in use speak for that one alone."""
    a, b = healthy()
    mixed = changed(a, uses=(A_TO_B, 0x08100100))
    both = (A_TO_B, 0x08100100)
    mixed = changed(mixed, sas=(*mixed.peers[0].sas, sa(0x08100100, sending=True)), later=(*mixed.peers[0].later, *both))
    other = changed(b, sas=(*b.peers[0].sas, sa(0x08100100, sending=False)))
    verdict = judge(mixed, other)
    assert (verdict.standing, kinds(verdict)) == (Standing.UNKNOWN, {CauseKind.NOT_PROBED})


@pytest.mark.parametrize("answered", [(3,), (3, 0), (0, 3), ()])
def test_alone_every_lane_must_have_been_answered(answered: tuple[int, ...]) -> None:
    """Where the sender was not asked, its answers are all that speaks for what it sends: one lane does not for another."""
    a, _ = two_lanes(*answered)
    assert judge(Unasked("b"), a).standing is Standing.UNKNOWN
    assert judge(Unasked("b"), two_lanes(3, 3)[0]).standing is Standing.PROTECTED


COUNT = st.integers(0, 3)


@given(st.lists(st.tuples(COUNT, COUNT, COUNT), max_size=2), st.none() | COUNT, st.none() | COUNT, st.integers(0, 2))
def test_nothing_is_protected_without_an_answer_to_its_own_probes(
    probes: list[tuple[int, int, int]], there: int | None, back: int | None, lost: int
) -> None:
    """Whatever was sent, refused, counted and captured: protected means that every SA in use answered a probe over it."""
    a, b = two_lanes()
    lanes = tuple(
        LaneProbe(A_TO_B + n, n, sent=max(sent, answered), refused=refused, answered=answered)
        for n, (sent, refused, answered) in enumerate(probes)
    )
    a = replace(rekeyed(changed(a, probes=lanes), B_TO_A, grown=back), watched=CaptureSummary(("eth0",), 2.0, 9, lost=lost))
    verdict = judge(a, rekeyed(b, A_TO_B, grown=there))
    answered = {lane.spi for lane in lanes if lane.answered}
    assert (verdict.standing is Standing.PROTECTED) == (answered == {A_TO_B, A_TO_B + 1})


def test_a_switch_meanwhile_is_no_fault() -> None:
    """Probes that went over the next generation speak for the pair; that keys were switched is noted."""
    a, b = healthy()
    newer = changed(a, probes=(LaneProbe(0x08100100, 0, sent=3, refused=0, answered=3),), esp=(EspSeen(0x08100100, 5),))
    verdict = judge(newer, b)
    assert (verdict.standing, verdict.causes, verdict.esp) == (Standing.PROTECTED, (), 5)
    assert "switched keys" in verdict.notes[0]


def test_blocked_traffic_names_the_reason() -> None:
    """Dropped traffic between two active nodes is broken, with the agent's reason."""
    a, b = healthy()
    (cause,) = judge(changed(a, out="block", uses=(), why="no proved generation", probes=()), b).causes
    assert (cause.kind, "no proved generation" in cause.detail) == (CauseKind.BLOCKED, True)


def test_accepting_cleartext_is_a_fault_of_active_nodes_only() -> None:
    """An end that requires no ESP breaks the direction towards it, unless one of both is joining."""
    a, b = healthy()
    open_b = changed(b, receive="optional")
    assert kinds(judge(a, open_b)) == {CauseKind.ACCEPTS_CLEARTEXT}
    assert judge(replace(a, state="Joining"), changed(open_b, state="Joining")).standing is Standing.JOINING


def test_joining_with_plaintext_is_joining() -> None:
    """A node that was just labelled sends plaintext: that is its way in, and no fault, also when the capture sees it."""
    a, b = healthy()
    verdict = judge(joining(a, out="plain", uses=(), clear=(LEAK,), probes=(), guard_out=(GONE,)), b)
    assert (verdict.standing, verdict.causes) == (Standing.JOINING, ())


def test_leaving_is_told_apart_from_joining() -> None:
    """On the way out a direction is leaving."""
    a, b = healthy()
    a = replace(changed(a, out="plain", uses=(), probes=()), state="Leaving")
    assert judge(a, changed(b, receive="none", state="Leaving")).standing is Standing.LEAVING


def test_a_dead_agent_answers_no_probe_and_that_is_no_fault() -> None:
    """The kernels go on when an agent is dead: its missing answers make the pair unknown, not broken."""
    a, _ = healthy()
    verdict = judge(changed(a, probes=UNANSWERED), Silent("b", "connection refused"))
    assert (verdict.standing, kinds(verdict)) == (Standing.UNKNOWN, {CauseKind.AGENT_SILENT})


@pytest.mark.parametrize("silent", ["a", "b"])
def test_an_agent_that_cannot_be_asked_makes_the_pair_unknown(silent: str) -> None:
    """Without the facts of one end nothing is claimed, in either direction."""
    asked = {n.node: n for n in healthy()} | {silent: Silent(silent, "503 no endpoints")}
    for sender, receiver in (("a", "b"), ("b", "a")):
        verdict = judge(asked[sender], asked[receiver])
        assert verdict.standing is Standing.UNKNOWN
        assert [(c.kind, c.node, c.detail) for c in verdict.causes] == [(CauseKind.AGENT_SILENT, silent, "503 no endpoints")]


def test_a_fault_is_told_even_when_the_other_agent_is_silent() -> None:
    """What one end shows to be broken is broken, whatever the other would say."""
    a, _ = healthy()
    assert judge(without(a, A_TO_B), Silent("b", "timeout")).standing is Standing.BROKEN


def test_one_end_alone_is_enough_with_local() -> None:
    """Where the other end is left out on purpose, answered probes speak for it."""
    a, _ = healthy()
    assert judge(a, Unasked("b")).standing is Standing.PROTECTED
    assert judge(Unasked("b"), a).standing is Standing.PROTECTED
    silent = changed(a, probes=UNANSWERED)
    assert judge(silent, Unasked("b")).standing is Standing.BROKEN
    assert judge(Unasked("b"), silent).standing is Standing.UNKNOWN


def test_peers_that_do_not_know_each_other_yet_are_unknown() -> None:
    """An agent without the peer, or that has not heard of its own node, has proved nothing."""
    a, b = healthy()
    assert judge(replace(a, peers=()), b).standing is Standing.UNKNOWN
    assert judge(replace(a, state="", peers=()), b).standing is Standing.UNKNOWN


def test_no_probe_and_no_capture_prove_nothing() -> None:
    """A stuck loop or a missing capability is a lack of evidence, not a fault."""
    a, b = healthy()
    assert kinds(judge(changed(a, probes=()), b)) == {CauseKind.NOT_PROBED}
    blind = replace(changed(a, esp=()), watched=CaptureSummary(("eth0",), 2.0, problem="no NET_RAW"))
    verdict = judge(blind, b)
    assert (verdict.standing, kinds(verdict)) == (Standing.UNKNOWN, {CauseKind.NOT_WATCHED})


def test_differences_in_the_middle_of_a_pass_prove_nothing() -> None:
    """A kernel that was read during a pass may differ from the decisions of the one before: noted, and no fault."""
    a, b = healthy()
    verdict = judge(replace(changed(a, policies_out=(GONE,)), settled=False), b)
    assert verdict.standing is Standing.PROTECTED
    assert any("middle of a pass" in note for note in verdict.notes)


FAULTS: dict[str, tuple[Change, Change]] = {
    "sa at sender": (lambda a: without(a, A_TO_B), lambda b: b),
    "sa at receiver": (lambda a: a, lambda b: without(b, A_TO_B)),
    "key": (lambda a: a, lambda b: rekeyed(b, A_TO_B, fingerprint="0")),
    "policy out": (lambda a: changed(a, policies_out=(GONE,)), lambda b: b),
    "policy in": (lambda a: a, lambda b: changed(b, policies_in=(GONE,))),
    "cleartext": (lambda a: changed(a, clear=(LEAK,)), lambda b: b),
    "guard": (lambda a: replace(a, guard_out=(GONE,)), lambda b: b),
    "attachment": (lambda a: a, lambda b: replace(b, guard_in=(GONE,))),
    "refused": (lambda a: changed(a, refused="no memory"), lambda b: b),
    "no answer": (lambda a: changed(a, probes=UNANSWERED), lambda b: rekeyed(b, A_TO_B, grown=0)),
}


@given(st.sets(st.sampled_from(sorted(FAULTS)), min_size=1))
def test_no_fault_hides_another(chosen: set[str]) -> None:
    """Whatever faults come together, the direction is broken, and every kind that each shows alone is told."""
    a, b = healthy()
    alone: set[CauseKind] = set()
    for name in chosen:
        alone |= kinds(judge(FAULTS[name][0](a), FAULTS[name][1](b)))
    together_a, together_b = a, b
    for name in sorted(chosen):
        together_a, together_b = FAULTS[name][0](together_a), FAULTS[name][1](together_b)
    verdict = judge(together_a, together_b)
    assert verdict.standing is Standing.BROKEN
    hidden = {CauseKind.WRONG_KEY, CauseKind.NOT_RECEIVED} if "sa at receiver" in chosen or "sa at sender" in chosen else set()
    assert alone - hidden <= kinds(verdict) | {CauseKind.NO_ANSWER}


@given(st.permutations(["sa at sender", "policy in", "cleartext", "guard"]))
def test_causes_come_in_one_order(order: list[str]) -> None:
    """The order of causes is that of their kinds, not that in which they were found."""
    a, b = healthy()
    for name in order:
        a, b = FAULTS[name][0](a), FAULTS[name][1](b)
    found = [c.kind for c in judge(a, b).causes]
    assert found == sorted(found, key=list(CauseKind).index)
