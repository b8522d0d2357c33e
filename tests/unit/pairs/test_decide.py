"""Decisions about one pair, each from what one end knows at one moment."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.pairs.views import (
    ACTIVE,
    JOINING,
    LEAVING,
    NOW,
    TIMING,
    complete,
    esp,
    g,
    heard,
    inputs,
    long_after,
    own,
    receiving,
    session,
)
from wirecrypt.model.objects import NodeState
from wirecrypt.model.session import Generation
from wirecrypt.pairs import decide, generations, probing
from wirecrypt.pairs.inputs import Installed, Observed, Out, Receive
from wirecrypt.pairs.memory import PairMemory
from wirecrypt.pairs.node_traffic import EXEMPT, GuardedOut

STEADY = esp(g(1, 1), {g(1, 1): complete()})
BLOCKED = Observed({}, Out.BLOCK, None, Receive.REQUIRED)


def test_steady_pair_wants_what_it_has() -> None:
    """A pair with one generation in use at both ends is left as it is."""
    decision = long_after(inputs(STEADY), PairMemory(announcement=heard(g(1, 1), in_use=g(1, 1))))
    assert (decision.out, decision.in_use, decision.receive) == (Out.ESP, g(1, 1), Receive.REQUIRED)
    assert dict(decision.keep) == {g(1, 1): (True, True)}
    assert (decision.install, decision.renew, decision.full) == (None, "", False)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, g(1, 1)),
        ({"own_sessions": (own(1), own(4, 2)), "peer_sessions": (session(1), session(9, 2))}, g(4, 9, 2)),
        ({"own_sessions": (own(1), own(4, 2)), "peer_sessions": (session(3),)}, g(1, 3)),
        ({"own_sessions": (own(1), own(2))}, g(2, 1)),
        ({"own_sessions": (own(1), own(2, alive=False))}, g(1, 1)),
        ({"own_sessions": ()}, None),
        ({"peer_sessions": ()}, None),
        ({"peer_sessions": (session(1, epoch_id="ff" * 16),)}, None),
        ({"peer_sessions": (session(3),), "peer_boot_session": 4}, None),
        ({"own_is_lo": False, "own_sessions": (own(7),)}, g(1, 7)),
    ],
)
def test_target_is_the_newest_of_the_newest_common_epoch(more: dict[str, object], expected: object) -> None:
    """Both ends' newest living sessions of the newest epoch that both have, by number and id, of the peer's present boot."""
    assert generations.target(inputs(STEADY, **more)) == expected


def test_new_target_is_installed_beside_the_one_in_use() -> None:
    """A newer session of the peer is installed at once, and nothing is removed for it."""
    decision = long_after(inputs(STEADY, peer_sessions=(session(2),)))
    assert decision.install == g(1, 2)
    assert dict(decision.keep) == {g(1, 1): (True, True), g(1, 2): (True, True)}
    assert decision.in_use == g(1, 1)


def test_older_target_is_never_installed() -> None:
    """A generation is installed only if it is newer than all in the kernel: an old view of the API gives nothing new."""
    seen = inputs(esp(g(2, 2), {g(2, 2): complete()}), own_sessions=(own(2),), peer_sessions=(session(1),))
    decision = long_after(seen)
    assert (decision.target, decision.install, decision.renew) == (g(2, 1), None, "")
    assert g(2, 2) in decision.keep


@pytest.mark.parametrize(
    "left",
    [Installed(1, frozenset({0}), frozenset(), 0), Installed(1, frozenset(), frozenset({0}), -1), None],
)
def test_listed_target_with_a_missing_sa_asks_for_a_new_session(left: Installed | None) -> None:
    """What is in the ledger is never created again; traffic stays where it is and is never plaintext."""
    installed = {g(1, 1): left} if left else {}
    decision = long_after(inputs(esp(g(1, 1), installed), ledger=frozenset({g(1, 1)})))
    assert decision.renew
    assert decision.install is None
    assert (decision.out, decision.in_use) == (Out.ESP, g(1, 1))


@pytest.mark.C1
def test_a_number_of_the_peer_that_comes_again_with_another_key_names_another_generation() -> None:
    """◆R43 The peer lost its numbers: nobody has the keys of what is installed, and a new own session makes new names."""
    seen = inputs(STEADY, ledger=frozenset({g(1, 1)}), replaced=frozenset({g(1, 1)}))
    decision = long_after(seen)
    assert (decision.keep, decision.out, decision.install) == ({}, Out.BLOCK, None)
    assert "is gone" in decision.renew
    again = long_after(replace(seen, own_sessions=(own(1), own(2))))
    assert (again.install, again.renew) == (g(2, 1), "")


def test_target_in_the_kernel_without_ledger_asks_for_a_new_session() -> None:
    """SAs of the target that the ledger does not list may have another key: they are not trusted."""
    seen = inputs(
        esp(g(1, 1), {g(1, 1): complete(), g(2, 1): complete(1)}), own_sessions=(own(2),), ledger=frozenset({g(1, 1)})
    )
    assert "not in the ledger" in long_after(seen).renew


def test_residues_of_another_generation_ask_for_a_new_session() -> None:
    """While SAs of peer number 1 are there, its number 65 has the same SPIs: the own number has to change."""
    seen = inputs(STEADY, peer_sessions=(session(65),))
    decision = long_after(seen)
    assert decision.install is None
    assert "SPIs" in decision.renew


def test_switch_to_the_newest_proved() -> None:
    """Of several proved candidates the newest is used."""
    installed = {g(1, 1): complete(), g(2, 1): complete(1), g(3, 1): complete(2)}
    seen = inputs(esp(g(1, 1), installed), own_sessions=(own(1), own(2), own(3)))
    proved = {g(2, 1): frozenset({0}), g(3, 1): frozenset({0})}
    assert long_after(seen, PairMemory(proved=proved)).in_use == g(3, 1)


def test_never_back_to_an_older_generation() -> None:
    """A proof of a generation older than the one in use changes nothing."""
    seen = inputs(esp(g(2, 1), {g(1, 1): complete(), g(2, 1): complete(1)}), own_sessions=(own(1), own(2)))
    assert long_after(seen, PairMemory(proved={g(1, 1): frozenset({0})})).in_use == g(2, 1)


def test_unpublished_candidate_is_not_probed_nor_used() -> None:
    """A generation of an own session that nobody can know is no candidate."""
    seen = inputs(esp(g(1, 1), {g(1, 1): complete(), g(2, 1): complete(1)}), own_sessions=(own(1), own(2, published=False)))
    assert generations.candidates(seen) == []


def test_sending_sa_goes_a_moment_after_the_switch() -> None:
    """The old sending SA stays for packets between lookup and output, and goes then; the receiving one stays."""
    seen = inputs(esp(g(2, 1), {g(1, 1): complete(), g(2, 1): complete(1)}), own_sessions=(own(1), own(2)))
    memory = probing.observe(PairMemory(), seen, NOW, TIMING)
    soon = decide.decide(seen, probing.observe(memory, seen, NOW + 0.5, TIMING), NOW + 0.5, TIMING)
    later = decide.decide(seen, probing.observe(memory, seen, NOW + 1.0, TIMING), NOW + 1.0, TIMING)
    assert soon.keep[g(1, 1)] == (True, True)
    assert later.keep[g(1, 1)] == (True, False)


def test_receiving_sa_goes_a_drain_after_the_word() -> None:
    """The old receiving SA goes when the peer has not listed it for a drain, and a word that lists it starts anew."""
    seen = inputs(esp(g(2, 1), {g(1, 1): receiving(), g(2, 1): complete(1)}), own_sessions=(own(1), own(2)))
    memory = probing.observe(PairMemory(announcement=heard(g(2, 1), in_use=g(2, 1))), seen, NOW, TIMING)
    assert g(1, 1) in decide.decide(seen, memory, NOW + 9.9, TIMING).keep
    assert g(1, 1) not in decide.decide(seen, memory, NOW + 10.0, TIMING).keep
    again = probing.observe(memory.heard(heard(g(1, 1), g(2, 1))), seen, NOW + 9.0, TIMING)
    unlisted = probing.observe(again.heard(heard(g(2, 1))), seen, NOW + 9.5, TIMING)
    assert g(1, 1) in decide.decide(seen, unlisted, NOW + 19.4, TIMING).keep


def test_newest_number_of_another_epoch_says_nothing() -> None:
    """While two epochs live, a peer whose newest session is of the new epoch may still install one of the old."""
    seen = inputs(
        esp(g(1, 5), {g(1, 5): complete(), g(8, 5): complete(1), g(9, 6, 2): complete(2)}),
        own_sessions=(own(8), own(9, 2)),
        peer_sessions=(session(5), session(6, 2)),
    )
    announcement = heard(g(1, 5), in_use=g(1, 5), newest=6)
    assert g(8, 5) in long_after(seen, PairMemory(announcement=announcement)).keep


def test_generation_is_known_by_its_numbers_when_its_epoch_is_a_guess() -> None:
    """After the loss of the state file an epoch may be read wrongly: what the peer lists by numbers is not gone."""
    seen = inputs(esp(g(1, 1, 0), {g(1, 1, 0): complete(), g(3, 1): complete(1)}), own_sessions=(own(3),))
    decision = long_after(seen, PairMemory(announcement=heard(g(1, 1), g(3, 1), in_use=g(1, 1))))
    assert decision.keep[g(1, 1, 0)][0]


def test_number_nobody_published_is_an_orphan_when_the_state_was_lost() -> None:
    """A number between the newest published one and the newest, of which nothing is known, was never published."""
    installed = {g(1, 1): complete(), g(2, 1): complete(1)}
    seen = inputs(esp(g(1, 1), installed), own_sessions=(own(1, alive=False), own(3, published=False)))
    assert set(long_after(seen).keep) == {g(1, 1), g(3, 1)}


@pytest.mark.parametrize("state", [JOINING, ACTIVE])
def test_absent_peer_keeps_everything(state: NodeState) -> None:
    """A peer without sessions in the view (gone from the API, not confirmed) loses nothing."""
    decision = long_after(inputs(STEADY, peer_state=state, peer_sessions=()))
    assert dict(decision.keep) == {g(1, 1): (True, True)}
    assert (decision.out, decision.in_use) == (Out.ESP, g(1, 1))


def test_confirmed_deletion_removes_everything() -> None:
    """Only a confirmed deletion of the peer removes all of a pair."""
    decision = long_after(inputs(STEADY, peer_gone=True))
    assert decision.remove_all
    assert (decision.out, decision.receive, dict(decision.keep)) == (Out.PLAIN, Receive.NONE, {})


def test_in_use_of_an_old_boot_blocks_even_when_something_is_installed() -> None:
    """After a reboot of the peer nothing is sent until its new session is proved."""
    seen = inputs(esp(g(1, 1), {g(1, 1): complete(), g(1, 2): complete(1)}), peer_sessions=(session(2),), peer_boot_session=2)
    assert long_after(seen).out is Out.BLOCK
    assert long_after(seen, PairMemory(proved={g(1, 2): frozenset({0})})).in_use == g(1, 2)


@pytest.mark.parametrize(
    ("installed", "full"),
    [
        ({g(1, 1): complete(), g(1, 2): receiving(1), g(1, 3): receiving(2)}, True),
        ({g(1, 1): complete(), g(1, 2): receiving(1)}, False),
        ({g(1, 1): complete(-1), g(1, 2): complete(1), g(1, 3): complete(2)}, True),
        ({g(1, 1): complete(), g(1, 2): Installed(1, frozenset(), frozenset(), 1), g(1, 3): receiving(2)}, True),
    ],
    ids=["three receive", "two receive", "three send: a word lists no more", "a slot taken by an SA with a wrong key"],
)
def test_full_pair_skips(installed: dict[Generation, Installed], full: bool) -> None:  # noqa: FBT001 - a table's column
    """A pair has three receiving generations at most, and no more sending ones than a word can list."""
    decision = long_after(inputs(Observed(installed, Out.ESP, g(1, 1), Receive.REQUIRED), peer_sessions=(session(4),)))
    assert decision.full is full
    assert (decision.install is None) is full


def test_full_pair_gives_up_only_what_nothing_came_over() -> None:
    """Of a full pair the overtaken candidates over which no packet ever came give way; the one in use stays."""
    installed = {g(1, 1): complete(packets=0), g(2, 1): complete(1), g(3, 1): complete(2, packets=0)}
    seen = inputs(esp(g(1, 1), installed), own_sessions=(own(1), own(3), own(4)))
    decision = long_after(seen)
    assert set(decision.keep) == {g(1, 1), g(2, 1)}
    assert not decision.full
    assert decision.install is None


def test_untouched_candidates_stay_while_there_is_room() -> None:
    """Nothing gives way without need."""
    installed = {g(1, 1): complete(), g(2, 1): complete(1, packets=0)}
    decision = long_after(inputs(esp(g(1, 1), installed), own_sessions=(own(1), own(2), own(3))))
    assert set(decision.keep) == {g(1, 1), g(2, 1), g(3, 1)}


def test_never_plaintext_between_active_nodes() -> None:
    """Both Active and nothing in the kernel: blocked and required."""
    decision = long_after(inputs(Observed(), own_sessions=(), peer_sessions=()))
    assert (decision.out, decision.receive) == (Out.BLOCK, Receive.REQUIRED)


def test_never_plaintext_for_a_pair_on_disk() -> None:
    """A pair that a boot blocks is blocked also when its policies vanished while a node joins."""
    decision = long_after(inputs(Observed(), own_state=JOINING, marked=True))
    assert (decision.out, decision.receive) == (Out.BLOCK, Receive.REQUIRED)


def test_joining_may_be_set_to_block() -> None:
    """`joining: block` chooses loss instead of plaintext."""
    decision = long_after(inputs(Observed(), own_state=JOINING, block_joining=True))
    assert (decision.out, decision.receive) == (Out.BLOCK, Receive.REQUIRED)


def test_word_says_what_the_kernel_has() -> None:
    """Every generation with a sending SA, the one in use, the newest own number, published or not."""
    installed = {g(1, 1): complete(), g(2, 1): Installed(2, frozenset({0, 1}), frozenset({1}), 1), g(1, 2): receiving(2)}
    announcement = decide.announcement(inputs(esp(g(1, 1), installed), own_sessions=(own(1), own(2), own(3, published=False))))
    assert announcement == heard(g(1, 1), g(2, 1), in_use=g(1, 1), newest=3, seals_nodes=True, requires_nodes=True)


def test_word_is_silent_about_a_switch_that_is_not_complete() -> None:
    """Died in the middle of the first switch: some flows are still plaintext, so the peer must not require yet."""
    seen = inputs(esp(g(1, 1), {g(1, 1): complete()}, complete=False, receive=Receive.REQUIRED), own_state=JOINING, marked=True)
    assert decide.announcement(seen).in_use is None
    assert not long_after(seen).ready


@pytest.mark.parametrize(
    ("seen", "accepts", "sends"),
    [
        (STEADY, False, False),
        (esp(g(1, 1), {g(1, 1): complete()}, receive=Receive.OPTIONAL), True, False),
        (esp(g(1, 1), {g(1, 1): complete()}, receive=Receive.OPTIONAL, guard_accepts=False), False, False),
        (Observed({g(1, 1): complete()}, Out.PLAIN, None, Receive.OPTIONAL), True, True),
    ],
)
def test_word_when_leaving(seen: Observed, accepts: bool, sends: bool) -> None:  # noqa: FBT001 - a table's columns
    """Plaintext is accepted when nothing requires ESP and the guard agrees, and sent when no policy is left."""
    announcement = decide.announcement(inputs(seen, peer_state=LEAVING))
    assert (announcement.accepts_plain, announcement.sends_plain) == (accepts, sends)


def test_nobody_accepts_or_sends_plaintext_without_leaving() -> None:
    """The two flags belong to leaving: a joining end that still sends plaintext has neither."""
    announcement = decide.announcement(
        inputs(Observed({g(1, 1): complete()}, Out.PLAIN, None, Receive.OPTIONAL), own_state=JOINING)
    )
    assert not announcement.accepts_plain
    assert not announcement.sends_plain


def test_channel_is_the_one_in_use_while_it_is_whole() -> None:
    """Words go over the generation in use; when half of it is gone, over the newest whole one."""
    assert generations.channel(inputs(esp(g(1, 1), {g(1, 1): complete(), g(1, 2): complete(1)}))) == g(1, 1)
    assert generations.channel(inputs(esp(g(1, 1), {g(1, 1): receiving(), g(1, 2): complete(1)}))) == g(1, 2)
    assert generations.channel(inputs(BLOCKED)) is None


GUARDED, OPEN = GuardedOut(pods=True, nodes=True), GuardedOut(pods=False, nodes=False)


@pytest.mark.R1
def test_the_guard_drops_what_leaves_a_linger_after_the_policies() -> None:
    """A packet that was looked up before the switch is still to leave; what the guard drops already it goes on dropping."""
    plain = inputs(Observed({g(1, 1): complete()}, Out.PLAIN, None, Receive.OPTIONAL, nodes=EXEMPT, guarded=OPEN))
    memory = probing.observe(PairMemory(), plain, NOW, TIMING)
    switched = inputs(esp(g(1, 1), {g(1, 1): complete()}, guarded=OPEN))
    memory = probing.observe(memory, switched, NOW + 1, TIMING)
    assert decide.decide(switched, memory, NOW + 1, TIMING).guarded == OPEN
    assert memory.due(NOW + 1, TIMING) == NOW + 1 + TIMING.linger
    assert decide.decide(switched, memory, NOW + 1 + TIMING.linger, TIMING).guarded == GUARDED
    guarded = inputs(esp(g(1, 1), {g(1, 1): complete()}, guarded=GUARDED))
    assert decide.decide(guarded, memory, NOW + 1, TIMING).guarded == GUARDED


def test_what_a_new_process_finds_encrypted_is_guarded_at_once() -> None:
    """It did not switch it; and where all is blocked nothing is on its way."""
    found = inputs(esp(g(1, 1), {g(1, 1): complete()}, guarded=OPEN))
    assert decide.decide(found, probing.observe(PairMemory(), found, NOW, TIMING), NOW, TIMING).guarded == GUARDED
    blocked = inputs(replace(BLOCKED, guarded=OPEN))
    assert decide.decide(blocked, probing.observe(PairMemory(), blocked, NOW, TIMING), NOW, TIMING).guarded == GUARDED
