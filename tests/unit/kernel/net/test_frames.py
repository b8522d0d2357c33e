"""Reading packets: what anybody on the wire could read of them, whatever they are wrapped in."""

import struct
from ipaddress import IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirecrypt.kernel.net.frames import ESP, IPV4, IPV6, IpHeader, Tunnels, headers
from wirecrypt.model.xfrm import Address

TUNNELS = Tunnels(vxlan={8472}, geneve={6081})
UDP, TCP, ICMP = 17, 6, 1
A4, B4 = ip_address("10.1.0.2"), ip_address("10.2.0.2")
A6, B6 = ip_address("fd00:1::2"), ip_address("fd00:2::2")
ADDRESSES = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)), st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6))
)


def packet(source: Address, target: Address, protocol: int, payload: bytes, *, fragment: int = 0) -> tuple[int, bytes]:
    """Return the EtherType and bytes of an IP packet."""
    if isinstance(source, IPv6Address):
        return IPV6, struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + source.packed + target.packed + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, fragment, 64, protocol, 0)
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
