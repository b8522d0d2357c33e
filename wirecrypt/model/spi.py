"""SPIs: what generation, sender and lane an SA belongs to, readable from its number.

``SPI = (number_lo mod 64) << 26 | (number_hi mod 64) << 20 | nodeID_sender << 4 | lane``
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from wirecrypt.errors import InputError

RESIDUES: Final = 64
MIN_NODE_ID: Final = 16  # so that an SPI is never in the reserved range 0..255 (RFC 4303, 2.1)
MAX_NODE_ID: Final = 65535
MAX_LANES: Final = 16
AHEAD: Final = 8  # how far a session number in the kernel may be above the newest that is known


@dataclass(frozen=True, slots=True, order=True)
class Spi:
    """The parts of an SPI: residues of both ends' session numbers, the sender's nodeID, the lane."""

    residue_lo: int
    residue_hi: int
    sender: int
    lane: int

    def __post_init__(self) -> None:
        ok = (
            0 <= self.residue_lo < RESIDUES
            and 0 <= self.residue_hi < RESIDUES
            and MIN_NODE_ID <= self.sender <= MAX_NODE_ID
            and 0 <= self.lane < MAX_LANES
        )
        if not ok:
            msg = "build an SPI"
            raise InputError(msg, what=repr(self), answer="a part is out of range", hint="check nodeID and lane")

    def __int__(self) -> int:
        return self.residue_lo << 26 | self.residue_hi << 20 | self.sender << 4 | self.lane

    @classmethod
    def decode(cls, number: int) -> Spi | None:
        """Return the parts of *number*, or None when no node of ours can have sent it."""
        if not 0 <= number < 1 << 32:
            return None
        sender = number >> 4 & 0xFFFF
        if sender < MIN_NODE_ID:
            return None
        return cls(residue_lo=number >> 26, residue_hi=number >> 20 & 0x3F, sender=sender, lane=number & 0xF)
