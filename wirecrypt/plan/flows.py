"""The flow classes of a pair: which traffic between two nodes is encrypted, as selectors out and in.

Towards the peer's pods and, where node→node is sealed, towards its own addresses whatever the source: a pod chooses its
source, masquerade changes it, and a node's ICMP error quotes what it decrypted. Where node→node is exempt, the peer's
addresses are reached by ESP by what the mark program saw coming from a pod, by sources of own pods, and by ICMP, whose errors
quote packets and whose fragments do not tell errors from echoes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_network
from typing import Final

from wirecrypt.model.pair import Pair
from wirecrypt.model.xfrm import Direction, Network, Selector
from wirecrypt.pairs.node_traffic import NodeTraffic

_ANY: Final = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}
_ICMP: Final = {4: 1, 6: 58}  # protocol by IP version


class FlowClass(Enum):
    """Who on one node sends to whom on the other: all the traffic of a pair, each class in either direction."""

    POD_TO_POD = "pod to pod"
    POD_TO_NODE = "pod to node"
    NODE_TO_POD = "node to pod"
    NODE_TO_NODE = "node to node"

    @property
    def from_pod(self) -> bool:
        """Whether pods send it, and not the node itself."""
        return self in (FlowClass.POD_TO_POD, FlowClass.POD_TO_NODE)

    @property
    def to_pod(self) -> bool:
        """Whether it is for pods."""
        return self in (FlowClass.POD_TO_POD, FlowClass.NODE_TO_POD)


@dataclass(frozen=True, slots=True)
class OutFlow:
    """Packets that leave: *stamped*: only those that came from a pod's link; *spread*: flows choose among the lanes."""

    selector: Selector
    stamped: bool = False
    spread: bool = True


@dataclass(frozen=True, slots=True)
class InFlow:
    """Packets that arrive, forwarded or for this node; *nodes*: of the class node→node, which is refused on its own terms."""

    direction: Direction
    selector: Selector
    nodes: bool = False


def flows_out(pair: Pair, nodes: NodeTraffic) -> Iterator[OutFlow]:
    """Yield what leaves by ESP, *nodes* telling whether that is all to the peer's addresses."""
    for prefix in pair.peer.pod_cidrs:
        yield OutFlow(Selector(_any(prefix), prefix))
    for prefix in pair.peer.host_prefixes:
        if nodes.sends:
            yield OutFlow(Selector(_any(prefix), prefix))
        else:
            yield from _exempt(pair, prefix)


def _exempt(pair: Pair, prefix: Network) -> Iterator[OutFlow]:
    yield OutFlow(Selector(_any(prefix), prefix), stamped=True)
    for cidr in pair.own.pod_cidrs:
        if cidr.version == prefix.version:
            yield OutFlow(Selector(cidr, prefix), spread=False)
    yield OutFlow(Selector(_any(prefix), prefix, _ICMP[prefix.version]), spread=False)


def flows_in(pair: Pair, nodes: NodeTraffic) -> Iterator[InFlow]:
    """Yield what arrives by ESP; where node→node may be in clear as well, own pods are no part of that."""
    for direction in (Direction.FWD, Direction.IN):
        for prefix in pair.peer.pod_cidrs:
            yield InFlow(direction, Selector(prefix, _any(prefix)))
        for prefix in pair.peer.host_prefixes:
            yield InFlow(direction, Selector(prefix, _any(prefix)), nodes=True)
            if not nodes.requires:
                for cidr in pair.own.pod_cidrs:
                    if cidr.version == prefix.version:
                        yield InFlow(direction, Selector(prefix, cidr))


def _any(prefix: Network) -> Network:
    return _ANY[prefix.version]
