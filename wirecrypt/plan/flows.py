"""The flow classes of a pair: which traffic between two nodes is encrypted, as prefixes to and from."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from wirecrypt.model.pair import Pair
from wirecrypt.model.xfrm import Direction, Network
from wirecrypt.plan.snapshot import host


def flows_out(pair: Pair) -> Iterator[tuple[Network, Network]]:
    """Yield (source, destination) prefixes of pod→pod and node→pod (any source), then pod→node."""
    for cidr in pair.peer.pod_cidrs:
        yield _any(cidr), cidr
    for endpoint in pair.peer.endpoints:
        for cidr in pair.own.pod_cidrs:
            if cidr.version == endpoint.version:
                yield cidr, host(endpoint)


def flows_in(pair: Pair) -> Iterator[tuple[Direction, Network, Network]]:
    """Yield the same flow classes as they arrive: forwarded to pods, or for this node."""
    for cidr in pair.peer.pod_cidrs:
        yield Direction.FWD, cidr, _any(cidr)
        yield Direction.IN, cidr, _any(cidr)
    for endpoint in pair.peer.endpoints:
        for cidr in pair.own.pod_cidrs:
            if cidr.version == endpoint.version:
                yield Direction.FWD, host(endpoint), cidr
                yield Direction.IN, host(endpoint), cidr


def _any(prefix: Network) -> Network:
    return ip_network("0.0.0.0/0" if prefix.version == 4 else "::/0")  # noqa: PLR2004 - the IP version
