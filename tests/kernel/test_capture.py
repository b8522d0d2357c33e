"""The capture on an uplink sees what leaves: ESP by SPI, and what is readable, also inside VXLAN; nothing that arrives."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.kernel.conftest import Host
from tests.kernel.test_xfrm_traffic import Pair, connect, pair, ping
from wirecrypt.errors import LinkError
from wirecrypt.kernel.net.frames import Tunnels
from wirecrypt.kernel.net.packet_capture import MOST_FLOWS, CapturedPackets, PacketCapture
from wirecrypt.model.verify_facts import Clear
from wirecrypt.model.xfrm import Address

__all__ = ["pair"]  # the fixture

UDP = 17


@contextmanager
def watching(host: Host, *links: str, tunnels: Tunnels | None = None) -> Iterator[list[CapturedPackets]]:
    """Watch *links* of *host* during the block, for packets to or from pods; the result is in the list afterwards."""
    pods = [*host.pods.values()]

    def relevant(source: Address, target: Address) -> bool:
        return any(a in p for a in (source, target) for p in pods if a.version == p.version)

    found: list[CapturedPackets] = []
    with host.netns.entered(), PacketCapture(links or ("wire",), tunnels or Tunnels(), relevant) as wire:
        yield found
        wire.watch(time.monotonic() + 0.05)
        found.append(wire.finish())


def clear(seen: CapturedPackets) -> list[tuple[str, str, str, int]]:
    return [(c.src, c.dst, c.inside, c.packets) for c in seen.clear]


@pytest.mark.parametrize("inner", [4, 6])
def test_readable_packets_are_told_with_their_addresses(hosts: tuple[Host, Host], inner: int) -> None:
    """Without IPsec each packet that leaves is told once; answers that arrive are not."""
    assert any(ping(hosts, inner=inner, count=1) for _ in range(5))  # until the link-local address may be used
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
