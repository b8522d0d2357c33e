"""The configuration's ranges against each other and against what Nodes have. Pure.

Each field is valid by itself when this is asked. What does not fit together shows late: an address outside `clusterCIDRs`
passes in clear for as long as nobody claims it, and nothing is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from itertools import product
from typing import Final

from wirecrypt.doctor.facts import CLAIMS_OF
from wirecrypt.doctor.finding import Check, Finding
from wirecrypt.model.objects import Node
from wirecrypt.model.xfrm import Network
from wirecrypt.settings import Settings

RANGES: Final = Check("cluster", "ranges")
_SHOWN: Final = 5
_PODS_STEP: Final = "take the range that pods get their prefixes from into clusterCIDRs"
_ADDRESSES_STEP: Final = (
    "take the nodes' range into clusterCIDRs if every machine in it is a Node of this cluster or an API server; "
    "fine if others are in it"
)
_NARROWER: Final = "make clusterCIDRs narrower: they are the ranges of pods and nodes alone"
_BEHIND: Final = "list what is behind the Service: a load balancer, or the nodes that API servers run on"


def inspect_ranges(settings: Settings, nodes: Sequence[Node] | None, unseen: Mapping[str, str]) -> list[Finding]:
    """Return what does not fit; of *nodes* that could not be read *unseen* says why, as `nodes` or as `claims NAME`."""
    found = [*_services(settings), *(_nodes(settings, nodes, unseen) if settings.cluster_cidrs else ())]
    held = ", and hold what Nodes have" if settings.cluster_cidrs else ""
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
    whole = _collapsed(settings.cluster_cidrs)
    pods = [f"{n.name} {cidr}" for n in nodes for cidr in n.pod_cidrs if not _inside(cidr, whole)]
    if pods:
        sentence = f"prefixes of pods outside clusterCIDRs: {_some(pods)}; what goes there passes in clear until it is claimed"
        yield RANGES.warning(sentence, _PODS_STEP)
    held = [(n.name, a) for n in nodes for a in n.endpoints if a not in settings.api_servers]
    addresses = [f"{name} {address}" for name, address in held if not _inside(ip_network(address), whole)]
    if addresses:
        sentence = f"addresses of Nodes outside clusterCIDRs: {_some(addresses)}; what nobody claims there passes in clear"
        yield RANGES.warning(sentence, _ADDRESSES_STEP)
    for name, why in sorted((key.removeprefix(CLAIMS_OF), why) for key, why in unseen.items() if key.startswith(CLAIMS_OF)):
        yield RANGES.unseen(f"Node {name}: {why}", "correct the Node's addresses or prefixes")


def _collapsed(ranges: Sequence[Network]) -> tuple[Network, ...]:
    """Return *ranges* with those that meet made one, so that what lies across two of them is inside."""
    four = [r for r in ranges if isinstance(r, IPv4Network)]
    six = [r for r in ranges if isinstance(r, IPv6Network)]
    return (*collapse_addresses(four), *collapse_addresses(six))


def _inside(network: Network, ranges: Iterable[Network]) -> bool:
    return any(r.overlaps(network) and r.prefixlen <= network.prefixlen for r in ranges)


def _some(named: Sequence[str]) -> str:
    more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
    return f"{', '.join(named[:_SHOWN])}{more}"
