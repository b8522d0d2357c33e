"""Ways between this node and its peers: out and in, by IPv4 and by IPv6, and what is tried on each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.kernel.guard import frames as f
from tests.kernel.guard.conftest import EXEMPT, HERE, SEALED
from tests.kernel.guard.wire import Wire

Packet = Callable[[str, str], bytes]  # from source and destination

AT = {
    HERE: {4: "192.0.2.11", 6: "fd00:99::11"},
    EXEMPT: {4: "192.0.2.12", 6: "fd00:99::12"},
    SEALED: {4: "192.0.2.13", 6: "fd00:99::13"},
}
OWN = {4: "10.244.1.5", 6: "fd00:11::5"}
PEER = {4: "10.244.2.7", 6: "fd00:12::7"}
WORLD = {4: "203.0.113.5", 6: "2001:db8::5"}
DATA = b"readable words of a node"


@dataclass(frozen=True)
class Way:
    """Out of this node or into it, by one family."""

    out: bool
    family: int

    def ends(self, peer: int) -> tuple[str, str]:
        """Return source and destination of what this node and *peer* say to each other."""
        here, there = AT[HERE][self.family], AT[peer][self.family]
        return (here, there) if self.out else (there, here)

    def source(self, peer: int) -> int:
        """Return the nodeID of the source."""
        return HERE if self.out else peer

    def reason(self, rest: str) -> str:
        """Return the name of a reason that drops."""
        return f"{'egress' if self.out else 'ingress'}_{rest}"

    def crosses(self, wire: Wire, packet: bytes) -> bool:
        """Send the packet this way; say whether it passes."""
        frame = f.ether(packet)
        return wire.leaves(frame) if self.out else wire.enters(frame)


ALL_WAYS = {f"{'out' if out else 'in'}-IPv{family}": Way(out, family) for out in (True, False) for family in (4, 6)}
ways = pytest.mark.parametrize("way", ALL_WAYS.values(), ids=ALL_WAYS.keys())


def rows(name: str, table: Mapping[str, Any]) -> pytest.MarkDecorator:
    """Have a test run for each value of *table*."""
    return pytest.mark.parametrize(name, table.values(), ids=table.keys())


def icmp_proto(address: str) -> int:
    """Return the protocol number of ICMP for the address's family."""
    return f.ICMPV6 if ":" in address else f.ICMP
