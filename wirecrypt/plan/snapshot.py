"""What a node's kernel has, indexed, and which of it belongs to which pair.

An SA is a pair's when its reqid is its SPI, the SPI names one of the two ends as sender, and both addresses fit. A policy
is a pair's when it stands in our priority band and its template joins the two ends, or, without a template (a block), when
its selector is about the peer. Everything else is foreign here and is never touched.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from wirecrypt.model.guard import GuardEntry
from wirecrypt.model.pair import Pair
from wirecrypt.model.spi import Spi
from wirecrypt.model.xfrm import Address, Network, Policy, PolicyAction, PolicyKey, Sa, SaKey
from wirecrypt.plan.shared import is_shared

Ends = frozenset[Address]


@dataclass(frozen=True)
class KernelSnapshot:
    """States, policies and guard entries of one node, by name.

    *packets*: how many each SA has carried, by the kernel's counters; of one that is not listed nothing is known. *used_up*:
    SAs at or above a soft limit, by the same counters. *foreign*: policies of others that `Policy` cannot express, in words, by
    the name of the policy that would replace them. *headroom*: how much the busiest SA has left, in percent of a soft limit.
    """

    sas: Mapping[SaKey, Sa] = field(default_factory=dict)
    policies: Mapping[PolicyKey, Policy] = field(default_factory=dict)
    guard: Mapping[Network, GuardEntry] = field(default_factory=dict)
    packets: Mapping[SaKey, int] = field(default_factory=dict)
    used_up: frozenset[SaKey] = frozenset()
    foreign: Mapping[PolicyKey, str] = field(default_factory=dict)
    headroom: int = 100

    @classmethod
    def of(  # noqa: PLR0913 - each is a list of its own
        cls,
        sas: Iterable[Sa],
        policies: Iterable[Policy],
        guard: Iterable[GuardEntry],
        *,
        packets: Mapping[SaKey, int] | None = None,
        used_up: Iterable[SaKey] = (),
        foreign: Mapping[PolicyKey, str] | None = None,
        headroom: int = 100,
    ) -> KernelSnapshot:
        """Index what the adapters listed."""
        return cls(
            sas={sa.name: sa for sa in sas},
            policies={policy.name: policy for policy in policies},
            guard={entry.prefix: entry for entry in guard},
            packets=dict(packets or {}),
            used_up=frozenset(used_up),
            foreign=dict(foreign or {}),
            headroom=headroom,
        )

    @cached_property
    def sas_between(self) -> Mapping[Ends, Sequence[Sa]]:
        """SAs by the two addresses that they join, in either direction."""
        found: defaultdict[Ends, list[Sa]] = defaultdict(list)
        for sa in self.sas.values():
            found[frozenset((sa.src, sa.dst))].append(sa)
        return found

    @cached_property
    def policies_between(self) -> Mapping[Ends, Sequence[Policy]]:
        """Policies of ours with a template, by the two addresses that it joins."""
        found: defaultdict[Ends, list[Policy]] = defaultdict(list)
        for policy in self.policies.values():
            for ends in {frozenset((t.src, t.dst)) for t in policy.templates} if policy.ours else ():
                found[ends].append(policy)
        return found

    @cached_property
    def shared(self) -> Sequence[Policy]:
        """Policies of no pair."""
        return [policy for policy in self.policies.values() if is_shared(policy)]

    @cached_property
    def blocks_about(self) -> Mapping[Network, Sequence[Policy]]:
        """Blocks of ours by the prefixes of their selectors."""
        found: defaultdict[Network, list[Policy]] = defaultdict(list)
        for policy in self.policies.values():
            if policy.ours and not policy.templates and policy.verdict is PolicyAction.BLOCK:
                for prefix in {policy.selector.src, policy.selector.dst}:
                    found[prefix].append(policy)
        return found


def decoded(sa: Sa, pair: Pair) -> Spi | None:
    """Return the parts of the SPI when *sa* belongs to *pair*, else None."""
    spi = Spi.decode(sa.spi) if sa.reqid == sa.spi else None
    own, peer = pair.outer()
    if spi is None:
        return None
    if spi.sender == pair.own.node_id:
        return spi if (sa.src, sa.dst) == (own, peer) else None
    if spi.sender == pair.peer.node_id:
        return spi if (sa.src, sa.dst) == (peer, own) else None
    return None


def sas_of(pair: Pair, kernel: KernelSnapshot) -> list[tuple[Sa, Spi]]:
    """Return the pair's SAs, sorted by SPI, each with the parts of its SPI."""
    there = kernel.sas_between.get(frozenset(pair.outer()), ())
    found = [(sa, spi) for sa in there if (spi := decoded(sa, pair)) is not None]
    return sorted(found, key=lambda item: (item[0].spi, str(item[0].dst)))


def pointed_at(pair: Pair, kernel: KernelSnapshot) -> list[Spi]:
    """Return the SPIs of this end that the pair's policies point at; their SAs may be gone."""
    found = [Spi.decode(t.spi) for policy in policies_of(pair, kernel) for t in policy.templates]
    return [spi for spi in found if spi is not None and spi.sender == pair.own.node_id]


def policies_of(pair: Pair, kernel: KernelSnapshot) -> list[Policy]:
    """Return the pair's policies, in a stable order."""
    found = {p.name: p for p in kernel.policies_between.get(frozenset(pair.outer()), ())}
    found |= {p.name: p for prefix in pair.peer.claims for p in kernel.blocks_about.get(prefix, ())}
    return sorted(found.values(), key=lambda p: p.name.order)
