"""Which ended rotations go: the oldest beyond the limit, and none that anybody needs."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.unit.rotation.test_phases import NOW, keys, rotation, seed
from wirecrypt.model.objects import KeyRotation, Phase
from wirecrypt.model.session import Epoch
from wirecrypt.rotation.actions import RotationInputs
from wirecrypt.rotation.history import WAVE, surplus
from wirecrypt.rotation.numbers import next_number


def ended(number: int, phase: Phase = Phase.COMPLETE, **more: object) -> KeyRotation:
    """Return the rotation to epoch *number*, let go, that ended *number* hours after the first."""
    when = NOW + timedelta(hours=number)
    return replace(
        rotation(f"r{number}", phase, from_epoch=number - 1, to_epoch=number, held=False, created=when, completed=when), **more
    )


def names(snapshot: RotationInputs, most: int) -> list[str]:
    return [action.rotation.name for action in surplus(snapshot, most)]


def history(*more: KeyRotation, count: int = 6) -> RotationInputs:
    """Return a cluster in which *count* rotations are complete; the last is the record, and its epoch is in use."""
    rotations = [ended(n) for n in range(1, count)] + [ended(count, held=True)]
    return RotationInputs(rotations=(*rotations, *more), seeds=(seed(Epoch(count, "")),), wanted=True)


def test_the_oldest_ended_rotations_beyond_the_limit_go() -> None:
    """The newest stay, whether complete or aborted; with fewer than the limit nothing goes."""
    assert names(history(), 4) == ["r1", "r2"]
    assert names(history(), 6) == []
    one_aborted = history(ended(7, Phase.ABORTED))
    assert names(one_aborted, 4) == ["r1", "r2", "r3"]


def test_what_ended_last_is_the_newest() -> None:
    """A rotation that waited for long and ended late is not old; one that never began counts from when it was asked for."""
    late = ended(1, created=NOW - timedelta(days=9), completed=NOW + timedelta(days=9))
    never = rotation("never", Phase.ABORTED, from_epoch=0, to_epoch=0, held=False, created=NOW - timedelta(days=1))
    snapshot = RotationInputs(rotations=(late, *(ended(n) for n in (2, 3)), ended(4, held=True), never))
    assert names(snapshot, 2) == ["never", "r2", "r3"]


@pytest.mark.parametrize("phase", [None, Phase.PENDING, Phase.DISTRIBUTING, Phase.SWITCHING, Phase.RETIRING])
def test_a_rotation_that_has_not_ended_never_goes(phase: Phase | None) -> None:
    """However old it is."""
    old = rotation("open", phase, from_epoch=6, to_epoch=7, created=NOW - timedelta(days=400))
    assert "open" not in names(history(old), 1)


def test_the_highest_number_stays_whoever_has_it() -> None:
    """◆R37 An aborted rotation may be the only witness of its number: without it the next one would use the number again."""
    snapshot = history(ended(7, Phase.ABORTED, completed=NOW - timedelta(days=1)))
    left = [r for r in snapshot.rotations if r.name not in names(snapshot, 0)]
    assert next_number(replace(snapshot, rotations=tuple(left))) == next_number(snapshot) == 8
    assert [r.name for r in left] == ["r6", "r7"]


def test_a_rotation_whose_epoch_is_held_or_left_stays() -> None:
    """◆R37 Agents read the id of an epoch from the rotation to it, so it stays while a Secret or open rotation has it."""
    by_seed = history()
    assert "r2" not in names(replace(by_seed, seeds=(*by_seed.seeds, seed(Epoch(2, "")))), 1)
    assert "r2" not in names(replace(by_seed, keys={"a": keys("a", Epoch(2, ""))}), 1)
    switching = rotation("open", Phase.SWITCHING, from_epoch=3, to_epoch=7)
    assert "r3" not in names(history(switching), 1)


def test_the_record_and_what_is_deleted_already_stay() -> None:
    """The last completed one carries our finalizer; what somebody deleted goes by itself."""
    snapshot = history(ended(7, Phase.ABORTED))
    assert "r6" not in names(replace(snapshot, seeds=()), 0)
    assert names(replace(snapshot, rotations=(replace(snapshot.rotations[0], deleting=True), *snapshot.rotations[1:])), 4) == [
        "r2",
        "r3",
    ]


def test_a_long_history_goes_in_waves() -> None:
    """So that an upgrade with years of rotations does not flood the API server."""
    assert len(names(history(count=WAVE + 50), 10)) == WAVE
