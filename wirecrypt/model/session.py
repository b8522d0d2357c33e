"""Sessions and generations: which keys exist, and which of a pair's is newer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from wirecrypt.model.spi import RESIDUES, Spi
from wirecrypt.model.xfrm import Algorithm

LEAP: Final = 1_000_000  # epochs that a backup may be behind what nodes publish: those of a century, one an hour


@dataclass(frozen=True, slots=True, order=True)
class Epoch:
    """A key epoch: its number and its random 128-bit id in hex; a number with another id is another epoch."""

    number: int
    id: str


@dataclass(frozen=True, slots=True)
class Session:
    """What a node publishes of one session: number, epoch, the X25519 public key (32 bytes), lanes, algorithm."""

    number: int
    epoch: Epoch
    public: bytes
    lanes: int
    algorithm: Algorithm


@dataclass(frozen=True, slots=True, order=True)
class Generation:
    """One session of each end of a pair, of one epoch; *lo* and *hi* are the session numbers of the two ends.

    The order is "newer": higher epoch, then higher numbers.
    """

    epoch: int
    lo: int
    hi: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.lo}.{self.hi}"

    def spi(self, sender: int, lane: int) -> int:
        """Return the SPI of the SA by which node *sender* sends on *lane*."""
        return int(Spi(self.lo % RESIDUES, self.hi % RESIDUES, sender, lane))

    def number(self, *, lo: bool) -> int:
        """Return the session number of the lower end if *lo*, else of the higher."""
        return self.lo if lo else self.hi


@dataclass(frozen=True, slots=True)
class Announcement:
    """What one end of a pair says in every control datagram (docs/reference/control-datagram.md).

    *sending*: the generations it has sending SAs for. *in_use*: the one its traffic takes, None when it is blocked or
    plaintext. *newest*: its newest session number. *accepts_plain* and *sends_plain*: the two flags of leaving; a
    node that joins and still sends plaintext has neither. *seals_nodes*, *requires_nodes* and *exempts_nodes* are about
    traffic between node addresses: it is sent by ESP and will be, ESP is required of it, and this end wishes it in clear.
    """

    sending: frozenset[Generation]
    in_use: Generation | None
    newest: int
    accepts_plain: bool = False
    sends_plain: bool = False
    seals_nodes: bool = False
    requires_nodes: bool = False
    exempts_nodes: bool = False
