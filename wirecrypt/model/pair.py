"""A pair of nodes as one of its ends sees it: who the ends are, and which addresses its tunnel joins."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from wirecrypt.errors import ObjectError
from wirecrypt.model.xfrm import Address, Network, host


@dataclass(frozen=True)
class End:
    """One end of a pair: the node's identity and its claims (addresses and pod prefixes, in the API's order).

    *addresses*: what the node holds next to its endpoints, such as a virtual address; never an end of a tunnel.
    """

    name: str
    node_id: int
    node_uid: str
    endpoints: tuple[Address, ...]
    pod_cidrs: tuple[Network, ...]
    addresses: tuple[Address, ...] = ()

    @property
    def hosts(self) -> tuple[Address, ...]:
        """Return all addresses that are the node's own: endpoints, then the others."""
        return (*self.endpoints, *self.addresses)

    @cached_property
    def host_prefixes(self) -> tuple[Network, ...]:
        """Return `hosts`, each as the prefix that holds just it."""
        return tuple(map(host, self.hosts))

    @cached_property
    def claims(self) -> tuple[Network, ...]:
        """Return all prefixes of the end: its pods', then its own addresses."""
        return (*self.pod_cidrs, *self.host_prefixes)


@dataclass(frozen=True)
class Pair:
    """This node and one peer. `lo` is the end with the lower nodeID."""

    own: End
    peer: End

    @property
    def own_is_lo(self) -> bool:
        """Return whether this node is the lower end."""
        return self.own.node_id < self.peer.node_id

    def outer(self) -> tuple[Address, Address]:
        """Return the tunnel's own and peer address: the first endpoint of `lo` whose family `hi` has too.

        Both ends come to the same pair of addresses. Raises ObjectError when the ends share no family.
        """
        return self._outer

    @cached_property
    def _outer(self) -> tuple[Address, Address]:
        lo, hi = (self.own, self.peer) if self.own_is_lo else (self.peer, self.own)
        for candidate in lo.endpoints:
            for other in hi.endpoints:
                if candidate.version == other.version:
                    return (candidate, other) if self.own_is_lo else (other, candidate)
        raise ObjectError(
            "choose the tunnel's addresses",
            what=f"NodePeer {lo.name} and {hi.name}",
            answer="they have no address family in common",
            hint="give both Nodes an InternalIP of one family",
        )
