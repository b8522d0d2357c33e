"""Counters, drop events and the permissive mode; and the guard on a link without Ethernet."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.kernel.guard import frames as f
from tests.kernel.guard.conftest import SETTINGS, let_events_through
from tests.kernel.guard.wire import Wire, inside, run
from wirecrypt.kernel.bpf.guard import KernelGuard
from wirecrypt.model.guard import Drop

DATA = b"readable words of a pod"
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000


def index(wire: Wire) -> int:
    with inside(wire.node):
        return socket.if_nametoindex("uplink")


@pytest.mark.L6
def test_an_unknown_address_is_reported_with_its_five_tuple(guard: KernelGuard, wire: Wire) -> None:
    """A packet to an unclaimed address inside the cluster's ranges is dropped and told with reason and five-tuple."""
    frame = f.ether(f.ip("10.244.1.5", "10.244.77.1", f.UDP, f.udp(DATA, sport=1234, dport=53)))
    assert not wire.leaves(frame)
    src, dst = ip_address("10.244.1.5"), ip_address("10.244.77.1")
    assert guard.drops() == [
        Drop(egress=True, reason="egress_unknown", src=src, dst=dst, proto=f.UDP, sport=1234, dport=53, ifindex=index(wire))
    ]
    assert guard.drops() == []


@pytest.mark.L7
def test_a_spoofed_packet_is_reported_with_its_inner_five_tuple(guard: KernelGuard, wire: Wire) -> None:
    """Of a spoofed packet inside VXLAN the inner addresses and ports are told."""
    inner = f.ether(f.ip("fd00:12::7", "fd00:11::5", f.TCP, f.tcp(DATA, sport=443, dport=50000)))
    assert not wire.enters(f.ether(f.ip("192.0.2.12", "192.0.2.11", f.UDP, f.vxlan(inner))))
    src, dst = ip_address("fd00:12::7"), ip_address("fd00:11::5")
    assert guard.drops() == [
        Drop(
            egress=False,
            reason="ingress_peer_cleartext",
            src=src,
            dst=dst,
            proto=f.TCP,
            sport=443,
            dport=50000,
            ifindex=index(wire),
        )
    ]


def test_drops_are_taken_in_order_and_at_most_as_many_as_asked(guard: KernelGuard, wire: Wire) -> None:
    """Events come oldest first; a limit leaves the rest for the next call."""
    for port in (1, 2, 3):
        wire.leaves(f.ether(f.ip("10.244.1.5", "10.244.2.7", f.UDP, f.udp(DATA, dport=port))))
    assert [d.dport for d in guard.drops(2)] == [1, 2]
    assert [d.dport for d in guard.drops(2)] == [3]


def test_the_ring_goes_round(guard: KernelGuard, wire: Wire, bpffs: Path) -> None:
    """More events than the ring holds, taken as they come, are all read right."""
    guard.configure(replace(SETTINGS, strict=False))
    ports: list[int] = []
    taken: list[int] = []
    for port in range(1, 1601):
        wire.throw(f.ether(f.ip("10.244.1.5", "10.244.2.7", f.UDP, f.udp(DATA, dport=port))))
        let_events_through(bpffs)
        ports.append(port)
        taken += [d.dport for d in guard.drops()]
    assert taken == ports


def test_a_flood_is_counted_whole_but_told_in_part(guard: KernelGuard, wire: Wire) -> None:
    """Of 500 drops at once every one is counted, few fill the ring, and those left out are counted as lost events."""
    before = guard.counters()
    for port in range(500):
        wire.throw(f.ether(f.ip("10.244.1.5", "10.244.2.7", f.UDP, f.udp(DATA, dport=port))))
    after = guard.counters()
    events = len(guard.drops(1000))
    assert after["egress_peer_cleartext"] - before["egress_peer_cleartext"] == 500
    assert after["events_lost"] - before["events_lost"] == 500 - events
    assert 64 <= events < 500


def test_permissive_mode_counts_and_tells_and_lets_pass(guard: KernelGuard, wire: Wire) -> None:
    """In permissive mode what would be dropped passes, with the same counter and event."""
    assert guard.configure(replace(SETTINGS, strict=False))
    before = guard.counters()
    frame = f.ether(f.ip("10.244.1.5", "10.244.2.7", f.UDP, f.udp(DATA)))
    assert wire.leaves(frame)
    assert guard.counters()["egress_peer_cleartext"] - before["egress_peer_cleartext"] == 1
    assert [d.reason for d in guard.drops()] == ["egress_peer_cleartext"]


@pytest.fixture
def tunnel(guard: KernelGuard, wire: Wire) -> Iterator[int]:
    """Give the far end of a link without Ethernet that leads to the pods of the peer, with the guard on it."""
    subprocess.run(["modprobe", "-q", "tun"], check=False)  # a module on some kernels
    with inside(wire.node):
        far = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(far, TUNSETIFF, struct.pack("16sH22x", b"wctun", IFF_TUN | IFF_NO_PI))
        run("ip link set dev wctun up")
        run("ip addr add 192.0.2.11/24 dev wctun")
        run("ip route add 10.244.0.0/16 dev wctun")
        guard.attach_guard("wctun")
    guard.configure(replace(SETTINGS, control_port=7701))  # what is known of links is no part of it
    yield far
    with inside(wire.node):
        guard.detach("wctun")
    os.close(far)


@pytest.mark.L1
def test_a_link_without_ethernet_is_guarded(guard: KernelGuard, wire: Wire, tunnel: int) -> None:
    """On a link of bare IP packets cleartext to a peer's pods is dropped, and what may leave leaves."""
    with inside(wire.node), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("192.0.2.11", 0))
        s.sendto(DATA, ("10.244.2.7", 5000))
        s.sendto(DATA, ("10.244.3.9", 5000))
    readable, _, _ = select.select([tunnel], [], [], 20)
    assert readable, "nothing left at all"
    packet = os.read(tunnel, 2048)
    assert ip_address(packet[16:20]) == ip_address("10.244.3.9")
    assert [str(d.dst) for d in guard.drops()] == ["10.244.2.7"]
