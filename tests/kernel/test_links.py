"""Links, addresses, routes and filters of the real kernel."""

import os
import select
import socket
from collections.abc import Callable
from ipaddress import ip_address

import pytest

from tests.kernel.conftest import Netns
from wirecrypt.errors import LinkError
from wirecrypt.kernel.bpf import tc
from wirecrypt.kernel.net.links import KernelLinks
from wirecrypt.kernel.xfrm.notifications import LinkEvents


def test_links_say_what_they_are(make_netns: Callable[[], Netns]) -> None:
    """Every link comes with kind, MTU, state, master and addresses; a pod's veth is known by its far peer."""
    node, pod = make_netns(), make_netns()
    node.ip("link add br0 type bridge")
    node.ip(f"link add pod0 mtu 1400 type veth peer name eth0 netns {pod.name}")
    node.ip("link add near0 type veth peer name near1")
    node.ip("link set pod0 master br0 up")
    node.ip("addr add 10.1.0.1/24 dev br0")
    node.ip("addr add fd00:11::1/64 dev br0 nodad")
    with node.entered():
        found = {link.name: link for link in KernelLinks().links()}
    assert {"lo", "br0", "pod0", "near0", "near1"} <= found.keys()
    assert (found["pod0"].kind, found["pod0"].mtu, found["pod0"].up) == ("veth", 1400, True)
    assert (found["pod0"].master, found["pod0"].foreign_peer) == ("br0", True)
    assert (found["near0"].foreign_peer, found["near0"].up, found["near0"].master) == (False, False, None)
    assert (found["br0"].kind, found["br0"].foreign_peer) == ("bridge", False)
    assert found["br0"].addresses == (ip_address("10.1.0.1"), ip_address("fd00:11::1"))
    assert [link.index for link in found.values()] == sorted(link.index for link in found.values())


def test_virtual_addresses_are_listed_where_they_are_put(netns: Netns) -> None:
    """On the loopback, on a dummy and as a second one of a card: each with its link, and a dummy with its kind."""
    netns.ip("link add vip0 type dummy")
    netns.ip("link add up0 type veth peer name far0")
    for line in ("192.0.2.1/24 dev up0", "198.51.100.7/32 dev up0", "198.51.100.8/32 dev lo", "fd00:5::8/128 dev lo",
                 "198.51.100.9/32 dev vip0"):  # fmt: skip
        netns.ip(f"addr add {line}")
    with netns.entered():
        found = {link.name: link for link in KernelLinks().links()}
    assert found["up0"].addresses == (ip_address("192.0.2.1"), ip_address("198.51.100.7"))
    assert {ip_address("198.51.100.8"), ip_address("fd00:5::8")} <= {*found["lo"].addresses}
    assert (found["vip0"].kind, found["vip0"].addresses) == ("dummy", (ip_address("198.51.100.9"),))


def test_an_address_that_is_added_to_a_card_or_taken_off_it_is_told(netns: Netns) -> None:
    """As a virtual address comes and goes, of either family: each wakes the reader, so that it moves at once."""
    netns.ip("link add up0 type dummy")
    netns.ip("link set up0 up")
    with netns.entered(), LinkEvents() as events:
        for change in ("add 198.51.100.7/32", "del 198.51.100.7/32", "add fd00:5::7/128", "del fd00:5::7/128"):
            events.read()
            netns.ip(f"addr {change} dev up0")
            poll = select.poll()
            poll.register(events, select.POLLIN)
            assert poll.poll(10_000)
            assert events.read() is True


def leading(netns: Netns) -> list[str]:
    """Return the names of the links by which a route goes on."""
    with netns.entered():
        return [link.name for link in KernelLinks().links() if link.leads]


@pytest.mark.parametrize(
    "line",
    [
        "route add default via 192.0.2.9",
        "-6 route add default via fd00:2::9",
        "route add default dev up0",
        "route add 10.2.0.128/25 via 192.0.2.9",
        "route add 10.2.0.5/32 via 192.0.2.9",
        "route add 10.2.0.0/24 via 192.0.2.9 table 100",
        "-6 route add fd00:12::/80 via fd00:2::9 table 100",
        "route add 10.2.0.0/24 via inet6 fe80::9 dev up0",
        "route add 10.2.0.0/24 dev up0 scope link table 100",
    ],
)
def test_a_link_leads_on_by_a_route_of_any_table(netns: Netns, line: str) -> None:
    """Whatever part of whatever prefix; the addresses here are single ones, so only the route tells."""
    netns.ip("link add up0 type dummy")
    netns.ip("addr add 192.0.2.1 peer 192.0.2.9 dev up0")
    netns.ip("link set up0 up")
    netns.ip("-6 route add fd00:2::9/128 dev up0")
    assert leading(netns) == []
    netns.ip(line)
    assert leading(netns) == ["up0"]


def test_a_route_to_one_neighbour_leads_nowhere(netns: Netns) -> None:
    """As plugins make them to a pod; nor do link-local and multicast prefixes, which every link has, and dead ends."""
    netns.ip("link add p0 type dummy")
    netns.ip("link set p0 up")
    for line in ("route add 10.1.0.5/32 dev p0", "-6 route add fd00:11::5/128 dev p0", "route add blackhole 10.3.0.0/24",
                 "-6 route add multicast ff15::/64 dev p0 table 100"):  # fmt: skip
        netns.ip(line)
    assert leading(netns) == []


def test_all_next_hops_of_a_route_lead_on(netns: Netns) -> None:
    """A route with several next hops leads over all their links, next hop objects included."""
    for number in (1, 2, 3, 4):
        netns.ip(f"link add up{number} type dummy")
        netns.ip(f"addr add 192.0.{number}.1 peer 192.0.{number}.9 dev up{number}")
        netns.ip(f"link set up{number} up")
    netns.ip("route add 10.2.0.0/24 nexthop via 192.0.1.9 nexthop via 192.0.2.9")
    assert leading(netns) == ["up1", "up2"]
    netns.ip("nexthop add id 1 via 192.0.1.9 dev up1")
    netns.ip("nexthop add id 2 via 192.0.3.9 dev up3")
    netns.ip("nexthop add id 3 group 1/2")
    netns.ip("route add 10.3.0.0/24 nhid 3")
    assert leading(netns) == ["up1", "up2", "up3"]


@pytest.mark.parametrize(
    "change",
    ["link add x0 type dummy", "addr add 192.0.2.1/32 dev lo", "addr add fd00::1/128 dev lo", "route add 10.2.0.0/24 dev lo"],
)
def test_changes_are_told(netns: Netns, change: str) -> None:
    """A new link, address or route wakes the reader once, and only once."""
    with netns.entered(), LinkEvents() as events:
        events.read()
        netns.ip(change)
        poll = select.poll()
        poll.register(events, select.POLLIN)
        assert poll.poll(10_000)
        assert events.read() is True
        assert events.lost == 0


def test_overflow_counts_as_a_change(netns: Netns) -> None:
    """When more is told than the socket holds, the reader learns that something was lost, and looks again."""
    with netns.entered(), LinkEvents() as events, socket.socket(fileno=os.dup(events.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        for number in range(8):
            netns.ip(f"link add x{number} type dummy")
        assert events.read() is True
        assert events.lost > 0


def test_clsact_is_made_once(netns: Netns) -> None:
    """The qdisc is made where it is missing, kept where it is, and removed only when it is empty."""
    netns.ip("link add x0 type dummy")
    with netns.entered():
        index = next(link.index for link in KernelLinks().links() if link.name == "x0")
        assert tc.remove_clsact_if_empty(index) is False
        assert [tc.ensure_clsact(index), tc.ensure_clsact(index)] == [True, False]
        theirs = ["egress", "prio", "5", "handle", "1", "bpf", "bytecode", "1,6 0 0 0"]
        netns.run("tc", "filter", "add", "dev", "x0", *theirs)
        assert [(f.direction, f.prio, f.handle) for f in tc.filters(index)] == [("egress", 5, 1)]
        assert tc.remove_clsact_if_empty(index) is False
        netns.run("tc", "filter", "del", "dev", "x0", "egress")
        assert [tc.remove_clsact_if_empty(index), tc.remove_clsact_if_empty(index)] == [True, False]


def test_missing_link_is_an_error(netns: Netns) -> None:
    """An absent link is a `LinkError` that names it, and has no filters."""
    with netns.entered():
        assert tc.filters(4242) == []
        with pytest.raises(LinkError, match="link 4242"):
            tc.ensure_clsact(4242)
