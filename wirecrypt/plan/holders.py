"""Which node has an address that several NodePeers list: the controller and the agents come to the same one. Pure.

An address that moves is listed by the new node before the old one loses it: in between both list it, and at no moment nobody
does, for then it would be readable ◆. The one that still says that it holds it, from a node that is Ready, has it meanwhile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from dataclasses import replace

from wirecrypt.model.objects import NodePeer
from wirecrypt.model.xfrm import Address


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
    return [without(p, (a for a in p.addresses if found[a] is not p)) for p in peers]


def without(peer: NodePeer, taken: Iterable[Address]) -> NodePeer:
    """Return *peer* without the addresses that are *taken*."""
    gone = frozenset(taken)
    if gone.isdisjoint(peer.addresses):
        return peer
    return replace(peer, addresses=tuple(a for a in peer.addresses if a not in gone))
