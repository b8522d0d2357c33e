"""Which addresses an agent proposes as its node's own."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from wirecrypt.model.link import Link
from wirecrypt.model.objects import MOST_ADDRESSES
from wirecrypt.plan.own_addresses import own_addresses

OWN = (ip_address("192.0.2.1"), ip_address("2001:db8::1"))
PODS = (ip_network("10.1.0.0/24"), ip_network("fd00:11::/64"))
SERVICES = (ip_network("10.96.0.0/16"), ip_network("fd00:96::/112"))
VIP, VIP6 = "198.51.100.7", "fd00:5::7"


def link(name: str, kind: str = "", *addresses: str, **more: object) -> Link:
    """Return a link that is up."""
    values: dict[str, object] = {"up": True, "master": None, "foreign_peer": False, **more}
    return Link(len(name), name, kind, 1500, addresses=tuple(map(ip_address, addresses)), **values)  # type: ignore[arg-type]  # as given


CARD = link("eth0", "", "192.0.2.1", "2001:db8::1", "fe80::1")


def proposed(*links: Link) -> list[str]:
    found = own_addresses([CARD, *links], endpoints=OWN, pod_cidrs=PODS, services=SERVICES)
    return [str(address) for address in found]


def test_a_node_with_nothing_but_its_endpoints_proposes_nothing() -> None:
    """Nor its loopback's addresses, link-local ones, multicast."""
    assert proposed(link("lo", "", "127.0.0.1", "::1"), link("eth1", "", "169.254.3.3", "fe80::2", "ff02::1")) == []


@pytest.mark.parametrize("kind", ["", "bond", "vlan", "vrf", "macvlan", "vxlan", "wireguard", "dummy"])
def test_addresses_on_links_that_lead_off_the_node_and_on_dummies_are_proposed(kind: str) -> None:
    """A second card, what is built on one, and a place for virtual addresses; both families, sorted."""
    assert proposed(link("x0", kind, VIP6, VIP)) == [VIP, VIP6]


def test_a_virtual_address_next_to_an_endpoint_or_on_the_loopback_is_proposed() -> None:
    """Where kube-vip, keepalived and anycast daemons put them."""
    assert proposed(link("eth1", "", "192.0.2.1", VIP), link("lo", "", "127.0.0.1", VIP6)) == [VIP, VIP6]


def test_what_is_of_pods_or_of_services_is_not_proposed() -> None:
    """Pods' gateways, a tunnel's address out of their prefix, Services' addresses on dummies of kube-proxy and caches."""
    bridge = link("cni0", "bridge", "10.1.0.1", VIP)
    tunnel = link("flannel.1", "vxlan", "10.1.0.0")
    proxy, cache = link("kube-ipvs0", "dummy", "10.96.0.1", VIP), link("nodelocaldns", "dummy", "169.254.20.10", "10.96.0.10")
    pod = link("p1", "veth", VIP, foreign_peer=True)
    assert proposed(bridge, tunnel, proxy, cache, pod) == []


def test_a_bridge_for_containers_or_machines_has_no_address_of_the_node() -> None:
    """Each node has the same there: without ports, with containers' veths, with a machine's tap."""
    docker, empty = link("docker0", "bridge", "172.17.0.1", leads=True), link("br-1", "bridge", "172.18.0.1", leads=True)
    machines = link("virbr0", "bridge", "192.168.122.1", leads=True)
    ports = [link("veth1", "veth", master="docker0", foreign_peer=True), link("vnet0", "tun", master="virbr0")]
    assert proposed(docker, empty, machines, *ports) == []


def test_a_bridge_over_a_card_has_addresses_of_the_node() -> None:
    """By its port, or by an endpoint on it."""
    assert proposed(link("br0", "bridge", VIP), link("eth1", master="br0"), link("tap0", "tun", master="br0")) == [VIP]
    assert proposed(link("br0", "bridge", "192.0.2.1", VIP6), link("wire", "veth", master="br0")) == [VIP6]


def test_a_link_that_is_down_has_no_address() -> None:
    """Nobody is reached by it."""
    assert proposed(link("eth1", "", VIP, up=False), link("d0", "dummy", VIP6, up=False)) == []


def test_an_address_that_ipv6_only_writes_is_none() -> None:
    """The API server takes it for no address."""
    assert proposed(link("d0", "dummy", "::ffff:198.51.100.7")) == []


def test_no_more_are_proposed_than_the_object_holds() -> None:
    """The lowest, so that the choice does not depend on anything else."""
    many = [f"198.51.100.{n}" for n in range(100, 140)]
    assert proposed(link("d0", "dummy", *many[::-1])) == many[:MOST_ADDRESSES]
