"""What an observer on the wire sees: the judge of every claim about encryption. Reads pcap files, knows nothing of wirecrypt.

As an eavesdropper would, it looks into VLAN tags, IP in IP, GRE, VXLAN and Geneve on their usual ports, and into what ICMP
errors quote.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from wirecrypt.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Address = IPv4Address | IPv6Address

IPV4, IPV6 = 0x0800, 0x86DD  # either may be said of both: the packet itself has its version
VLANS, BRIDGED = frozenset({0x8100, 0x88A8, 0x9100}), 0x6558  # BRIDGED: an Ethernet frame, inside a tunnel
ICMP, IPIP, TCP, UDP, IPV6_IN_IP, FRAGMENT, GRE, ESP, AH, ICMPV6 = 1, 4, 6, 17, 41, 44, 47, 50, 51, 58
EXTENSIONS = frozenset({0, 43, FRAGMENT, AH, 60, 135, 139, 140})  # stand between the IP header and its payload
ICMP_ERRORS = frozenset({3, 4, 5, 11, 12})  # they quote the packet that they are about (RFC 792)
ICMPV6_INFORMS, REDIRECT, REDIRECTED = 128, 137, 4  # types below the first are errors (RFC 4443, 2.1)
NEIGHBOUR, NEIGHBOUR_LONGEST, UNFORWARDED = frozenset({135, 136}), 64, 255
VXLAN_PORTS, GENEVE_PORTS = frozenset({4789, 8472}), frozenset({6081})
ESP_IN_UDP = 4500
_FILE_HEADER = 24  # bytes before the first record
_MAGIC = {0xA1B2C3D4: 1e-6, 0xA1B23C4D: 1e-9}


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """One IP header of a frame; *spi* is that of ESP, 0 for anything else.

    *clear*: not ESP, nor neighbour discovery. *quoted*: by an ICMP error, so it was not sent here and now.
    """

    source: Address
    target: Address
    protocol: int
    ports: tuple[int, int] = (0, 0)
    spi: int = 0
    clear: bool = True
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame: when (UNIX seconds), its IP headers from the outermost to the innermost readable one, all its bytes."""

    time: float
    headers: tuple[FrameHeader, ...]
    content: bytes


@dataclass(frozen=True, slots=True)
class Cleartext:
    """A packet between two sets of prefixes that anybody on the wire can read."""

    time: float
    source: Address
    target: Address
    protocol: int
    ports: tuple[int, int]
    depth: int  # 0: plain; 1 and more: inside so many tunnels, or quoted by an ICMP error


class Observation:
    """Frames of a capture; `between` narrows it to a time window."""

    def __init__(self, frames: Iterable[Frame]) -> None:
        self.frames = list(frames)

    def between(self, start: float = 0.0, end: float = float("inf")) -> Observation:
        """Return the part of the capture from *start* until before *end*, in UNIX seconds of the guest's clock."""
        return Observation(frame for frame in self.frames if start <= frame.time < end)

    def cleartext(self, prefixes_a: Iterable[str], prefixes_b: Iterable[str]) -> list[Cleartext]:
        """Return every readable packet from an address in *prefixes_a* to one in *prefixes_b* or back, at any depth.

        Also quotes and fragments. Not ESP, nor neighbour discovery as nodes on one link need it, whatever the prefixes.
        """
        sides = [[ip_network(prefix) for prefix in prefixes] for prefixes in (prefixes_a, prefixes_b)]

        def inside(address: Address, side: int) -> bool:
            return any(address in prefix for prefix in sides[side] if prefix.version == address.version)

        return [
            Cleartext(frame.time, header.source, header.target, header.protocol, header.ports, depth)
            for frame in self.frames
            for depth, header in enumerate(frame.headers)
            if header.clear and any(inside(header.source, side) and inside(header.target, 1 - side) for side in (0, 1))
        ]

    def marked(self, marker: bytes) -> Counter[tuple[str, str]]:
        """Count frames that show *marker*, by outermost (source, target) address."""
        hits: Counter[tuple[str, str]] = Counter()
        for frame in self.frames:
            if marker in frame.content:
                outer = frame.headers[0] if frame.headers else None
                hits[(str(outer.source), str(outer.target)) if outer else ("", "")] += 1
        return hits

    def esp(self) -> Counter[tuple[str, str, int]]:
        """Count ESP packets by (outer source, outer target, SPI); one that an error quotes was counted when it went."""
        found = (header for frame in self.frames for header in frame.headers if header.spi and not header.quoted)
        return Counter((str(header.source), str(header.target), header.spi) for header in found)


def read(path: Path, *, growing: bool = False) -> Observation:
    """Read a pcap file of Ethernet frames; LabError when it is none, or damaged: nothing may be judged by a part of it.

    A file that is *growing* may end within a frame, which is left out.
    """
    return Observation(frames(path.read_bytes(), path, growing=growing))


def frames(data: bytes, path: Path = Path(), *, growing: bool = False) -> Iterator[Frame]:
    """Return the frames of a pcap file's content, times in UNIX seconds; LabError as `read` says."""
    found = _records(data, path, growing=growing)
    return (Frame(time, tuple(_headers(content)), content) for time, _, content in found)


def cut(path: Path, target: Path, start: float, end: float) -> None:
    """Write the frames of a pcap file from *start* to *end* (UNIX seconds) into another one; LabError as `read` says."""
    data = path.read_bytes()
    kept = (record for time, record, _ in _records(data, path) if start <= time <= end)
    target.touch(mode=0o600)  # as a capture is: it is read by whoever made it
    target.write_bytes(data[:_FILE_HEADER] + b"".join(kept))


def _records(data: bytes, path: Path, *, growing: bool = False) -> Iterator[tuple[float, bytes, bytes]]:
    """Yield each record of a pcap file's content: its time, all of it, and the frame in it."""
    for order in "<>":
        unit = _MAGIC.get(struct.unpack_from(order + "I", data)[0]) if len(data) >= _FILE_HEADER else None
        if unit:
            break
    else:
        raise LabError("this is no pcap file", what=str(path))
    longest, kind = struct.unpack_from(order + "II", data, 16)
    if kind != 1:
        raise LabError("this is no capture of Ethernet frames", what=str(path), answer=f"link type {kind}")
    record, position = struct.Struct(order + "IIII"), _FILE_HEADER
    while position + record.size <= len(data):
        seconds, fraction, size, original = record.unpack_from(data, position)
        if size > min(longest, original) or fraction * unit >= 1:
            raise LabError("the capture is damaged", what=str(path), answer=f"no frame begins at byte {position}")
        end = position + record.size + size
        if end > len(data):
            break
        yield seconds + fraction * unit, data[position:end], data[position + record.size : end]
        position = end
    if position < len(data) and not growing:
        raise LabError("the capture ends within a frame", what=str(path), answer=f"at byte {position} of {len(data)}")


class _Packet(NamedTuple):
    """An IP packet behind its extension headers; *hops*: its hop limit, 0 unless the payload follows an IPv6 header at once."""

    source: Address
    target: Address
    protocol: int
    payload: bytes  # none in a later fragment
    later: bool
    hops: int


def _headers(frame: bytes) -> Iterator[FrameHeader]:
    kind, data, outermost, quoted = BRIDGED, frame, True, False
    while packet := _packet(kind, data):
        ports, spi = _ports(packet), _spi(packet)
        hidden = packet.protocol == ESP and (packet.later or spi != 0)
        clear = not hidden and not (outermost and _finds_neighbours(packet))
        yield FrameHeader(packet.source, packet.target, packet.protocol, ports, spi, clear, quoted)
        kind, data = _carried(packet, ports[1])
        outermost, quoted = False, quoted or packet.protocol in {ICMP, ICMPV6}


def _packet(kind: int, data: bytes) -> _Packet | None:
    """Return the IP packet in *data*, which is what the Ethernet type *kind* says; None where there is none."""
    if kind == BRIDGED:
        kind, data = int.from_bytes(data[12:14], "big"), data[14:]
    while kind in VLANS:
        kind, data = int.from_bytes(data[2:4], "big"), data[4:]
    return _ip(data) if kind in {IPV4, IPV6} else None


def _ip(data: bytes) -> _Packet | None:
    if len(data) < 20:  # noqa: PLR2004  # least size of RFC 791
        return None
    version, size = data[0] >> 4, (data[0] & 15) * 4
    if version == 4 and size >= 20:  # noqa: PLR2004
        later = int.from_bytes(data[6:8], "big") & 0x1FFF != 0
        protocol, payload, later = _behind_extensions(data[9], data[size:], later=later)
        return _Packet(ip_address(data[12:16]), ip_address(data[16:20]), protocol, payload, later, 0)
    if version == 6 and len(data) >= 40:  # noqa: PLR2004  # version and size of RFC 8200
        protocol, payload, later = _behind_extensions(data[6], data[40:])
        hops = data[7] if protocol == data[6] else 0
        return _Packet(ip_address(data[8:24]), ip_address(data[24:40]), protocol, payload, later, hops)
    return None


def _behind_extensions(protocol: int, payload: bytes, *, later: bool = False) -> tuple[int, bytes, bool]:
    """Return protocol, payload, and whether this is a later fragment; AH counts in words of four bytes (RFC 4302, 2.2)."""
    while not later and protocol in EXTENSIONS and len(payload) >= 8:  # noqa: PLR2004  # the least one
        size = {FRAGMENT: 8, AH: (payload[1] + 2) * 4}.get(protocol, (payload[1] + 1) * 8)
        later = protocol == FRAGMENT and int.from_bytes(payload[2:4], "big") & 0xFFF8 != 0
        protocol, payload = payload[0], payload[size:]
    return protocol, b"" if later else payload, later


def _ports(packet: _Packet) -> tuple[int, int]:
    if packet.protocol in {TCP, UDP} and len(packet.payload) >= 8:  # noqa: PLR2004  # a UDP header
        source, target = struct.unpack_from("!HH", packet.payload)
        return source, target
    return 0, 0


def _spi(packet: _Packet) -> int:
    """Return the SPI of ESP, also of ESP in UDP, where 0 means a packet of IKE (RFC 3948, 2.1)."""
    in_udp = packet.protocol == UDP and ESP_IN_UDP in _ports(packet)
    if packet.protocol != ESP and not in_udp:
        return 0
    found = packet.payload[8:] if in_udp else packet.payload
    return int.from_bytes(found[:4], "big") if len(found) >= 8 else 0  # noqa: PLR2004  # SPI and sequence number


def _finds_neighbours(packet: _Packet) -> bool:
    """Return whether a node asks or answers who is where on its link (RFC 4861, 7.1), with no room for somebody's packet."""
    if packet.protocol != ICMPV6 or packet.hops != UNFORWARDED or len(packet.payload) > NEIGHBOUR_LONGEST:
        return False
    return packet.payload[1:2] == b"\0" and packet.payload[0] in NEIGHBOUR  # code 0


def _carried(packet: _Packet, port: int) -> tuple[int, bytes]:
    """Return what the packet to *port* carries, readable as it is, as Ethernet type and bytes; (0, b"") for nothing."""
    payload = packet.payload
    if packet.protocol in {IPIP, IPV6_IN_IP}:
        return IPV4, payload
    if packet.protocol in {ICMP, ICMPV6}:
        return IPV4, _quote(packet.protocol, payload)
    if packet.protocol == GRE:
        return _in_gre(payload)
    if packet.protocol == UDP and port in VXLAN_PORTS:
        return BRIDGED, payload[16:]
    if packet.protocol == UDP and port in GENEVE_PORTS and len(payload) >= 16:  # noqa: PLR2004  # UDP and Geneve headers
        kind = int.from_bytes(payload[10:12], "big")
        return kind if kind in {IPV4, IPV6} else BRIDGED, payload[16 + (payload[8] & 0x3F) * 4 :]
    return 0, b""


def _in_gre(payload: bytes) -> tuple[int, bytes]:
    """Checksum, key and sequence number are four bytes each; version 0 without routing (RFC 2784, 2890)."""
    if len(payload) < 4 or payload[0] & 0x40 or payload[1] & 7:  # noqa: PLR2004  # flags, version and type
        return 0, b""
    optional = sum(4 for bit in (0x80, 0x20, 0x10) if payload[0] & bit)
    return int.from_bytes(payload[2:4], "big"), payload[4 + optional :]


def _quote(protocol: int, payload: bytes) -> bytes:
    """Return the packet that an ICMP error is about, or a redirect of IPv6 (RFC 4861, 4.5 and 4.6.3)."""
    kind = payload[0] if payload else ICMPV6_INFORMS
    if kind in ICMP_ERRORS if protocol == ICMP else kind < ICMPV6_INFORMS:
        return payload[8:]
    options = payload[40:] if protocol == ICMPV6 and kind == REDIRECT else b""
    while len(options) >= 8 and options[1]:  # noqa: PLR2004  # the least option
        if options[0] == REDIRECTED:
            return options[8:]
        options = options[options[1] * 8 :]
    return b""
