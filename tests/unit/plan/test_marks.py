"""Where the mark field stands while SAs carry it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.plan.made import MARKS, g, sas
from wirecrypt.model.mark import Mark, MarkLayout
from wirecrypt.plan.marks import esp_keeps_mark, kept

OTHER = MarkLayout(8)


def test_the_wanted_place_is_taken_where_no_sa_carries_another() -> None:
    """Without SAs, with sending ones of an agent of before alone, or with SAs of that place, the configuration holds."""
    receiving, sending = sas(g(1, 1))
    assert kept(OTHER, []) == (OTHER, None)
    assert kept(OTHER, [replace(sending, set_mark=None)]) == (OTHER, None)
    assert kept(MARKS, [receiving, sending]) == (MARKS, None)


def test_a_sending_sa_keeps_the_place_too() -> None:
    """It takes pods' marks off there alone: moved under it, its ESP would look like a pod's own and be dropped."""
    _, sending = sas(g(1, 1))
    assert kept(OTHER, [sending])[0] == MARKS


def test_a_sending_sa_of_an_agent_of_before_keeps_pods_marks() -> None:
    """One that takes no mark off makes ESP that has a pod's, as long as it is there; one of somebody else does not count."""
    receiving, sending = sas(g(1, 1))
    old = replace(sending, set_mark=None)
    assert not esp_keeps_mark([receiving, sending, replace(old, reqid=7)])
    assert esp_keeps_mark([receiving, sending, old])


@pytest.mark.parametrize("slot", [0, 1, 2])
def test_the_place_stays_while_sas_carry_it(slot: int) -> None:
    """A changed shift waits: the old one is worked with, and the error names both and the next step."""
    layout, refused = kept(OTHER, sas(g(1, 1), slot=slot, lanes=3))
    assert layout == MARKS
    for words in ("mark.shift = 8", "6 SAs of this node carry it at 20", "take the label off all nodes"):
        assert words in str(refused)


def test_sas_of_others_keep_nothing() -> None:
    """A foreign SA that sets a mark, or one of ours with a mark that says no decryption, is no reason."""
    receiving = sas(g(1, 1))[0]
    foreign = replace(receiving, reqid=7)
    for mark in (Mark(0x5, 0xF), MARKS.encrypt(1)):
        assert kept(OTHER, [foreign, replace(receiving, set_mark=mark)]) == (OTHER, None)
