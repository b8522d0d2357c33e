"""Bytes that attackers send: IP of both families with whatever header they like, tunnels, ESP that is none. Pure."""

from __future__ import annotations

import itertools
import struct
from ipaddress import ip_address

ICMP, IPIP, TCP, UDP, IPV6, ROUTING, FRAGMENT, GRE, ESP, AH, ICMPV6, OPTIONS = 1, 4, 6, 17, 41, 43, 44, 47, 50, 51, 58, 60
TYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}
PORT = 21998  # of datagrams that a listener on a node would take
MORE = 0x2000  # IPv4: more fragments
TCP_HEAD = struct.pack("!HHIIBBHHH", 7, 9, 1, 1, 0x50, 0x10, 0xFFFF, 0, 0)  # an ACK without a checksum
_numbers = itertools.count(1)


def version(address: str) -> int:
    """Return the family of an address, 4 or 6."""
    return int(ip_address(address).version)


def ip(source: str, target: str, proto: int, payload: bytes, *, hops: int = 64) -> bytes:
    """Return a packet of the family of its addresses."""
    return (ipv4 if version(target) == 4 else ipv6)(source, target, proto, payload, hops=hops)  # noqa: PLR2004 - the family


def ipv4(  # noqa: PLR0913 - the header's fields
    source: str, target: str, proto: int, payload: bytes, *, hops: int = 64, options: bytes = b"", fragment: int = 0,
) -> bytes:  # fmt: skip
    """Return an IPv4 packet; *fragment* is the field of flags and offset (RFC 791, 3.1)."""
    size = 20 + len(options)
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x40 | size // 4, 0, size + len(payload), next(_numbers) & 0xFFFF, fragment, hops, proto, 0,
        ip_address(source).packed, ip_address(target).packed,
    ) + options  # fmt: skip
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ipv6(source: str, target: str, proto: int, payload: bytes, *, hops: int = 64) -> bytes:
    """Return an IPv6 packet."""
    head = struct.pack("!IHBB", 6 << 28, len(payload), proto, hops)
    return head + ip_address(source).packed + ip_address(target).packed + payload


def datagram(source: str, target: str, payload: bytes, *, port: int = PORT, source_port: int = PORT) -> bytes:
    """Return a UDP header and its payload, with the checksum for these addresses."""
    head = struct.pack("!HHHH", source_port, port, 8 + len(payload), 0)
    return head[:6] + struct.pack("!H", _over(source, target, UDP, head + payload)) + payload


def udp(source: str, target: str, payload: bytes, *, port: int = PORT, hops: int = 64) -> bytes:
    """Return a UDP packet."""
    return ip(source, target, UDP, datagram(source, target, payload, port=port), hops=hops)


def icmp6(source: str, target: str, body: bytes, *, hops: int = 64) -> bytes:
    """Return an ICMPv6 packet: *body* is type, code, two bytes for the checksum, and the rest."""
    body = body[:2] + struct.pack("!H", _over(source, target, ICMPV6, body[:2] + b"\0\0" + body[4:])) + body[4:]
    return ipv6(source, target, ICMPV6, body, hops=hops)


def icmp4(source: str, target: str, body: bytes) -> bytes:
    """Return an ICMP packet; *body* as for `icmp6`."""
    body = body[:2] + struct.pack("!H", checksum(body[:2] + b"\0\0" + body[4:])) + body[4:]
    return ipv4(source, target, ICMP, body)


def esp(spi: int, payload: bytes, *, number: int = 1) -> bytes:
    """Return what looks like ESP and hides nothing."""
    return struct.pack("!II", spi, number) + payload


def gre(inner: bytes, kind: int, *, key: bool = False) -> bytes:
    """Return GRE of version 0 around *inner* (RFC 2784, 2890)."""
    return struct.pack("!HH", 0x2000 if key else 0, kind) + (b"\0\0\0\7" if key else b"") + inner


def vxlan(inner: bytes) -> bytes:
    """Return VXLAN's header around an Ethernet frame (RFC 7348, 5)."""
    return b"\x08\0\0\0\0\0\7\0" + inner


def geneve(inner: bytes, kind: int) -> bytes:
    """Return Geneve's header without options (RFC 8926, 3.4)."""
    return struct.pack("!HH", 0, kind) + b"\0\0\7\0" + inner


def ether(packet: bytes, *, to: bytes = bytes.fromhex("027763aaaa01"), of: bytes = bytes.fromhex("027763aaaa02")) -> bytes:
    """Return an Ethernet frame around an IP packet."""
    return to + of + TYPES[packet[0] >> 4] + packet


def authentication(proto: int) -> bytes:
    """Return an authentication header of 24 bytes before *proto* (RFC 4302, 2)."""
    return bytes([proto, 4, 0, 0]) + b"\0\0\1\0" + b"\0\0\0\1" + bytes(12)


def extension(proto: int) -> bytes:
    """Return eight bytes of options, all padding, before *proto* (RFC 8200, 4.2)."""
    return bytes([proto, 0, 1, 4]) + bytes(4)


def fragment6(proto: int, offset: int, *, more: bool) -> bytes:
    """Return a fragment header before *proto*; *offset* in bytes, a multiple of eight (RFC 8200, 4.5)."""
    return struct.pack("!BBHI", proto, 0, offset | more, next(_numbers))


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return int(~(total + (total >> 16)) & 0xFFFF)


def _over(source: str, target: str, proto: int, data: bytes) -> int:
    """Return the checksum with the pseudo header (RFC 768; RFC 8200, 8.1); zero is told as all ones."""
    ends = ip_address(source).packed + ip_address(target).packed
    return checksum(ends + struct.pack("!II", len(data), proto) + data) or 0xFFFF
