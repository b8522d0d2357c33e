"""What a Node mentions and what it only stopped to mention: absence ends no claim, of one entry as of a whole list ◆R16. Pure.

Cloud controllers take an address out of a Node's status for some seconds and put it back. What its NodePeer holds is kept, in
its place, also against others, until the node's agent says that the node has the address no more, or the Node is gone. An
address that was an endpoint is one more address of the node then, as long as nobody else's Node mentions it: what is sent there
is not readable.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace

from wirecrypt.model.objects import Node, NodePeer
from wirecrypt.model.xfrm import Address, Network


@dataclass(frozen=True, slots=True)
class Mentioned:
    """A *node* with all that it has, its NodePeer (*peer*) by what that means, and in words what the Node did not mention."""

    node: Node
    peer: NodePeer | None
    missing: tuple[Address | Network, ...] = ()


def mentioned(nodes: Iterable[Node], peers: Mapping[str, NodePeer]) -> list[Mentioned]:
    """Return *nodes* with what their NodePeers (*peers*, by UID) hold and they do not mention; old endpoints as addresses."""
    nodes = list(nodes)
    endpoints = {address for node in nodes for address in node.endpoints}
    return [_mentioned(node, peers.get(node.uid), endpoints) for node in nodes]


def _mentioned(node: Node, peer: NodePeer | None, endpoints_of_all: Container[Address]) -> Mentioned:
    if peer is None:
        return Mentioned(node, None)
    lost = [a for a in peer.endpoints if a not in node.endpoints]
    still = [a for a in lost if not _replaced(a, node, peer)]
    prefixes = [p for p in peer.pod_cidrs if p not in node.pod_cidrs]
    if not (lost or prefixes):
        return Mentioned(node, peer)
    endpoints = node.endpoints
    if still:
        before = tuple(a for a in peer.endpoints if a in node.endpoints or a in still)
        endpoints = before + tuple(a for a in node.endpoints if a not in before)
    old = tuple(a for a in lost if a not in still and a not in peer.addresses and a not in endpoints_of_all)
    return Mentioned(
        replace(node, endpoints=endpoints, pod_cidrs=(*node.pod_cidrs, *prefixes)),
        replace(peer, addresses=(*peer.addresses, *old)),
        (*still, *prefixes),
    )


def _replaced(address: Address, node: Node, peer: NodePeer) -> bool:
    """Return whether the node does not have *address* any more.

    By its agent's word, or, where that speaks of none of its endpoints, by a new address of that family at its Node.
    """
    if peer.proposed is not None and {*peer.proposed} & {*peer.endpoints}:
        return address not in peer.proposed
    return any(a.version == address.version and a not in peer.endpoints for a in node.endpoints)
