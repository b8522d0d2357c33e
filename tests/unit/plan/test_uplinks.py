"""Which links get the guard, and which the mark."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from wirecrypt.errors import LinkError
from wirecrypt.model.link import Link
from wirecrypt.plan.uplinks import pod_links, unguarded, uplinks

OWN = (ip_address("192.0.2.1"), ip_address("2001:db8::1"))
PODS = (ip_network("10.1.0.0/24"), ip_network("fd00:11::/64"))


def link(  # noqa: PLR0913 - what a link is made of
    name: str,
    kind: str = "",
    *addresses: str,
    master: str | None = None,
    far: bool = False,
    leads: bool = False,
    up: bool = True,
) -> Link:
    """Return a link; *far*: its peer is in another network namespace."""
    found = tuple(map(ip_address, addresses))
    return Link(len(name), name, kind, 1500, up=up, master=master, foreign_peer=far, addresses=found, leads=leads)


LO = link("lo", "", "127.0.0.1", "192.0.2.1")
ETH0 = link("eth0", "", "192.0.2.1")
WIRE = link("upl", "veth", "192.0.2.1", far=True)
POD = link("p1", "veth", far=True)
ROUTED_POD = link("p2", "veth", "10.1.0.1", far=True)


def guarded(*links: Link, chosen: tuple[str, ...] = ()) -> list[str]:
    return uplinks([LO, *links], own=OWN, pod_cidrs=PODS, chosen=chosen)


def marked(*links: Link) -> list[str]:
    return pod_links([LO, *links], OWN, PODS)


@pytest.mark.parametrize(
    "kind",
    ["", "bond", "vlan", "bridge", "vrf", "macvlan", "vxlan", "geneve", "gre", "ipip", "sit", "tun", "wireguard", "xfrm"],
)
def test_every_link_that_is_up_can_carry_a_packet_off_the_node(kind: str) -> None:
    """Whether or not it has an address, and whatever the routes say now: cards, what is built on them, and tunnels."""
    assert guarded(ETH0, link("x0", kind)) == ["eth0", "x0"]
    assert marked(ETH0, link("x0", kind)) == []


def test_a_port_of_a_bond_or_a_bridge_is_a_link_as_any_other() -> None:
    """What is sent by a bond leaves by one of its ports, and the port itself can be sent by."""
    assert guarded(link("bond0", "bond"), link("eth1", master="bond0"), link("br0", "bridge"), link("eth2", master="br0")) == [
        "bond0", "br0", "eth1", "eth2",
    ]  # fmt: skip


def test_what_carries_nothing_off_is_no_uplink() -> None:
    """The loopback, a link that is down, a dummy (kube-proxy's, a node-local cache's), both ends of a veth in here."""
    inside = [link("near0", "veth"), link("near1", "veth")]
    assert guarded(ETH0, link("eth1", up=False), link("kube-ipvs0", "dummy", "10.96.0.1"), *inside) == ["eth0"]


def test_links_to_own_pods_are_marked_and_not_guarded() -> None:
    """A bridge or veth with the gateway, a veth without address and route, ports of the bridge; the card below is guarded."""
    flat = link("cni0", "bridge", "10.1.0.1", "192.0.2.1", leads=True)
    port, card = link("p3", "veth", master="cni0", far=True), link("eth1", master="cni0")
    assert guarded(flat, port, card, POD, ROUTED_POD) == ["eth1"]
    assert marked(flat, port, card, POD, ROUTED_POD) == ["cni0", "p1", "p2", "p3"]


@pytest.mark.parametrize(
    "wire",
    [WIRE, link("upl", "veth", far=True, leads=True), link("upl", "veth", "198.51.100.1", far=True, leads=True)],
    ids=["the node's address", "a route by it", "both, of another network"],
)
def test_a_veth_that_leads_to_others_is_an_uplink_and_no_pod(wire: Link) -> None:
    """In a lab the wire is a veth into another namespace, the second card too: they get the guard, and never the mark."""
    assert guarded(wire, POD) == ["upl"]
    assert marked(wire, POD) == ["p1"]


def test_a_port_of_a_bridge_that_is_no_pods_is_neither() -> None:
    """A virtual machine's bridge: it is guarded itself."""
    assert guarded(link("virbr0", "bridge", "10.99.0.1"), link("vm1", "veth", master="virbr0", far=True)) == ["virbr0"]
    assert marked(link("virbr0", "bridge", "10.99.0.1"), link("vm1", "veth", master="virbr0", far=True)) == []


def test_chosen_links_are_taken_as_they_are() -> None:
    """The configuration's word is the last one: nothing is added to it, and what another node has is left out."""
    assert guarded(ETH0, link("eth1"), chosen=("eth1", "ens5")) == ["eth1"]


def test_a_choice_that_names_no_link_is_refused_with_the_names_there_are() -> None:
    """A misspelt name must not be a node without guard."""
    with pytest.raises(LinkError, match=r"\(eht0\): there are eth0, lo\. Next: correct `uplinks`"):
        guarded(ETH0, chosen=("eht0",))


def test_links_without_a_program_of_ours_are_named() -> None:
    """Those that can carry something off the node, a veth of the wire among them; a pod's that is just being made is not."""
    links = [LO, ETH0, link("eth1"), WIRE, POD, link("kube-ipvs0", "dummy"), link("far", "veth", "fe80::1", far=True)]
    assert unguarded(links, ["eth0"]) == ["eth1", "upl"]
    assert unguarded(links, ["eth0", "eth1", "upl", "p1"]) == []
