"""Read a pair's state out of the kernel: the kernel is the state, nothing else remembers what was done.

Where several objects disagree (an agent died in the middle of a change) the answer is the one that cannot leak or lose:
the oldest generation that a policy points at is in use ◆R14, and one required template makes the pair require.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from wirecrypt.model.guard import GuardAction
from wirecrypt.model.mark import MarkLayout
from wirecrypt.model.pair import Pair
from wirecrypt.model.session import Generation
from wirecrypt.model.spi import AHEAD, RESIDUES, Spi
from wirecrypt.model.xfrm import Direction, Network, Policy, PolicyAction, Sa
from wirecrypt.pairs.inputs import Installed, Observed, Out, Receive
from wirecrypt.pairs.node_traffic import GuardedOut, NodeTraffic
from wirecrypt.plan.flows import flows_in, flows_out
from wirecrypt.plan.policies import UDP, base_mark
from wirecrypt.plan.snapshot import KernelSnapshot, policies_of, sas_of

KeyCheck = Callable[[Generation, int, Sa], bool]


@dataclass(frozen=True, slots=True)
class KnownGenerations:
    """What helps to read numbers out of residues: the ledger's generations with their lanes, and the newest numbers.

    *own_last* and *peer_last* are the highest session numbers of the ends; *epochs* maps an own number to its epoch.
    """

    ledger: Mapping[Generation, int]
    own_last: int
    peer_last: int
    epochs: Mapping[int, int]

    def generation(self, spi: Spi, *, own_is_lo: bool) -> Generation:
        """Return the generation of *spi*: the ledger's newest that fits, else the numbers nearest to the newest known.

        A number may be a little above the newest known: of an own session that a lost state file named and nobody else,
        of a peer's session that an old view of the API does not show yet.
        """
        fits = [g for g in self.ledger if (g.lo % RESIDUES, g.hi % RESIDUES) == (spi.residue_lo, spi.residue_hi)]
        if fits:
            return max(fits)
        last_lo, last_hi = (self.own_last, self.peer_last) if own_is_lo else (self.peer_last, self.own_last)
        lo, hi = _nearest(spi.residue_lo, last_lo), _nearest(spi.residue_hi, last_hi)
        return Generation(self._epoch(lo if own_is_lo else hi), lo, hi)

    def _epoch(self, own: int) -> int:
        """Return the epoch of an own number; a forgotten one was overtaken by the next known number, of the same epoch."""
        above = [number for number in self.epochs if number >= own]
        return self.epochs[min(above)] if above else max(self.epochs.values(), default=0)


def observe(pair: Pair, kernel: KernelSnapshot, known: KnownGenerations, marks: MarkLayout, right_key: KeyCheck) -> Observed:
    """Return what the kernel has of *pair*; an SA whose key is not the right one does not count as installed."""
    policies = policies_of(pair, kernel)
    data_out = [p for p in policies if p.direction is Direction.OUT and p.selector.proto != UDP]
    data_in = [p for p in policies if p.direction is not Direction.OUT and p.selector.proto != UDP]
    in_use = _in_use(pair, data_out, known)
    nodes = _nodes(pair, kernel, data_out, data_in)
    return Observed(
        installed=_installed(pair, kernel, known, marks, right_key),
        out=Out.ESP if in_use is not None else Out.BLOCK if data_out else Out.PLAIN,
        in_use=in_use,
        receive=_receive(data_in),
        guard_accepts=_guard_accepts(pair, kernel),
        complete=_out_complete(pair, nodes, marks, data_out) and _in_complete(pair, nodes, data_in),
        nodes=nodes,
        guarded=_guarded(pair, kernel),
        former=_former(pair, kernel, known),
    )


def _former(pair: Pair, kernel: KernelSnapshot, known: KnownGenerations) -> frozenset[Generation]:
    """Return the generations of a node that was in the place of either end ◆R32: another one sends from there, by its SAs.

    An SA does not name its receiver: the one next to it, of the same session numbers the other way, tells whose it is.
    """
    own, peer = pair.outer()
    ends = {pair.own.node_id, pair.peer.node_id}
    there = kernel.sas_between.get(frozenset((own, peer)), ())
    theirs = (sa for sa in there if sa.receives and sa.src == peer)
    ours = (sa for sa in there if not sa.receives and sa.reqid == sa.spi and sa.src == own)
    found = (Spi.decode(sa.spi) for sa in (*theirs, *ours))
    others = [spi for spi in found if spi is not None and spi.sender not in ends]
    return frozenset(known.generation(spi, own_is_lo=pair.own_is_lo) for spi in others)


def _out_complete(pair: Pair, nodes: NodeTraffic, marks: MarkLayout, policies: Iterable[Policy]) -> bool:
    """Return whether every flow that leaves has its policy of lane 0, if any has, and all are of one kind."""
    lane_0 = {(p.selector, p.mark) for p in policies if p.mark in (None, marks.pods())}
    wanted = {(flow.selector, base_mark(flow, marks)) for flow in flows_out(pair, nodes)}
    return lane_0 in (set(), wanted) and len({p.verdict for p in policies}) <= 1


def _in_complete(pair: Pair, nodes: NodeTraffic, policies: Iterable[Policy]) -> bool:
    """Return whether every flow that arrives has its policy, if any has, and all of one class ask for the same."""
    flows = {(flow.direction, flow.selector): flow.nodes for flow in flows_in(pair, nodes)}
    asked = {(p.direction, p.selector): t.optional for p in policies for t in p.templates}
    same = all(
        len({asked[name] for name, of in flows.items() if of is nodes and name in asked}) <= 1 for nodes in (False, True)
    )
    return asked.keys() in (set(), flows.keys()) and same


def _nodes(pair: Pair, kernel: KernelSnapshot, data_out: Iterable[Policy], data_in: Iterable[Policy]) -> NodeTraffic:
    """Return what of node→node is sealed: all to the peer's addresses whatever its source, all from there."""
    theirs = set(pair.peer.host_prefixes)
    sends = any(
        p.selector.dst in theirs and not p.selector.src.prefixlen and not p.selector.proto and p.mark is None for p in data_out
    )
    required = (p for p in data_in for t in p.templates if not t.optional)
    by_policy = any(p.selector.src in theirs and not p.selector.dst.prefixlen for p in required)
    entries = [kernel.guard.get(prefix) for prefix in theirs]
    by_guard = any(entry is not None and entry.ingress is GuardAction.SEALED for entry in entries)
    return NodeTraffic(sends, by_policy or by_guard)


def _nearest(residue: int, last: int) -> int:
    """Return the number with *residue* in the 64 that end AHEAD above *last*; numbers begin with 1."""
    top = last + AHEAD
    number = top - (top - residue) % RESIDUES
    return number if number > 0 else number + RESIDUES


def _installed(
    pair: Pair, kernel: KernelSnapshot, known: KnownGenerations, marks: MarkLayout, right_key: KeyCheck
) -> dict[Generation, Installed]:
    rx: dict[Generation, set[int]] = {}
    tx: dict[Generation, set[int]] = {}
    slots: dict[Generation, int] = {}
    packets: dict[Generation, int | None] = {}
    for sa, spi in sas_of(pair, kernel):
        generation = known.generation(spi, own_is_lo=pair.own_is_lo)
        sending = spi.sender == pair.own.node_id
        found = tx if sending else rx
        found.setdefault(generation, set())
        if right_key(generation, spi.lane, sa):
            found[generation].add(spi.lane)
        if not sending:
            packets[generation] = _sum(packets.get(generation, 0), kernel.packets.get(sa.name))
        slot = marks.slot_of(sa.set_mark.value) if sa.set_mark and not sending else None
        if slot is not None:
            slots[generation] = slot[0]
    return {
        g: Installed(
            lanes=known.ledger.get(g) or max(rx.get(g, set()) | tx.get(g, set()), default=0) + 1,
            rx=frozenset(rx.get(g, ())),
            tx=frozenset(tx.get(g, ())),
            slot=slots.get(g, -1),
            packets=packets.get(g, 0),
        )
        for g in sorted(rx.keys() | tx.keys())
    }


def _sum(so_far: int | None, more: int | None) -> int | None:
    """Return the sum; what is not known of a part is not known of all."""
    return None if so_far is None or more is None else so_far + more


def _in_use(pair: Pair, policies: Iterable[Policy], known: KnownGenerations) -> Generation | None:
    pointed = set()
    for policy in policies:
        for template in policy.templates:
            spi = Spi.decode(template.spi)
            if policy.verdict is PolicyAction.ALLOW and spi is not None and spi.sender == pair.own.node_id:
                pointed.add(known.generation(spi, own_is_lo=pair.own_is_lo))
    return min(pointed, default=None)


def _receive(policies: list[Policy]) -> Receive:
    if not policies:
        return Receive.NONE
    required = any(not t.optional for p in policies for t in p.templates)
    return Receive.REQUIRED if required else Receive.OPTIONAL


def _guarded(pair: Pair, kernel: KernelSnapshot) -> GuardedOut:
    """Return of which classes the guard drops cleartext that leaves, for every prefix of the class."""

    def all_are(action: GuardAction, prefixes: Iterable[Network]) -> bool:
        entries = [kernel.guard.get(prefix) for prefix in prefixes]
        return bool(entries) and all(entry is not None and entry.egress is action for entry in entries)

    nodes = all_are(GuardAction.SEALED, pair.peer.host_prefixes)
    return GuardedOut(all_are(GuardAction.DROP, pair.peer.pod_cidrs) or nodes, nodes)


def _guard_accepts(pair: Pair, kernel: KernelSnapshot) -> bool:
    entries = [kernel.guard.get(prefix) for prefix in pair.peer.claims]
    return not any(e is not None and e.ingress in (GuardAction.DROP, GuardAction.SEALED) for e in entries)
