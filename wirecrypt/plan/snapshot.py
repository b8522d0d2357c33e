"""What a node's kernel has, indexed, and which of it belongs to which pair.

An SA is a pair's when its reqid is its SPI, the SPI names one of the two ends as sender, and both addresses fit. A policy
is a pair's when it stands in our priority band and its template joins the two ends, or, without a template (a block), when
its selector is about the peer. Everything else is foreign here and is never touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network

from wirecrypt.model.guard import GuardEntry
from wirecrypt.model.pair import Pair
from wirecrypt.model.spi import Spi
from wirecrypt.model.xfrm import Address, Network, Policy, PolicyAction, PolicyKey, Sa, SaKey


@dataclass(frozen=True, slots=True)
class KernelSnapshot:
    """States, policies and guard entries of one node, by name.

    *untouched*: SAs that never carried a packet, by the kernel's counters; one that is not listed may have. *used_up*: SAs
    at or above a soft limit, by the same counters. *foreign*: policies of others that `Policy` cannot express, in words, by
    the name of the policy that would replace them.
    """

    sas: Mapping[SaKey, Sa] = field(default_factory=dict)
    policies: Mapping[PolicyKey, Policy] = field(default_factory=dict)
    guard: Mapping[Network, GuardEntry] = field(default_factory=dict)
    untouched: frozenset[SaKey] = frozenset()
    used_up: frozenset[SaKey] = frozenset()
    foreign: Mapping[PolicyKey, str] = field(default_factory=dict)

    @classmethod
    def of(  # noqa: PLR0913 - each is a list of its own
        cls,
        sas: Iterable[Sa],
        policies: Iterable[Policy],
        guard: Iterable[GuardEntry],
        untouched: Iterable[SaKey] = (),
        *,
        used_up: Iterable[SaKey] = (),
        foreign: Mapping[PolicyKey, str] | None = None,
    ) -> KernelSnapshot:
        """Index what the adapters listed."""
        return cls(
            sas={sa.name: sa for sa in sas},
            policies={policy.name: policy for policy in policies},
            guard={entry.prefix: entry for entry in guard},
            untouched=frozenset(untouched),
            used_up=frozenset(used_up),
            foreign=dict(foreign or {}),
        )


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
    found = [(sa, spi) for sa in kernel.sas.values() if (spi := decoded(sa, pair)) is not None]
    return sorted(found, key=lambda item: (item[0].spi, str(item[0].dst)))


def policies_of(pair: Pair, kernel: KernelSnapshot) -> list[Policy]:
    """Return the pair's policies, in a stable order."""
    ends = frozenset(pair.outer())
    about = _prefixes(pair)
    found = [p for p in kernel.policies.values() if p.ours and _belongs(p, ends, about)]
    return sorted(found, key=lambda p: p.name.order)


def _belongs(policy: Policy, ends: frozenset[Address], about: frozenset[Network]) -> bool:
    if policy.templates:
        return any({t.src, t.dst} == ends for t in policy.templates)
    if policy.verdict is not PolicyAction.BLOCK:
        return False
    return policy.selector.dst in about or policy.selector.src in about


def _prefixes(pair: Pair) -> frozenset[Network]:
    return frozenset(pair.peer.pod_cidrs) | frozenset(host(a) for a in pair.peer.hosts)


def host(address: Address) -> Network:
    """Return the prefix that holds just *address*."""
    return ip_network(f"{address}/{address.max_prefixlen}")
