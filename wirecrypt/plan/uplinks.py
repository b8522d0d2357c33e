"""Which links the guard and the mark program belong on: pure choices over what the kernel lists.

An uplink is every link that can carry a packet off the node, whatever routes and rules say today: what leaves by a link without
the guard is not seen, and a guess of the way that a packet takes was wrong wherever a rule, a second table or a part of a
prefix led elsewhere. So all that are up are uplinks, but the loopback, a few kinds that carry nothing off by themselves, and
the links to this node's own pods: there the guard would drop what comes from them as a spoof.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from wirecrypt.errors import LinkError
from wirecrypt.model.link import Link
from wirecrypt.model.xfrm import Address, Network

LOOPBACK: Final = "lo"
_BOUND: Final = frozenset({"dummy", "ifb", "nlmon", "netkit", "vcan"})  # what is sent there stays on the node, or comes back
_PORTED: Final = frozenset({"bridge", "veth"})  # kinds that lead to pods


def uplinks(links: Sequence[Link], *, own: Iterable[Address], pod_cidrs: Sequence[Network], chosen: Sequence[str]) -> list[str]:
    """Return names of links that can carry a packet off the node, *own* being its addresses; sorted.

    The *chosen* ones of the configuration that exist, and nothing else; raises `LinkError` when none of them does.
    """
    real = {link.name: link for link in links}
    if chosen:
        return _chosen(chosen, real.keys())
    here = frozenset(own)
    pods = {link.name for link in links if _leads_to_pods(link, here, pod_cidrs)}
    return sorted(link.name for link in links if link.up and _carries(link) and link.name not in pods)


def pod_links(links: Sequence[Link], own: Iterable[Address], pod_cidrs: Sequence[Network]) -> list[str]:
    """Return names of links to this node's own pods: veths into other namespaces, and bridges that hold a pod prefix."""
    here = frozenset(own)
    bridges = {link.name for link in links if link.kind == "bridge" and _leads_to_pods(link, here, pod_cidrs)}
    return sorted(
        link.name
        for link in links
        if link.name in bridges
        or (link.kind == "veth" and link.master in {None, *bridges} and _leads_to_pods(link, here, pod_cidrs))
    )


def unguarded(links: Sequence[Link], attached: Iterable[str]) -> list[str]:
    """Return names of links that can carry a packet off the node and have no program of ours, *attached* being those that do.

    A veth that nothing speaks for, no address and no route, is a pod's.
    """
    ours = set(attached)
    return sorted(
        link.name
        for link in links
        if link.up and link.name not in ours and _carries(link) and (link.kind != "veth" or link.leads or _speaks(link))
    )


def _speaks(link: Link) -> bool:
    return any(not address.is_link_local for address in link.addresses)


def _chosen(chosen: Sequence[str], real: Iterable[str]) -> list[str]:
    found = sorted({*chosen} & {*real})
    if not found:
        names = ", ".join(sorted(real))
        hint = "correct `uplinks` in the configuration, or leave it out: then all links that lead off the node are guarded"
        raise LinkError("find the links of `uplinks`", what=", ".join(chosen), answer=f"there are {names}", hint=hint)
    return found


def _carries(link: Link) -> bool:
    """Return whether a link can carry a packet off the node: not the loopback, and no veth whose other end is here too."""
    inside = link.kind == "veth" and not link.foreign_peer
    return link.name != LOOPBACK and link.kind not in _BOUND and not inside


def _leads_to_pods(link: Link, own: frozenset[Address], pod_cidrs: Sequence[Network]) -> bool:
    """Return whether a bridge or veth is one of this node's pods', not of the wire.

    It holds their gateway's address; or it is a veth into another namespace, or a port of a bridge, by which no route goes on
    and that holds no address of the node.
    """
    if link.kind not in _PORTED:
        return False
    if any(a in cidr for a in link.addresses for cidr in pod_cidrs if a.version == cidr.version):
        return True
    return link.kind == "veth" and link.foreign_peer and not link.leads and not own & frozenset(link.addresses)
