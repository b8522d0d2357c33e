"""What attackers send is what it is meant to be: an observer reads its addresses, ports and what tunnels carry."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest

from wirecrypt.lab.attack import packets
from wirecrypt.lab.wire import observer

FOUR, SIX = ("10.1.0.2", "10.2.0.2"), ("fd00:11::2", "fd00:12::2")


def seen(packet: bytes) -> list[tuple[str, str, int]]:
    """Return (source, target, protocol) of every header that the observer reads in a frame around *packet*."""
    frame = packets.ether(packet)
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + struct.pack("<IIII", 1, 0, len(frame), len(frame))
    (found,) = observer.frames(header + frame)
    return [(str(h.source), str(h.target), h.protocol) for h in found.headers]


@pytest.mark.parametrize("ends", [FOUR, SIX])
def test_a_datagram_has_its_addresses_and_a_checksum_that_holds(ends: tuple[str, str]) -> None:
    """A receiver that sums up pseudo header and datagram gets zero."""
    packet = packets.udp(*ends, b"odd")
    assert seen(packet) == [(*ends, packets.UDP)]
    body = packets.datagram(*ends, b"odd")
    addresses = b"".join(ip_address(end).packed for end in ends)
    assert packets.checksum(addresses + struct.pack("!II", len(body), packets.UDP) + body) == 0


@pytest.mark.parametrize(
    ("proto", "body"),
    [
        (packets.IPIP, packets.udp(*FOUR, b"x")),
        (packets.IPV6, packets.udp(*SIX, b"x")),
        (packets.GRE, packets.gre(packets.udp(*FOUR, b"x"), 0x0800)),
        (packets.GRE, packets.gre(packets.udp(*SIX, b"x"), 0x86DD, key=True)),
        (packets.GRE, packets.gre(packets.ether(packets.udp(*FOUR, b"x")), 0x6558)),
        (packets.UDP, packets.datagram(*FOUR, packets.vxlan(packets.ether(packets.udp(*SIX, b"x"))), port=4789)),
        (packets.UDP, packets.datagram(*FOUR, packets.geneve(packets.ether(packets.udp(*FOUR, b"x")), 0x6558), port=6081)),
    ],
)
def test_what_a_tunnel_carries_is_readable_in_it(proto: int, body: bytes) -> None:
    """The observer finds the packet inside, of the pods of the same family."""
    found = seen(packets.ip("192.0.2.1", "192.0.2.2", proto, body))
    assert found[0] == ("192.0.2.1", "192.0.2.2", proto)
    assert found[1] in [(*FOUR, packets.UDP), (*SIX, packets.UDP)]


def test_ipv4_headers_have_a_checksum_that_holds() -> None:
    """With options too."""
    packet = packets.ipv4(*FOUR, packets.UDP, b"", options=b"\1" * 4, fragment=packets.MORE)
    assert packets.checksum(packet[:24]) == 0
    assert (packet[0], packet[6]) == (0x46, 0x20)
