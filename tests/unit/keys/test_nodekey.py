"""Node keys: symmetric, one per node, refused when they do not fit."""

from __future__ import annotations

import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from wirecrypt.errors import SecretError
from wirecrypt.keys import new_seed, pair_secret, share, shares
from wirecrypt.keys.nodekey import PRIME, SHARE_BYTES
from wirecrypt.model.secret import SecretBytes

UIDS = st.uuids().map(str) | st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
SEEDS = st.binary(min_size=32, max_size=32).map(SecretBytes)


@given(seed=SEEDS, one=UIDS, other=UIDS)
def test_the_pair_secret_is_symmetric(seed: SecretBytes, one: str, other: str) -> None:
    """Any two UIDs compute one secret of 32 bytes, each from its own share."""
    made = shares(seed, (one, other))
    assert pair_secret(made[one], other) == pair_secret(made[other], one)
    assert len(pair_secret(made[one], other)) == 32


@given(seed=SEEDS, uids=st.lists(UIDS, min_size=4, max_size=4, unique=True))
def test_each_pair_has_a_secret_of_its_own(seed: SecretBytes, uids: list[str]) -> None:
    """Six pairs of four nodes have six secrets."""
    made = shares(seed, uids)
    secrets = {pair_secret(made[a], b).reveal() for a in uids for b in uids if a < b}
    assert len(secrets) == 6


@given(one=SEEDS, other=SEEDS)
def test_another_epochs_seed_gives_another_secret(one: SecretBytes, other: SecretBytes) -> None:
    """Nothing of an epoch's secrets is left in the next."""
    assume(one != other)
    assert pair_secret(share(one, "a"), "b") != pair_secret(share(other, "a"), "b")


def test_shares_of_two_epochs_do_not_meet() -> None:
    """A node with the share of another epoch computes another secret than its peer."""
    one, other = new_seed(), new_seed()
    assert pair_secret(share(one, "a"), "b") != pair_secret(share(other, "b"), "a")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        bytes(SHARE_BYTES),
        b"\x01" * (SHARE_BYTES - 1),
        b"\x01" * (SHARE_BYTES + 32),
        PRIME.to_bytes(32, "big") * 64,
        b"\xff" * SHARE_BYTES,
    ],
    ids=["empty", "zeros", "short", "long", "the prime", "ones"],
)
def test_a_share_that_does_not_fit_is_refused(raw: bytes) -> None:
    """A truncated, empty or impossible share of a Secret gives an error, not a secret."""
    with pytest.raises(SecretError, match="not a share of 64 numbers"):
        pair_secret(SecretBytes(raw), "b")


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_seed_of_another_length_is_refused(length: int) -> None:
    """A seed is 256 bits and nothing else."""
    with pytest.raises(SecretError, match=f"{length} bytes instead of 32"):
        share(SecretBytes(bytes(length)), "a")


def test_an_empty_uid_is_refused() -> None:
    """A node without UID has no point: else all such nodes would share one."""
    with pytest.raises(SecretError, match="UID is empty"):
        share(new_seed(), "")


def test_one_share_takes_well_under_a_tenth_of_a_second() -> None:
    """The best of three runs is below 100 ms of CPU time, and a hundred more nodes cost little next to the matrix."""
    seed = new_seed()

    def cost(count: int) -> float:
        start = time.process_time()
        shares(seed, [str(number) for number in range(count)])
        return time.process_time() - start

    assert min(cost(1) for _ in range(3)) < 0.1
    assert min(cost(101) for _ in range(3)) < 0.5
