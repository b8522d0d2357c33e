"""Who has which claim, where objects do not say it plainly: the controller and the agents come to the same answer. Pure.

An address that moves is listed by the new node before the old one loses it: in between both list it, and at no moment nobody
does, for then it would be readable ◆R20. The one that still says that it holds it, from a node that is Ready, has it meanwhile.

What a Node without the label stops to mention is held for it ◆R16: a list that is empty for a moment, as cloud controllers
write it, would make traffic with it unknown, which is dropped, and its addresses free for whoever proposes them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from dataclasses import replace

from wirecrypt.model.objects import Node, NodePeer
from wirecrypt.model.ranges import overlap
from wirecrypt.model.xfrm import Address, Network, host

Claims = tuple[Network, ...]


def holds(peer: NodePeer, address: Address, ready: Container[str]) -> bool:
    """Return whether *peer* stands by *address*: its agent says so, and its Node is among the *ready* ones, by UID."""
    return peer.node_uid in ready and peer.proposes(address)


def holders(peers: Iterable[NodePeer], ready: Container[str]) -> Mapping[Address, NodePeer]:
    """Return who has each address that any of *peers* lists: who stands by it before others, then the older object."""
    listed: defaultdict[Address, list[NodePeer]] = defaultdict(list)
    for peer in peers:
        for address in peer.addresses:
            listed[address].append(peer)
    return {address: _first(those, address, ready) for address, those in listed.items()}


def _first(peers: Iterable[NodePeer], address: Address, ready: Container[str]) -> NodePeer:
    return min(peers, key=lambda p: (not p.proposes(address), p.node_uid not in ready, p.created, p.uid))


def each_once(peers: Iterable[NodePeer], ready: Container[str]) -> list[NodePeer]:
    """Return *peers*, each with the addresses that it has and no other has."""
    peers = list(peers)
    found = holders(peers, ready)
    return [without(p, (a for a in p.addresses if found[a] is not p)) if p.addresses else p for p in peers]


def without(peer: NodePeer, taken: Iterable[Address]) -> NodePeer:
    """Return *peer* without the addresses that are *taken*."""
    gone = frozenset(taken)
    if gone.isdisjoint(peer.addresses):
        return peer
    return replace(peer, addresses=tuple(a for a in peer.addresses if a not in gone))


def with_held(
    nodes: Iterable[Node], peers: Iterable[NodePeer], before: Mapping[str, Claims]
) -> tuple[tuple[Node, ...], Mapping[str, Claims]]:
    """Return *nodes*, the plain ones with all that is held for them, and that by node UID, to be given as *before* next time.

    Held is what a Node has mentioned, or had while it left, until another one mentions it or has it as its claim, the Node is
    gone, or has the label.
    """
    nodes = tuple(nodes)
    by_uid = {peer.node_uid: peer for peer in peers}
    held: dict[str, Claims] = {}
    for node in (n for n in nodes if n.label is None):
        own, left = node.claims, by_uid.get(node.uid)
        said = dict.fromkeys((*own, *before.get(node.uid, ()), *(_claims(left) if left is not None else ())))
        silent = [claim for claim in said if claim not in own]
        if silent:
            others = [claim for n in nodes if n.uid != node.uid for claim in n.claims]
            others += [claim for uid, peer in by_uid.items() if uid != node.uid for claim in _claims(peer)]
            silent = [claim for claim in silent if not any(overlap(claim, other) for other in others)]
        held[node.uid] = (*own, *silent)
    return tuple(_holding(node, held.get(node.uid, ())) for node in nodes), held


def _claims(peer: NodePeer) -> Claims:
    return (*peer.pod_cidrs, *map(host, peer.endpoints))


def _holding(node: Node, claims: Claims) -> Node:
    more = [claim for claim in claims if claim not in node.claims]
    if not more:
        return node
    addresses = [c.network_address for c in more if c.prefixlen == c.max_prefixlen]
    prefixes = [c for c in more if c.prefixlen < c.max_prefixlen]
    return replace(node, endpoints=(*node.endpoints, *addresses), pod_cidrs=(*node.pod_cidrs, *prefixes))
