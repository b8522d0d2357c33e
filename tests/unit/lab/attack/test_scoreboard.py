"""The scoreboard says what fell, and calls nothing held that was not tried."""

from __future__ import annotations

import pytest
from rich.console import Console

from wirecrypt.lab.attack.scoreboard import Attack, Outcome, Score, Scoreboard, judge

ATTACK: Attack[None] = Attack("pod", "Sends what it likes.", lambda _: Outcome(happened=True, evidence=""))
HELD = Outcome(happened=True, evidence="3 packets, 0 readable")
FELL = Outcome(happened=True, evidence="3 packets", fell="2 readable")
UNTRIED = Outcome(happened=False, evidence="0 of 3 seen")


def board(*outcomes: Outcome) -> Scoreboard:
    return Scoreboard([judge(ATTACK, outcome) for outcome in outcomes])


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ((HELD, HELD), 0),
        ((HELD, FELL), 1),
        ((HELD, UNTRIED), 2),
        ((UNTRIED, FELL, HELD), 1),
        ((), 2),
    ],
)
def test_the_exit_status_tells_what_fell_and_what_was_not_tried(outcomes: tuple[Outcome, ...], status: int) -> None:
    """All held is 0, anything that fell is 1, anything that was not tried is 2; no attack at all is no success."""
    assert board(*outcomes).status == status


def test_an_attack_whose_control_was_not_seen_is_an_error() -> None:
    """It says so, with what was seen."""
    assert judge(ATTACK, UNTRIED) == Score(
        "pod", "Sends what it likes.", "error", "nothing shows that it happened: 0 of 3 seen"
    )


def test_what_fell_has_fallen_without_a_control_too() -> None:
    """Something readable is readable, whatever else was seen."""
    outcome = Outcome(happened=False, evidence="0 of 3 seen", fell="1 readable")
    assert judge(ATTACK, outcome) == Score("pod", "Sends what it likes.", "FELL", "1 readable; 0 of 3 seen")


def test_table_and_page_tell_the_same() -> None:
    """Every line with its result and evidence, then the numbers; a bar in a text does not break the page's table."""
    scores = board(HELD, FELL)
    scores.scores.append(Score("wire", "Says [a|b].", "held", "none"))
    console = Console(width=200, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(scores.table())
    page = scores.markdown()
    assert "2 readable; 3 packets" in captured.get()
    assert "[a|b]" in captured.get()
    assert "| pod | Sends what it likes. | FELL | 2 readable; 3 packets |" in page
    assert "| wire | Says [a\\|b]. | held | none |" in page
    assert "3 attacks: 2 held, 1 fell, 0 could not be tried." in page
