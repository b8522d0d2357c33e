"""The configuration's ranges against each other and against what Nodes have. Pure.

Each field is valid by itself when this is asked. What does not fit together shows late: as a claim that is refused once its
node is enabled, or as an address outside `clusterCIDRs`, which passes in clear while nobody claims it, and nothing is counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Final

from wirecrypt.doctor.facts import CLAIMS_OF
from wirecrypt.doctor.finding import Check, Finding
from wirecrypt.model.objects import Node
from wirecrypt.settings import Settings

RANGES: Final = Check("cluster", "ranges")
_SHOWN: Final = 5
_PODS_STEP: Final = (
    "take the range that pods get their prefixes from into clusterCIDRs, and no narrower part of it into nodeCIDRs"
)
_NODES_STEP: Final = "take the subnet of these nodes into nodeCIDRs, and no narrower part of it into clusterCIDRs"
_ADDRESSES_STEP: Final = (
    "take the nodes' range into clusterCIDRs if every machine in it is a Node of this cluster or an API server; "
    "fine if others are in it"
)
_NARROWER: Final = "make clusterCIDRs narrower: they are the ranges of pods and nodes alone"
_BEHIND: Final = "list what is behind the Service: a load balancer, or the nodes that API servers run on"


def inspect_ranges(settings: Settings, nodes: Sequence[Node] | None, unseen: Mapping[str, str]) -> list[Finding]:
    """Return what does not fit; of *nodes* that could not be read *unseen* says why, as `nodes` or as `claims NAME`."""
    listed = settings.cluster_cidrs or settings.node_cidrs
    found = [*_services(settings), *(_nodes(settings, nodes, unseen) if listed else ())]
    held = ", and hold what Nodes have" if listed else ""
    return found or [RANGES.ok(f"the configuration's ranges fit together{held}")]


def _services(settings: Settings) -> Iterator[Finding]:
    for cluster, services in product(settings.cluster_cidrs, settings.service_cidrs):
        if cluster.overlaps(services):
            sentence = f"clusterCIDRs {cluster} overlaps serviceCIDRs {services}: no node can claim a Service's address"
            yield RANGES.warning(sentence, _NARROWER)
    for address, services in product(settings.api_servers, settings.service_cidrs):
        if address in services:
            sentence = f"apiServers {address} is inside serviceCIDRs {services}: packets on the wire never have this address"
            yield RANGES.warning(sentence, _BEHIND)


def _nodes(settings: Settings, nodes: Sequence[Node] | None, unseen: Mapping[str, str]) -> Iterator[Finding]:
    if nodes is None:
        yield RANGES.unseen(unseen.get("nodes", "unknown"))
        return
    ranges = settings.claim_ranges
    pods = [f"{n.name} {cidr}" for n in nodes for cidr in n.pod_cidrs if ranges.pods and ranges.against_prefix(cidr)]
    if pods:
        sentence = f"prefixes of pods that are not pods' by the ranges: {_some(pods)}; they are refused, and passed in clear"
        yield RANGES.warning(sentence, _PODS_STEP)
    strange = [f"{n.name} {a}" for n in nodes for a in n.endpoints if ranges.nodes and ranges.against_address(a)]
    if strange:
        sentence = (
            f"addresses of Nodes that are not nodes' by the ranges: {_some(strange)}; they are refused, and passed in clear"
        )
        yield RANGES.warning(sentence, _NODES_STEP)
    held = [(n.name, a) for n in nodes for a in n.endpoints if a not in settings.api_servers]
    addresses = [f"{name} {address}" for name, address in held if ranges.pods and not any(address in r for r in ranges.pods)]
    if addresses:
        sentence = f"addresses of Nodes outside clusterCIDRs: {_some(addresses)}; what nobody claims there passes in clear"
        yield RANGES.warning(sentence, _ADDRESSES_STEP)
    for name, why in sorted((key.removeprefix(CLAIMS_OF), why) for key, why in unseen.items() if key.startswith(CLAIMS_OF)):
        yield RANGES.unseen(f"Node {name}: {why}", "correct the Node's addresses or prefixes")


def _some(named: Sequence[str]) -> str:
    more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
    return f"{', '.join(named[:_SHOWN])}{more}"
