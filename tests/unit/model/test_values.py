"""Values of the domain: SPIs, marks, secrets, generations, SA and policy names."""

from __future__ import annotations

import copy
import itertools
import json
import logging
import pickle
from collections.abc import Callable
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirecrypt.errors import InputError
from wirecrypt.model.mark import SLOTS, MarkKind, MarkLayout
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Generation
from wirecrypt.model.spi import MAX_LANES, MAX_NODE_ID, MIN_NODE_ID, RESIDUES, Spi
from wirecrypt.model.xfrm import (
    NO_LIMIT,
    PRIORITY_BAND,
    Algorithm,
    Direction,
    Policy,
    PolicyAction,
    PolicyKey,
    Sa,
    SaLimits,
    Selector,
    strongest_common,
)

SPIS = st.builds(
    Spi,
    residue_lo=st.integers(0, RESIDUES - 1),
    residue_hi=st.integers(0, RESIDUES - 1),
    sender=st.integers(MIN_NODE_ID, MAX_NODE_ID),
    lane=st.integers(0, MAX_LANES - 1),
)


@given(SPIS)
def test_spi_reads_back(spi: Spi) -> None:
    """Every SPI decodes to the parts it was made of, and none is reserved (RFC 4303, 2.1)."""
    assert Spi.decode(int(spi)) == spi
    assert 255 < int(spi) < 1 << 32


@given(SPIS, SPIS)
def test_spis_differ_when_a_part_does(one: Spi, other: Spi) -> None:
    """Two different sets of parts never have one number."""
    assert (int(one) == int(other)) is (one == other)


def test_spi_by_example() -> None:
    """The layout of the protocol: six bits of each number, sixteen of nodeID, four of lane."""
    assert int(Spi(1, 2, 0x1234, 5)) == 1 << 26 | 2 << 20 | 0x12345
    assert Generation(1, 65, 130).spi(16, 3) == int(Spi(1, 2, 16, 3)) == 0x04200103


@pytest.mark.parametrize("number", [-1, 0, 255, 1 << 32, 1 << 40, 0xFFF0000F & ~0xFFFF0])
def test_numbers_that_are_no_spi_of_ours(number: int) -> None:
    """Out of range, or with a sender below 16: nobody of ours sent it."""
    assert Spi.decode(number) is None


@pytest.mark.parametrize("parts", [(64, 0, 16, 0), (0, -1, 16, 0), (0, 0, 15, 0), (0, 0, 65536, 0), (0, 0, 16, 16)])
def test_spi_refuses_bad_parts(parts: tuple[int, int, int, int]) -> None:
    """A part that does not fit is refused with the next step, not cut."""
    with pytest.raises(InputError, match="out of range"):
        Spi(*parts)


@pytest.mark.parametrize("shift", [0, 7, 20, 24])
def test_marks_read_back(shift: int) -> None:
    """Slot and lane come back from the mark that a receiving SA sets, whatever other bits are there."""
    layout = MarkLayout(shift)
    for slot in range(SLOTS):
        for lane in range(MAX_LANES):
            mark = layout.decrypted(slot, lane)
            assert layout.slot_of(mark.value) == (slot, lane)
            assert layout.slot_of(mark.value | (~layout.mask & 0xFFFFFFFF)) == (slot, lane)
            assert mark.value & ~mark.mask == 0


def test_marks_of_different_meaning_differ() -> None:
    """No mark of traffic, control and decryption is another's, and only decryption reads back as a slot."""
    layout = MarkLayout()
    marks = [layout.encrypt(n) for n in range(MAX_LANES)]
    marks += [layout.control(s, n) for s in range(SLOTS) for n in range(MAX_LANES)]
    assert all(layout.slot_of(m.value) is None for m in marks)
    marks += [layout.decrypted(s, n) for s in range(SLOTS) for n in range(MAX_LANES)]
    assert len({m.value for m in marks}) == MAX_LANES * (1 + 2 * SLOTS)
    assert {m.mask for m in marks} == {layout.mask} == {0x0FF00000}
    assert layout.slot_of(0) is None


def test_kinds_leave_room_for_slots() -> None:
    """CONTROL and DECRYPTED with a slot added stay apart and within a nibble."""
    assert MarkKind.CONTROL + SLOTS <= MarkKind.DECRYPTED
    assert MarkKind.DECRYPTED + SLOTS <= 16


@pytest.mark.parametrize("shift", [-1, 25, 32])
def test_mark_field_must_fit(shift: int) -> None:
    """A field that would leave the 32 bits is refused."""
    with pytest.raises(InputError, match=r"0\.\.24"):
        MarkLayout(shift)


SECRET = bytes(range(65, 97))


@pytest.mark.K2
@pytest.mark.parametrize(
    "text",
    [repr, str, "{}".format, "{!r}".format, "{:>80}".format, "%s".__mod__, lambda s: repr([{"key": s}]), ascii],
)
def test_secrets_have_no_text(text: Callable[[object], str]) -> None:
    """However it is made into text, a secret shows its fingerprint and nothing of its bytes."""
    shown = text(SecretBytes(SECRET))
    assert SECRET.decode() not in shown
    assert SECRET.hex() not in shown
    assert SecretBytes(SECRET).fingerprint in shown


@pytest.mark.K2
def test_secrets_stay_masked_in_values_logs_and_errors(caplog: pytest.LogCaptureFixture) -> None:
    """An SA, a log line and an exception that hold a key show its fingerprint."""
    sa = Sa(ip_address("192.0.2.1"), ip_address("192.0.2.2"), 256, 256, Algorithm.AES_256_GCM, SecretBytes(SECRET))
    logging.getLogger("test").warning("state %s", sa)
    error = InputError("install", what=str(sa))
    for shown in (repr(sa), caplog.text, str(error), repr(error)):
        assert SECRET.decode() not in shown
        assert SECRET.hex() not in shown
        assert sa.key.fingerprint in shown


@pytest.mark.K2
def test_secrets_are_never_written_down_by_libraries() -> None:
    """Pickle, copy and JSON refuse; the bytes come out by `reveal` alone."""
    secret = SecretBytes(SECRET)
    for write in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError):
            write(secret)
    assert secret.reveal() == SECRET


def test_secrets_compare_by_bytes() -> None:
    """Equal bytes are equal, have one hash and one fingerprint; others and other types are not."""
    assert SecretBytes(SECRET) == SecretBytes(bytes(bytearray(SECRET)))
    assert hash(SecretBytes(SECRET)) == hash(SecretBytes(SECRET))
    assert SecretBytes(SECRET) != SecretBytes(SECRET[:-1])
    assert SecretBytes(SECRET) != SECRET
    assert len(SecretBytes(SECRET)) == 32
    assert len({SecretBytes(bytes([n])).fingerprint for n in range(256)}) == 256


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)), min_size=2))
def test_newer_is_a_higher_epoch_then_higher_numbers(parts: list[tuple[int, int, int]]) -> None:
    """Generations are ordered as their epoch, number of lo, number of hi."""
    assert sorted(Generation(*p) for p in parts) == [Generation(*p) for p in sorted(parts)]


def test_generation_gives_each_end_its_number() -> None:
    """The number of lo and of hi, and a text that names all three."""
    generation = Generation(3, 5, 7)
    assert (generation.number(lo=True), generation.number(lo=False), str(generation)) == (5, 7, "3.5.7")


def test_generations_of_one_pair_have_their_own_spis() -> None:
    """Within 64 numbers no two generations, senders or lanes share an SPI."""
    ends = [(sender, lane) for sender in (16, 17) for lane in (0, 15)]
    spis = {Generation(1, lo, hi).spi(*end) for lo in range(1, 65) for hi in (1, 2, 64) for end in ends}
    assert len(spis) == 64 * 3 * 2 * 2


def test_limits_default_to_none() -> None:
    """2⁶⁴-1 means no limit to the kernel; 0 would not."""
    assert (
        {SaLimits().soft_bytes, SaLimits().hard_bytes, SaLimits().soft_packets, SaLimits().hard_packets}
        == {NO_LIMIT}
        == {2**64 - 1}
    )


@pytest.mark.parametrize(
    ("priority", "ours"),
    [
        (PRIORITY_BAND.start - 1, False),
        (PRIORITY_BAND.start, True),
        (PRIORITY_BAND.stop - 1, True),
        (PRIORITY_BAND.stop, False),
    ],
)
def test_policies_are_ours_by_priority(priority: int, ours: bool) -> None:  # noqa: FBT001 - a table's column
    """Only our band is ours, to its very edges."""
    selector = Selector(ip_network("0.0.0.0/0"), ip_network("10.0.0.0/8"))
    assert Policy(Direction.OUT, selector, priority, PolicyAction.BLOCK).ours is ours


def test_policy_name_is_direction_selector_and_mark() -> None:
    """Priority, verdict and template do not make another policy."""
    selector = Selector(ip_network("fd00::/8"), ip_network("fd00:1::/64"), 17, dport=4900)
    one = Policy(Direction.OUT, selector, 1)
    assert one.name == Policy(Direction.OUT, selector, 2, PolicyAction.BLOCK).name == PolicyKey(Direction.OUT, selector)
    assert one.name != PolicyKey(Direction.IN, selector)
    assert str(one.name) == "out fd00::/8 → fd00:1::/64 proto 17 dport 4900"
    assert min(one.name, PolicyKey(Direction.IN, selector), key=lambda k: k.order).direction is Direction.IN


@pytest.mark.parametrize(("own", "peer"), list(itertools.product(Algorithm, Algorithm)))
def test_a_pair_takes_the_first_cipher_that_both_ends_have(own: Algorithm, peer: Algorithm) -> None:
    """Whichever end names the one that comes later; both ends come to the same."""
    order = list(Algorithm)
    common = strongest_common(own, peer)
    assert common in {own, peer}
    assert order.index(common) == max(order.index(own), order.index(peer))
    assert common is strongest_common(peer, own)


def test_algorithms_have_their_kernel_names() -> None:
    """RFC 4106 and RFC 7634, as the kernel calls them."""
    assert Algorithm("aes-256-gcm").cipher.kernel_name == "rfc4106(gcm(aes))"
    assert Algorithm("chacha20-poly1305").cipher.kernel_name == "rfc7539esp(chacha20,poly1305)"
