"""The bytes of XFRM that states and policies share: numbers, attributes, addresses, selectors, marks.

Pure: no I/O. Layouts are those of include/uapi/linux/xfrm.h on 64-bit kernels; integers are in host order, but for
addresses, ports and SPIs.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from wirecrypt.model.mark import Mark
from wirecrypt.model.xfrm import Address, Network, PolicyKey, SaLimits, Selector

NLM_F_REQUEST: Final = 0x1
NLM_F_ACK: Final = 0x4
NLM_F_DUMP: Final = 0x300
CHANGE: Final = NLM_F_REQUEST | NLM_F_ACK  # the message type alone says whether XFRM adds or replaces
GET: Final = NLM_F_REQUEST
DUMP: Final = NLM_F_REQUEST | NLM_F_DUMP

ESP: Final = 50
TUNNEL: Final = 1
SPI_BYTES: Final = 4
SELECTOR_SIZE: Final = 56
EXACT_PORT: Final = 0xFFFF

_ATTRIBUTE: Final = struct.Struct("=HH")
_ATTRIBUTE_TYPE: Final = 0x3FFF  # without the flags "nested" and "network order"
_MARK: Final = struct.Struct("=II")
_SELECTOR: Final = struct.Struct("=16s16s4HH3B3xiI")
_LIFETIME: Final = struct.Struct("=8Q")
_ADDRESS_SIZE: Final = 16
_IPV4_SIZE: Final = 4
_FAMILY_OF_VERSION: Final = {4: int(socket.AF_INET), 6: int(socket.AF_INET6)}


class Message(IntEnum):
    """XFRM_MSG_*: those that are sent or understood here. There is no flush."""

    NEWSA = 0x10
    DELSA = 0x11
    GETSA = 0x12
    NEWPOLICY = 0x13
    DELPOLICY = 0x14
    GETPOLICY = 0x15
    EXPIRE = 0x18
    UPDPOLICY = 0x19
    UPDSA = 0x1A
    NEWSPDINFO = 0x24
    GETSPDINFO = 0x25


class Attribute(IntEnum):
    """XFRMA_*: those that an `Sa` or a `Policy` can express, or that say nothing about them (LASTUSED, PAD).

    SEC_CTX and IF_ID are read only: they are part of what tells two policies apart.
    """

    TMPL = 5
    SEC_CTX = 8
    SRCADDR = 13
    LASTUSED = 15
    POLICY_TYPE = 16
    ALG_AEAD = 18
    MARK = 21
    REPLAY_ESN_VAL = 23
    ADDRESS_FILTER = 26
    PAD = 27
    SET_MARK = 29
    SET_MARK_MASK = 30
    IF_ID = 31


@dataclass(frozen=True, slots=True)
class Request:
    """One netlink request without its header; the payload may hold a key, so it has no text form."""

    type: Message
    flags: int
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Foreign:
    """An object of the kernel that `Sa` or `Policy` cannot express: *what* it is and *why* it cannot.

    *name*: what a policy of ours would be called that replaced it; None where none of ours could.
    """

    what: str
    why: str
    name: PolicyKey | None = None

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


class InexpressibleError(ValueError):
    """What the kernel listed has no equal among our values; never leaves this package."""


def expect(condition: bool, why: str) -> None:  # noqa: FBT001 - reads as the condition it states
    """Raise `InexpressibleError` with *why* unless the condition holds."""
    if not condition:
        raise InexpressibleError(why)


def attribute(kind: Attribute | int, data: bytes) -> bytes:
    """Return one attribute, padded to 4 bytes."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(data), kind) + data + bytes(-len(data) % 4)


def attributes(data: bytes, offset: int) -> dict[int, bytes]:
    """Return the attributes of *data* from *offset* on, by number."""
    found = {}
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _ATTRIBUTE_TYPE] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += length + -length % 4
    return found


def foreign_attributes(found: dict[int, bytes], known: frozenset[int]) -> None:
    """Raise `InexpressibleError` when there is an attribute that our values do not have."""
    others = sorted(found.keys() - known)
    expect(not others, f"has attributes {others} that wirecrypt never sets")


def family(address: Address | Network) -> int:
    """Return AF_INET or AF_INET6."""
    return _FAMILY_OF_VERSION[address.version]


def pack_address(address: Address) -> bytes:
    """Return xfrm_address_t: 16 bytes, IPv4 first and zeros behind."""
    return address.packed.ljust(_ADDRESS_SIZE, b"\0")


def unpack_address(raw: bytes, af: int) -> Address:
    """Return the address in an xfrm_address_t of that family."""
    if af == socket.AF_INET:
        return IPv4Address(raw[:_IPV4_SIZE])
    expect(af == socket.AF_INET6, f"address family {af}")
    return IPv6Address(raw)


def pack_selector(selector: Selector) -> bytes:
    """Return struct xfrm_selector: prefixes, protocol and exact ports (0: any)."""
    dport, sport = selector.dport, selector.sport
    return _SELECTOR.pack(
        pack_address(selector.dst.network_address),
        pack_address(selector.src.network_address),
        socket.htons(dport),
        EXACT_PORT if dport else 0,
        socket.htons(sport),
        EXACT_PORT if sport else 0,
        family(selector.dst),
        selector.dst.prefixlen,
        selector.src.prefixlen,
        selector.proto,
        0,
        0,
    )


def unpack_selector(raw: bytes) -> Selector:
    """Return the selector: prefixes, protocol, ports (of ICMP: type and code).

    Raises `InexpressibleError` for port ranges, link indexes and users.
    """
    dst, src, dport, dmask, sport, smask, af, dlen, slen, proto, ifindex, user = _SELECTOR.unpack(raw)
    expect(dmask == (EXACT_PORT if dport else 0) and smask == (EXACT_PORT if sport else 0), "selects a range of ports")
    expect(ifindex == 0 and user == 0, "selects a link or a user")
    return Selector(
        src=_network(src, slen, af),
        dst=_network(dst, dlen, af),
        proto=proto,
        sport=socket.ntohs(sport),
        dport=socket.ntohs(dport),
    )


def pack_limits(limits: SaLimits) -> bytes:
    """Return struct xfrm_lifetime_cfg: bytes and packets, and no time limit at all."""
    packets = limits.soft_packets, limits.hard_packets
    return _LIFETIME.pack(limits.soft_bytes, limits.hard_bytes, *packets, 0, 0, 0, 0)


def unpack_limits(values: tuple[int, ...]) -> SaLimits:
    """Return the limits in the 8 numbers of a struct xfrm_lifetime_cfg."""
    expect(not any(values[4:]), "has a time limit")
    return SaLimits(soft_bytes=values[0], hard_bytes=values[1], soft_packets=values[2], hard_packets=values[3])


def pack_mark(mark: Mark | None) -> bytes:
    """Return XFRMA_MARK, or nothing without a mark."""
    return attribute(Attribute.MARK, _MARK.pack(mark.value, mark.mask)) if mark else b""


def unpack_mark(found: dict[int, bytes]) -> Mark | None:
    """Return the mark of XFRMA_MARK, None without one."""
    raw = found.get(Attribute.MARK)
    return Mark(*_MARK.unpack(raw)) if raw else None


def _network(raw: bytes, length: int, af: int) -> Network:
    address = unpack_address(raw, af)
    try:
        if isinstance(address, IPv4Address):
            return IPv4Network((address, length))
        return IPv6Network((address, length))
    except ValueError as e:
        raise InexpressibleError("a prefix has bits behind its length") from e
