"""Every flow class of a pair, from pods and nodes to pods and nodes: every size arrives, no protocol is readable."""

from __future__ import annotations

import secrets
from ipaddress import ip_network

import pytest

from tests.e2e import product
from wirecrypt.lab import operations
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.streams import Tcp, Udp, address, ends, start_all, stop_all
from wirecrypt.lab.waiting import DEADLINE
from wirecrypt.lab.wire.capture import Capture
from wirecrypt.plan.flows import FlowClass

NEWEST_KERNEL = True  # joining, leaving and rotating are tried on all kernels, with traffic of every class

CLASSES = {of.value: ends(of, "node-1", "node-2") for of in FlowClass}
by_class = pytest.mark.parametrize(("source", "target"), CLASSES.values(), ids=CLASSES)


@pytest.mark.L9
@pytest.mark.M1
@by_class
def test_all_sizes_arrive_as_esp(protected: Lab, source: str, target: str) -> None:
    """UDP of any size, TCP and large pings, both families: all of it arrives, none in clear, once the path's MTU is known."""
    lab = protected
    for family in (4, 6):  # the first packet that is too big is answered by an error, as on any path
        for size in (1400, 8000):
            lab.exec(source, ["ping", "-c", "1", "-W", "1", "-s", str(size), address(lab, target, family)], check=False)
    flows: list[Udp | Tcp] = [
        Udp.prepare(lab, source, target, rate=40, size=size, family=family) for size in (64, 1400, 8000) for family in (4, 6)
    ]
    flows += [Tcp.prepare(lab, target, source, rate=200_000, family=family) for family in (4, 6)]
    start_all(flows)
    for family in (4, 6):
        said = lab.exec(source, ["ping", "-c", "3", "-i", "0.2", "-s", "8000", address(lab, target, family)]).stdout
        assert " 0% packet loss" in said
    product.wait_clock(lab, 1)
    assert [(flow.source, result.lost) for flow, result in zip(flows, stop_all(flows), strict=True) if result.lost] == []


@pytest.mark.M1
@by_class
@pytest.mark.parametrize("family", [4, 6])
def test_a_size_that_does_not_fit_is_told_and_not_lost(protected: Lab, source: str, target: str, family: int) -> None:
    """Packets that may not be fragmented, of every size around the tunnel's: each is answered, or its sender is told."""
    lab, place = protected, address(protected, target, family)
    sizes = [1200, *range(1350, 1481, 6), 2000]
    pings = [lab.spawn(source, ["ping", "-M", "do", "-c", "1", "-W", "60", "-s", str(size), place]) for size in sizes]
    for ping in pings:
        ping.wait(DEADLINE)
    said = {size: ping.output() for size, ping in zip(sizes, pings, strict=True)}
    assert [
        n for n, text in said.items() if not any(word in text for word in (_ANSWERED, "too long", "needed", "too big"))
    ] == []
    assert _ANSWERED in said[1200]
    assert _ANSWERED not in said[2000]


@pytest.mark.L3
def test_packets_with_options_and_extension_headers_arrive_as_esp_while_keys_change(protected: Lab) -> None:
    """IPv4 with options, IPv6 with extension headers, in every class: a rotation loses none, and none is readable."""
    lab = protected
    flows = [
        Udp.prepare(lab, source, target, rate=50, family=family, extended=True)
        for source, target in CLASSES.values()
        for family in (4, 6)
    ]
    start_all(flows)
    operations.rotate(lab, "under packets with options")
    assert [(flow.source, result.lost) for flow, result in zip(flows, stop_all(flows), strict=True) if result.lost] == []


@pytest.mark.L3
@pytest.mark.parametrize("source", ["pod/node-1/a", "node-1"])
@pytest.mark.parametrize("family", [4, 6])
def test_a_reset_for_a_pod_that_is_gone_arrives_as_esp(protected: Lab, source: str, family: int) -> None:
    """The node answers in the name of an address of its pods that has no pod: the reset arrives, and the wire is judged."""
    lab = protected
    prefix = ip_network(product.prefixes(lab, "node-2")[family == 6])
    gone = prefix[200]
    words = [f"{gone}/{gone.max_prefixlen}", "dev", "lo", *(["nodad"] if family == 6 else [])]
    lab.exec("node-2", ["ip", "addr", "add", *words])
    try:
        assert lab.exec(source, ["python3", "-c", _CONNECT, str(gone)]).stdout.strip() == "Connection refused"
    finally:
        lab.exec("node-2", ["ip", "addr", "del", *words[:3]])


@pytest.mark.L3
@by_class
def test_no_protocol_is_readable(protected: Lab, observer: Capture, source: str, target: str) -> None:
    """A packet of each of the 256 protocols, both families, with a marker behind its header: none of them is on the wire."""
    lab, marker = protected, f"protocol-{secrets.token_hex(8)}"
    sent = [lab.exec(source, ["python3", "-c", _EVERY, address(lab, target, f), marker]).stdout for f in (4, 6)]
    assert all(int(number) > 200 for number in sent), "nearly all could be sent"
    product.wait_clock(lab, 1)
    assert observer.observe().marked(marker.encode()) == {}


_ANSWERED = "1 received"
_CONNECT = """
import os, socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
s.settimeout(60)
print(os.strerror(s.connect_ex((sys.argv[1], 9))))
"""
_EVERY = """
import socket, sys
target, marker = sys.argv[1], sys.argv[2].encode() * 4
sent = 0
for proto in range(256):
    try:
        s = socket.socket(socket.AF_INET6 if ":" in target else socket.AF_INET, socket.SOCK_RAW, proto)
        s.sendto(bytes(8) + marker, (target, 0))
        sent += 1
    except OSError:
        pass
print(sent)
"""
