"""The capture on an uplink sees what leaves: ESP by SPI, and what is readable, also inside VXLAN; nothing that arrives."""

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.kernel.conftest import Host
from tests.kernel.guard.frames import ESP, FRAGMENT, ICMP, ICMPV6, esp, ip, ipv4, udp
from tests.kernel.test_xfrm_traffic import Pair, connect, pair, ping
from wirecrypt.errors import LinkError
from wirecrypt.kernel.net.frames import Tunnels
from wirecrypt.kernel.net.packet_capture import MOST_FLOWS, PacketCapture
from wirecrypt.model.verify_facts import CapturedPackets, Clear
from wirecrypt.model.xfrm import Address

__all__ = ["pair"]  # the fixture

UDP = 17


@contextmanager
def watching(host: Host, *links: str, tunnels: Tunnels | None = None, nodes: bool = False) -> Iterator[list[CapturedPackets]]:
    """Watch *links* of *host* during the block, for packets to or from pods; the result is in the list afterwards.

    With *nodes* also for packets from the node's own addresses.
    """
    pods, own = [*host.pods.values()], [*host.outer.values()] if nodes else []

    def relevant(source: Address, target: Address) -> bool:
        return source in own or any(a in p for a in (source, target) for p in pods if a.version == p.version)

    found: list[CapturedPackets] = []
    with host.netns.entered(), PacketCapture(links or ("wire",), tunnels or Tunnels(), relevant) as wire:
        yield found
        wire.watch(time.monotonic() + 0.05)
        found.append(wire.finish())


def clear(seen: CapturedPackets) -> list[tuple[str, str, str, int]]:
    return [(c.src, c.dst, c.inside, c.packets) for c in seen.clear]


def acquaint(hosts: tuple[Host, Host], family: int) -> None:
    """Return when the nodes know each other's link-layer addresses, so that a packet leaves at once."""
    assert any(ping(hosts, inner=family, count=1) for _ in range(5))  # until the link-local address may be used


@pytest.mark.parametrize("inner", [4, 6])
def test_readable_packets_are_told_with_their_addresses(hosts: tuple[Host, Host], inner: int) -> None:
    """Without IPsec each packet that leaves is told once; answers that arrive are not."""
    acquaint(hosts, inner)
    with watching(hosts[0]) as found:
        assert ping(hosts, inner=inner, count=4) == 4
    (seen,) = found
    assert clear(seen) == [(str(hosts[0].pod[inner]), str(hosts[1].pod[inner]), "", 4)]
    assert (seen.esp, seen.lost) == ({}, 0)


@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("inner", [4, 6])
def test_esp_is_counted_by_spi(hosts: tuple[Host, Host], pair: Pair, inner: int, outer: int) -> None:
    """With IPsec only ESP leaves, under the sending SA's SPI; decrypted answers on the same link are no cleartext."""
    connect(hosts, pair, inner=inner, outer=outer)
    with watching(hosts[0]) as found:
        assert ping(hosts, inner=inner, count=4) == 4
    (seen,) = found
    assert seen.esp == {(hosts[1].outer[outer], 0x101): 4}
    assert clear(seen) == []


def test_readable_packets_inside_vxlan(hosts: tuple[Host, Host]) -> None:
    """An overlay hides nothing: the inner packet is told with the tunnel's name, if the port is one of those looked at."""
    for host, other in (hosts, hosts[::-1]):
        number = host.outer[4].packed[-1]
        host.netns.ip(f"link add over type vxlan id 7 dstport 8472 local {host.outer[4]} remote {other.outer[4]} dev wire")
        host.netns.ip(f"addr add 198.51.100.{number}/24 dev over")
        host.netns.ip("link set over up")
    for host, other in (hosts, hosts[::-1]):
        host.netns.ip(f"route replace {other.pods[4]} via 198.51.100.{other.outer[4].packed[-1]} src {host.pod[4]}")
    for ports, expected in [((8472,), [(str(hosts[0].pod[4]), str(hosts[1].pod[4]), "vxlan", 3)]), ((4789,), [])]:
        with watching(hosts[0], tunnels=Tunnels(vxlan=ports)) as found:
            assert ping(hosts, count=3) == 3
        assert clear(found[0]) == expected


def test_tagged_packets_are_read(hosts: tuple[Host, Host]) -> None:
    """A packet in a VLAN on the uplink is told as well."""
    for host in hosts:
        number = host.outer[4].packed[-1]
        host.netns.ip("link add link wire name tagged type vlan id 5")
        host.netns.ip(f"addr add 198.51.100.{number}/24 dev tagged")
        host.netns.ip("link set tagged up")
    for host, other in (hosts, hosts[::-1]):
        host.netns.ip(f"route replace {other.pods[4]} via 198.51.100.{other.outer[4].packed[-1]} src {host.pod[4]}")
    with watching(hosts[0]) as found:
        assert ping(hosts, count=3) == 3
    assert clear(found[0]) == [(str(hosts[0].pod[4]), str(hosts[1].pod[4]), "", 3)]


def send(host: Host, *packets: bytes) -> None:
    """Send IP packets from *host* as they are; the kernel adds no more than IPv4's checksum and the link's header."""
    with host.netns.entered():
        for packet in packets:
            family = socket.AF_INET if packet[0] >> 4 == 4 else socket.AF_INET6
            target = packet[16:20] if family == socket.AF_INET else packet[24:40]
            with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
                raw.sendto(packet, (socket.inet_ntop(family, target), 0))


@pytest.mark.parametrize(("family", "protocol", "kind"), [(4, ICMP, 3), (6, ICMPV6, 1)])
def test_what_an_error_between_nodes_quotes_is_told(hosts: tuple[Host, Host], family: int, protocol: int, kind: int) -> None:
    """A node that complains to the other about a pod's packet shows that packet."""
    acquaint(hosts, family)
    near, far = (str(host.outer[family]) for host in hosts)
    pods = [str(host.pod[family]) for host in hosts]
    quote = ip(pods[1], pods[0], UDP, udp(b"secret", sport=7, dport=8))
    with watching(hosts[0]) as found:
        send(hosts[0], ip(near, far, protocol, bytes([kind]) + bytes(7) + quote))
    assert [*found[0].clear] == [Clear(pods[1], pods[0], UDP, 7, 8, "icmp error", 1)]


def test_esp_that_an_error_quotes_did_not_leave(hosts: tuple[Host, Host]) -> None:
    """A complaint about the peer's ESP counts as the readable packet that it is, and not as ESP."""
    acquaint(hosts, 4)
    near, far = (str(host.outer[4]) for host in hosts)
    with watching(hosts[0], nodes=True) as found:
        send(hosts[0], ip(near, far, ICMP, b"\x03" + bytes(7) + ipv4(far, near, ESP, esp(2, bytes(20)))))
    assert (found[0].esp, [*found[0].clear]) == ({}, [Clear(near, far, ICMP, 0, 0, "", 1)])


@pytest.mark.parametrize("kind", [135, 136])
def test_neighbour_discovery_is_not_told(hosts: tuple[Host, Host], kind: int) -> None:
    """Nodes on one link need it; the same message is told when a router may have forwarded it, or a packet fits in."""
    acquaint(hosts, 6)
    near, far = (str(host.outer[6]) for host in hosts)
    message = bytes([kind]) + bytes(31)
    with watching(hosts[0], nodes=True) as found:
        send(hosts[0], *(ip(near, far, ICMPV6, message, hops=255) for _ in range(3)))
    assert clear(found[0]) == []
    with watching(hosts[0], nodes=True) as found:
        send(hosts[0], ip(near, far, ICMPV6, message), ip(near, far, ICMPV6, message + bytes(33), hops=255))
    assert clear(found[0]) == [(near, far, "", 2)]


@pytest.mark.parametrize("family", [4, 6])
def test_a_later_fragment_of_esp_is_not_told(hosts: tuple[Host, Host], family: int) -> None:
    """It belongs to ESP; one of anything else is told, without ports."""
    acquaint(hosts, family)
    near, far = (str(host.outer[family]) for host in hosts)

    def later(protocol: int) -> bytes:
        if family == 4:
            return ipv4(near, far, protocol, bytes(range(40)), offset=185)
        return ip(near, far, FRAGMENT, struct.pack("!BBHI", protocol, 0, 185 << 3, 9) + bytes(range(40)))

    with watching(hosts[0], nodes=True) as found:
        send(hosts[0], later(ESP), later(UDP))
    assert (found[0].esp, [*found[0].clear]) == ({}, [Clear(near, far, UDP, 0, 0, "", 1)])


def test_many_flows_are_bounded(hosts: tuple[Host, Host]) -> None:
    """Beyond a fixed number of flows packets are only counted as lost; none is forgotten in silence."""
    script = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('{0}', 4000))\n"
        "for port in range(1, {2} + 11): s.sendto(b'x', ('{1}', port))"
    )
    source, target = hosts[0].pod[4], hosts[1].pod[4]
    with watching(hosts[0]) as found:
        hosts[0].netns.run("python3", "-c", script.format(source, target, MOST_FLOWS))
    (seen,) = found
    assert len(seen.clear) == MOST_FLOWS
    assert seen.lost == 10
    assert seen.clear[0] == Clear(str(source), str(target), UDP, 4000, seen.clear[0].dport, "", 1)


def test_a_link_that_does_not_exist_is_one_clear_error(hosts: tuple[Host, Host]) -> None:
    """The error names the link; no socket is left open."""
    with hosts[0].netns.entered(), pytest.raises(LinkError, match="nowhere"):
        PacketCapture(["wire", "nowhere"], Tunnels(), lambda *_: True)
