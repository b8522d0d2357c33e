"""Which sessions a node makes, publishes and destroys."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.pairs.simulator import steady
from tests.unit.pairs.views import complete, esp, g, inputs, long_after, own, session
from wirecrypt.model.objects import KeyRotation, Phase
from wirecrypt.model.session import Epoch
from wirecrypt.model.spi import AHEAD, RESIDUES, Spi
from wirecrypt.pairs import sessions
from wirecrypt.pairs.inputs import Observed, OfferedSession
from wirecrypt.pairs.sessions import (
    NeededSession,
    ended,
    fits,
    missing,
    needs,
    next_number,
    publishable,
    to_publish,
    wanted_epochs,
)
from wirecrypt.plan.observe import KnownGenerations

ONE, TWO = Epoch(1, f"{1:032x}"), Epoch(2, f"{2:032x}")
OTHER_TWO = Epoch(2, "ff" * 16)
EPOCHS = {1: ONE, 2: TWO}


def rotation(to: int, phase: Phase | None, start: int | None = None, *, epoch_id: str = "") -> KeyRotation:
    begin = to - 1 if start is None else start
    at = datetime(2024, 1, 1, tzinfo=UTC)
    id_ = epoch_id or f"{to:032x}"
    return KeyRotation(f"r{to}", f"r{to}", "", at, phase=phase, from_epoch=begin, to_epoch=to, to_epoch_id=id_)


@pytest.mark.parametrize(
    ("rotations", "expected"),
    [
        ([], ()),
        ([rotation(1, Phase.PENDING), rotation(1, None)], ()),
        ([rotation(1, Phase.DISTRIBUTING)], ()),
        ([rotation(1, Phase.SWITCHING)], (1,)),
        ([rotation(1, Phase.COMPLETE), rotation(2, Phase.DISTRIBUTING)], (1,)),
        ([rotation(1, Phase.COMPLETE), rotation(2, Phase.ABORTED)], (1,)),
        ([rotation(1, Phase.COMPLETE), rotation(2, Phase.SWITCHING)], (1, 2)),
        ([rotation(2, Phase.SWITCHING), rotation(1, Phase.COMPLETE)], (1, 2)),
        ([rotation(1, Phase.COMPLETE), rotation(2, Phase.RETIRING)], (2,)),
        ([rotation(2, Phase.COMPLETE), rotation(3, Phase.ABORTED), rotation(4, Phase.SWITCHING, 2)], (2, 4)),
    ],
)
def test_phase_decides_the_epochs(rotations: list[KeyRotation], expected: tuple[int, ...]) -> None:
    """`from` until Retiring, `to` from Switching on, whatever keys are at hand ◆R39."""
    assert wanted_epochs(rotations) == tuple(Epoch(number, f"{number:032x}") for number in expected)


def test_an_epoch_is_wanted_by_number_and_id() -> None:
    """The ids stand in the rotations: that of `from` in the one that led to it; without that one any id fits."""
    switching = rotation(2, Phase.SWITCHING, epoch_id="ff" * 16)
    assert wanted_epochs([rotation(1, Phase.COMPLETE), switching]) == (ONE, OTHER_TWO)
    assert wanted_epochs([switching]) == (Epoch(1, ""), OTHER_TWO)
    assert fits(Epoch(1, ""), ONE)
    assert not fits(OTHER_TWO, TWO)


@given(last=st.integers(0, 10_000), carried=st.sets(st.integers(0, RESIDUES - 1), max_size=RESIDUES - 1))
def test_next_number_is_above_and_free(last: int, carried: set[int]) -> None:
    """The next number is above the last, and nothing in the kernel carries its residue ◆R2."""
    number = next_number(last, carried)
    assert number > last
    assert number % RESIDUES not in carried


@given(last=st.integers(RESIDUES, 10_000), carried=st.sets(st.integers(0, RESIDUES - 1), max_size=RESIDUES // (AHEAD + 1)))
def test_what_was_there_is_never_read_as_newer_than_the_next_number(last: int, carried: set[int]) -> None:
    """Where nothing names a number of before, it is read from its residue: below the next number ◆R2."""
    number = next_number(last, carried)
    known = KnownGenerations(ledger={}, own_last=number, peer_last=1, epochs={})
    for residue in carried:
        assert known.generation(Spi(residue, 1, 16, 0), own_is_lo=True).lo < number


@pytest.mark.parametrize(
    ("last", "carried", "expected"),
    [(0, (), 1), (1, (1,), 2), (62, (), 63), (63, (63,), 64), (64, (0, 1), 66), (127, (), 128), (128, (3, 4), 133)],
)
def test_next_number_by_example(last: int, carried: tuple[int, ...], expected: int) -> None:
    """Numbers go up by one; 64 has the residue 0; residues shortly after the last are of lost numbers and are passed."""
    assert next_number(last, carried) == expected


def test_next_number_is_above_what_a_lost_state_file_named() -> None:
    """Last known 1, SAs of 1 and of a lost 3 in the kernel: 2 would be older than what is there, and never be installed."""
    assert next_number(1, {1, 3}) == 4


def test_needs_first_session_and_renewal() -> None:
    """A wanted epoch without a living session needs one; one that is there is renewed only for a reason."""
    mine = (own(1), own(2, 2, alive=False))
    assert needs(mine, (ONE, TWO), (ONE, TWO), {}) == [NeededSession(TWO, "first session of the epoch")]
    assert needs(mine, (ONE,), (ONE, TWO), {ONE: "old", TWO: "not wanted"}) == [NeededSession(ONE, "old")]
    assert needs(mine, (ONE, TWO), (), {ONE: "old"}) == []


def test_a_session_of_an_epoch_that_a_restored_api_does_not_know_is_renewed() -> None:
    """It came after all that are wanted and carries traffic until the next rotation: its limits are reached all the same."""
    mine = (own(1), own(2, 2))
    assert needs(mine, (ONE,), (ONE, TWO), {TWO: "soft limit"}) == [NeededSession(TWO, "soft limit")]
    assert needs(mine, (ONE,), (ONE,), {TWO: "soft limit"}) == []
    assert needs(mine, (), (ONE, TWO), {TWO: "soft limit"}) == []


def test_epoch_number_with_another_id_is_another_epoch() -> None:
    """After an etcd restore the same number is another epoch: neither a session nor a key of the old one serves."""
    mine = (own(1, 2),)
    assert missing((OTHER_TWO,), (ONE, TWO)) == (OTHER_TWO,)
    assert needs(mine, (OTHER_TWO,), (TWO,), {}) == []
    assert needs(mine, (OTHER_TWO,), (TWO, OTHER_TWO), {}) == [NeededSession(OTHER_TWO, "first session of the epoch")]
    newer = replace(own(2, 2), session=session(2, 2, epoch_id=OTHER_TWO.id))
    assert needs((*mine, newer), (OTHER_TWO,), (TWO, OTHER_TWO), {TWO: "old"}) == []
    assert ended((*mine, newer), (OTHER_TWO,), (2,)) == {1}


def test_published_when_installed_towards_every_published_peer() -> None:
    """One peer without the new generation holds the publication; an unpublished, full or leaving one does not ◆R6 ◆R9."""
    mine = (own(1), own(2, published=False))
    done = inputs(esp(g(1, 1), {g(1, 1): complete(), g(2, 1): complete(1)}), own_sessions=mine)
    half = replace(done, observed=esp(g(1, 1), {g(1, 1): complete(), g(2, 1): replace(complete(1), tx=frozenset())}))
    silent = inputs(Observed(), own_sessions=mine, peer_sessions=())
    gone = replace(half, peer_gone=True)
    assert publishable(mine, [(v, long_after(v)) for v in (done, silent, gone)])
    assert not publishable(mine, [(v, long_after(v)) for v in (done, half)])
    assert publishable(mine, [(half, replace(long_after(half), full=True))])


def test_a_pair_that_is_past_its_target_holds_no_publication() -> None:
    """A restored API server shows an epoch that the pair has left: its generation is never installed, nobody waits for it."""
    mine = (own(3, 3, published=False), own(4, published=False))
    behind = inputs(esp(g(3, 3, 3), {g(3, 3, 3): complete()}), own_sessions=mine)
    decision = replace(long_after(behind), target=g(4, 1), in_use=g(3, 3, 3))
    assert publishable(mine, [(behind, decision)])
    assert not publishable(mine, [(behind, replace(decision, in_use=None))])


def test_nothing_to_publish_when_all_is() -> None:
    """A second pass writes nothing."""
    assert not publishable((own(1),), [])
    assert publishable((own(1, published=False),), [])


def test_status_lists_the_newest_of_each_epoch() -> None:
    """At most three, newest last, none whose key was destroyed."""
    mine = (own(1), own(2), own(3, 2), own(4, 3), own(5, 4), own(6, 4, alive=False))
    assert [o.session.number for o in to_publish(mine)] == [3, 4, 5]
    assert [o.session.number for o in to_publish(mine[:3])] == [2, 3]


@pytest.mark.parametrize(
    ("mine", "wanted", "in_kernel", "expected"),
    [
        ((own(1), own(2)), (1,), (1,), {1}),
        ((own(1), own(2, published=False)), (1,), (1,), set()),
        ((own(1), own(2, 2)), (1, 2), (1, 2), set()),
        ((own(1), own(2, 2)), (2,), (1, 2), set()),
        ((own(1), own(2, 2)), (2,), (2,), {1}),
        ((own(1), own(2, 2)), (), (2,), set()),
        ((own(1, alive=False), own(2)), (1,), (), set()),
    ],
    ids=["overtaken", "not published yet", "both wanted", "still in the kernel", "retired", "nothing known", "over already"],
)
def test_private_keys_are_destroyed_when_over(
    mine: tuple[OfferedSession, ...], wanted: tuple[int, ...], in_kernel: tuple[int, ...], expected: set[int]
) -> None:
    """Overtaken by a published one of its epoch ◆R4, or of an epoch neither wanted nor in the kernel."""
    assert ended(mine, [EPOCHS[number] for number in wanted], in_kernel) == expected


@pytest.mark.C1
@pytest.mark.simulation
def test_seventy_sessions_in_a_row() -> None:
    """Session numbers wrap in the SPI: every generation is installed with fresh SPIs, proved and taken, none read wrongly."""
    cluster = steady("ab", lanes=(1, 1))
    for _ in range(70):
        cluster.agents["a"].wanted_renewal = True
        cluster.calm()
    pair_view = next(iter(cluster.agents["b"].pair_views.values()))
    assert pair_view.inputs.observed.in_use == g(71, 1)


@pytest.mark.simulation
def test_peer_that_is_down_for_seventy_sessions() -> None:
    """An SA of number 1 stays in use while the node goes on past number 65: its SPI is not taken again."""
    cluster = steady("abc", lanes=(1, 1, 1))
    for _ in range(70):
        cluster.agents["a"].wanted_renewal = True
        cluster.run("ac", 0.3)
    assert cluster.agents["a"].tmpfs.last > 70
    cluster.calm()


def test_a_lost_state_file_makes_a_new_session_only() -> None:
    """Without its tmpfs an agent goes on with what the kernel has, and moves to a new session."""
    cluster = steady("ab", lanes=(1, 1))
    cluster.agents["a"].wanted_renewal = True
    cluster.agents["a"].begin()  # session 2 is made, nobody knows of it
    cluster.agents["a"].begin()
    while cluster.agents["a"].pending:
        cluster.agents["a"].step()
    cluster.crash("a", lose=True)
    cluster.calm()
    assert cluster.api["a"].last_session == 3


def test_rotation_moves_every_pair_to_the_new_epoch() -> None:
    """All pairs of three nodes end on sessions of the new epoch, and keys of the old one are gone."""
    cluster = steady("abc", lanes=(1, 1, 1))
    cluster.rotate(2)
    cluster.calm()
    assert {s.epoch.number for a in cluster.agents.values() for n, s in a.tmpfs.made.items() if n in a.tmpfs.alive} == {2}


def test_published_session_of_a_status() -> None:
    """A session keeps what was published of it."""
    assert sessions.to_publish((own(1),))[0].session == session(1)
