"""The page of attacks and the attacks themselves are the same, and each attack says itself in one sentence."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from wirecrypt.lab.attack import playing

PAGE = Path(__file__).resolve().parents[4] / "docs/explanation/attacks.md"
ATTACKS = (*playing.PLAIN, *playing.ENABLED)


def test_the_page_lists_every_attack_and_no_other() -> None:
    """By attacker and sentence, in the order in which they are played, each with its result."""
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    listed = [(row[0], row[1]) for row in rows if row[0] not in {"attacker", "---"}]
    assert listed == [(attack.attacker, attack.text) for attack in ATTACKS]
    assert {row[2] for row in rows[2:]} <= {"held", "FELL"}


def test_each_attack_is_one_sentence_of_its_own() -> None:
    """With a full stop at its end, and no other attacker's twice."""
    assert [attack.text for attack in ATTACKS if not attack.text.endswith(".") or ". " in attack.text] == []
    assert [pair for pair, count in Counter((a.attacker, a.text) for a in ATTACKS).items() if count > 1] == []


def test_every_attacker_is_part_of_the_short_form() -> None:
    """What the suite plays on its own lab has something of each."""
    assert {attack.attacker for attack in ATTACKS if attack.quick} == {attack.attacker for attack in ATTACKS}
