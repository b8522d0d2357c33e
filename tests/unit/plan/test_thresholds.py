"""Prefix lengths from which on policies are found by hash."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirecrypt.model.xfrm import Direction, PolicyKey, Selector
from wirecrypt.plan.thresholds import DEFAULT, Thresholds, asked, fitting, hashed


def key(direction: Direction, src: str, dst: str) -> PolicyKey:
    return PolicyKey(direction, Selector(ip_network(src), ip_network(dst)))


OUT = key(Direction.OUT, "0.0.0.0/0", "10.2.0.0/24")
INTO = key(Direction.FWD, "10.2.0.0/24", "0.0.0.0/0")
WIDE = key(Direction.IN, "10.2.0.0/16", "10.1.0.0/24")
SIX = key(Direction.OUT, "fd00:11::/64", "fd00:12::/64")
CONTROL = key(Direction.IN, "192.0.2.2/32", "192.0.2.1/32")
KEYS = st.lists(st.sampled_from([OUT, INTO, WIDE, SIX, CONTROL]))


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ([], DEFAULT),
        ([CONTROL], DEFAULT),
        ([OUT], (0, 24, 128, 128)),
        ([INTO], (0, 24, 128, 128)),
        ([WIDE, CONTROL], (24, 16, 128, 128)),
        ([OUT, WIDE, SIX], (0, 16, 64, 64)),
    ],
)
def test_the_shortest_prefixes_of_each_end(policies: list[PolicyKey], expected: Thresholds) -> None:
    """Local is the source of what leaves and the destination of what comes in; each family has its own."""
    assert asked(policies) == expected


@given(before=KEYS, after=KEYS)
def test_what_was_set_for_our_policies_follows_them(before: list[PolicyKey], after: list[PolicyKey]) -> None:
    """From the default, or from what the policies before asked for, to what those after ask for; then all are hashed."""
    for present in (DEFAULT, asked(before)):
        found = fitting(present, before=before, after=after)
        assert found == asked(after)
        assert hashed(found, after)
        assert fitting(found, before=after, after=after) == found


@given(before=KEYS, after=KEYS)
def test_a_family_that_somebody_else_set_stays(before: list[PolicyKey], after: list[PolicyKey]) -> None:
    """A value that is neither the default nor explained by our policies is left, and the other family is not."""
    assert fitting((7, 7, 128, 128), before=before, after=after) == (7, 7, *asked(after)[2:])
    assert fitting((32, 32, 7, 7), before=before, after=after) == (*asked(after)[:2], 7, 7)
