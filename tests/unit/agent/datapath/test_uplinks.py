"""Which links get the guard, and which the mark."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from wirecrypt.agent.datapath.uplinks import pod_links, uplinks
from wirecrypt.model.link import Link
from wirecrypt.model.xfrm import Network

OWN = (ip_address("192.0.2.1"), ip_address("2001:db8::1"))
PODS = (ip_network("10.1.0.0/24"),)


def link(
    name: str, kind: str = "", *addresses: str, master: str | None = None, lower: str | None = None, pod: bool = False
) -> Link:
    """Return a link; *pod*: its peer is in another network namespace."""
    found = tuple(map(ip_address, addresses))
    return Link(len(name), name, kind, 1500, up=True, master=master, foreign_peer=pod, addresses=found, lower=lower)


LO = link("lo", "", "127.0.0.1", "192.0.2.1")
ETH0, ETH1, ETH2 = link("eth0", "", "192.0.2.1"), link("eth1"), link("eth2")


def found(
    *links: Link, routed: tuple[str, ...] = (), pods: tuple[Network, ...] = PODS, chosen: tuple[str, ...] = ()
) -> list[str]:
    return uplinks([LO, *links], own=OWN, pod_cidrs=pods, routed=routed, chosen=chosen)


def test_addresses_and_routes_make_an_uplink() -> None:
    """A link with the node's address, and every link that packets to others are routed by; never the loopback."""
    assert found(ETH0, ETH1, ETH2) == ["eth0"]
    assert found(ETH0, ETH1, ETH2, routed=("eth1", "eth2", "lo", "gone0")) == ["eth0", "eth1", "eth2"]


def test_chosen_links_are_taken_as_they_are() -> None:
    """The configuration's word is the last one: nothing is added to it, and what is missing is left out."""
    below = link("v10", "vlan", lower="eth0")
    assert found(ETH0, ETH1, below, routed=("eth1",), chosen=("v10", "gone0")) == ["v10"]


@pytest.mark.parametrize(
    ("upper", "below", "expected"),
    [
        (link("v10", "vlan", lower="eth1"), [ETH1, ETH2], ["eth1", "v10"]),
        (link("bond0", "bond"), [link("eth1", master="bond0"), link("eth2", master="bond0")], ["bond0", "eth1", "eth2"]),
        (link("br0", "bridge"), [link("eth1", master="br0"), link("p1", "veth", master="br0", pod=True)], ["br0", "eth1"]),
        (link("fl.1", "vxlan", lower="eth1"), [ETH1], ["eth1"]),
        (link("gnv0", "geneve"), [ETH1], []),
        (link("up0", "veth", lower="up1"), [link("up1", "veth", lower="up0")], ["up0"]),
        (link("far0", "macvlan", lower="gone0"), [], ["far0"]),
    ],
    ids=["vlan", "bond", "bridge", "vxlan", "geneve", "veth", "another namespace"],
)
def test_links_below_an_uplink_are_uplinks(upper: Link, below: list[Link], expected: list[str]) -> None:
    """What an uplink's packets leave by is guarded too; a tunnel is judged there alone, and a pod's port never."""
    assert found(upper, *below, routed=(upper.name,)) == expected


def test_links_are_followed_down_to_the_last() -> None:
    """A VLAN on a bond of two: each of them; a ring, which no kernel makes, ends as well."""
    stack = [
        link("v10", "vlan", lower="bond0"),
        link("bond0", "bond"),
        link("eth1", master="bond0"),
        link("eth2", master="bond0"),
    ]
    assert found(*stack, routed=("v10",)) == ["bond0", "eth1", "eth2", "v10"]
    assert found(link("a0", "vlan", lower="b0"), link("b0", "vlan", lower="a0"), routed=("a0",)) == ["a0", "b0"]


def test_links_to_own_pods_are_never_uplinks() -> None:
    """A bridge or veth with the pods' gateway is not guarded, however it was found; the wire below such a bridge is."""
    flat = link("cni0", "bridge", "10.1.0.1", "192.0.2.1")
    pod = link("p1", "veth", master="cni0", pod=True)
    wire = link("eth1", master="cni0")
    assert found(flat, pod, wire, routed=("cni0",)) == ["eth1"]
    assert found(link("p2", "veth", "10.1.0.1", pod=True), routed=("p2",)) == []
    assert pod_links([flat, pod, wire], PODS, besides=["eth1"]) == ["cni0", "p1"]


def test_a_veth_that_leads_to_other_nodes_is_an_uplink_and_no_pod() -> None:
    """In a lab the wire is a veth into another namespace: it carries the node's address, or a route to a peer."""
    wire = link("upl", "veth", "192.0.2.1", pod=True)
    assert found(wire) == ["upl"]
    assert pod_links([wire, link("p1", "veth", pod=True)], PODS, besides=["upl"]) == ["p1"]
