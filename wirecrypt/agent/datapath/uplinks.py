"""Which links the guard and the mark program belong on: pure choices over what the kernel lists.

An uplink is any link by which a packet may reach another node, for what leaves by a link without the guard is not seen. So
they are taken generously: by addresses, by routes, and what is below them. Only links to this node's own pods must
not be among them: the guard would drop what comes from there as a spoof.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from wirecrypt.model.link import Link
from wirecrypt.model.xfrm import Address, Network

_NEVER: Final = frozenset({"vxlan", "geneve", "wireguard", "tun", "ipip", "sit", "gre"})  # judged where they leave the node
_PORTS: Final = frozenset({"bond", "bridge", "team"})  # what is below them names them as its master


def uplinks(
    links: Sequence[Link],
    *,
    own: Iterable[Address],
    pod_cidrs: Sequence[Network],
    routed: Iterable[str],
    chosen: Sequence[str],
) -> list[str]:
    """Return names of links that lead to other nodes.

    The *chosen* ones of the configuration that exist, and nothing else; without any, those that carry an address of the
    node's *own*, those that packets are *routed* by, and the links below both.
    """
    real = {link.name: link for link in links}
    if chosen:
        return sorted(name for name in chosen if name in real)
    addresses = set(own)
    found = {link.name for link in links if addresses & set(link.addresses)} | (set(routed) & real.keys())
    todo = sorted(found)
    while todo:
        below = set(_below(real[todo.pop()], links)) - found
        found |= below
        todo += sorted(below)
    pods = {link.name for link in links if _holds(link, pod_cidrs)}
    return sorted(name for name in found - pods if real[name].kind not in _NEVER and name != "lo")


def pod_links(links: Sequence[Link], pod_cidrs: Sequence[Network], *, besides: Sequence[str]) -> list[str]:
    """Return names of pod-facing links: veths into other network namespaces, and bridges that hold a pod prefix.

    Links in *besides* (uplinks) are none: what comes in there is no pod of this node.
    """
    bridges = {link.name for link in links if link.kind == "bridge" and _holds(link, pod_cidrs)}
    veths = {
        link.name
        for link in links
        if link.kind == "veth" and link.foreign_peer and (link.master is None or link.master in bridges)
    }
    return sorted((bridges | veths) - set(besides))


def _holds(link: Link, pod_cidrs: Sequence[Network]) -> bool:
    """Return whether a bridge or veth has an address among the node's own pods': their gateway."""
    if link.kind not in ("bridge", "veth"):
        return False
    return any(a in cidr for a in link.addresses for cidr in pod_cidrs if a.version == cidr.version)


def _below(link: Link, links: Sequence[Link]) -> Iterator[str]:
    """Yield names of the links that carry what leaves by *link*, as far as the kernel tells; never those to pods."""
    if link.kind in _PORTS:
        yield from (port.name for port in links if port.master == link.name and not (port.kind == "veth" and port.foreign_peer))
    elif link.kind != "veth" and link.lower is not None:
        yield from (one.name for one in links if one.name == link.lower)
