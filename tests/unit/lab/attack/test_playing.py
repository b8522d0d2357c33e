"""An attack that breaks is an error and stops no other; what changes an SA, or is readable later, has fallen."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from wirecrypt.errors import LabError
from wirecrypt.lab.attack.ground import Ground, Sas
from wirecrypt.lab.attack.playing import play
from wirecrypt.lab.attack.scoreboard import ERROR, FELL, HELD, Attack, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

SA = ("192.0.2.11", "192.0.2.12", 0x101)


class MadeUp:
    """A ground without a lab: one SA, and what is readable at the end."""

    def __init__(self) -> None:
        self.key = "0x11"
        self.readable_late: list[bytes] = []

    def sas(self, _: str) -> Sas:
        """Return the IPsec of any node."""
        return Sas({SA: self.key}, ("a policy",))

    def late(self) -> list[bytes]:
        """Return what became readable."""
        return self.readable_late


def played(*plays: Callable[[MadeUp], Outcome]) -> list[tuple[str, str]]:
    """Play attacks on a made-up ground; return results and evidence."""
    attacks = [Attack("pod", f"Does {number}.", each) for number, each in enumerate(plays)]
    board = play(cast("Ground", MadeUp()), cast("list[Attack[Ground]]", attacks))
    return [(score.result, score.evidence) for score in board.scores]


def holds(_: MadeUp) -> Outcome:
    return Outcome(happened=True, evidence="0 readable")


def breaks(_: MadeUp) -> Outcome:
    raise LabError("nothing listens")


def changes_a_key(ground: MadeUp) -> Outcome:
    ground.key = "0x22"
    return holds(ground)


def shows_later(ground: MadeUp) -> Outcome:
    ground.readable_late = [b"attack-0000000000000000"]
    return holds(ground)


def test_an_attack_that_breaks_is_an_error_and_the_next_one_is_played() -> None:
    """It says why; the other holds."""
    (result, evidence), second = played(breaks, holds)
    assert (result, second) == (ERROR, (HELD, "0 readable"))
    assert "nothing listens" in evidence


def test_a_changed_key_is_a_fall_of_the_attack_that_changed_it() -> None:
    """Whatever the attack says itself; the one after it is judged by the state that it found."""
    (result, evidence), second = played(changes_a_key, holds)
    assert (result, second[0]) == (FELL, HELD)
    assert "have changed on node-1, node-2" in evidence


def test_what_is_readable_later_is_a_fall() -> None:
    """A line of its own tells it."""
    assert [result for result, _ in played(shows_later)] == [HELD, FELL]
