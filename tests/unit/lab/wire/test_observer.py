"""The observer reads what an eavesdropper reads, and nothing that is encrypted."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from pathlib import Path

import pytest

from wirecrypt.errors import LabError
from wirecrypt.lab.wire import observer

PODS_1, PODS_2 = ["10.1.0.0/24", "fd00:11::/64"], ["10.2.0.0/24", "fd00:12::/64"]
NODE_1, NODE_2 = ["192.0.2.11/32", "fd00:2::11/128"], ["192.0.2.12/32", "fd00:2::12/128"]
ENDS4, ENDS6 = ("192.0.2.11", "192.0.2.12"), ("fd00:2::11", "fd00:2::12")


def ipv4(source: str, target: str, protocol: int, payload: bytes, *, offset: int = 0) -> bytes:
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, offset, 64, protocol, 0)
    return header + ip_address(source).packed + ip_address(target).packed + payload


def ipv6(source: str, target: str, protocol: int, payload: bytes, *, hops: int = 64) -> bytes:
    header = struct.pack("!IHBB", 6 << 28, len(payload), protocol, hops)
    return header + ip_address(source).packed + ip_address(target).packed + payload


def udp(source: int, target: int, payload: bytes) -> bytes:
    return struct.pack("!HHHH", source, target, 8 + len(payload), 0) + payload


def ethernet(packet: bytes) -> bytes:
    return bytes(12) + (b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd") + packet


def pcap(*frames: bytes, magic: int = 0xA1B2C3D4, order: str = "<") -> observer.Observation:
    return observer.Observation(observer.frames(content(*frames, magic=magic, order=order)))


def content(*frames: bytes, magic: int = 0xA1B2C3D4, order: str = "<") -> bytes:
    data = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 262144, 1)
    for number, frame in enumerate(frames):
        data += struct.pack(order + "IIII", 1000 + number, 500000, len(frame), len(frame)) + frame
    return data


def fragment(protocol: int, offset: int, payload: bytes) -> bytes:
    """Return an IPv6 fragment header, *offset* in bytes, and *payload*."""
    return struct.pack("!BBHI", protocol, 0, offset, 7) + payload


def gre(kind: int, payload: bytes, *, flags: int = 0) -> bytes:
    """Return a GRE header with as many words behind it as *flags* want, and *payload*."""
    return struct.pack("!HH", flags, kind) + bytes(4 * flags.bit_count()) + payload


INNER = ipv4("10.1.0.2", "10.2.0.3", 17, udp(1, 2, b"secret words"))
VXLAN = udp(50000, 8472, bytes(8) + ethernet(INNER))
GENEVE = udp(50000, 6081, b"\x01" + bytes(7) + bytes(4) + ethernet(INNER))
INNER6 = ipv6("fd00:11::2", "fd00:12::3", 17, udp(1, 2, b"secret words"))
LATER6 = ipv6("fd00:11::2", "fd00:12::3", 44, fragment(17, 1232, b"rest"))
ESP = struct.pack("!II", 0x1001, 1) + INNER
AH = struct.pack("!BBHIII", 17, 4, 0, 1, 1, 0) + bytes(8)  # before UDP; 24 bytes are six words
NEIGHBOUR = bytes(20) + b"\x02\x01" + bytes(6)  # behind the type: checksum, target, one link-layer address


@pytest.mark.parametrize(
    ("packet", "depth"),
    [
        pytest.param(INNER, 0, id="plain"),
        pytest.param(ipv4("192.0.2.11", "192.0.2.12", 17, VXLAN), 1, id="vxlan"),
        pytest.param(ipv6("fd00:2::11", "fd00:2::12", 17, VXLAN), 1, id="vxlan over IPv6"),
        pytest.param(ipv4("192.0.2.11", "192.0.2.12", 17, GENEVE), 1, id="geneve with options"),
        pytest.param(ipv4("192.0.2.11", "192.0.2.12", 4, INNER), 1, id="IP in IP"),
        pytest.param(ipv6("fd00:12::3", "fd00:11::2", 6, bytes(20)), 0, id="IPv6, the other way"),
        pytest.param(ipv6("fd00:11::2", "fd00:12::3", 0, b"\x11\x00" + bytes(6) + udp(1, 2, b"")), 0, id="extension header"),
        pytest.param(ipv4("10.1.0.2", "10.2.0.3", 17, udp(1, 2, b"begin"), offset=0x2000), 0, id="first fragment"),
        pytest.param(ipv4("10.1.0.2", "10.2.0.3", 17, b"rest", offset=100), 0, id="later fragment"),
        pytest.param(ipv6("fd00:11::2", "fd00:12::3", 44, fragment(17, 1, udp(1, 2, b"begin"))), 0, id="first fragment, IPv6"),
        pytest.param(LATER6, 0, id="later fragment, IPv6"),
        pytest.param(ipv4(*ENDS4, 41, LATER6), 1, id="later fragment in 6in4"),
        pytest.param(ipv4(*ENDS4, 17, VXLAN, offset=0x2000), 1, id="first fragment of a tunnel"),
        pytest.param(ipv4(*ENDS4, 17, udp(50000, 6081, bytes(2) + b"\x08\x00" + bytes(4) + INNER)), 1, id="geneve of IP"),
        pytest.param(ipv6(*ENDS6, 41, ipv4(*ENDS4, 4, INNER)), 2, id="IP in IP in IP, whatever the protocol says"),
        pytest.param(ipv4("10.1.0.2", "10.2.0.3", 51, AH + udp(1, 2, b"")), 0, id="AH"),
        pytest.param(ipv6(*ENDS6, 51, b"\x29" + AH[1:] + INNER6), 1, id="AH around IP in IP"),
        pytest.param(ipv4(*ENDS4, 47, gre(0x0800, INNER)), 1, id="GRE"),
        pytest.param(ipv6(*ENDS6, 47, gre(0x86DD, INNER6, flags=0x2000)), 1, id="GRE with a key, of IPv6"),
        pytest.param(ipv4(*ENDS4, 47, gre(0x6558, ethernet(INNER), flags=0xB000)), 1, id="GRE of Ethernet, with every option"),
    ],
)
def test_readable_pod_packets_are_found_at_any_depth(packet: bytes, depth: int) -> None:
    """Inside tunnels, behind extension headers, in fragments."""
    found = pcap(ethernet(packet)).cleartext(PODS_1, PODS_2)
    assert [entry.depth for entry in found] == [depth]


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(ipv4(*ENDS4, 50, ESP), id="ESP"),
        pytest.param(ipv6(*ENDS6, 50, ESP), id="ESP, IPv6"),
        pytest.param(ipv4(*ENDS4, 50, ESP, offset=0x2000), id="first fragment of ESP"),
        pytest.param(ipv4(*ENDS4, 50, bytes(40), offset=100), id="later fragment of ESP"),
        pytest.param(ipv6(*ENDS6, 44, fragment(50, 1, ESP)), id="first fragment of ESP, IPv6"),
        pytest.param(ipv6(*ENDS6, 44, fragment(50, 1232, bytes(40))), id="later fragment of ESP, IPv6"),
        pytest.param(ipv6(*ENDS6, 58, b"\x87" + bytes(3) + NEIGHBOUR, hops=255), id="neighbour solicitation"),
        pytest.param(ipv6(*ENDS6, 58, b"\x88" + bytes(3) + NEIGHBOUR, hops=255), id="neighbour advertisement"),
        pytest.param(ipv6(*ENDS6, 58, b"\x88" + bytes(63), hops=255), id="the longest one"),
    ],
)
def test_between_nodes_esp_and_neighbour_discovery_are_no_cleartext(packet: bytes) -> None:
    """They name the nodes, as every frame does, and nothing else."""
    assert not pcap(ethernet(packet)).cleartext(NODE_1, NODE_2)


def test_arp_between_nodes_is_no_cleartext() -> None:
    """It is no IP."""
    addresses = [ip_address(end).packed for end in ENDS4]
    frame = bytes(12) + b"\x08\x06" + struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, b"", addresses[0], b"", addresses[1])
    assert not pcap(frame).cleartext(NODE_1, NODE_2)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(ipv4(*ENDS4, 17, udp(1, 2, b"node")), id="UDP"),
        pytest.param(ipv4(*ENDS4, 17, b"rest", offset=100), id="later fragment"),
        pytest.param(ipv6(*ENDS6, 44, fragment(17, 1232, b"rest")), id="later fragment, IPv6"),
        pytest.param(ipv4(*ENDS4, 50, bytes(40)), id="ESP without SPI"),
        pytest.param(ipv4(*ENDS4, 4, ipv4("10.9.0.1", "10.9.0.2", 50, ESP)), id="ESP of others in a tunnel"),
        pytest.param(ipv6(*ENDS6, 58, b"\x87" + bytes(3) + NEIGHBOUR), id="a solicitation that may have been forwarded"),
        pytest.param(ipv6(*ENDS6, 58, b"\x88" + bytes(3) + NEIGHBOUR, hops=64), id="such an advertisement"),
        pytest.param(ipv6(*ENDS6, 58, b"\x88" + bytes(64), hops=255), id="too long an advertisement"),
        pytest.param(ipv6(*ENDS6, 58, b"\x88\x01" + bytes(30), hops=255), id="one with a code"),
        pytest.param(ipv6(*ENDS6, 58, b"\x80" + bytes(31), hops=255), id="echo with hop limit 255"),
        pytest.param(ipv6(*ENDS6, 60, b"\x3a\x04" + bytes(38) + b"\x88" + bytes(31), hops=255), id="an option before it"),
        pytest.param(ipv4(*ENDS4, 58, b"\x88" + bytes(31)), id="ICMPv6 in IPv4"),
        pytest.param(ipv6("fd00:3::1", "fd00:3::2", 41, ipv6(*ENDS6, 58, b"\x88" + bytes(31), hops=255)), id="one in a tunnel"),
    ],
)
def test_everything_else_between_nodes_is_cleartext(packet: bytes) -> None:
    """Also what only resembles neighbour discovery."""
    assert len(pcap(ethernet(packet)).cleartext(NODE_1, NODE_2)) == 1


def test_a_header_without_length_ends_the_reading() -> None:
    """It does not hold itself."""
    endless = b"\x40" + ipv4("10.1.0.2", "10.2.0.3", 4, b"")[1:]
    assert [frame.headers for frame in pcap(ethernet(endless)).frames] == [()]


def test_a_packet_in_a_thousand_tunnels_is_read() -> None:
    """However deep it is."""
    packet = INNER
    for _ in range(1000):
        packet = ipv4(*ENDS4, 4, packet)
    assert [entry.depth for entry in pcap(ethernet(packet)).cleartext(PODS_1, PODS_2)] == [1000]


@pytest.mark.parametrize(
    "packet",
    [ipv4("10.1.0.2", "10.2.0.3", 17, VXLAN, offset=100), ipv6("fd00:11::2", "fd00:12::3", 44, fragment(17, 8, VXLAN))],
)
def test_what_looks_like_a_header_in_a_later_fragment_is_payload(packet: bytes) -> None:
    """So it has no ports, and no tunnel is opened."""
    assert [header.ports for header in pcap(ethernet(packet)).frames[0].headers] == [(0, 0)]


def test_a_vlan_tag_hides_nothing() -> None:
    frame = bytes(12) + b"\x81\x00\x00\x05" + ethernet(INNER)[12:]
    assert len(pcap(frame).cleartext(PODS_1, PODS_2)) == 1


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(ipv4("192.0.2.11", "192.0.2.12", 50, struct.pack("!II", 0x1001, 1) + INNER), id="ESP"),
        pytest.param(ipv4("192.0.2.11", "192.0.2.12", 17, udp(4500, 4500, struct.pack("!II", 0x1001, 1) + INNER)), id="in UDP"),
    ],
)
def test_esp_is_counted_by_spi_and_not_looked_into(packet: bytes) -> None:
    seen = pcap(ethernet(packet), ethernet(packet))
    assert seen.esp() == {("192.0.2.11", "192.0.2.12", 0x1001): 2}
    assert not seen.cleartext(PODS_1, PODS_2)


def test_markers_are_counted_by_outer_addresses() -> None:
    seen = pcap(ethernet(INNER), ethernet(ipv4("192.0.2.11", "192.0.2.12", 17, VXLAN)), bytes(14) + b"secret")
    assert seen.marked(b"secret") == {("10.1.0.2", "10.2.0.3"): 1, ("192.0.2.11", "192.0.2.12"): 1, ("", ""): 1}


@pytest.mark.parametrize(("magic", "start"), [(0xA1B2C3D4, 1000.5), (0xA1B23C4D, 1000.0005)])
@pytest.mark.parametrize("order", ["<", ">"])
def test_times_are_read_in_both_byte_orders_and_resolutions(magic: int, start: float, order: str) -> None:
    seen = pcap(ethernet(INNER), ethernet(INNER), magic=magic, order=order)
    assert seen.frames[0].time == pytest.approx(start, abs=1e-7)
    assert len(seen.between(start + 0.5).frames) == 1
    assert len(seen.between(0, start + 0.5).frames) == 1


@pytest.mark.parametrize(
    "complete",
    [
        pytest.param(ethernet(ipv4(*ENDS4, 17, GENEVE)), id="geneve"),
        pytest.param(ethernet(ipv4(*ENDS4, 47, gre(0x0800, INNER, flags=0xB000))), id="GRE"),
        pytest.param(ethernet(ipv6(*ENDS6, 51, b"\x29" + AH[1:] + LATER6)), id="AH and a fragment"),
    ],
)
def test_cut_packets_are_read_as_far_as_they_go(complete: bytes) -> None:
    """Each gives the first headers of the whole one."""
    whole = [header.target for header in pcap(complete).frames[0].headers]
    for length in range(len(complete)):
        found = [header.target for header in pcap(complete[:length]).frames[0].headers]
        assert found == whole[: len(found)]


def test_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"not a capture, but long enough for a header")
    with pytest.raises(LabError, match="no pcap"):
        observer.read(tmp_path / "x")


def test_a_damaged_capture_is_refused() -> None:
    """Bytes lost or written twice in the middle: what comes after cannot be read, so nothing is judged."""
    complete = content(*[ethernet(INNER)] * 5)
    for damaged in (complete[:100] + complete[105:], complete[:100] + complete[90:]):
        with pytest.raises(LabError, match="damaged"):
            list(observer.frames(damaged))


def test_only_a_growing_capture_may_end_within_a_frame() -> None:
    """While tcpdump still writes, the frame that is not whole yet is left out; in a finished file it is an error."""
    cut = content(*[ethernet(INNER)] * 3)[:-1]
    assert len(list(observer.frames(cut, growing=True))) == 2
    with pytest.raises(LabError, match="within a frame"):
        list(observer.frames(cut))


@pytest.mark.parametrize(("magic", "order"), [(0xA1B2C3D4, "<"), (0xA1B23C4D, ">")])
def test_a_part_of_a_capture_is_cut_out_as_it_is(tmp_path: Path, magic: int, order: str) -> None:
    """The frames between two moments, byte by byte, in a file that is read as the whole one is."""
    sent = [ethernet(ipv4(*ENDS4, 17, udp(1, 2, bytes([n]) * 9))) for n in range(5)]
    whole, part = tmp_path / "whole.pcap", tmp_path / "part.pcap"
    whole.write_bytes(content(*sent, magic=magic, order=order))
    observer.cut(whole, part, 1000.9, 1002.9)
    assert [f.content for f in observer.read(part).frames] == sent[1:3]
    assert [f.time for f in observer.read(part).frames] == [f.time for f in observer.read(whole).frames[1:3]]
