"""Which addresses a node holds next to its endpoints: what its agent proposes as claims. Pure.

An address that other nodes can reach this node by is on a link that carries packets off the node, or on one that is nothing
but a place for addresses (the loopback, a dummy), where virtual addresses are put. An address on a bridge for containers or
virtual machines is not: each node has the same there (docker0's 172.17.0.1), and nobody else has a way to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv6Address
from typing import Final

from wirecrypt.model.link import Link
from wirecrypt.model.objects import MOST_ADDRESSES
from wirecrypt.model.xfrm import Address, Network
from wirecrypt.plan.uplinks import LOOPBACK, uplinks

_SERVICES: Final = "kube-ipvs0"  # kube-proxy's dummy: each node has the Services' addresses there, external ones too
_GUESTS: Final = frozenset({"veth", "tun"})  # kinds of ports that lead to containers and virtual machines


def own_addresses(
    links: Sequence[Link], *, endpoints: Sequence[Address], pod_cidrs: Sequence[Network], services: Iterable[Network]
) -> tuple[Address, ...]:
    """Return the global addresses on *links* that are the node's own and neither its *endpoints*, nor pods', nor Services'.

    Sorted, the first MOST_ADDRESSES of them.
    """
    places = _places(links, endpoints, pod_cidrs)
    elsewhere = (*pod_cidrs, *services)
    found = {
        address
        for link in links
        if link.name in places
        for address in link.addresses
        if _is_global(address) and address not in endpoints and not _inside(address, elsewhere)
    }
    return tuple(sorted(found, key=lambda a: (a.version, int(a)))[:MOST_ADDRESSES])


def present(endpoints: Sequence[Address], links: Sequence[Link]) -> tuple[Address, ...]:
    """Return those of a node's *endpoints* that one of its *links* has, in their order."""
    there = {address for link in links for address in link.addresses}
    return tuple(address for address in endpoints if address in there)


def _places(links: Sequence[Link], endpoints: Sequence[Address], pod_cidrs: Sequence[Network]) -> frozenset[str]:
    """Return the names of the links whose addresses are the node's own."""
    leading = set(uplinks(links, own=endpoints, pod_cidrs=pod_cidrs, chosen=()))  # whatever is chosen for the guard
    bare = {link.name for link in links if link.up and (link.name == LOOPBACK or link.kind == "dummy")} - {_SERVICES}
    return frozenset(bare | {link.name for link in links if link.name in leading and not _of_guests(link, links, endpoints)})


def _of_guests(link: Link, links: Sequence[Link], endpoints: Sequence[Address]) -> bool:
    """Return whether a link is a bridge for containers or virtual machines: no endpoint on it, and no port that is a card."""
    if link.kind != "bridge" or {*endpoints} & {*link.addresses}:
        return False
    return all(port.kind in _GUESTS for port in links if port.master == link.name)


def _is_global(address: Address) -> bool:
    """Return whether others may reach *address*; what IPv6 writes for an IPv4 address is none."""
    mapped = isinstance(address, IPv6Address) and address.ipv4_mapped is not None
    return not (mapped or address.is_link_local or address.is_loopback or address.is_multicast or address.is_unspecified)


def _inside(address: Address, prefixes: Iterable[Network]) -> bool:
    return any(address in prefix for prefix in prefixes if prefix.version == address.version)
