"""Control datagrams: authentic or refused, one encoding each, and no crash whatever comes in."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirecrypt.errors import DatagramError, SecretError
from wirecrypt.keys import ControlMessage, DatagramKind, open_, seal
from wirecrypt.keys import control as control_module
from wirecrypt.keys.datagram import HEAD_BYTES, decode, encode
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Announcement, Generation

KEY, OTHER = SecretBytes(b"\x11" * 32), SecretBytes(b"\x12" * 32)
U64 = st.integers(0, 2**64 - 1)
GENERATIONS = st.builds(Generation, U64, U64, U64)
WORDS = st.builds(
    Announcement,
    sending=st.frozensets(GENERATIONS, max_size=3),
    in_use=st.none() | GENERATIONS,
    newest=U64,
    accepts_plain=st.booleans(),
    sends_plain=st.booleans(),
)
MESSAGES = st.builds(
    ControlMessage,
    kind=st.sampled_from(DatagramKind),
    generation=GENERATIONS,
    lane=st.integers(0, 15),
    nonce=st.binary(min_size=16, max_size=16),
    announcement=WORDS,
)
PLAIN = ControlMessage(
    DatagramKind.PROBE, Generation(1, 2, 3), 0, bytes(16), Announcement(frozenset({Generation(1, 2, 3)}), None, newest=2)
)


@given(message=MESSAGES)
def test_what_is_sealed_is_opened_equal(message: ControlMessage) -> None:
    """Every message survives the wire, in exactly 256 bytes."""
    datagram = seal(message, KEY)
    assert len(datagram) == 256
    assert open_(datagram, KEY) == message


@given(message=MESSAGES, size=st.integers(256, 9000))
def test_a_probe_may_have_any_size_up_to_the_path_mtu(message: ControlMessage, size: int) -> None:
    """A full-size probe is opened to the same message as a small one."""
    probe = replace(message, kind=DatagramKind.PROBE)
    datagram = seal(probe, KEY, size)
    assert len(datagram) == size
    assert open_(datagram, KEY) == probe


@given(message=MESSAGES, bit=st.integers(0, 256 * 8 - 1))
def test_one_flipped_bit_anywhere_is_not_authentic(message: ControlMessage, bit: int) -> None:
    """Head, padding and MAC are all covered."""
    datagram = bytearray(seal(message, KEY))
    datagram[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DatagramError, match="not authentic"):
        open_(bytes(datagram), KEY)


@given(message=MESSAGES)
def test_another_key_does_not_open_it(message: ControlMessage) -> None:
    """A datagram of another generation, pair or direction, i.e. of another key, is not authentic."""
    with pytest.raises(DatagramError, match="not authentic"):
        open_(seal(message, OTHER), KEY)


@given(datagram=st.binary(max_size=600) | st.binary(min_size=256, max_size=256))
def test_garbage_is_refused_without_a_crash(datagram: bytes) -> None:
    """Whatever a pod sends through the SA gives a DatagramError and nothing else."""
    with pytest.raises(DatagramError):
        open_(datagram, KEY)


@given(body=st.binary(min_size=240, max_size=240), head=st.binary(max_size=5))
def test_an_authentic_body_of_any_content_is_read_or_refused(body: bytes, head: bytes) -> None:
    """A peer with the right key and other ideas of the layout gives a message in its one encoding or a DatagramError."""
    sealed = authentic(head + body[len(head) :])
    try:
        message = open_(sealed, KEY)
    except DatagramError:
        return
    assert seal(message, KEY) == sealed


def authentic(body: bytes) -> bytes:
    """Return *body* with a MAC that is right."""
    return body + control_module._mac(body, KEY)  # noqa: SLF001  # the only way to a wrong body with a right MAC


def altered(offset: int, value: int) -> bytes:
    """Return a body of 240 bytes that is right but for one byte."""
    body = bytearray(encode(PLAIN).ljust(240, b"\0"))
    body[offset] = value
    return bytes(body)


MALFORMED = {
    "version 0": (altered(0, 0), "unknown version"),
    "version 2": (altered(0, 2), "unknown version"),
    "kind 0": (altered(1, 0), "unknown kind"),
    "kind 3": (altered(1, 3), "unknown kind"),
    "lane 16": (altered(2, 16), "out of range"),
    "a flag of the future": (altered(3, 64), "unknown flag"),
    "five sending": (altered(4, 5), "out of range"),
    "more listed than counted": (altered(4, 0), "not the one encoding"),
    "reserved byte": (altered(5, 1), "not the one encoding"),
    "in use without its flag": (altered(63, 1), "not the one encoding"),
    "two alike in the list": (altered(4, 1)[:104] + altered(4, 1)[80:104] + bytes(112), "not the one encoding"),
    "garbage after the list": (altered(170, 1), "not the one encoding"),
    "padding": (altered(239, 1), "not the one encoding"),
}


@pytest.mark.parametrize(("body", "reason"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_but_authentic_datagram_is_refused(body: bytes, reason: str) -> None:
    """Unknown versions, oversized lists and anything in reserved places are refused, each with its reason."""
    with pytest.raises(DatagramError, match=reason):
        open_(authentic(body), KEY)


def test_an_unsorted_list_is_refused() -> None:
    """The list has one order, so that a message has one encoding."""
    one, other = Generation(1, 2, 3), Generation(1, 2, 4)
    body = encode(replace(PLAIN, announcement=replace(PLAIN.announcement, sending=frozenset({one, other}))))
    swapped = body[:80] + body[104:128] + body[80:104] + body[128:]
    assert swapped != body
    with pytest.raises(DatagramError, match="not the one encoding"):
        open_(authentic(swapped.ljust(240, b"\0")), KEY)


@pytest.mark.K3
def test_the_mac_is_checked_before_anything_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A datagram whose content is malformed *and* whose MAC is wrong is refused for the MAC; decoding is never reached."""

    def never(_body: bytes) -> ControlMessage:
        raise AssertionError

    monkeypatch.setattr(control_module, "decode", never)
    with pytest.raises(DatagramError, match="not authentic"):
        open_(b"\xff" * 256, KEY)


def test_an_error_shows_no_byte_of_the_content() -> None:
    """Neither the text nor the chain of a refusal carries what was received."""
    marker = b"MARKERMARKER"
    for datagram in (marker * 22, authentic((encode(PLAIN) + marker).ljust(240, b"\0"))):
        with pytest.raises(DatagramError) as caught:
            open_(datagram, KEY)
        error = caught.value
        shown = repr(error) + str(error) + repr(error.args) + repr(vars(error))
        assert "MARKER" not in shown
        assert marker.hex() not in shown
        assert error.__context__ is None


@pytest.mark.parametrize("size", [0, 255, 65508, -1])
def test_a_size_out_of_range_is_refused(size: int) -> None:
    """Neither sealing nor opening knows other sizes than 256..65507."""
    with pytest.raises(DatagramError, match="size not allowed"):
        seal(PLAIN, KEY, size)
    with pytest.raises(DatagramError, match="size not allowed"):
        open_(bytes(max(size, 0)), KEY)


def test_an_answer_is_always_256_bytes() -> None:
    """Answers are never larger than requests: another size is neither sealed nor opened."""
    answer = replace(PLAIN, kind=DatagramKind.ANSWER)
    with pytest.raises(DatagramError, match="size not allowed"):
        seal(answer, KEY, 300)
    with pytest.raises(DatagramError, match="another size"):
        open_(authentic(encode(answer).ljust(284, b"\0")), KEY)


UNFIT = {
    "lane": replace(PLAIN, lane=16),
    "nonce": replace(PLAIN, nonce=bytes(15)),
    "number": replace(PLAIN, generation=Generation(1, 2, 2**64)),
    "negative": replace(PLAIN, announcement=replace(PLAIN.announcement, newest=-1)),
    "list": replace(PLAIN, announcement=replace(PLAIN.announcement, sending=frozenset(Generation(1, 1, n) for n in range(5)))),
}


@pytest.mark.parametrize("message", UNFIT.values(), ids=UNFIT.keys())
def test_what_the_layout_cannot_hold_is_not_sealed(message: ControlMessage) -> None:
    """A value out of range is an error at the sender, never another value on the wire."""
    with pytest.raises(DatagramError):
        seal(message, KEY)


def test_a_key_of_another_length_is_refused() -> None:
    """A control key is 32 bytes; a traffic key in its place is noticed."""
    for call in (lambda: seal(PLAIN, SecretBytes(bytes(36))), lambda: open_(bytes(256), SecretBytes(bytes(36)))):
        with pytest.raises(SecretError, match="36 bytes instead of 32"):
            call()


def test_the_head_has_the_documented_length() -> None:
    """The head is 176 bytes, and a shorter body is refused."""
    assert len(encode(PLAIN)) == HEAD_BYTES == 176
    with pytest.raises(DatagramError, match="too short"):
        decode(bytes(151))
