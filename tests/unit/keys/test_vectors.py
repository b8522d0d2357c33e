"""Keys and datagrams equal what another implementation computes (tests/vectors/keys/gen.go: Go's standard library)."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from wirecrypt.keys import (
    ControlMessage,
    DatagramKind,
    KeyEnd,
    SessionKey,
    Terms,
    frames,
    open_,
    pair_keys,
    pair_secret,
    seal,
    share,
    shares,
)
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Announcement, Epoch, Generation
from wirecrypt.model.xfrm import Algorithm

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "vectors/keys/keys.json").read_text())
SEED = SecretBytes(bytes.fromhex(VECTORS["seed"]))


def end_of(raw: dict[str, Any]) -> KeyEnd:
    return KeyEnd(raw["node_id"], raw["node_uid"], raw["number"], bytes.fromhex(raw["public"]))


def message_of(raw: dict[str, Any]) -> ControlMessage:
    announcement = Announcement(
        sending=frozenset(Generation(*each) for each in raw["sending"]),
        in_use=Generation(*raw["in_use"]) if raw["in_use"] else None,
        newest=raw["newest"],
        accepts_plain=raw["accepts_plain"],
        sends_plain=raw["sends_plain"],
    )
    return ControlMessage(
        DatagramKind(raw["kind"]), Generation(*raw["generation"]), raw["lane"], bytes.fromhex(raw["nonce"]), announcement
    )


def test_frames_are_those_of_the_vector() -> None:
    """A frame is a length in 4 bytes, big-endian, and the bytes, also when there are none."""
    assert frames(b"a", b"", b"bc").hex() == VECTORS["frames"]


def test_shares_are_those_of_the_vector() -> None:
    """A node's share is the polynomial's row at its point, whether made alone or with others."""
    expected = {uid: bytes.fromhex(raw) for uid, raw in VECTORS["shares"].items()}
    assert {uid: made.reveal() for uid, made in shares(SEED, expected).items()} == expected
    assert {uid: share(SEED, uid).reveal() for uid in expected} == expected


@pytest.mark.parametrize("raw", VECTORS["generations"], ids=lambda raw: raw["lo"]["node_uid"])
def test_both_ends_compute_the_secret_of_the_vector(raw: dict[str, Any]) -> None:
    """Each end gets the double sum over all coefficients from its own share and the other's UID."""
    made = shares(SEED, VECTORS["shares"])
    for own, peer in itertools.permutations((raw["lo"]["node_uid"], raw["hi"]["node_uid"])):
        assert pair_secret(made[own], peer).reveal().hex() == raw["pair_secret"]


@pytest.mark.K1
@pytest.mark.parametrize("raw", VECTORS["generations"], ids=lambda raw: raw["lo"]["node_uid"])
@pytest.mark.parametrize("side", ["lo", "hi"])
def test_traffic_and_control_keys_are_those_of_the_vector(raw: dict[str, Any], side: str) -> None:
    """Either end derives every key of the vector: both ciphers, both senders, several lanes, both uses."""
    lo, hi = end_of(raw["lo"]), end_of(raw["hi"])
    key = SessionKey.load(SecretBytes(bytes.fromhex(raw[side]["private"])))
    assert key.public.hex() == raw[side]["public"]
    salt = SecretBytes(bytes.fromhex(raw["pair_secret"]))
    for each in raw["keys"]:
        terms = Terms.of(Epoch(raw["epoch"], raw["epoch_id"]), Algorithm(each["algorithm"]), hi, lo)
        keys = pair_keys(terms, key, salt)
        made = keys.traffic_key(each["sender"], each["lane"]) if each["use"] == "esp" else keys.control_key(each["sender"])
        assert terms.info(each["use"], each["sender"], each["lane"]).hex() == each["info"]
        assert made.reveal().hex() == each["key"]
        assert keys.own == side


@pytest.mark.parametrize("raw", VECTORS["datagrams"], ids=lambda raw: raw["name"])
def test_datagrams_are_those_of_the_vector(raw: dict[str, Any]) -> None:
    """A message is sealed to the bytes of the vector, and these are opened to the message."""
    key, datagram = SecretBytes(bytes.fromhex(raw["key"])), bytes.fromhex(raw["datagram"])
    assert seal(message_of(raw), key, raw["size"]) == datagram
    assert open_(datagram, key) == message_of(raw)


def test_the_vector_of_the_reference_is_the_first_one() -> None:
    """The bytes and the key that docs/reference shows are those that the code is compared with."""
    page = (Path(__file__).parents[3] / "docs/reference/control-datagram.md").read_text()
    assert VECTORS["datagrams"][0]["datagram"] in page.replace("\n", "")
    assert VECTORS["datagrams"][0]["key"] in page
