"""The observer reads what an eavesdropper reads, and nothing that is encrypted."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from pathlib import Path

import pytest

from wirecrypt.errors import LabError
from wirecrypt.lab.wire import observer

PODS_1, PODS_2 = ["10.1.0.0/24", "fd00:11::/64"], ["10.2.0.0/24", "fd00:12::/64"]


def ipv4(source: str, target: str, protocol: int, payload: bytes, *, offset: int = 0) -> bytes:
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, offset, 64, protocol, 0)
    return header + ip_address(source).packed + ip_address(target).packed + payload


def ipv6(source: str, target: str, protocol: int, payload: bytes) -> bytes:
    header = struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64)
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


INNER = ipv4("10.1.0.2", "10.2.0.3", 17, udp(1, 2, b"secret words"))
VXLAN = udp(50000, 8472, bytes(8) + ethernet(INNER))
GENEVE = udp(50000, 6081, b"\x01" + bytes(7) + bytes(4) + ethernet(INNER))


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
        pytest.param(ipv4("10.1.0.2", "10.2.0.3", 17, b"rest", offset=100), 0, id="later fragment"),
    ],
)
def test_readable_pod_packets_are_found_at_any_depth(packet: bytes, depth: int) -> None:
    found = pcap(ethernet(packet)).cleartext(PODS_1, PODS_2)
    assert [entry.depth for entry in found] == [depth]


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


@pytest.mark.parametrize("length", range(0, 80, 7))
def test_cut_packets_are_read_as_far_as_they_go(length: int) -> None:
    complete = ethernet(ipv4("192.0.2.11", "192.0.2.12", 17, GENEVE))
    pcap(complete[:length])


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
