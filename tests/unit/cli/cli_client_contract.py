"""What every `People` does: run against the fake in memory and against a real API server.

The cluster has Nodes `a` and `b`, neither labelled, and no KeyRotation.
"""

from dataclasses import replace

import pytest

from wirecrypt.cli.tools import People
from wirecrypt.errors import ClusterError


def labels(people: People) -> dict[str, str | None]:
    return {w.name: w.label for w in people.wishes() if w.name in "ab"}


def label_is_set_and_removed(people: People) -> None:
    """Write a label on the Node that was read; a dry run writes nothing, None removes it."""
    a, _ = [w for w in people.wishes() if w.name in "ab"]
    people.label(a, "enabled", dry_run=True)
    assert labels(people) == {"a": None, "b": None}
    people.label(a, "enabled")
    assert labels(people) == {"a": "enabled", "b": None}
    people.label(a, None)
    assert labels(people) == {"a": None, "b": None}


def another_node_of_the_name_is_not_labelled(people: People) -> None:
    """Refuse a Node that was made anew under the same name: it is another one."""
    a = next(w for w in people.wishes() if w.name == "a")
    with pytest.raises(ClusterError, match="Node a"):
        people.label(replace(a, uid="00000000-0000-4000-8000-000000000000"), "enabled")
    assert labels(people)["a"] is None


def rotations_are_made_read_and_aborted(people: People) -> None:
    """Each request is a rotation of its own; one is read by name; an abort is noted on it alone."""
    first, second = people.request_rotation("one"), people.request_rotation("two")
    assert first.name != second.name
    assert {r.name for r in people.rotations()} == {first.name, second.name}
    people.abort(first)
    made = people.rotation(first.name)
    assert made is not None
    assert (made.reason, made.abort) == ("one", True)
    other = people.rotation(second.name)
    assert other is not None
    assert other.abort is False
    assert people.rotation("nobody") is None


CONTRACT = (label_is_set_and_removed, another_node_of_the_name_is_not_labelled, rotations_are_made_read_and_aborted)
