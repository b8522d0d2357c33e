"""Who may have which prefix, address and node ID.

Prefixes and addresses of Nodes are claims, for a kubelet can fill its own. A claim that overlaps another node's, the
Service range, an API server's address or an address that no node can own is refused, and the older holder keeps it:
first those that a NodePeer of the node holds already, then the older Node. What is held is never taken away because of
the configuration or of what the Node stopped to mention: agents would let its traffic pass in clear. It is kept and told
(docs/adr/0011). Other addresses of a node are proposed by its agent and come after all claims of Nodes; how they move is in
`proposals`. The result does not depend on the order of the input.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from ipaddress import ip_network
from typing import Final

from wirecrypt.controller.mentions import mentioned
from wirecrypt.controller.proposals import Proposals, Withdrawn, order
from wirecrypt.errors import ObjectError
from wirecrypt.model.objects import MOST_ADDRESSES, Node, NodePeer, SeedSecret
from wirecrypt.model.spi import MAX_NODE_ID, MIN_NODE_ID
from wirecrypt.model.xfrm import Address, Network
from wirecrypt.plan.holders import each_once

SHORTEST: Final = {4: 16, 6: 48}  # a shorter prefix is not one node's
MOST_ENDPOINTS: Final = 4
MOST_PREFIXES: Final = 64
_NOBODYS: Final = tuple(
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"),
        *("::/127", "::ffff:0:0/96", "64:ff9b::/96", "2002::/16", "fe80::/10", "ff00::/8"),  # three are IPv4 by other names
    )
)
_EPOCH_START: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Reserved:
    """What no node may claim: Service ranges and API servers' addresses."""

    services: tuple[Network, ...] = ()
    api_servers: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class Settled:
    """What a node gets of its claims, sorted as claimed, and in words the refused ones and those that are only *kept*.

    *kept*: the node holds them already, and as new ones they would be refused. *strange*: what its agent said that cannot be.
    """

    endpoints: tuple[Address, ...]
    pod_cidrs: tuple[Network, ...]
    refused: tuple[str, ...]
    kept: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()
    strange: str = ""


class ClaimKind(IntEnum):
    """What is claimed, in the order in which claims of one node are heard."""

    ENDPOINT = 1
    ADDRESS = 2
    PREFIX = 3


@dataclass(frozen=True, slots=True)
class _Claim:
    """One claim of one node (its UID tells nodes of one name apart); *held* by its NodePeer already.

    *trusted*: the Node carries the label of the control plane, which its kubelet cannot set.
    """

    node: str
    uid: str
    created: datetime
    held: bool
    network: Network
    kind: ClaimKind
    trusted: bool = False

    @property
    def rank(self) -> tuple[bool, datetime, str, int, int, Network]:
        """Return the order in which claims are heard: holders, then older nodes, then endpoints."""
        return (not self.held, self.created, self.uid, self.kind, self.network.version, self.network)

    def __str__(self) -> str:
        return str(self.network) if self.kind is ClaimKind.PREFIX else str(self.network.network_address)


@dataclass(slots=True)
class _Granted:
    """Granted claims as disjoint intervals per family, so that thousands of nodes are settled in one pass.

    Claims of one node may contain each other; only the widest is kept here.
    """

    claims: list[_Claim] = field(default_factory=list)
    index: dict[int, list[tuple[int, int, _Claim]]] = field(default_factory=lambda: {4: [], 6: []})

    def grant(self, claim: _Claim) -> None:
        """Add *claim*, which overlaps no other node's."""
        self.claims.append(claim)
        first, last, low, high = self._range(claim)
        entries = self.index[claim.network.version]
        if not any(start <= low and high <= end for start, end, _ in entries[first:last]):
            entries[first:last] = [(low, high, claim)]

    def rival(self, claim: _Claim) -> _Claim | None:
        """Return another node's claim that *claim* overlaps."""
        first, last, _, _ = self._range(claim)
        others = (other for _, _, other in self.index[claim.network.version][first:last])
        return next((other for other in others if other.uid != claim.uid), None)

    def covers(self, claim: _Claim) -> bool:
        """Return whether a claim of the same node holds *claim*."""
        first, last, _, _ = self._range(claim)
        return any(other.uid == claim.uid for _, _, other in self.index[claim.network.version][first:last])

    def _range(self, claim: _Claim) -> tuple[int, int, int, int]:
        """Return the slice of entries that overlap *claim*, and its lowest and highest address as numbers."""
        low, high = int(claim.network.network_address), int(claim.network.broadcast_address)
        entries = self.index[claim.network.version]
        last = bisect_right(entries, high, key=lambda entry: entry[0])
        first = last
        while first and entries[first - 1][1] >= low:
            first -= 1
        return first, last, low, high


@dataclass(slots=True)
class _Hearing:
    """Claims as they are heard: granted ones, and in words, by node UID, the refused ones and those that are only kept.

    *moving*: what is granted though another node, which gave it up, is still shown with it.
    """

    reserved: Reserved
    granted: _Granted = field(default_factory=_Granted)
    moving: list[_Claim] = field(default_factory=list)
    refused: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    kept: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def hear(self, claim: _Claim) -> None:
        """Grant *claim* or refuse it; what is unfit is kept where it is held already."""
        unfit = _unfit(claim, self.reserved)
        if why := unfit if unfit and not claim.held else _rivalry(claim, self.granted):
            self.refused[claim.uid].append(f"{claim}: {why}")
            return
        self.granted.grant(claim)
        if unfit:
            self.kept[claim.uid].append(f"{claim}: {unfit}")

    def propose(self, claim: _Claim, objection: str) -> None:
        """Grant a proposed address or refuse it; one that the node's other claims hold already is none of its own."""
        if self.granted.covers(claim):
            return
        if why := _unfit(claim, self.reserved) or objection or _rivalry(claim, self.granted):
            self.refused[claim.uid].append(f"{claim}: {why}")
        else:
            self.moving.append(claim)

    def settled(self, nodes: Iterable[Node]) -> Mapping[str, Settled]:
        """Return by name what each of *nodes* gets."""
        mine: defaultdict[str, dict[ClaimKind, list[Network]]] = defaultdict(lambda: {kind: [] for kind in ClaimKind})
        for claim in (*self.granted.claims, *self.moving):
            mine[claim.uid][claim.kind].append(claim.network)
        return {
            node.name: _settled(node, mine[node.uid], refused=self.refused[node.uid], kept=self.kept[node.uid])
            for node in nodes
        }


def settle(
    nodes: Iterable[Node], peers: Iterable[NodePeer], reserved: Reserved, rested: Container[Withdrawn] = frozenset()
) -> Mapping[str, Settled]:
    """Return by name of each Node what it gets; claims of a NodePeer whose Node is gone are held until it goes, too.

    *rested*: addresses that were withdrawn long enough ago to be given up.
    """
    nodes = sorted(nodes, key=lambda n: n.uid)
    ready = frozenset(node.uid for node in nodes if node.ready)
    proposals = Proposals.of(each_once(peers, ready), ready)
    holders = {p.node_uid: proposals.kept(p, rested) for p in proposals.peers}
    found = mentioned(nodes, holders)
    nodes = [each.node for each in found]
    holders |= {each.peer.node_uid: each.peer for each in found if each.peer}
    live = {node.uid for node in nodes}
    hearing = _Hearing(reserved)
    for each in found:
        hearing.kept[each.node.uid] += [f"{thing}: its Node does not mention it" for thing in each.missing]
    for claim in (c for uid, peer in sorted(holders.items()) if uid not in live for c in _held(peer)):
        hearing.granted.grant(claim)
    for claim in sorted((c for node in nodes for c in _claims(node, holders.get(node.uid))), key=lambda c: c.rank):
        hearing.hear(claim)
    for node in (n for n in nodes if n.uid in holders):
        for address, objection in proposals.new(holders[node.uid]):
            hearing.propose(_claim(node, ip_network(address), ClaimKind.ADDRESS), objection)
    return hearing.settled(nodes)


def _claims(node: Node, peer: NodePeer | None) -> Iterable[_Claim]:
    addresses = peer.addresses if peer else ()
    held = set(_networks(peer.endpoints, addresses, peer.pod_cidrs)) if peer else set()
    for kind, network in _networks(node.endpoints, addresses, node.pod_cidrs):
        yield _claim(node, network, kind, held=(kind, network) in held)


def _claim(node: Node, network: Network, kind: ClaimKind, *, held: bool = False) -> _Claim:
    return _Claim(node.name, node.uid, node.created, held, network, kind, trusted=node.control_plane)


def _held(peer: NodePeer) -> Iterable[_Claim]:
    for kind, network in _networks(peer.endpoints, peer.addresses, peer.pod_cidrs):
        yield _Claim(peer.name, peer.node_uid, _EPOCH_START, held=True, network=network, kind=kind)


def _networks(
    endpoints: Iterable[Address], addresses: Iterable[Address], prefixes: Iterable[Network]
) -> Iterable[tuple[ClaimKind, Network]]:
    yield from ((ClaimKind.ENDPOINT, ip_network(address)) for address in endpoints)
    yield from ((ClaimKind.ADDRESS, ip_network(address)) for address in addresses)
    yield from ((ClaimKind.PREFIX, prefix) for prefix in prefixes)


def _unfit(claim: _Claim, reserved: Reserved) -> str:
    """Return why no node may have *claim* anew, nothing when one may."""
    if claim.kind is ClaimKind.PREFIX and claim.network.prefixlen < SHORTEST[claim.network.version]:
        return f"too short for one node, at least /{SHORTEST[claim.network.version]}"
    if any(_overlap(claim.network, other) for other in _NOBODYS):
        return "no node can own it"
    for service in sorted(reserved.services, key=str):
        if _overlap(claim.network, service):
            return f"overlaps the Service range {service}"
    if claim.kind is not ClaimKind.PREFIX and claim.trusted:
        return ""  # an API server listens on the address of its own node
    for address in sorted(reserved.api_servers, key=str):
        if _overlap(claim.network, ip_network(address)):
            return f"contains the API server {address}"
    return ""


def _rivalry(claim: _Claim, granted: _Granted) -> str:
    """Return whose claim *claim* overlaps, nothing when nobody's."""
    rival = granted.rival(claim)
    if rival and rival.kind is claim.kind is ClaimKind.ADDRESS:
        return ""  # its holder gave it up
    return f"overlaps {rival} of {rival.node}, which had it first" if rival else ""


def _overlap(objects: Network, other: Network) -> bool:
    # Spelt out for each family: `overlaps` of one family does not take the other.
    return objects.version == other.version and (objects.network_address in other or other.network_address in objects)


def _settled(node: Node, mine: Mapping[ClaimKind, list[Network]], *, refused: Iterable[str], kept: Iterable[str]) -> Settled:
    own = {*mine[ClaimKind.ENDPOINT]}
    endpoints = tuple(a for a in dict.fromkeys(node.endpoints) if ip_network(a) in own)
    prefixes = tuple(p for p in dict.fromkeys(node.pod_cidrs) if p in mine[ClaimKind.PREFIX])
    others = [n for n in mine[ClaimKind.ADDRESS] if not any(_overlap(n, claim) for claim in (*own, *prefixes))]
    addresses = [n.network_address for n in others]  # those that are held come first, so that a full node loses none
    extra = [f"{a}: more than {MOST_ENDPOINTS} addresses" for a in endpoints[MOST_ENDPOINTS:]]
    extra += [f"{a}: more than {MOST_ADDRESSES} other addresses" for a in addresses[MOST_ADDRESSES:]]
    extra += [f"{p}: more than {MOST_PREFIXES} prefixes" for p in prefixes[MOST_PREFIXES:]]
    return Settled(
        endpoints[:MOST_ENDPOINTS],
        prefixes[:MOST_PREFIXES],
        (*sorted(refused), *extra),
        tuple(sorted(kept)),
        tuple(sorted(addresses[:MOST_ADDRESSES], key=order)),
    )


def resting(seeds: Iterable[SeedSecret]) -> frozenset[int]:
    """Return the IDs that may not be given out: released in a live epoch, or in the one before it."""
    return frozenset(node_id for seed in seeds for node_id in (*seed.released, *seed.carried))


def allocate(used: Iterable[int], seeds: Iterable[SeedSecret]) -> int:
    """Return the lowest node ID that is neither used nor resting; raises `ObjectError` when there is none."""
    taken = {*used, *resting(seeds)}
    for node_id in range(MIN_NODE_ID, MAX_NODE_ID + 1):
        if node_id not in taken:
            return node_id
    raise ObjectError(
        "choose a node ID",
        what=f"{MIN_NODE_ID}..{MAX_NODE_ID}",
        answer="all are used or resting",
        hint="rotate twice, so that IDs of deleted nodes are free again",
    )
