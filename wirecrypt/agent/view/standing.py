"""Decisions that stand: nothing that they rest on has changed, and no time has run out.

A pass looks at every pair, and most of them have not changed since the one before. What a decision rests on are values: the
objects of both ends, own sessions and what was installed, what the kernel has between the two, and what the peer said. While
all of these are the same, so is the decision, until a fact has held for long enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple

from wirecrypt.agent.store.state import LedgerEntry, State
from wirecrypt.agent.view.pair_view import Flags, PairView
from wirecrypt.agent.view.pass_state import PassState
from wirecrypt.model.objects import Node, NodePeer
from wirecrypt.model.pair import Pair
from wirecrypt.pairs.decide import Decision
from wirecrypt.pairs.memory import PairMemory, Timing
from wirecrypt.plan.diff import DesiredPair, is_settled
from wirecrypt.plan.snapshot import KernelSnapshot
from wirecrypt.settings import Settings

Facts = tuple[object, ...]


class OwnFacts(NamedTuple):
    """What a decision rests on that is one pair's alone, but for the kernel's objects and what the peer said."""

    peer: NodePeer
    node: Node | None
    ledger: frozenset[LedgerEntry] | None
    marked: bool


@dataclass(frozen=True, slots=True)
class StandingDecision:
    """What was decided about one pair, and what that rests on; *failing*: why it was reported as failing.

    *own*: what of that is this pair's alone, to be compared as it stands, None where the pair is to be looked at again.
    """

    view: PairView
    decision: Decision
    failing: str
    facts: Facts
    kernel: Facts
    memory: PairMemory
    until: float
    own: OwnFacts | None = None

    def rests(self, own: OwnFacts, kernel: KernelSnapshot | None, memory: PairMemory, now: float) -> bool:
        """Return whether nothing that is the pair's alone has changed, to the object, and no time ran out.

        *kernel*: None where it was not read since the last look.
        """
        known = self.own
        if known is None or memory is not self.memory or now >= self.until:
            return False
        same = own.peer is known.peer and own.ledger is known.ledger and own.marked is known.marked
        same = same and (own.node is known.node or own.node == known.node)
        return same and self._untouched(kernel, memory)

    def holds(self, facts: Facts, kernel: KernelSnapshot | None, memory: PairMemory, now: float) -> bool:
        """Return whether the same would be decided again: no time ran out, nothing new was heard, the facts are the same.

        *kernel*: None where it was not read since the last look.
        """
        same = now < self.until and (memory is self.memory or not memory.taught(self.memory))
        if not same or facts != self.facts:
            return False
        return self._untouched(kernel, memory)

    def _untouched(self, kernel: KernelSnapshot | None, memory: PairMemory) -> bool:
        return kernel is None or (not memory.counting and of_pair(self.view.pair, kernel) == self.kernel)


def facts(own: NodePeer, peer: NodePeer, state: State, flags: Flags, others: Facts) -> Facts:
    """Return what a decision rests on but for the kernel, to be compared, and *others* with it.

    Values that are replaced and not changed, so that two which are the same are found equal without a look into them.
    """
    return (own, peer, state.sessions, state.node_keys, state.last_session, state.ledger.get(peer.node_uid), flags, *others)


def of_pair(pair: Pair, kernel: KernelSnapshot) -> Facts:
    """Return all that the kernel has about *pair*: SAs between the ends, of anybody, policies and guard entries."""
    between, claims = frozenset(pair.outer()), pair.peer.claims
    sas = kernel.sas_between.get(between, ())
    blocks = chain.from_iterable(kernel.blocks_about.get(claim, ()) for claim in claims)
    policies = (*kernel.policies_between.get(between, ()), *blocks)
    guard = tuple(kernel.guard.get(claim) for claim in claims)
    return tuple(sas), policies, guard, tuple(kernel.packets.get(sa.name) == 0 for sa in sas)


def stands_until(view: PairView, decision: Decision, memory: PairMemory, now: float, times: Timing) -> float:
    """Return when time alone may lead to another decision, in monotonic seconds; *now* where that is not known.

    While a pair has its target installed, what follows from time are facts that have held for long enough.
    """
    inputs = view.inputs
    plain = inputs.leaving or inputs.excluded or inputs.peer_gone or inputs.replaced or decision.renew
    if plain or decision.target not in inputs.observed.installed:
        return now
    return memory.due(now, times)


class SettledPairs:
    """Pairs that have all that they should and nothing else, which is not compared again while their decision stands."""

    def __init__(self) -> None:
        self._pairs: dict[str, tuple[PairView, Decision, DesiredPair]] = {}
        self._common: Facts = ()

    def still(self, pass_state: PassState, settings: Settings) -> Mapping[str, DesiredPair]:
        """Return the pairs of which nothing need be compared, by node UID."""
        common = (settings.control_port, pass_state.kernel.foreign)
        if common != self._common:
            self._common, self._pairs = common, {}
        self._pairs = {uid: each for uid, each in self._pairs.items() if _same(uid, each, pass_state)}
        return {uid: desired for uid, (_, _, desired) in self._pairs.items()}

    def note(self, desired_pairs: Iterable[DesiredPair], pass_state: PassState) -> None:
        """Note those of the pairs that need nothing; their policies are kept once, as the kernel's."""
        there = pass_state.kernel.policies
        for desired in desired_pairs:
            if is_settled(desired, pass_state.kernel):
                uid = desired.pair.peer.node_uid
                same = replace(desired, policies=tuple(there[policy.name] for policy in desired.policies))
                self._pairs[uid] = pass_state.pair_views[uid], desired.decision, same


def _same(uid: str, settled: tuple[PairView, Decision, DesiredPair], pass_state: PassState) -> bool:
    view, decision, _ = settled
    return pass_state.pair_views.get(uid) is view and pass_state.decisions.get(uid) is decision
