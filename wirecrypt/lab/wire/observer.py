"""What an observer on the wire sees: the judge of every claim about encryption. Reads pcap files, knows nothing of wirecrypt.

It looks into VLAN tags, IP in IP, and VXLAN and Geneve on their usual ports, as an eavesdropper would.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from wirecrypt.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Address = IPv4Address | IPv6Address

IPV4, IPV6, VLAN, QINQ = 0x0800, 0x86DD, 0x8100, 0x88A8
IPIP, TCP, UDP, IPV6_IN_IP, ROUTING, FRAGMENT, ESP, HOP, DESTINATION = 4, 6, 17, 41, 43, 44, 50, 0, 60
VXLAN_PORTS, GENEVE_PORTS = frozenset({4789, 8472}), frozenset({6081})
ESP_IN_UDP = 4500
_MAGIC = {0xA1B2C3D4: 1e-6, 0xA1B23C4D: 1e-9}


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """One IP header of a frame; *spi* is that of ESP, 0 for anything else."""

    source: Address
    target: Address
    protocol: int
    ports: tuple[int, int] = (0, 0)
    spi: int = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame: when (UNIX seconds), its IP headers from the outermost to the innermost readable one, all its bytes."""

    time: float
    headers: tuple[FrameHeader, ...]
    content: bytes


@dataclass(frozen=True, slots=True)
class Cleartext:
    """A packet between two pod prefixes that anybody on the wire can read."""

    time: float
    source: Address
    target: Address
    protocol: int
    ports: tuple[int, int]
    depth: int  # 0: plain; 1 and more: inside so many tunnels


class Observation:
    """Frames of a capture; `between` narrows it to a time window."""

    def __init__(self, frames: Iterable[Frame]) -> None:
        self.frames = list(frames)

    def between(self, start: float = 0.0, end: float = float("inf")) -> Observation:
        """Return the part of the capture from *start* until before *end*, in UNIX seconds of the guest's clock."""
        return Observation(frame for frame in self.frames if start <= frame.time < end)

    def cleartext(self, prefixes_a: Iterable[str], prefixes_b: Iterable[str]) -> list[Cleartext]:
        """Return every readable packet from an address in *prefixes_a* to one in *prefixes_b* or back, at any depth."""
        sides = [[ip_network(prefix) for prefix in prefixes] for prefixes in (prefixes_a, prefixes_b)]

        def inside(address: Address, side: int) -> bool:
            return any(address in prefix for prefix in sides[side] if prefix.version == address.version)

        return [
            Cleartext(frame.time, header.source, header.target, header.protocol, header.ports, depth)
            for frame in self.frames
            for depth, header in enumerate(frame.headers)
            if any(inside(header.source, side) and inside(header.target, 1 - side) for side in (0, 1))
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
        """Count ESP packets by (outer source, outer target, SPI)."""
        found = (header for frame in self.frames for header in frame.headers if header.spi)
        return Counter((str(header.source), str(header.target), header.spi) for header in found)


def read(path: Path, *, growing: bool = False) -> Observation:
    """Read a pcap file of Ethernet frames; LabError when it is none, or damaged: nothing may be judged by a part of it.

    A file that is *growing* may end within a frame, which is left out.
    """
    return Observation(frames(path.read_bytes(), path, growing=growing))


def frames(data: bytes, path: Path = Path(), *, growing: bool = False) -> Iterator[Frame]:
    """Yield the frames of a pcap file's content, times in UNIX seconds; LabError as `read` says."""
    for order in "<>":
        unit = _MAGIC.get(struct.unpack_from(order + "I", data)[0]) if len(data) >= 24 else None  # noqa: PLR2004  # file header
        if unit:
            break
    else:
        raise LabError("this is no pcap file", what=str(path))
    longest, kind = struct.unpack_from(order + "II", data, 16)
    if kind != 1:
        raise LabError("this is no capture of Ethernet frames", what=str(path), answer=f"link type {kind}")
    record, position = struct.Struct(order + "IIII"), 24
    while position + record.size <= len(data):
        seconds, fraction, size, original = record.unpack_from(data, position)
        if size > min(longest, original) or fraction * unit >= 1:
            raise LabError("the capture is damaged", what=str(path), answer=f"no frame begins at byte {position}")
        end = position + record.size + size
        if end > len(data):
            break
        content = data[position + record.size : end]
        position = end
        yield Frame(seconds + fraction * unit, tuple(_ethernet(content)), content)
    if position < len(data) and not growing:
        raise LabError("the capture ends within a frame", what=str(path), answer=f"at byte {position} of {len(data)}")


def _ethernet(data: bytes) -> Iterator[FrameHeader]:
    kind, position = int.from_bytes(data[12:14], "big"), 14
    while kind in {VLAN, QINQ}:
        kind, position = int.from_bytes(data[position + 2 : position + 4], "big"), position + 4
    if kind == IPV4:
        yield from _ipv4(data[position:])
    elif kind == IPV6:
        yield from _ipv6(data[position:])


def _ipv4(data: bytes) -> Iterator[FrameHeader]:
    if len(data) < 20 or data[0] >> 4 != 4:  # noqa: PLR2004  # version and least size of RFC 791
        return
    later = int.from_bytes(data[6:8], "big") & 0x1FFF
    payload = b"" if later else data[(data[0] & 15) * 4 :]
    yield from _transport(ip_address(data[12:16]), ip_address(data[16:20]), data[9], payload)


def _ipv6(data: bytes) -> Iterator[FrameHeader]:
    if len(data) < 40 or data[0] >> 4 != 6:  # noqa: PLR2004  # version and size of RFC 8200
        return
    protocol, payload = data[6], data[40:]
    while protocol in {HOP, ROUTING, DESTINATION, FRAGMENT} and len(payload) >= 8:  # noqa: PLR2004  # least extension header
        later = protocol == FRAGMENT and int.from_bytes(payload[2:4], "big") & 0xFFF8
        size = 8 if protocol == FRAGMENT else (payload[1] + 1) * 8
        protocol, payload = payload[0], b"" if later else payload[size:]
    yield from _transport(ip_address(data[8:24]), ip_address(data[24:40]), protocol, payload)


def _transport(source: Address, target: Address, protocol: int, payload: bytes) -> Iterator[FrameHeader]:
    ports, spi = (0, 0), 0
    if protocol in {TCP, UDP} and len(payload) >= 8:  # noqa: PLR2004  # a UDP header
        ports = struct.unpack_from("!HH", payload)
    if protocol == ESP and len(payload) >= 8:  # noqa: PLR2004  # SPI and sequence number
        (spi,) = struct.unpack_from("!I", payload)
    elif protocol == UDP and ESP_IN_UDP in ports and len(payload) >= 16:  # noqa: PLR2004  # with the UDP header
        (spi,) = struct.unpack_from("!I", payload, 8)  # 0 there: a packet of IKE
    yield FrameHeader(source, target, protocol, ports, spi)
    if protocol == IPIP:
        yield from _ipv4(payload)
    elif protocol == IPV6_IN_IP:
        yield from _ipv6(payload)
    elif protocol == UDP and ports[1] in VXLAN_PORTS:
        yield from _ethernet(payload[16:])
    elif protocol == UDP and ports[1] in GENEVE_PORTS and len(payload) >= 16:  # noqa: PLR2004  # UDP and Geneve headers
        yield from _ethernet(payload[16 + (payload[8] & 0x3F) * 4 :])
