"""Read the IP headers of a packet, from the outermost to the innermost that is readable.

It looks through VLAN tags, IP in IP, GRE, VXLAN and Geneve on the ports that it is told, extension headers and AH, and into
what ICMP errors quote: what anybody on the wire could read. Formats: RFC 791, 792, 2784, 2890, 4302, 4303, 4443, 4861, 7348,
8200, 8926.
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
QUOTE: Final = "icmp error"
_BRIDGED: Final = 0x6558  # an Ethernet frame, in a tunnel
_ICMP: Final = 1
_ICMPV6: Final = 58
_ICMP_ERRORS: Final = frozenset({3, 4, 5, 11, 12})
_ICMPV6_INFORMS: Final = 128  # types below it are errors
_REDIRECT: Final = 137
_REDIRECTED: Final = 4  # its option with the packet that it is about
_NEIGHBOUR: Final = frozenset({135, 136})  # solicitation, advertisement
_NEIGHBOUR_LONGEST: Final = 64  # of ICMPv6; on Ethernet the kernel sends 32
_UNFORWARDED: Final = 255  # the hop limit that no router can have seen
_IPIP: Final = 4
_TCP: Final = 6
_UDP: Final = 17
_IPV6: Final = 41
_GRE: Final = 47
_SCTP: Final = 132
_WITH_PORTS: Final = frozenset({_TCP, _UDP, _SCTP})
_FRAGMENT: Final = 44
_AH: Final = 51
_EXTENSIONS: Final = frozenset({0, 43, _FRAGMENT, _AH, 60, 135, 139, 140})
_ETHERNET: Final = 14
_UDP_AND_TUNNEL: Final = 16  # UDP's header and the fixed one of VXLAN or Geneve


class IpHeader(NamedTuple):
    """One IP header; ports are 0 where there are none, *spi* is that of ESP or 0; *inside*: what is around it.

    *neighbour*: asks or answers who is where on this link, and is too short to carry a packet of somebody.
    """

    source: Address
    target: Address
    protocol: int
    sport: int
    dport: int
    spi: int
    inside: str
    neighbour: bool = False

    @property
    def quoted(self) -> bool:
        """Return whether an ICMP error quotes it: it was not sent here and now."""
        return QUOTE in self.inside


@dataclass(frozen=True, slots=True)
class Tunnels:
    """The UDP ports on which VXLAN and Geneve are looked for."""

    vxlan: Collection[int] = ()
    geneve: Collection[int] = ()


class _Packet(NamedTuple):
    """An IP packet behind its extension headers; *hops*: its hop limit, 0 unless the payload follows an IPv6 header at once."""

    source: Address
    target: Address
    protocol: int
    payload: bytes  # none in a later fragment
    hops: int = 0


def headers(kind: int, data: bytes, tunnels: Tunnels) -> Iterator[IpHeader]:
    """Yield the headers of a packet whose EtherType is *kind*; what is cut off or malformed ends the reading."""
    inside = ""
    while packet := _packet(kind, data):
        header = _header(packet, inside)
        yield header
        name, kind, data = _carried(packet, header.dport, tunnels)
        inside = f"{inside}, {name}" if inside else name


def _packet(kind: int, data: bytes) -> _Packet | None:
    """Return the IP packet in *data*, which is what *kind* says; None where there is none."""
    if kind == _BRIDGED:
        kind, data = int.from_bytes(data[12:14], "big"), data[_ETHERNET:]
    while kind in VLANS and len(data) >= 4:  # noqa: PLR2004 - a tag
        kind, data = int.from_bytes(data[2:4], "big"), data[4:]
    if kind not in {IPV4, IPV6} or len(data) < 20:  # noqa: PLR2004 - least header
        return None
    version, size = data[0] >> 4, (data[0] & 15) * 4
    if version == 4 and size >= 20:  # noqa: PLR2004 - least header
        return _ipv4(data, size)
    return _ipv6(data) if version == 6 and len(data) >= 40 else None  # noqa: PLR2004 - its header


def _ipv4(data: bytes, size: int) -> _Packet:
    later = int.from_bytes(data[6:8], "big") & 0x1FFF  # fragment offset
    protocol, payload = (data[9], b"") if later else _behind_extensions(data[9], data[size:])
    return _Packet(IPv4Address(data[12:16]), IPv4Address(data[16:20]), protocol, payload)


def _ipv6(data: bytes) -> _Packet:
    protocol, payload = _behind_extensions(data[6], data[40:])
    hops = data[7] if protocol == data[6] else 0
    return _Packet(IPv6Address(data[8:24]), IPv6Address(data[24:40]), protocol, payload, hops)


def _behind_extensions(protocol: int, payload: bytes) -> tuple[int, bytes]:
    """Return protocol and payload, which is empty in a later fragment; AH counts in words of four bytes."""
    while protocol in _EXTENSIONS and len(payload) >= 8:  # noqa: PLR2004 - least extension
        size = {_FRAGMENT: 8, _AH: (payload[1] + 2) * 4}.get(protocol, (payload[1] + 1) * 8)
        later = protocol == _FRAGMENT and int.from_bytes(payload[2:4], "big") & 0xFFF8
        protocol, payload = payload[0], b"" if later else payload[size:]
    return protocol, payload


def _header(packet: _Packet, inside: str) -> IpHeader:
    source, target, protocol, payload, _ = packet
    sport = dport = spi = 0
    if protocol in _WITH_PORTS and len(payload) >= 4:  # noqa: PLR2004 - two ports
        sport, dport = int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:4], "big")
    elif protocol == ESP and len(payload) >= 4:  # noqa: PLR2004 - the SPI
        spi = int.from_bytes(payload[:4], "big")
    return IpHeader(source, target, protocol, sport, dport, spi, inside, not inside and _finds_neighbours(packet))


def _finds_neighbours(packet: _Packet) -> bool:
    if packet.protocol != _ICMPV6 or packet.hops != _UNFORWARDED or len(packet.payload) > _NEIGHBOUR_LONGEST:
        return False
    return packet.payload[1:2] == b"\0" and packet.payload[0] in _NEIGHBOUR  # code 0


def _carried(packet: _Packet, port: int, tunnels: Tunnels) -> tuple[str, int, bytes]:
    """Return what the packet to *port* carries in clear: the name of the wrapping, EtherType (0: nothing), and bytes.

    IP is told by its own version, whatever the EtherType.
    """
    payload = packet.payload
    if packet.protocol in {_IPIP, _IPV6}:
        return "ipip", IPV4, payload
    if packet.protocol in {_ICMP, _ICMPV6}:
        return QUOTE, IPV4, _quote(packet.protocol, payload)
    if packet.protocol == _GRE:
        return "gre", *_in_gre(payload)
    if packet.protocol == _UDP and len(payload) >= _UDP_AND_TUNNEL:
        return _in_overlay(port, payload, tunnels)
    return "", 0, b""


def _in_overlay(port: int, payload: bytes, tunnels: Tunnels) -> tuple[str, int, bytes]:
    if port in tunnels.vxlan:
        return "vxlan", _BRIDGED, payload[_UDP_AND_TUNNEL:]
    if port in tunnels.geneve:
        kind = int.from_bytes(payload[10:12], "big")
        return "geneve", kind if kind in {IPV4, IPV6} else _BRIDGED, payload[_UDP_AND_TUNNEL + (payload[8] & 0x3F) * 4 :]
    return "", 0, b""


def _in_gre(payload: bytes) -> tuple[int, bytes]:
    """Return EtherType and bytes; checksum, key and sequence number are four bytes each; only version 0 without routing."""
    if len(payload) < 4 or payload[0] & 0x40 or payload[1] & 7:  # noqa: PLR2004 - flags, version, type
        return 0, b""
    optional = sum(4 for bit in (0x80, 0x20, 0x10) if payload[0] & bit)
    return int.from_bytes(payload[2:4], "big"), payload[4 + optional :]


def _quote(protocol: int, payload: bytes) -> bytes:
    """Return the packet that an error of ICMP or ICMPv6, or a redirect, is about; empty for other messages."""
    kind = payload[0] if payload else _ICMPV6_INFORMS
    if kind in _ICMP_ERRORS if protocol == _ICMP else kind < _ICMPV6_INFORMS:
        return payload[8:]
    options = payload[40:] if protocol == _ICMPV6 and kind == _REDIRECT else b""
    while len(options) >= 8 and options[1]:  # noqa: PLR2004 - least option
        if options[0] == _REDIRECTED:
            return options[8:]
        options = options[options[1] * 8 :]
    return b""
