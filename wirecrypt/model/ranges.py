"""Where the configuration lets claims of nodes lie: prefixes of pods in one list, addresses of nodes in another.

The narrowest range that holds an address says what it is for, so that no node can claim a pod's address as its own, or nodes'
addresses as a prefix, also where one list covers the other. Where both lists have the same range it is for either.
What no machine can own is in no list, and claimed by nobody.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import Final, Generic, TypeVar

from wirecrypt.model.xfrm import Address, Network

T = TypeVar("T")
NOBODYS: Final[tuple[Network, ...]] = tuple(
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"),
        *("::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16"),  # IPv4 by other names
        *("fe80::/10", "ff00::/8"),
    )
)
LOCAL: Final[tuple[Network, ...]] = tuple(map(ip_network, ("169.254.0.0/16", "224.0.0.0/4", "fe80::/10", "ff00::/8")))


@dataclass(frozen=True, slots=True)
class ClaimRanges:
    """The ranges of *pods* (`clusterCIDRs`) and of *nodes* (`nodeCIDRs`): empty allows nothing."""

    pods: tuple[Network, ...] = ()
    nodes: tuple[Network, ...] = ()

    @property
    def unset(self) -> str:
        """Return what no node can join without, in words; nothing where both are set."""
        names = [name for name, ranges in (("clusterCIDRs", self.pods), ("nodeCIDRs", self.nodes)) if not ranges]
        return f"{' and '.join(names)} of the configuration {'is' if len(names) == 1 else 'are'} empty" if names else ""

    def against_prefix(self, prefix: Network) -> str:
        """Return why no node's pods may have *prefix*, nothing when they may."""
        if not self.pods:
            return "clusterCIDRs of the configuration is empty"
        if not any(_inside(prefix, r) for r in self.pods) and not any(_inside(prefix, r) for r in _joined(self.pods)):
            return "outside clusterCIDRs"
        for other in (r for r in self.nodes if overlap(prefix, r)):
            shared = other if other.prefixlen > prefix.prefixlen else prefix
            if not any(r.prefixlen >= other.prefixlen and _inside(shared, r) for r in self.pods):
                return f"overlaps {other} of nodeCIDRs, which is for addresses of nodes"
        return ""

    def against_address(self, address: Address) -> str:
        """Return why no node may have *address*, nothing when one may."""
        if not self.nodes:
            return "nodeCIDRs of the configuration is empty"
        own = [r.prefixlen for r in self.nodes if address in r]
        if not own:
            return "outside nodeCIDRs"
        for other in (r for r in self.pods if address in r and r.prefixlen > max(own)):
            return f"in {other} of clusterCIDRs, which is for pods"
        return ""

    def near(self, address: Address, others: Iterable[Address]) -> bool:
        """Return whether a range of nodes holds *address* and one of *others*: they are in one subnet."""
        subnets = [r for r in self.nodes if address in r]
        return any(other in subnet for other in others for subnet in subnets)

    def subnet(self, address: Address) -> Network:
        """Return the narrowest range of nodes that holds *address*, the address itself when none does."""
        return max((r for r in self.nodes if address in r), key=lambda r: r.prefixlen, default=ip_network(address))


class PrefixMap(Generic[T]):
    """Values of prefixes of both families, to be asked for one after another without a look at each of them."""

    def __init__(self, values: Iterable[tuple[Network, T]] = ()) -> None:
        self._values: dict[tuple[int, int], dict[int, T]] = {}  # by version and length, then by where the prefix begins
        self._starts: dict[int, list[tuple[int, int]]] = {4: [], 6: []}  # where prefixes begin, each with its length
        for prefix, value in values:
            self._of_length(prefix).setdefault(int(prefix.network_address), value)
        for (version, length), known in self._values.items():
            self._starts[version] += [(start, length) for start in known]
        for starts in self._starts.values():
            starts.sort()

    def add(self, prefix: Network, value: T) -> None:
        """Add the *value* of a *prefix*; one that it has already stays."""
        known, start = self._of_length(prefix), int(prefix.network_address)
        if start not in known:
            known[start] = value
            insort(self._starts[prefix.version], (start, prefix.prefixlen))

    def _of_length(self, prefix: Network) -> dict[int, T]:
        return self._values.setdefault((prefix.version, prefix.prefixlen), {})

    def holding(self, address: Address) -> Iterator[T]:
        """Yield the values of the prefixes that hold *address*, the widest first."""
        for version, length in sorted(self._values):
            rest = address.max_prefixlen - length
            if version == address.version and (start := int(address) >> rest << rest) in self._values[version, length]:
                yield self._values[version, length][start]

    def meeting(self, prefix: Network) -> Iterator[T]:
        """Yield the values of the prefixes that have an address in common with *prefix*: those that hold it, those in it."""
        yield from self.holding(prefix.network_address)
        starts = self._starts[prefix.version]
        bounds = (int(prefix.network_address), int(prefix.broadcast_address) + 1)
        first, end = (bisect_left(starts, (bound, 0)) for bound in bounds)
        yield from (self._values[prefix.version, starts[at][1]][starts[at][0]] for at in range(first, end))


class PrefixSet(PrefixMap[None]):
    """Prefixes of both families."""

    def __init__(self, prefixes: Iterable[Network]) -> None:
        super().__init__((prefix, None) for prefix in prefixes)

    def meets(self, prefix: Network) -> bool:
        """Return whether *prefix* has an address in common with any of them."""
        return any(True for _ in self.meeting(prefix))


def _joined(ranges: Sequence[Network]) -> tuple[Network, ...]:
    """Return *ranges* with those that meet made one, so that what lies across two of them is inside."""
    four = [r for r in ranges if isinstance(r, IPv4Network)]
    six = [r for r in ranges if isinstance(r, IPv6Network)]
    return (*collapse_addresses(four), *collapse_addresses(six))


def overlap(one: Network, other: Network) -> bool:
    """Return whether the two have an address in common."""
    # Spelt out for each family: `overlaps` of one family does not take the other.
    return one.version == other.version and (one.network_address in other or other.network_address in one)


def _inside(network: Network, whole: Network) -> bool:
    return overlap(network, whole) and whole.prefixlen <= network.prefixlen


def inside(network: Network, ranges: tuple[Network, ...]) -> Network | None:
    """Return the first of *ranges* that holds all of *network*, None when none does."""
    return next((r for r in ranges if r.overlaps(network) and r.prefixlen <= network.prefixlen), None)


def unfit_range(network: Network) -> str:
    """Return why *network* cannot be a range of pods, nodes or Services, empty when it can.

    One that holds link-local addresses or groups is none either: what neighbours say to each other would be dropped.
    """
    if whose := inside(network, NOBODYS):
        return f"{network} is in {whose}, which is no machine's own"
    held = next((local for local in LOCAL if inside(local, (network,))), None)
    return f"{network} holds {held}, by which neighbours speak to each other" if held else ""
