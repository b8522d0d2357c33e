"""What a node may claim at all, whoever else claims it: what the configuration allows, and a person for a new address. Pure.

A kubelet can write any address into its own Node, and an agent can propose any. What they draw to the node lies inside the
ranges of the configuration; a node that is Active gets no address of another subnet unless a person said so on its NodePeer,
which neither of them can write.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Final

from wirecrypt.controller.claims.claim import ClaimKind, NodeClaim
from wirecrypt.model.objects import ALLOW_ADDRESSES, NodePeer, NodeState
from wirecrypt.model.ranges import NOBODYS, ClaimRanges, overlap
from wirecrypt.model.xfrm import Address, Network

SHORTEST: Final = {4: 16, 6: 48}  # a shorter prefix is not one node's


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the configuration says about claims: ranges of Services, API servers' addresses, and where claims lie."""

    services: tuple[Network, ...] = ()
    api_servers: tuple[Address, ...] = ()
    ranges: ClaimRanges = field(default_factory=ClaimRanges)

    def unfit(self, claim: NodeClaim) -> str:
        """Return why no node may have *claim* anew, nothing when one may.

        That a range is not set says nothing about a claim that is held.
        """
        return self._never(claim) or self._outside(claim)

    def waits(self, claim: NodeClaim, peer: NodePeer | None) -> str:
        """Return what a person has to do before the node of *peer* gets *claim*, nothing when it need not wait."""
        if claim.held or claim.kind is ClaimKind.PREFIX or peer is None or peer.state is NodeState.JOINING:
            return ""
        address = claim.network.network_address
        present = (a for a in (*peer.endpoints, *peer.addresses) if not _said(a, peer))  # one that was allowed opens no subnet
        if _said(address, peer) or self.ranges.near(address, present):
            return ""
        words = ",".join(str(each) for each in (*peer.allowed, address))
        subnet = self.ranges.subnet(address)
        step = f"if it is meant, kubectl annotate np {peer.name} --overwrite {ALLOW_ADDRESSES}={words}"
        return f"waits, for the node has no address in {subnet}; {step}"

    def _never(self, claim: NodeClaim) -> str:
        if claim.kind is ClaimKind.PREFIX and claim.network.prefixlen < SHORTEST[claim.network.version]:
            return f"too short for one node, at least /{SHORTEST[claim.network.version]}"
        if any(overlap(claim.network, other) for other in NOBODYS):
            return "no node can own it"
        for service in sorted(self.services, key=str):
            if overlap(claim.network, service):
                return f"overlaps the Service range {service}"
        if claim.kind is not ClaimKind.PREFIX and claim.trusted:
            return ""  # an API server listens on the address of its own node
        for address in sorted(self.api_servers, key=str):
            if overlap(claim.network, ip_network(address)):
                return f"contains the API server {address}"
        return ""

    def _outside(self, claim: NodeClaim) -> str:
        prefix = claim.kind is ClaimKind.PREFIX
        if claim.held and not (self.ranges.pods if prefix else self.ranges.nodes):
            return ""
        if prefix:
            return self.ranges.against_prefix(claim.network)
        return self.ranges.against_address(claim.network.network_address)


def _said(address: Address, peer: NodePeer) -> bool:
    """Return whether a person lets the node have *address*."""
    return any(address in allowed for allowed in peer.allowed)
