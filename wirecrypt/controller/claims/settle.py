"""Who gets which prefix and address. Pure.

Prefixes and addresses of Nodes are claims, for a kubelet can fill its own. What a claim may be at all says `allowed`: what it
may not, its Node has not said. A claim that overlaps another node's is refused, and who had it first keeps it: those that a
NodePeer of the node holds already, then those of Nodes that have not joined, the older Node first, and last what a node that
has joined asks for anew. What is held is never taken away because of the configuration or of what the Node stopped to
mention: agents would let its traffic pass in clear. It is kept and told (docs/adr/0011). Other addresses of a node are proposed
by its agent and come after all claims of Nodes; how they move is in `proposals`. The result does not depend on the order of
the input.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import Final, Generic, NamedTuple, TypeVar

from wirecrypt.controller.claims.allowed import Allowed
from wirecrypt.controller.claims.claim import ClaimKind, NodeClaim, claim_of, claims_of, claims_of_vanished
from wirecrypt.controller.claims.mentions import mentioned
from wirecrypt.controller.claims.proposals import Proposals, Withdrawn, order
from wirecrypt.model.objects import MOST_ADDRESSES, Node, NodePeer
from wirecrypt.model.ranges import PrefixMap, overlap
from wirecrypt.model.xfrm import Address, Network
from wirecrypt.plan.holders import each_once

MOST_ENDPOINTS: Final = 4
MOST_PREFIXES: Final = 64
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Settled:
    """What a node gets of its claims, sorted as claimed, and in words the refused ones and those that are only *kept*.

    *kept*: the node holds them already, and as new ones they would be refused. *waiting*: what a person has to allow first.
    *strange*: what its agent said that cannot be. *unset*: what the configuration lacks for any new claim.
    """

    endpoints: tuple[Address, ...]
    pod_cidrs: tuple[Network, ...]
    refused: tuple[str, ...]
    kept: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()
    waiting: tuple[str, ...] = ()
    strange: str = ""
    unset: str = ""


@dataclass(slots=True)
class _Granted:
    """Granted claims, and the same by their prefixes, so that thousands of nodes are settled in one pass."""

    claims: list[NodeClaim] = field(default_factory=list)
    index: PrefixMap[NodeClaim] = field(default_factory=PrefixMap)

    def grant(self, claim: NodeClaim) -> None:
        """Add *claim*, which overlaps no other node's."""
        self.claims.append(claim)
        self.index.add(claim.network, claim)

    def rival(self, claim: NodeClaim) -> NodeClaim | None:
        """Return another node's claim that *claim* overlaps."""
        return next((other for other in self.index.meeting(claim.network) if other.uid != claim.uid), None)

    def covers(self, claim: NodeClaim) -> bool:
        """Return whether a claim of the same node holds *claim*."""
        return any(other.uid == claim.uid for other in self.index.meeting(claim.network))


@dataclass(slots=True)
class _Hearing:
    """Claims as they are heard: granted ones, and in words, by node UID, what else became of them (as in `Settled`).

    *moving*: what is granted though another node, which gave it up, is still shown with it.
    """

    allowed: Allowed
    granted: _Granted = field(default_factory=_Granted)
    moving: list[NodeClaim] = field(default_factory=list)
    refused: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    waiting: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    kept: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def sift(self, node: Node, peer: NodePeer | None) -> Node:
        """Return *node* without new claims that it may not have, or not yet: as if it had not mentioned them ◆R18.

        Else one would end what the node holds, as its successor, and what another node holds no more.
        """
        new = dict.fromkeys(claim for claim in claims_of(node, peer) if not claim.held)
        out = {(claim.kind, claim.network) for claim in new if not self._may_be(claim, peer)}
        endpoints = tuple(a for a in node.endpoints if (ClaimKind.ENDPOINT, ip_network(a)) not in out)
        prefixes = tuple(p for p in node.pod_cidrs if (ClaimKind.PREFIX, p) not in out)
        return replace(node, endpoints=endpoints, pod_cidrs=prefixes)

    def hear(self, claim: NodeClaim) -> None:
        """Grant *claim* or refuse it as another node's; what is unfit was held already, and is kept."""
        if why := _rivalry(claim, self.granted):
            self.refused[claim.uid].append(f"{claim}: {why}")
            return
        self.granted.grant(claim)
        if unfit := self.allowed.unfit(claim):
            self.kept[claim.uid].append(f"{claim}: {unfit}")

    def propose(self, claim: NodeClaim, peer: NodePeer, objection: str) -> None:
        """Grant a proposed address or refuse it; one that the node's other claims hold already is none of its own."""
        if self.granted.covers(claim) or not self._may_be(claim, peer):
            return
        if why := objection or _rivalry(claim, self.granted):
            self.refused[claim.uid].append(f"{claim}: {why}")
        else:
            self.moving.append(claim)

    def settled(self, nodes: Iterable[Node]) -> Mapping[str, Settled]:
        """Return by name what each of *nodes* gets."""
        mine: defaultdict[str, list[NodeClaim]] = defaultdict(list)
        for claim in (*self.granted.claims, *self.moving):
            mine[claim.uid].append(claim)
        return {node.name: self._of(node, mine[node.uid]) for node in nodes}

    def _may_be(self, claim: NodeClaim, peer: NodePeer | None) -> bool:
        """Return whether the node of *claim*, which is new, may have it as far as the others' claims allow."""
        unfit = self.allowed.unfit(claim)
        waits = "" if unfit else self.allowed.waits(claim, peer)
        if unfit:
            self.refused[claim.uid].append(f"{claim}: {unfit}")
        elif waits:
            self.waiting[claim.uid].append(f"{claim}: {waits}")
        return not (unfit or waits)

    def _of(self, node: Node, mine: Sequence[NodeClaim]) -> Settled:
        """Return what *node* gets of what was granted to it (*mine*): no more than its object holds, and first what it has."""
        by_kind = {kind: {c.network: c.held for c in mine if c.kind is kind} for kind in ClaimKind}
        own, prefixes = by_kind[ClaimKind.ENDPOINT], by_kind[ClaimKind.PREFIX]
        others = [n for n in by_kind[ClaimKind.ADDRESS] if not any(overlap(n, claim) for claim in (*own, *prefixes))]
        endpoints = _fitting({a: own.get(ip_network(a)) for a in node.endpoints}, MOST_ENDPOINTS, "addresses")
        pods = _fitting({p: prefixes.get(p) for p in node.pod_cidrs}, MOST_PREFIXES, "prefixes")
        held = {n.network_address: by_kind[ClaimKind.ADDRESS][n] for n in others}
        addresses = _fitting(held, MOST_ADDRESSES, "other addresses")
        return Settled(
            endpoints.taken,
            pods.taken,
            (*sorted({*self.refused[node.uid]}), *endpoints.left, *addresses.left, *pods.left),
            tuple(sorted({*self.kept[node.uid]})),
            tuple(sorted(addresses.taken, key=order)),
            tuple(sorted({*self.waiting[node.uid]})),
        )


def settle(
    nodes: Iterable[Node], peers: Iterable[NodePeer], allowed: Allowed, rested: Container[Withdrawn] = frozenset()
) -> Mapping[str, Settled]:
    """Return by name of each Node what it gets; claims of a NodePeer whose Node is gone are held until it goes, too.

    *rested*: addresses that were withdrawn long enough ago to be given up.
    """
    nodes = sorted(nodes, key=lambda n: n.uid)
    ready = frozenset(node.uid for node in nodes if node.ready)
    proposals = Proposals.of(each_once(peers, ready), ready)
    holders = {p.node_uid: proposals.kept(p, rested) for p in proposals.peers}
    hearing = _Hearing(allowed)
    found = mentioned([hearing.sift(node, holders.get(node.uid)) for node in nodes], holders)
    nodes = [each.node for each in found]
    holders |= {each.peer.node_uid: each.peer for each in found if each.peer}
    live = {node.uid for node in nodes}
    for each in found:
        hearing.kept[each.node.uid] += [f"{thing}: its Node does not mention it" for thing in each.missing]
    for claim in (c for uid, peer in sorted(holders.items()) if uid not in live for c in claims_of_vanished(peer)):
        hearing.granted.grant(claim)
    for claim in sorted((c for node in nodes for c in claims_of(node, holders.get(node.uid))), key=lambda c: c.rank):
        hearing.hear(claim)
    for node in (n for n in nodes if n.uid in holders):
        peer = holders[node.uid]
        for address, objection in proposals.new(peer):
            hearing.propose(claim_of(node, peer, ip_network(address), ClaimKind.ADDRESS), peer, objection)
    return hearing.settled(nodes)


def _rivalry(claim: NodeClaim, granted: _Granted) -> str:
    """Return whose claim *claim* overlaps, nothing when nobody's."""
    rival = granted.rival(claim)
    if rival and rival.kind is claim.kind is ClaimKind.ADDRESS:
        return ""  # its holder gave it up
    return f"overlaps {rival} of {rival.node}, which had it first" if rival else ""


class _Fitting(NamedTuple, Generic[T]):
    """What an object has room for, and in words what it has not."""

    taken: tuple[T, ...]
    left: tuple[str, ...]


def _fitting(claims: Mapping[T, bool | None], most: int, what: str) -> _Fitting[T]:
    """Return the first *most* of the granted *claims* in their order, those that are held (true) before new ones ◆R19.

    None: not granted.
    """
    granted = [claim for claim, held in claims.items() if held is not None]
    taken = set(sorted(granted, key=lambda claim: not claims[claim])[:most])
    left = tuple(f"{claim}: more than {most} {what}" for claim in granted if claim not in taken)
    return _Fitting(tuple(claim for claim in granted if claim in taken), left)
