"""Read the IP headers of a packet, from the outermost to the innermost that is readable.

It looks through VLAN tags, IP in IP, VXLAN and Geneve on the ports that it is told, and IPv6 extension headers: what
anybody on the wire could read. Formats: RFC 791, 8200, 4303, 7348, 8926.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

from wirecrypt.model.xfrm import Address

IPV4: Final = 0x0800
IPV6: Final = 0x86DD
VLANS: Final = frozenset({0x8100, 0x88A8})
ESP: Final = 50
_IPIP: Final = 4
_TCP: Final = 6
_UDP: Final = 17
_IPV6: Final = 41
_SCTP: Final = 132
_WITH_PORTS: Final = frozenset({_TCP, _UDP, _SCTP})
_FRAGMENT: Final = 44
_EXTENSIONS: Final = frozenset({0, 43, 60, _FRAGMENT})
_ETHERNET: Final = 14
_UDP_AND_TUNNEL: Final = 16  # UDP's header and the fixed one of VXLAN or Geneve


class IpHeader(NamedTuple):
    """One IP header; ports are 0 where there are none, *spi* is that of ESP or 0; *inside*: the tunnels around it."""

    source: Address
    target: Address
    protocol: int
    sport: int
    dport: int
    spi: int
    inside: str


@dataclass(frozen=True, slots=True)
class Tunnels:
    """The UDP ports on which VXLAN and Geneve are looked for."""

    vxlan: Collection[int] = ()
    geneve: Collection[int] = ()


def headers(kind: int, data: bytes, tunnels: Tunnels, inside: str = "") -> Iterator[IpHeader]:
    """Yield the headers of a packet whose EtherType is *kind*; what is cut off or malformed ends the reading."""
    while kind in VLANS and len(data) >= 4:  # noqa: PLR2004 - a tag
        kind, data = int.from_bytes(data[2:4], "big"), data[4:]
    if kind == IPV4:
        yield from _ipv4(data, tunnels, inside)
    elif kind == IPV6:
        yield from _ipv6(data, tunnels, inside)


def _ipv4(data: bytes, tunnels: Tunnels, inside: str) -> Iterator[IpHeader]:
    if len(data) < 20 or data[0] >> 4 != 4:  # noqa: PLR2004 - least header, version
        return
    later = int.from_bytes(data[6:8], "big") & 0x1FFF  # fragment offset
    payload = b"" if later else data[(data[0] & 15) * 4 :]
    yield from _payload((IPv4Address(data[12:16]), IPv4Address(data[16:20])), data[9], payload, tunnels, inside)


def _ipv6(data: bytes, tunnels: Tunnels, inside: str) -> Iterator[IpHeader]:
    if len(data) < 40 or data[0] >> 4 != 6:  # noqa: PLR2004 - header, version
        return
    protocol, payload = data[6], data[40:]
    while protocol in _EXTENSIONS and len(payload) >= 8:  # noqa: PLR2004 - least extension
        fragment = protocol == _FRAGMENT
        later = fragment and int.from_bytes(payload[2:4], "big") & 0xFFF8
        size = 8 if fragment else (payload[1] + 1) * 8
        protocol, payload = payload[0], b"" if later else payload[size:]
    yield from _payload((IPv6Address(data[8:24]), IPv6Address(data[24:40])), protocol, payload, tunnels, inside)


def _payload(ends: tuple[Address, Address], protocol: int, payload: bytes, tunnels: Tunnels, inside: str) -> Iterator[IpHeader]:
    ports, spi = (0, 0), 0
    if protocol in _WITH_PORTS and len(payload) >= 4:  # noqa: PLR2004 - two ports
        ports = (int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:4], "big"))
    elif protocol == ESP and len(payload) >= 4:  # noqa: PLR2004 - the SPI
        spi = int.from_bytes(payload[:4], "big")
    yield IpHeader(*ends, protocol, *ports, spi, inside)
    if protocol == _IPIP:
        yield from _ipv4(payload, tunnels, _within(inside, "ipip"))
    elif protocol == _IPV6:
        yield from _ipv6(payload, tunnels, _within(inside, "ipip"))
    elif protocol == _UDP and len(payload) >= _UDP_AND_TUNNEL:
        yield from _overlay(ports[1], payload, tunnels, inside)


def _overlay(port: int, payload: bytes, tunnels: Tunnels, inside: str) -> Iterator[IpHeader]:
    if port in tunnels.vxlan:
        frame, name = payload[_UDP_AND_TUNNEL:], "vxlan"
    elif port in tunnels.geneve:
        frame, name = payload[_UDP_AND_TUNNEL + (payload[8] & 0x3F) * 4 :], "geneve"
    else:
        return
    if len(frame) >= _ETHERNET:
        yield from headers(int.from_bytes(frame[12:14], "big"), frame[_ETHERNET:], tunnels, _within(inside, name))


def _within(inside: str, name: str) -> str:
    return f"{inside}, {name}" if inside else name
