"""Every reason has its words, at one place, and what is written names it by its member."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from wirecrypt.model.conditions import Reason
from wirecrypt.model.objects import NodeState, Phase

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_sentence_and_a_next_step(reason: Reason) -> None:
    """A sentence ends as one; the step is what a person can do."""
    assert reason.meaning.sentence.endswith(".")
    assert reason.meaning.next_step
    assert not reason.meaning.next_step.endswith(".")


@pytest.mark.parametrize("phase", Phase)
def test_a_phase_is_a_reason(phase: Phase) -> None:
    """Events on KeyRotations give their phase."""
    assert Reason[phase.name] is Reason(phase.value)


def test_no_module_spells_a_reason() -> None:
    """Where a text stands for a reason, it is the member: what has no words here cannot be written."""
    others = {*Phase, *NodeState, "ControlChannel"}  # names of phases, of states and of a port
    values = {reason.value for reason in Reason} - {str(getattr(each, "value", each)) for each in others}
    files = [f for f in (ROOT / "wirecrypt").rglob("*.py") if f.name != "conditions.py" and "lab" not in f.parts]
    found = [
        (str(file.relative_to(ROOT)), node.value)
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and node.value in values
    ]
    assert found == []


def test_the_page_of_objects_lists_reasons_that_are_there() -> None:
    """In the rows of the conditions every word in capitals is a reason."""
    page = (ROOT / "docs/reference/objects.md").read_text()
    rows = re.findall(r"^\| `(?:Ready|Cleaned)` \| \w+ \| (.+) \|$", page, re.MULTILINE)
    words = {word for row in rows for word in re.findall(r"`(\w+)`", row)}
    assert len(words) > 20
    assert words <= {reason.value for reason in Reason}
