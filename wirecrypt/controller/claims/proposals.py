"""What agents say about the addresses of their nodes, and what follows for who may have one. Pure.

What a node was granted is its own until its agent withdraws it, or until its Node is gone or not Ready and another node has it;
and it stays its own, blocked, until that other one has been granted it: in between nobody's, it is readable ◆R20. An address
that two nodes say they have, and that was neither's, is no address of a node.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from wirecrypt.model.objects import NodePeer
from wirecrypt.model.xfrm import Address
from wirecrypt.plan.holders import holders, holds, without

REST_SECONDS: Final = 600.0  # for which a withdrawn address that nobody proposes stays blocked: an outage, not a removal

Withdrawn = tuple[str, Address]  # the UID of the Node that holds the address, and the address


@dataclass(frozen=True, slots=True)
class Proposals:
    """Who has which address, and which Ready nodes say that they have it; *peers* list no address twice."""

    peers: tuple[NodePeer, ...]
    holders: Mapping[Address, NodePeer]
    proposers: Mapping[Address, tuple[NodePeer, ...]]
    ready: Container[str]

    @classmethod
    def of(cls, peers: Iterable[NodePeer], ready: Container[str]) -> Proposals:
        """Collect what *peers* hold and propose; *ready*: UIDs of the Nodes whose proposals count."""
        peers = tuple(sorted(peers, key=lambda p: p.name))
        proposers: defaultdict[Address, list[NodePeer]] = defaultdict(list)
        for peer in peers:
            for address in peer.proposed or () if peer.node_uid in ready else ():
                proposers[address].append(peer)
        return cls(peers, holders(peers, ready), {address: tuple(those) for address, those in proposers.items()}, ready)

    def kept(self, peer: NodePeer, rested: Container[Withdrawn]) -> NodePeer:
        """Return *peer* without the *rested* addresses that nobody proposes."""
        return without(peer, (a for a in peer.addresses if (peer.node_uid, a) in rested and a not in self.proposers))

    def new(self, peer: NodePeer) -> Iterator[tuple[Address, str]]:
        """Yield what *peer* proposes and was not granted, sorted, each with what others say against it."""
        proposed = peer.proposed or () if peer.node_uid in self.ready else ()
        for address in sorted({*proposed} - {*peer.addresses}, key=order):
            yield address, self._objection(peer, address)

    def _objection(self, peer: NodePeer, address: Address) -> str:
        holder = self.holders.get(address)
        if holder is not None and holds(holder, address, self.ready):
            return f"{holder.name} has it, and says so still"
        others = ", ".join(p.name for p in self.proposers[address] if p.node_uid != peer.node_uid)
        return f"proposed by {others} as well, so nobody gets it" if others else ""


def withdrawn(peers: Iterable[NodePeer]) -> frozenset[Withdrawn]:
    """Return what is held though the agent of its node does not say so any more."""
    return frozenset((p.node_uid, a) for p in peers for a in p.addresses if not p.proposes(a))


def order(address: Address) -> tuple[int, int]:
    """Return the order in which addresses are listed."""
    return (address.version, int(address))
