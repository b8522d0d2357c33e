"""Packets, prefixes as numbers for many lookups, and how a packet may leave."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from wirecrypt.model.xfrm import Address, Network, SaKey


class Way(Enum):
    """What a packet takes when it leaves."""

    PLAIN = "in clear"
    BLOCKED = "blocked"
    ESP = "in ESP"


@dataclass(frozen=True, slots=True, eq=False)
class Packet:
    """Inner addresses, whether each end is a pod, and for control datagrams the mark and the port; each is its own."""

    src: Address
    dst: Address
    from_pod: bool = False
    to_pod: bool = False
    mark: int = 0
    proto: int = 6
    dport: int = 80


@dataclass(frozen=True, slots=True)
class Sent:
    """How a packet left: in ESP with the SA's *name*, and the fingerprint of its key, "" where there is no such SA."""

    way: Way
    name: SaKey | None = None
    key: str = ""
    src: Address | None = None


class Prefix:
    """A prefix as numbers, for many lookups."""

    __slots__ = ("bits", "shift", "version")

    def __init__(self, prefix: Network) -> None:
        self.version, self.shift = prefix.version, prefix.max_prefixlen - prefix.prefixlen
        self.bits = int(prefix.network_address) >> self.shift

    def holds(self, address: Address) -> bool:
        """Return whether *address* is in the prefix."""
        return int(address) >> self.shift == self.bits and self.version == address.version
