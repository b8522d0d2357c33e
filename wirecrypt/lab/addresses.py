"""Names and addresses of everything in a lab: pure arithmetic on the node's number (1..99) and the pod's letter."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

WIRE4 = IPv4Network("192.0.2.0/24")
WIRE6 = IPv6Network("fd00:2::/64")
API_HOST4 = IPv4Interface("192.0.2.1/24")
API_HOST6 = IPv6Interface("fd00:2::1/64")
API_PORT = 26443
SERVICES4 = IPv4Network("10.96.0.0/16")
SERVICES6 = IPv6Network("fd00:96::/112")
GUEST_PORT = 7000
OUTSIDE_END = IPv4Interface("203.0.113.1/30")
GUEST_END = IPv4Interface("203.0.113.2/30")


@dataclass(frozen=True, slots=True)
class NodeAddresses:
    """Where node *number* is on the wire, and which prefixes its pods have."""

    number: int

    @property
    def name(self) -> str:
        """Name of the Node object, e.g. `node-1`."""
        return f"node-{self.number}"

    @property
    def wire4(self) -> IPv4Interface:
        """IPv4 address on the wire."""
        return IPv4Interface((WIRE4.network_address + 10 + self.number, WIRE4.prefixlen))

    @property
    def wire6(self) -> IPv6Interface:
        """IPv6 address on the wire: its last part reads as the IPv4 one."""
        return IPv6Interface((int(WIRE6.network_address) + int(str(10 + self.number), 16), WIRE6.prefixlen))

    @property
    def pods4(self) -> IPv4Network:
        """IPv4 podCIDR."""
        return IPv4Network(f"10.{self.number}.0.0/24")

    @property
    def pods6(self) -> IPv6Network:
        """IPv6 podCIDR."""
        return IPv6Network(f"fd00:1{self.number}::/64")


def node_number(name: str) -> int:
    """Return the number in a node's name; ValueError for another name."""
    prefix, _, number = name.rpartition("-")
    if prefix != "node":
        raise ValueError(f"{name!r} is no lab node: they are called node-1, node-2, ...")
    return int(number)
