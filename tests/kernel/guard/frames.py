"""Frames byte by byte, for what no socket would send. Checksums are zero: nobody on the way checks them."""

from __future__ import annotations

import struct
from ipaddress import ip_address

IPV4, IPV6, ARP, BRIDGING = 0x0800, 0x86DD, 0x0806, 0x6558
ICMP, IPIP, TCP, UDP, IPV6_IN, ROUTING, FRAGMENT, GRE, ESP, AH, ICMPV6, OPTIONS = 1, 4, 6, 17, 41, 43, 44, 47, 50, 51, 58, 60
BROADCAST, SENDER = b"\xff" * 6, b"\x02\x00\x00\x00\x00\x09"


def ether(payload: bytes, *, kind: int | None = None, tags: tuple[tuple[int, int], ...] = ()) -> bytes:
    """Return an Ethernet frame around *payload*; *tags* are (ethertype, VLAN id), the outermost first."""
    kind = kind or (IPV6 if payload[0] >> 4 == 6 else IPV4)
    vlan = b"".join(struct.pack("!HH", tpid, vid) for tpid, vid in tags)
    return BROADCAST + SENDER + vlan + struct.pack("!H", kind) + payload


def ip(src: str, dst: str, proto: int, payload: bytes, *, hops: int = 64) -> bytes:
    """Return an IPv4 or IPv6 packet, by the addresses' family."""
    if ip_address(src).version == 4:
        return ipv4(src, dst, proto, payload, hops=hops)
    head = struct.pack("!IHBB", 6 << 28, len(payload), proto, hops)
    return head + ip_address(src).packed + ip_address(dst).packed + payload


def ipv4(  # noqa: PLR0913 - the fields of the header
    src: str, dst: str, proto: int, payload: bytes, *, hops: int = 64, options: bytes = b"", offset: int = 0, more: bool = False
) -> bytes:
    """Return an IPv4 packet; *offset* is the fragment's, in units of eight bytes, *more* says that more follow."""
    words = 5 + len(options) // 4
    head = struct.pack("!BBHHHBBH", 4 << 4 | words, 0, words * 4 + len(payload), 7, more << 13 | offset, hops, proto, 0)
    return head + ip_address(src).packed + ip_address(dst).packed + options + payload


def fragment(  # noqa: PLR0913 - the fields of the header
    src: str, dst: str, proto: int, payload: bytes, *, offset: int = 185, more: bool = False, hops: int = 64
) -> bytes:
    """Return a fragment of an IPv4 or IPv6 packet, by the addresses' family; units as in `ipv4`."""
    if ip_address(src).version == 4:
        return ipv4(src, dst, proto, payload, hops=hops, offset=offset, more=more)
    return ip(src, dst, FRAGMENT, struct.pack("!BBHI", proto, 0, offset << 3 | more, 9) + payload, hops=hops)


def esp(sender: int, payload: bytes) -> bytes:
    """Return ESP whose SPI names *sender* as its sender."""
    return struct.pack("!II", 3 << 26 | 2 << 20 | sender << 4 | 1, 7) + payload


def icmp(kind: int, payload: bytes, *, code: int = 0) -> bytes:
    """Return a message of ICMP or ICMPv6."""
    return struct.pack("!BBHI", kind, code, 0, 0) + payload


def udp(payload: bytes, *, sport: int = 4000, dport: int = 5000) -> bytes:
    """Return a UDP datagram."""
    return struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload


def tcp(payload: bytes, *, sport: int = 4000, dport: int = 5000) -> bytes:
    """Return a TCP segment."""
    return struct.pack("!HHIIHHHH", sport, dport, 0, 0, 5 << 12, 0, 0, 0) + payload


def vxlan(frame: bytes, *, port: int = 4789) -> bytes:
    """Return a UDP datagram with a VXLAN header and *frame*."""
    return udp(struct.pack("!II", 0x08000000, 1 << 8) + frame, dport=port)


def geneve(inner: bytes, *, kind: int, options: bytes = b"") -> bytes:
    """Return a UDP datagram with a Geneve header, options and *inner*."""
    return udp(struct.pack("!BBHI", len(options) // 4, 0, kind, 1 << 8) + options + inner, dport=6081)


def gre(inner: bytes, *, kind: int, checksum: bool = False, key: bool = False, sequence: bool = False) -> bytes:
    """Return a GRE header with its optional words, and *inner*."""
    words = b"\0\0\0\0" * (checksum + key + sequence)
    return struct.pack("!HH", checksum << 15 | key << 13 | sequence << 12, kind) + words + inner


def extension(after: int, payload: bytes, *, words: int = 0) -> bytes:
    """Return an IPv6 extension header of 8 * (words + 1) bytes, then *payload* of protocol *after*."""
    return struct.pack("!BB", after, words) + b"\0" * (6 + 8 * words) + payload
