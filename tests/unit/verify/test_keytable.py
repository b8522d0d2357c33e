"""The audit of all keys over all nodes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.verify.pairs import A_TO_B, B_TO_A, healthy, node, peer, rekeyed, without
from wirecrypt.verify import audit


@pytest.mark.K1
def test_equal_keys_at_both_ends_are_in_order() -> None:
    """Each SA's two ends make one row with equal fingerprints, and no fault."""
    rows = audit(healthy())
    assert [(r.spi, r.sender, r.receiver, r.equal, r.faults) for r in rows] == [
        (A_TO_B, "a", "b", True, []),
        (B_TO_A, "b", "a", True, []),
    ]


@pytest.mark.K1
def test_different_keys_are_a_fault() -> None:
    """Two ends with different keys under one SPI are told."""
    a, b = healthy()
    (row, _) = audit([a, rekeyed(b, A_TO_B, fingerprint="ffffffffffff")])
    assert (row.equal, row.faults) == (False, ["the ends have different keys"])


@pytest.mark.K1
def test_a_key_used_twice_is_a_fault_of_both_users() -> None:
    """One fingerprint under two SPIs or between two pairs is told at each of them, with the other."""
    a, b = healthy()
    same = f"{A_TO_B:012x}"
    rows = audit([rekeyed(a, B_TO_A, fingerprint=same), rekeyed(b, B_TO_A, fingerprint=same)])
    assert [bool(r.faults) for r in rows] == [True, True]
    assert f"b → a 0x{B_TO_A:08x}" in rows[0].faults[0]


def test_an_end_that_is_gone_is_no_fault() -> None:
    """While an old generation is taken away one end may have it alone: shown, not judged."""
    a, b = healthy()
    row = audit([without(a, A_TO_B), b])[0]
    assert (row.at_sender, row.equal, row.faults) == ("", None, [])


@given(st.integers(2, 6))
def test_one_spi_towards_several_peers_is_no_duplicate(count: int) -> None:
    """A node may use one SPI towards different nodes: their keys differ, and so do the rows."""
    others = [node(f"n{i}", 20 + i, peer("a", 16, 0x1000 + i, 0x2000)) for i in range(count)]
    keyed = [rekeyed(n, 0x2000, fingerprint=f"{i:012d}") for i, n in enumerate(others)]
    rows = [r for r in audit(keyed) if r.spi == 0x2000]
    assert (len(rows), [r.faults for r in rows]) == (count, [[]] * count)
