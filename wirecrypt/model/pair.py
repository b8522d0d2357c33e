"""A pair of nodes as one of its ends sees it: who the ends are, and which addresses its tunnel joins."""

from __future__ import annotations

from dataclasses import dataclass, field

from wirecrypt.errors import ObjectError
from wirecrypt.model.xfrm import Address, Network, host


@dataclass(frozen=True, slots=True)
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
    host_prefixes: tuple[Network, ...] = field(init=False, repr=False, compare=False)  # `hosts`, each as what holds just it
    claims: tuple[Network, ...] = field(
        init=False, repr=False, compare=False
    )  # all prefixes: its pods', then its own addresses

    def __post_init__(self) -> None:
        object.__setattr__(self, "host_prefixes", tuple(map(host, self.hosts)))
        object.__setattr__(self, "claims", (*self.pod_cidrs, *self.host_prefixes))

    @property
    def hosts(self) -> tuple[Address, ...]:
        """Return all addresses that are the node's own: endpoints, then the others."""
        return (*self.endpoints, *self.addresses)


@dataclass(frozen=True, slots=True)
class Pair:
    """This node and one peer. `lo` is the end with the lower nodeID."""

    own: End
    peer: End
    _outer: tuple[Address, Address] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def own_is_lo(self) -> bool:
        """Return whether this node is the lower end."""
        return self.own.node_id < self.peer.node_id

    def outer(self) -> tuple[Address, Address]:
        """Return the tunnel's own and peer address: the first endpoint of `lo` whose family `hi` has too.

        Both ends come to the same pair of addresses. Raises ObjectError when the ends share no family.
        """
        if self._outer is None:
            object.__setattr__(self, "_outer", self._chosen())
        return self._outer or self._chosen()

    def _chosen(self) -> tuple[Address, Address]:
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
