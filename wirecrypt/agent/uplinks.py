"""Which links the guard and the mark program belong on: pure choices over what the kernel lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from wirecrypt.model.xfrm import Address, Network
from wirecrypt.ports import Link

_NEVER: Final = frozenset({"vxlan", "geneve", "wireguard", "tun", "ipip", "sit", "gre"})  # judged where they leave the node


def uplinks(
    links: Sequence[Link],
    *,
    own: Iterable[Address],
    routes: Callable[[Address], str | None],
    peers: Iterable[Address],
    chosen: Sequence[str],
) -> list[str]:
    """Return names of links that lead to other nodes.

    The *chosen* ones of the configuration that exist, else those that carry an address of the node's *own* or that the
    kernel routes a peer through, through.
    """
    real = {link.name: link for link in links}
    if chosen:
        return sorted(name for name in chosen if name in real)
    addresses = set(own)
    found = {link.name for link in links if addresses & set(link.addresses)}
    found |= {name for peer in peers if (name := routes(peer)) is not None and name in real}
    return sorted(name for name in found if real[name].kind not in _NEVER and name != "lo")


def pod_links(links: Sequence[Link], pod_cidrs: Sequence[Network], *, besides: Sequence[str]) -> list[str]:
    """Return names of pod-facing links: veths into other network namespaces, and bridges that hold a pod prefix.

    Links in *besides* (uplinks) are none: what comes in there is no pod of this node.
    """
    bridges = {
        link.name
        for link in links
        if link.kind == "bridge" and any(a in cidr for a in link.addresses for cidr in pod_cidrs if a.version == cidr.version)
    }
    veths = {
        link.name
        for link in links
        if link.kind == "veth" and link.foreign_peer and (link.master is None or link.master in bridges)
    }
    return sorted((bridges | veths) - set(besides))
