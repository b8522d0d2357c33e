"""Traffic and control keys: equal at both ends, different for everything that tells two SAs apart."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirecrypt.errors import InputError, SecretError, WirecryptError
from wirecrypt.keys import KeyEnd, PairKeys, SessionKey, Terms, frames, new_session_key, pair_keys
from wirecrypt.keys.derive import Side
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Epoch, Generation
from wirecrypt.model.xfrm import Algorithm

LOW, HIGH = new_session_key(), new_session_key()
SALT = SecretBytes(b"\x07" * 32)
SIDES: tuple[Side, Side] = ("lo", "hi")
TERMS = Terms(
    Epoch(3, "00" * 16),
    Algorithm.AES_256_GCM,
    KeyEnd(16, "uid-low", 5, LOW.public),
    KeyEnd(17, "uid-high", 9, HIGH.public),
)
NUMBERS = st.integers(0, 2**64 - 1)
PRIVATE = st.binary(min_size=32, max_size=32).map(SecretBytes).map(SessionKey.load)


def lo_keys(terms: Terms = TERMS, salt: SecretBytes = SALT) -> PairKeys:
    return pair_keys(terms, LOW, salt)


@given(parts=st.lists(st.binary(max_size=6), max_size=5), others=st.lists(st.binary(max_size=6), max_size=5))
def test_frames_of_two_lists_are_equal_only_when_the_lists_are(parts: list[bytes], others: list[bytes]) -> None:
    """No two lists of parts give the same bytes, wherever the borders between parts are."""
    assert (frames(*parts) == frames(*others)) == (parts == others)
    assert frames(b"".join(parts), b"x") != frames(*parts, b"x") or len(parts) == 1


@pytest.mark.K1
@given(low=PRIVATE, high=PRIVATE, numbers=st.tuples(NUMBERS, NUMBERS, NUMBERS), lane=st.integers(0, 15))
def test_two_ends_derive_equal_keys(low: SessionKey, high: SessionKey, numbers: tuple[int, int, int], lane: int) -> None:
    """Both ends derive the same keys for both directions, given their ends in either order."""
    if low.public == high.public:
        return
    one, other = KeyEnd(16, "a", numbers[1], low.public), KeyEnd(17, "b", numbers[2], high.public)
    epoch = Epoch(numbers[0], "ab" * 16)
    at_low = pair_keys(Terms.of(epoch, Algorithm.AES_256_GCM, one, other), low, SALT)
    at_high = pair_keys(Terms.of(epoch, Algorithm.AES_256_GCM, other, one), high, SALT)
    assert (at_low.own, at_low.peer, at_high.own, at_high.peer) == ("lo", "hi", "hi", "lo")
    assert at_low.terms.generation == Generation(*numbers)
    for sender in SIDES:
        assert at_low.traffic_key(sender, lane) == at_high.traffic_key(sender, lane)
        assert at_low.control_key(sender) == at_high.control_key(sender)


CHANGES = {
    "epoch number": replace(TERMS, epoch=Epoch(4, "00" * 16)),
    "epoch id": replace(TERMS, epoch=Epoch(3, "00" * 15 + "01")),
    "algorithm": replace(TERMS, algorithm=Algorithm.CHACHA20_POLY1305),
    "lower end's session number": replace(TERMS, lo=replace(TERMS.lo, number=6)),
    "higher end's session number": replace(TERMS, hi=replace(TERMS.hi, number=10)),
    "lower end's UID": replace(TERMS, lo=replace(TERMS.lo, node_uid="uid-Low")),
    "higher end's UID": replace(TERMS, hi=replace(TERMS.hi, node_uid="uid-High")),
    "higher end's session key": replace(TERMS, hi=replace(TERMS.hi, public=new_session_key().public)),
    "ends change places": Terms(TERMS.epoch, TERMS.algorithm, replace(TERMS.hi, node_id=16), replace(TERMS.lo, node_id=17)),
}


def everything(keys: PairKeys) -> list[bytes]:
    traffic = [keys.traffic_key(sender, lane).reveal() for sender in SIDES for lane in range(16)]
    return traffic + [keys.control_key(sender).reveal() for sender in SIDES]


@pytest.mark.K1
@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_of_any_fact_changes_every_key(changed: Terms) -> None:
    """Epoch number and id, algorithm, session numbers, UIDs, session keys and the order of ends all enter each key."""
    pairs = zip(everything(lo_keys()), everything(lo_keys(changed)), strict=True)
    assert all(before != after for before, after in pairs)


@pytest.mark.K1
def test_another_pair_secret_changes_every_key() -> None:
    """The node key alone is a lock of its own: the same sessions under another secret have other keys."""
    pairs = zip(everything(lo_keys()), everything(lo_keys(salt=SecretBytes(b"\x08" * 32))), strict=True)
    assert all(before != after for before, after in pairs)


@pytest.mark.K1
def test_keys_of_a_generation_are_all_different() -> None:
    """16 lanes in two directions and two control keys: no two are equal, nor begin alike."""
    made = everything(lo_keys())
    assert [len(key) for key in made] == [36] * 32 + [32] * 2
    assert len({key[:32] for key in made}) == len(made)


@pytest.mark.K1
def test_no_two_generations_of_any_pair_share_a_key() -> None:
    """Over three nodes with three sessions each and two epochs, each (pair, generation, direction, lane) has its own key."""
    nodes = [(16 + n, f"uid-{n}", [new_session_key() for _ in range(3)]) for n in range(3)]
    fingerprints: list[str] = []
    for (id_a, uid_a, keys_a), (id_b, uid_b, keys_b) in itertools.combinations(nodes, 2):
        for epoch, a, b in itertools.product((1, 2), range(3), range(3)):
            ends = KeyEnd(id_a, uid_a, a, keys_a[a].public), KeyEnd(id_b, uid_b, b, keys_b[b].public)
            keys = pair_keys(Terms.of(Epoch(epoch, "00" * 16), Algorithm.AES_256_GCM, *ends), keys_a[a], SALT)
            fingerprints += [keys.traffic_key(side, lane).fingerprint for side in SIDES for lane in range(2)]
            fingerprints += [keys.control_key(side).fingerprint for side in SIDES]
    assert len(fingerprints) == 3 * 18 * 6
    assert len(set(fingerprints)) == len(fingerprints)


SMALL_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    (2**255 - 20).to_bytes(32, "little"),
    (2**255 - 19).to_bytes(32, "little"),
    (2**255 - 18).to_bytes(32, "little"),
]


@pytest.mark.parametrize("public", SMALL_ORDER, ids=lambda public: public[:4].hex())
def test_a_point_of_small_order_is_refused(public: bytes) -> None:
    """A public key that would make the X25519 result all zeros gives an error and no key."""
    with pytest.raises(SecretError, match="small order"):
        lo_keys(replace(TERMS, hi=replace(TERMS.hi, public=public)))


def test_a_session_key_of_neither_end_is_refused() -> None:
    """A key that is not the published one of either end never gives keys that only one end would have."""
    with pytest.raises(SecretError, match="own end not found"):
        pair_keys(TERMS, new_session_key(), SALT)


def test_a_peer_that_publishes_our_own_key_is_refused() -> None:
    """When both ends show the same X nobody can say which is whose: no key."""
    with pytest.raises(SecretError, match="own end not found"):
        lo_keys(replace(TERMS, hi=replace(TERMS.hi, public=LOW.public)))


def test_ends_with_one_node_id_or_uid_are_refused() -> None:
    """Two ends with one nodeID or one UID have no order that both would agree on."""
    for bad in (replace(TERMS.hi, node_id=16), replace(TERMS.hi, node_uid="uid-low")):
        with pytest.raises(InputError, match="not two nodes in order"):
            Terms.of(TERMS.epoch, TERMS.algorithm, TERMS.lo, bad)


def bad_key_length() -> None:
    TERMS.lo.__class__(16, "a", 1, b"\0" * 31)


BAD = {
    "lane above 15": lambda: lo_keys().traffic_key("lo", 16),
    "negative lane": lambda: lo_keys().traffic_key("lo", -1),
    "unknown sender": lambda: lo_keys().traffic_key("me", 0),  # type: ignore[arg-type]
    "short pair secret": lambda: lo_keys(salt=SecretBytes(b"")),
    "short public key": bad_key_length,
    "epoch id not hex": lambda: lo_keys(replace(TERMS, epoch=Epoch(1, "zz" * 16))).control_key("lo"),
    "epoch id with spaces": lambda: lo_keys(replace(TERMS, epoch=Epoch(1, "00 " * 16))).control_key("lo"),
    "epoch id too short": lambda: lo_keys(replace(TERMS, epoch=Epoch(1, "00"))).control_key("lo"),
    "negative number": lambda: lo_keys(replace(TERMS, epoch=Epoch(-1, "00" * 16))).control_key("lo"),
    "number above 64 bits": lambda: lo_keys(replace(TERMS, epoch=Epoch(2**64, "00" * 16))).control_key("lo"),
    "short private key": lambda: SessionKey.load(SecretBytes(b"\x01" * 31)),
}


@pytest.mark.parametrize("call", BAD.values(), ids=BAD.keys())
def test_what_does_not_fit_is_refused(call: object) -> None:
    """A value out of range gives one of our errors, never another key or a foreign exception."""
    assert callable(call)
    with pytest.raises(WirecryptError):
        call()
