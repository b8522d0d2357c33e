"""Kernel objects that are ours by what is in them and that no pair explains any more: an end's tunnel address changed.

An SA says itself who sends on it: an SPI of ours names the node. One by which a known peer sends, between addresses that are
no tunnel of that pair any more, is left from before; and so is every SA and policy between the same two addresses. Of a sender
that is not known nothing is said: that a view does not show it is no reason ◆R15.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from wirecrypt.model.mark import MarkLayout
from wirecrypt.model.pair import Pair
from wirecrypt.model.spi import Spi
from wirecrypt.model.xfrm import Address, Network, Policy, PolicyAction, Sa, host
from wirecrypt.plan.shared import is_shared
from wirecrypt.plan.snapshot import KernelSnapshot

Ends = frozenset[Address]


@dataclass(frozen=True, slots=True)
class Strays:
    """What is left between two addresses: of which peer, its SAs and policies."""

    peer: str
    sas: tuple[Sa, ...]
    policies: tuple[Policy, ...]


def strays(
    pairs: Iterable[Pair], own_id: int, kernel: KernelSnapshot, marks: MarkLayout, seen: Mapping[Ends, Strays] | None = None
) -> Mapping[Ends, Strays]:
    """Return what is left from tunnels of before, by their two addresses; *pairs* may know one peer by several claims.

    *seen*: what was left at an earlier look; it is so still, while it is there, when its peer has gone since.
    """
    tunnels: dict[int, set[Ends]] = {}
    names: dict[int, str] = {}
    for pair in pairs:
        tunnels.setdefault(pair.peer.node_id, set()).add(frozenset(pair.outer()))
        names[pair.peer.node_id] = pair.peer.name
    present = {ends for of_one in tunnels.values() for ends in of_one}
    before = {ends: stray.peer for ends, stray in (seen or {}).items()}
    former = {
        ends: names[sender] if sender in tunnels else before[ends]
        for sa, sender in _ours(kernel, own_id, marks)
        if (ends := frozenset((sa.src, sa.dst))) not in present and (sender in tunnels or ends in before)
    }
    return {
        ends: _between(ends, peer, own_id, kernel, marks)
        for ends, peer in sorted(former.items(), key=lambda f: sorted(map(str, f[0])))
    }


def everything(kernel: KernelSnapshot) -> Strays:
    """Return all that is ours by what is in it: for a node that takes no part any more, whatever pairs it was of."""
    sas = (sa for sa in kernel.sas.values() if sa.reqid == sa.spi and sa.set_mark is not None and Spi.decode(sa.spi))
    policies = (p for p in kernel.policies.values() if p.ours and not is_shared(p))  # which go after all others
    return Strays("", tuple(sas), tuple(policies))


def _between(ends: Ends, peer: str, own_id: int, kernel: KernelSnapshot, marks: MarkLayout) -> Strays:
    sas = tuple(sa for sa, _ in _ours(kernel, own_id, marks) if frozenset((sa.src, sa.dst)) == ends)
    hosts = frozenset(map(host, ends))
    policies = tuple(p for p in kernel.policies.values() if p.ours and _is_between(p, ends, hosts))
    return Strays(peer, sas, policies)


def _is_between(policy: Policy, ends: Ends, hosts: frozenset[Network]) -> bool:
    """Return whether a policy is of the tunnel between *ends*: by its template, or as the block of the control port."""
    if policy.templates:
        return any(frozenset((t.src, t.dst)) == ends for t in policy.templates)
    return policy.verdict is PolicyAction.BLOCK and frozenset((policy.selector.src, policy.selector.dst)) == hosts


def _ours(kernel: KernelSnapshot, own_id: int, marks: MarkLayout) -> Iterator[tuple[Sa, int]]:
    """Yield each SA of ours with the nodeID of its sender: receiving ones set our mark, sending ones name this node."""
    for sa in kernel.sas.values():
        spi = Spi.decode(sa.spi) if sa.reqid == sa.spi else None
        if spi is None:
            continue
        mark = sa.set_mark
        receiving = mark is not None and mark.mask == marks.mask and marks.slot_of(mark.value) is not None
        if receiving != (spi.sender == own_id):
            yield sa, spi.sender
