"""Reading packets: what anybody on the wire could read of them, whatever they are wrapped in."""

import struct
from ipaddress import IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirecrypt.kernel.net.frames import ESP, IPV4, IPV6, IpHeader, Tunnels, headers
from wirecrypt.kernel.net.packet_capture import SNAP
from wirecrypt.model.xfrm import Address

TUNNELS = Tunnels(vxlan={8472}, geneve={6081})
UDP, TCP, ICMP, GRE, AH, ICMPV6, FRAGMENT = 17, 6, 1, 47, 51, 58, 44
A4, B4 = ip_address("10.1.0.2"), ip_address("10.2.0.2")
A6, B6 = ip_address("fd00:1::2"), ip_address("fd00:2::2")
C4, D4 = ip_address("192.0.2.1"), ip_address("192.0.2.2")
C6, D6 = ip_address("fd00:3::1"), ip_address("fd00:3::2")
ADDRESSES = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)), st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6))
)


def packet(  # noqa: PLR0913 - the fields of the header
    source: Address, target: Address, protocol: int, payload: bytes, *, fragment: int = 0, hops: int = 64
) -> tuple[int, bytes]:
    """Return the EtherType and bytes of an IP packet."""
    if isinstance(source, IPv6Address):
        return IPV6, struct.pack("!IHBB", 6 << 28, len(payload), protocol, hops) + source.packed + target.packed + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, fragment, hops, protocol, 0)
    return IPV4, head + source.packed + target.packed + payload


def udp(sport: int, dport: int, payload: bytes = b"") -> bytes:
    return struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload


def ethernet(kind: int, data: bytes) -> bytes:
    return bytes(12) + kind.to_bytes(2, "big") + data


def read(kind: int, data: bytes) -> list[IpHeader]:
    return list(headers(kind, data, TUNNELS))


@given(ADDRESSES, st.integers(0, 65535), st.integers(0, 65535).filter(lambda p: p not in (8472, 6081)))
def test_addresses_and_ports(ends: tuple[Address, Address], sport: int, dport: int) -> None:
    """Addresses and ports of a plain packet of either family are read."""
    assert read(*packet(*ends, UDP, udp(sport, dport))) == [IpHeader(*ends, UDP, sport, dport, 0, "")]


@given(ADDRESSES, st.integers(1, 2**32 - 1))
def test_the_spi_of_esp(ends: tuple[Address, Address], spi: int) -> None:
    """ESP gives its SPI and nothing from inside."""
    payload = spi.to_bytes(4, "big") + bytes(40)
    assert read(*packet(*ends, ESP, payload)) == [IpHeader(*ends, ESP, 0, 0, spi, "")]


@given(
    ADDRESSES, st.sampled_from([("vxlan", 8472, bytes(8)), ("geneve", 6081, bytes(8)), ("geneve", 6081, b"\x02" + bytes(15))])
)
def test_overlays_are_looked_through(ends: tuple[Address, Address], overlay: tuple[str, int, bytes]) -> None:
    """The packet inside VXLAN or Geneve (with options) is read, with the tunnel's name."""
    name, port, head = overlay
    inner = ethernet(*packet(*ends, TCP, struct.pack("!HH", 1000, 80) + bytes(16)))
    found = read(*packet(A4, B4, UDP, udp(5000, port, head + inner)))
    assert found == [IpHeader(A4, B4, UDP, 5000, port, 0, ""), IpHeader(*ends, TCP, 1000, 80, 0, name)]


@pytest.mark.parametrize(("inner", "protocol"), [((A4, B4), 4), ((A6, B6), 41)])
def test_ip_in_ip(inner: tuple[Address, Address], protocol: int) -> None:
    """IP in IP of both families is looked through, also in turn."""
    _, data = packet(*inner, ICMP, b"ping")
    _, twice = packet(A4, B4, protocol, data)
    assert [h.inside for h in read(*packet(A6, B6, 4, twice))] == ["", "ipip", "ipip, ipip"]


def test_vlan_tags() -> None:
    """Tags, also two, are skipped."""
    kind, data = packet(A4, B4, UDP, udp(1, 2))
    tagged = b"\x00\x05" + kind.to_bytes(2, "big") + data
    assert read(0x88A8, b"\x00\x07\x81\x00" + tagged) == [IpHeader(A4, B4, UDP, 1, 2, 0, "")]


def test_later_fragments_have_no_ports() -> None:
    """What looks like ports or an SPI in a later fragment is payload."""
    assert read(*packet(A4, B4, UDP, udp(1, 2), fragment=100)) == [IpHeader(A4, B4, UDP, 0, 0, 0, "")]
    assert read(*packet(A4, B4, ESP, bytes(range(1, 20)), fragment=100)) == [IpHeader(A4, B4, ESP, 0, 0, 0, "")]
    later = struct.pack("!BBHI", ESP, 0, 8 << 3, 1) + bytes(range(1, 20))
    assert read(*packet(A6, B6, 44, later)) == [IpHeader(A6, B6, ESP, 0, 0, 0, "")]


@pytest.mark.parametrize("kind", [3, 4, 5, 11, 12])
def test_what_an_icmp_error_quotes(kind: int) -> None:
    """The packet that an error is about is read as far as it is there, and marked as quoted."""
    _, about = packet(A4, B4, UDP, udp(7, 8, b"more"))
    found = read(*packet(C4, D4, ICMP, bytes([kind]) + bytes(7) + about[:28]))
    assert found == [IpHeader(C4, D4, ICMP, 0, 0, 0, ""), IpHeader(A4, B4, UDP, 7, 8, 0, "icmp error")]
    assert [h.quoted for h in found] == [False, True]


@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_what_an_icmpv6_error_quotes(kind: int) -> None:
    """The same in ICMPv6."""
    _, about = packet(A6, B6, UDP, udp(7, 8))
    found = read(*packet(C6, D6, ICMPV6, bytes([kind]) + bytes(7) + about))
    assert found == [IpHeader(C6, D6, ICMPV6, 0, 0, 0, ""), IpHeader(A6, B6, UDP, 7, 8, 0, "icmp error")]


def test_what_a_redirect_of_ipv6_quotes() -> None:
    """It stands in an option, here behind a link-layer address."""
    _, about = packet(A6, B6, UDP, udp(7, 8))
    options = b"\x02\x01" + bytes(6) + b"\x04\x07" + bytes(6) + about
    found = read(*packet(C6, D6, ICMPV6, b"\x89" + bytes(39) + options, hops=255))
    assert found[1:] == [IpHeader(A6, B6, UDP, 7, 8, 0, "icmp error")]


def test_what_an_error_quotes_of_a_tunnel() -> None:
    """Both the tunnel's packet and what it carried, and that of a later fragment."""
    _, later = packet(A4, B4, UDP, b"rest", fragment=100)
    _, tunnel = packet(C4, D4, 4, later)
    found = read(*packet(D4, C4, ICMP, b"\x03" + bytes(7) + tunnel))
    assert [(h.source, h.inside, h.quoted) for h in found] == [
        (D4, "", False), (C4, "icmp error", True), (A4, "icmp error, ipip", True),
    ]  # fmt: skip


@pytest.mark.parametrize(("protocol", "kind"), [(ICMP, 0), (ICMP, 8), (ICMPV6, 128), (ICMPV6, 129)])
def test_other_messages_quote_nothing(protocol: int, kind: int) -> None:
    """What an echo carries is data."""
    _, about = packet(A4, B4, UDP, udp(7, 8))
    assert [h.protocol for h in read(*packet(C6, D6, protocol, bytes([kind]) + bytes(7) + about))] == [protocol]


@pytest.mark.parametrize("flags", [0, 0x2000, 0xB000])
@pytest.mark.parametrize("ends", [(A4, B4), (A6, B6)])
@pytest.mark.parametrize("bridged", [False, True])
def test_gre(ends: tuple[Address, Address], flags: int, *, bridged: bool) -> None:
    """GRE with and without its optional words is looked through, also if it carries Ethernet."""
    kind, data = packet(*ends, UDP, udp(7, 8))
    kind, data = (0x6558, ethernet(kind, data)) if bridged else (kind, data)
    words = bytes(4 * flags.bit_count())
    found = read(*packet(C6, D6, GRE, struct.pack("!HH", flags, kind) + words + data))
    assert found == [IpHeader(C6, D6, GRE, 0, 0, 0, ""), IpHeader(*ends, UDP, 7, 8, 0, "gre")]


def test_geneve_without_ethernet() -> None:
    """Geneve may carry IP at once."""
    kind, data = packet(A6, B6, UDP, udp(7, 8))
    found = read(*packet(C4, D4, UDP, udp(5000, 6081, struct.pack("!HHI", 0, kind, 0) + data)))
    assert found[1:] == [IpHeader(A6, B6, UDP, 7, 8, 0, "geneve")]


@pytest.mark.parametrize("ends", [(A4, B4), (A6, B6)])
def test_ah_is_skipped(ends: tuple[Address, Address]) -> None:
    """AH hides nothing; its length counts words of four bytes."""
    head = struct.pack("!BBHIII", UDP, 4, 0, 1, 1, 0) + bytes(8)
    assert read(*packet(*ends, AH, head + udp(7, 8))) == [IpHeader(*ends, UDP, 7, 8, 0, "")]


@pytest.mark.parametrize("kind", [135, 136])
@pytest.mark.parametrize(("size", "hops", "expected"), [(32, 255, True), (64, 255, True), (65, 255, False), (32, 64, False)])
def test_neighbour_discovery_is_told_apart(kind: int, size: int, hops: int, *, expected: bool) -> None:
    """It comes from this link, and has no room for a packet; anything else may be a disguise."""
    (found,) = read(*packet(A6, B6, ICMPV6, bytes([kind]) + bytes(size - 1), hops=hops))
    assert found.neighbour is expected


def test_what_only_resembles_neighbour_discovery() -> None:
    """Another type, a code, another family, behind an extension header, in a tunnel."""
    message = b"\x88" + bytes(31)
    _, inner = packet(A6, B6, ICMPV6, message, hops=255)
    for each in (
        packet(A6, B6, ICMPV6, b"\x80" + bytes(31), hops=255),
        packet(A6, B6, ICMPV6, b"\x88\x01" + bytes(30), hops=255),
        packet(A4, B4, ICMPV6, message, hops=255),
        packet(A6, B6, 60, bytes([ICMPV6, 0]) + bytes(6) + message, hops=255),
        packet(A6, B6, FRAGMENT, struct.pack("!BBHI", ICMPV6, 0, 1, 1) + message, hops=255),
        packet(C4, D4, 41, inner),
    ):
        assert not any(h.neighbour for h in read(*each))


def test_a_header_without_length_ends_the_reading() -> None:
    """It does not hold itself."""
    _, data = packet(A4, B4, 4, b"")
    assert read(IPV4, b"\x40" + data[1:]) == []


def test_what_the_capture_takes_of_a_packet_is_enough() -> None:
    """An error about a packet in VXLAN, an error in VXLAN, a tag, and GRE: all over IPv6, with the innermost ports."""
    kind, inner = packet(A6, B6, UDP, udp(7, 8, bytes(1000)))
    tagged = bytes(12) + b"\x81\x00\x00\x05" + kind.to_bytes(2, "big")
    _, error = packet(A6, B6, ICMPV6, b"\x01" + bytes(7) + inner)
    _, overlay = packet(C6, D6, UDP, udp(5000, 8472, bytes(8) + tagged + inner))
    for each in (
        packet(C6, D6, ICMPV6, b"\x01" + bytes(7) + inner),
        packet(C6, D6, ICMPV6, b"\x01" + bytes(7) + overlay),
        packet(C6, D6, UDP, udp(5000, 8472, bytes(8) + tagged + error)),
        packet(C6, D6, UDP, udp(5000, 6081, b"\x02" + bytes(15) + tagged + error)),
        packet(C6, D6, GRE, struct.pack("!HH", 0xB000, 0x6558) + bytes(12) + tagged + error),
    ):
        assert read(each[0], each[1][:SNAP])[-1][:5] == (A6, B6, UDP, 7, 8)


def test_extension_headers_are_skipped() -> None:
    """Hop-by-hop and destination options before UDP are no obstacle."""
    options = bytes([60, 0]) + bytes(6) + bytes([UDP, 1]) + bytes(14)
    assert read(*packet(A6, B6, 0, options + udp(7, 8))) == [IpHeader(A6, B6, UDP, 7, 8, 0, "")]


@given(st.sampled_from([IPV4, IPV6, 0x8100, 0x0806]), st.binary(max_size=200))
def test_no_bytes_are_an_error(kind: int, data: bytes) -> None:
    """Whatever arrives, reading ends without an error."""
    read(kind, data)


@given(st.integers(0, 200))
def test_what_is_cut_off_is_read_as_far_as_it_goes(size: int) -> None:
    """A snapshot that ends anywhere gives a prefix of what the whole packet gives."""
    kind, inner = packet(A4, B4, UDP, udp(1, 2, bytes(30)))
    complete = packet(A6, B6, UDP, udp(5000, 8472, bytes(8) + ethernet(kind, inner)))
    short = [h[:3] for h in read(complete[0], complete[1][:size])]
    assert short == [h[:3] for h in read(*complete)][: len(short)]
