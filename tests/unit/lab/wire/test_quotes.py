"""The observer reads what ICMP errors quote: a pod's packet in an error between nodes is as readable as any other."""

from __future__ import annotations

import pytest

from tests.unit.lab.wire.test_observer import (
    ENDS4,
    ENDS6,
    ESP,
    INNER,
    INNER6,
    LATER6,
    NODE_1,
    NODE_2,
    PODS_1,
    PODS_2,
    VXLAN,
    ethernet,
    gre,
    ipv4,
    ipv6,
    pcap,
    udp,
)


def icmp(kind: int, quote: bytes) -> bytes:
    """Return a message of ICMP or ICMPv6 with *quote* behind its header of eight bytes."""
    return bytes([kind]) + bytes(7) + quote


def redirect(quote: bytes) -> bytes:
    """Return a redirect of IPv6: two addresses, a link-layer address as an option, the redirected header as another."""
    option = bytes([4, (8 + len(quote)) // 8]) + bytes(6) + quote
    return icmp(137, bytes(32)) + b"\x02\x01" + bytes(6) + option


@pytest.mark.parametrize("kind", [3, 4, 5, 11, 12])
def test_what_an_icmp_error_quotes_is_readable(kind: int) -> None:
    """A pod's packet is in an error between nodes as it was; eight bytes of its payload are enough for the ports."""
    found = pcap(ethernet(ipv4(*ENDS4[::-1], 1, icmp(kind, INNER[:28])))).cleartext(PODS_1, PODS_2)
    assert [(entry.depth, str(entry.source), entry.ports) for entry in found] == [(1, "10.1.0.2", (1, 2))]


@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_what_an_icmpv6_error_quotes_is_readable(kind: int) -> None:
    """As in ICMP of IPv4."""
    found = pcap(ethernet(ipv6(*ENDS6[::-1], 58, icmp(kind, INNER6[:48])))).cleartext(PODS_1, PODS_2)
    assert [(entry.depth, str(entry.source), entry.ports) for entry in found] == [(1, "fd00:11::2", (1, 2))]


def test_the_redirected_header_is_readable() -> None:
    """In a redirect of IPv6 it stands in an option, and not first."""
    found = pcap(ethernet(ipv6(*ENDS6, 58, redirect(INNER6 + bytes(4)), hops=255))).cleartext(PODS_1, PODS_2)
    assert [(entry.depth, entry.ports) for entry in found] == [(1, (1, 2))]


@pytest.mark.parametrize(
    ("packet", "depth"),
    [
        pytest.param(
            ipv4(*ENDS4, 17, udp(50000, 8472, bytes(8) + ethernet(ipv4(*ENDS4, 1, icmp(3, INNER))))), 2, id="in VXLAN"
        ),
        pytest.param(ipv4(*ENDS4, 1, icmp(3, ipv4(*ENDS4, 17, VXLAN))), 2, id="of VXLAN"),
        pytest.param(ipv4(*ENDS4, 1, icmp(11, ipv4("10.1.0.2", "10.2.0.3", 17, b"rest", offset=100))), 1, id="of a fragment"),
        pytest.param(ipv6(*ENDS6, 60, b"\x3a\x00" + bytes(6) + icmp(2, LATER6)), 1, id="of a fragment, behind an option"),
        pytest.param(ipv6(*ENDS6, 47, gre(0x86DD, ipv6(*ENDS6, 58, icmp(1, INNER6)))), 2, id="in GRE"),
    ],
)
def test_quotes_are_found_where_they_are(packet: bytes, depth: int) -> None:
    """In a tunnel, and of what was in one."""
    assert [entry.depth for entry in pcap(ethernet(packet)).cleartext(PODS_1, PODS_2)] == [depth]


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(ipv4(*ENDS4, 1, icmp(8, INNER)), id="echo"),
        pytest.param(ipv6(*ENDS6, 58, icmp(128, INNER6)), id="echo, IPv6"),
        pytest.param(ipv4(*ENDS4, 1, icmp(3, INNER), offset=100), id="later fragment"),
    ],
)
def test_only_errors_quote(packet: bytes) -> None:
    """What else looks like a packet is data of the sender."""
    seen = pcap(ethernet(packet))
    assert not seen.cleartext(PODS_1, PODS_2)
    assert [entry.depth for entry in seen.cleartext(NODE_1, NODE_2)] == [0]


def test_esp_that_an_error_quotes_is_not_counted_as_sent() -> None:
    """Otherwise complaints about ESP would be evidence of ESP."""
    seen = pcap(ethernet(ipv4(*ENDS4, 1, icmp(3, ipv4(*ENDS4[::-1], 50, ESP)))))
    assert not seen.esp()
    assert [(entry.depth, entry.protocol) for entry in seen.cleartext(NODE_1, NODE_2)] == [(0, 1)]  # the error itself


@pytest.mark.parametrize("complete", [ethernet(ipv6(*ENDS6, 58, redirect(INNER6))), ethernet(ipv4(*ENDS4, 1, icmp(3, INNER)))])
def test_cut_quotes_are_read_as_far_as_they_go(complete: bytes) -> None:
    """A cut message gives the first headers of the whole one, and never an error."""
    whole = [header.target for header in pcap(complete).frames[0].headers]
    for length in range(len(complete)):
        found = [header.target for header in pcap(complete[:length]).frames[0].headers]
        assert found == whole[: len(found)]
