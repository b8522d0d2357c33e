"""What an attack is, what came of it, and when all is well.

An attack whose attempt cannot be shown to have happened says nothing, so it is an error and never counts as held. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from rich.markup import escape
from rich.table import Table

HELD, FELL, ERROR = "held", "FELL", "error"
STATUS: Final = {HELD: 0, FELL: 1, ERROR: 2}
G = TypeVar("G")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attack: *fell* says what the attacker got, empty for nothing; *happened*: the control was seen."""

    happened: bool
    evidence: str
    fell: str = ""


@dataclass(frozen=True, slots=True)
class Attack(Generic[G]):
    """One attack: who plays it, what is done in one sentence, and how, on a ground; *quick*: part of the short form."""

    attacker: str
    text: str
    play: Callable[[G], Outcome]
    quick: bool = False


@dataclass(frozen=True, slots=True)
class Score:
    """A line of the scoreboard."""

    attacker: str
    attack: str
    result: str
    evidence: str


def judge(attack: Attack[G], outcome: Outcome) -> Score:
    """Return the line of an attack: what fell has fallen, whatever the control says; without a control nothing has held."""
    result = FELL if outcome.fell else HELD if outcome.happened else ERROR
    evidence = "; ".join(part for part in (outcome.fell, outcome.evidence) if part)
    if result == ERROR:
        evidence = f"nothing shows that it happened: {evidence}"
    return Score(attack.attacker, attack.text, result, evidence)


@dataclass(slots=True)
class Scoreboard:
    """All lines, in the order in which they were played."""

    scores: list[Score] = field(default_factory=list)

    def count(self, result: str) -> int:
        """Return how many lines have this result."""
        return sum(score.result == result for score in self.scores)

    @property
    def status(self) -> int:
        """Return the exit status: 0 if all held, 1 if something fell, 2 if something could not be tried; nothing tried is 2."""
        if self.count(FELL):
            return STATUS[FELL]
        return STATUS[HELD] if self.scores and not self.count(ERROR) else STATUS[ERROR]

    @property
    def sentence(self) -> str:
        """Return the numbers in words."""
        return (
            f"{len(self.scores)} attacks: {self.count(HELD)} held, {self.count(FELL)} fell, "
            f"{self.count(ERROR)} could not be tried."
        )

    def table(self) -> Table:
        """Return the lines for a terminal."""
        table = Table(title="Attacks", title_justify="left", show_lines=True)
        for column in ("attacker", "attack", "", "evidence"):
            table.add_column(column, overflow="fold")
        for score in self.scores:
            colour = "green" if score.result == HELD else "red"
            table.add_row(score.attacker, escape(score.attack), f"[{colour}]{score.result}[/]", escape(score.evidence))
        return table

    def markdown(self) -> str:
        """Return the lines as a page of Markdown."""
        rows = [(s.attacker, s.attack, s.result, s.evidence) for s in self.scores]
        return "\n".join(["# Attacks", "", *lines(("attacker", "attack", "result", "evidence"), rows), "", self.sentence, ""])


def lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table of Markdown, a text for each line."""
    clean = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in (head, ["---"] * len(head), *rows)]
    return ["| " + " | ".join(row) + " |" for row in clean]
