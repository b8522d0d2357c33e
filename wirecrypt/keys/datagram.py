"""The control datagram between its two ends: values, and the fixed layout of what stands before the MAC.

Layout and limits are written down in ``docs/reference/control-datagram.md``; offsets here are the same. All numbers are
big-endian. One message has exactly one encoding, so what is decoded encodes to the same bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from wirecrypt.errors import DatagramError
from wirecrypt.keys.encoding import MAX_U64
from wirecrypt.model.session import Announcement, Generation
from wirecrypt.model.spi import MAX_LANES

VERSION: Final = 1
NONCE_BYTES: Final = 16
MAX_SENDING: Final = 4  # three receiving generations, and the one in use whose receiving side the peer let go

_FLAGS: Final = {"accepts_plain": 1, "sends_plain": 2, "seals_nodes": 8, "requires_nodes": 16, "exempts_nodes": 32}
_HAS_IN_USE: Final = 4
_KNOWN_FLAGS: Final = _HAS_IN_USE + sum(_FLAGS.values())

_HEAD: Final = struct.Struct(">BBBBB3x3Q16sQ3Q12Q")  # the 3x must be zero: compared by encoding again
HEAD_BYTES: Final = _HEAD.size


class DatagramKind(IntEnum):
    """A question over an SA, or the answer to one."""

    PROBE = 1
    ANSWER = 2


@dataclass(frozen=True, slots=True)
class ControlMessage:
    """One control datagram.

    *generation* and *lane* name the SA asked about, an answer repeats the *nonce* (16 bytes) of its probe, *announcement* is
    that of whoever sends it.
    """

    kind: DatagramKind
    generation: Generation
    lane: int
    nonce: bytes
    announcement: Announcement


def encode(message: ControlMessage) -> bytes:
    """Return the 176 bytes before padding and MAC; raises `DatagramError` for what the layout cannot hold."""
    announcement = message.announcement
    _require(ok=len(announcement.sending) <= MAX_SENDING, answer="more than four sending generations")
    _require(ok=0 <= message.lane < MAX_LANES, answer="lane not in 0..15")
    _require(ok=len(message.nonce) == NONCE_BYTES, answer="nonce is not 16 bytes")
    listed = [number for generation in sorted(announcement.sending) for number in _numbers(generation)]
    in_use = _numbers(announcement.in_use) if announcement.in_use else (0, 0, 0)
    numbers = (*_numbers(message.generation), announcement.newest, *in_use, *listed)
    _require(ok=all(0 <= number <= MAX_U64 for number in numbers), answer="a number is not in 0..2^64-1")
    return _HEAD.pack(
        VERSION,
        message.kind,
        message.lane,
        _flags(announcement),
        len(announcement.sending),
        *_numbers(message.generation),
        message.nonce,
        announcement.newest,
        *in_use,
        *listed,
        *[0] * (3 * MAX_SENDING - len(listed)),
    )


def decode(body: bytes) -> ControlMessage:
    """Return the message of an *authenticated* body: the head and its padding, without the MAC.

    Raises `DatagramError` for an unknown version, kind or flag, a list that is too long, unsorted or has doubles, and
    for anything but zeros where the layout has zeros.
    """
    _require(ok=len(body) >= HEAD_BYTES, answer="too short")
    version, kind, lane, flags, count, *rest = _HEAD.unpack_from(body)
    _require(ok=version == VERSION, answer="unknown version")
    _require(ok=kind in (DatagramKind.PROBE, DatagramKind.ANSWER), answer="unknown kind")
    _require(ok=not flags & ~_KNOWN_FLAGS, answer="unknown flag")
    _require(ok=lane < MAX_LANES and count <= MAX_SENDING, answer="lane or list out of range")
    message = ControlMessage(DatagramKind(kind), Generation(*rest[:3]), lane, rest[3], _announcement(flags, count, rest[4:]))
    canonical = encode(message)
    _require(ok=body == canonical.ljust(len(body), b"\0"), answer="not the one encoding of its content")
    return message


def _announcement(flags: int, count: int, numbers: list[int]) -> Announcement:
    newest, in_use, listed = numbers[0], Generation(*numbers[1:4]), numbers[4:]
    return Announcement(
        sending=frozenset(Generation(*listed[at : at + 3]) for at in range(0, 3 * count, 3)),
        in_use=in_use if flags & _HAS_IN_USE else None,
        newest=newest,
        **{name: bool(flags & bit) for name, bit in _FLAGS.items()},
    )


def _flags(announcement: Announcement) -> int:
    said = sum(bit for name, bit in _FLAGS.items() if getattr(announcement, name))
    return said + _HAS_IN_USE * (announcement.in_use is not None)


def _numbers(generation: Generation) -> tuple[int, int, int]:
    return generation.epoch, generation.lo, generation.hi


def _require(*, ok: bool, answer: str) -> None:
    if not ok:
        raise DatagramError("read or write a control datagram", answer=answer, hint="compare the agents' versions")
