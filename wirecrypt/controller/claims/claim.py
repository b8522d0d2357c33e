"""One claim of one node: a prefix of its pods, an address of its Node, or one that its agent found there. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from ipaddress import ip_network
from typing import Final

from wirecrypt.model.objects import Node, NodePeer
from wirecrypt.model.xfrm import Address, Network

_EPOCH_START: Final = datetime(1970, 1, 1, tzinfo=UTC)


class ClaimKind(IntEnum):
    """What is claimed, in the order in which claims of one node are heard."""

    ENDPOINT = 1
    ADDRESS = 2
    PREFIX = 3


@dataclass(frozen=True, slots=True)
class NodeClaim:
    """One claim of one node (its UID tells nodes of one name apart); *held* by its NodePeer already.

    *late*: new, though its node has joined before. *trusted*: the Node carries the label of the control plane, which its
    kubelet cannot set.
    """

    node: str
    uid: str
    created: datetime
    held: bool
    network: Network
    kind: ClaimKind
    late: bool = False
    trusted: bool = False

    @property
    def rank(self) -> tuple[bool, bool, datetime, str, int, int, Network]:
        """Return the order in which claims are heard: what is held, then what Nodes had before they join, older ones first.

        What a node that has joined asks for anew is last: a Node that somebody took over cannot be older than what others
        have, whenever it was made.
        """
        return (not self.held, self.late, self.created, self.uid, self.kind, self.network.version, self.network)

    def __str__(self) -> str:
        return str(self.network) if self.kind is ClaimKind.PREFIX else str(self.network.network_address)


def claims_of(node: Node, peer: NodePeer | None) -> Iterable[NodeClaim]:
    """Yield what *node* mentions and what its NodePeer holds of other addresses; one of these is held as an endpoint, too."""
    addresses = peer.addresses if peer else ()
    held = _held_by(peer) if peer else frozenset()
    for kind, network in _networks(node.endpoints, addresses, node.pod_cidrs):
        yield claim_of(node, peer, network, kind, held=(kind, network) in held)


def claim_of(node: Node, peer: NodePeer | None, network: Network, kind: ClaimKind, *, held: bool = False) -> NodeClaim:
    """Return the claim of *node* to *network*; *peer*: its NodePeer, if it has one."""
    late = peer is not None and not held
    return NodeClaim(node.name, node.uid, node.created, held, network, kind, late=late, trusted=node.control_plane)


def claims_of_vanished(peer: NodePeer) -> Iterable[NodeClaim]:
    """Yield what is held by *peer*, whose Node is gone."""
    for kind, network in _networks(peer.endpoints, peer.addresses, peer.pod_cidrs):
        yield NodeClaim(peer.name, peer.node_uid, _EPOCH_START, held=True, network=network, kind=kind)


def _held_by(peer: NodePeer) -> frozenset[tuple[ClaimKind, Network]]:
    return frozenset(_networks((*peer.endpoints, *peer.addresses), peer.addresses, peer.pod_cidrs))


def _networks(
    endpoints: Iterable[Address], addresses: Iterable[Address], prefixes: Iterable[Network]
) -> Iterable[tuple[ClaimKind, Network]]:
    yield from ((ClaimKind.ENDPOINT, ip_network(address)) for address in endpoints)
    yield from ((ClaimKind.ADDRESS, ip_network(address)) for address in addresses)
    yield from ((ClaimKind.PREFIX, prefix) for prefix in prefixes)
