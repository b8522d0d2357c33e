"""Packet marks: one 8-bit field of kind and lane, at a configurable place (shared with bpf/wirecrypt.h).

The kind nibble: 0 none, 1 ENCRYPT, 4..6 CONTROL + slot, 8..10 DECRYPTED + slot. The low nibble is the lane;
beside ENCRYPT it is a number of the flow, from which each pair takes as many bits as it needs to choose one of its lanes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from wirecrypt.errors import InputError

SLOTS: Final = 3
_FIELD: Final = 0xFF
_TOP_SHIFT: Final = 24


class MarkKind(IntEnum):
    """Base values of the kind nibble; CONTROL and DECRYPTED have a slot 0..2 added."""

    NONE = 0
    ENCRYPT = 1
    CONTROL = 4
    DECRYPTED = 8


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A value under a mask, as XFRM and sockets take it."""

    value: int
    mask: int


@dataclass(frozen=True, slots=True)
class MarkLayout:
    """Where the 8-bit field stands in the 32-bit mark; *shift* is the bit number of the lane nibble, 0..24."""

    shift: int = 20

    def __post_init__(self) -> None:
        if not 0 <= self.shift <= _TOP_SHIFT:
            msg = "place the mark field"
            raise InputError(msg, what=f"shift {self.shift}", answer="not in 0..24", hint="choose a shift of 0 to 24")

    @property
    def mask(self) -> int:
        """Return the mask of the whole field."""
        return _FIELD << self.shift

    def encrypt(self, number: int, bits: int = 4) -> Mark:
        """Return the mark of pod traffic whose flow's number, of 0..15, has *number* in its lowest *bits*."""
        return Mark((MarkKind.ENCRYPT << 4 | number) << self.shift, (0xF0 | (1 << bits) - 1) << self.shift)

    def pods(self) -> Mark:
        """Return the mark that fits pod traffic of every flow."""
        return self.encrypt(0, 0)

    def unmarked(self) -> Mark:
        """Return the mark that fits what none of our programs and SAs marked."""
        return Mark(0, self.mask)

    def control(self, slot: int, lane: int) -> Mark:
        """Return the mark that sends a control datagram through the SA of *slot* and *lane*."""
        return self._mark(MarkKind.CONTROL + slot, lane)

    def decrypted(self, slot: int, lane: int) -> Mark:
        """Return the mark that the receiving SA of *slot* and *lane* sets."""
        return self._mark(MarkKind.DECRYPTED + slot, lane)

    def slot_of(self, mark: int) -> tuple[int, int] | None:
        """Return (slot, lane) when *mark* says that a receiving SA of ours decrypted the packet, else None."""
        field = mark >> self.shift & _FIELD
        slot = (field >> 4) - MarkKind.DECRYPTED
        return (slot, field & 0xF) if 0 <= slot < SLOTS else None

    def _mark(self, kind: int, lane: int) -> Mark:
        return Mark((kind << 4 | lane) << self.shift, self.mask)
