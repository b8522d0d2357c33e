"""Turn the difference between wanted and present kernel objects into ordered actions.

Pure: no I/O, no clock, no logging. The order is the safety argument, so it is written once, here:
receiving states, sending states, policies (receiving and control before sending), guard entries, and only then removals:
guard entries, sending policies, other policies, sending states, receiving states. A packet always finds what it needs:
what is added is not used before it is complete, and what is removed was not used when the plan was made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Network, IPv6Network

from wirecrypt.model.guard import GuardEntry
from wirecrypt.model.pair import Pair
from wirecrypt.model.session import Generation
from wirecrypt.model.xfrm import Direction, Network, Policy, PolicyKey, Sa, SaKey
from wirecrypt.pairs.decide import Decision
from wirecrypt.plan.observe import KnownGenerations
from wirecrypt.plan.snapshot import KernelSnapshot, policies_of, sas_of


class Step(IntEnum):
    """Kinds of actions in the order in which they are done."""

    ADD_RECEIVING = 1
    ADD_SENDING = 2
    SET_RECEIVING_POLICY = 3
    SET_SENDING_POLICY = 4
    SET_GUARD = 5
    DELETE_GUARD = 6
    DELETE_SENDING_POLICY = 7
    DELETE_RECEIVING_POLICY = 8
    DELETE_SENDING = 9
    DELETE_RECEIVING = 10

    @property
    def removes(self) -> bool:
        """Return whether the step takes something away."""
        return self >= Step.DELETE_GUARD


Object = Sa | Policy | GuardEntry | SaKey | PolicyKey | Network


@dataclass(frozen=True, slots=True)
class Action:
    """One write to the kernel: the step, its object, the peer it is for, and the reason."""

    step: Step
    object: Object
    peer: str
    why: str


@dataclass(frozen=True, slots=True)
class DesiredPair:
    """What one pair should have: the decision, the SAs of a generation to install (both directions), its policies."""

    pair: Pair
    decision: Decision
    known: KnownGenerations
    install: tuple[Sa, ...]
    policies: tuple[Policy, ...]


def plan(desired_pairs: Iterable[DesiredPair], guard: Mapping[Network, GuardEntry], kernel: KernelSnapshot) -> list[Action]:
    """Return the ordered actions that bring the kernel to what is wanted; none when it is there already."""
    desired_pairs = list(desired_pairs)
    wanted = {p.name for desired in desired_pairs for p in desired.policies}
    actions = [a for desired in desired_pairs for a in _pair_actions(desired, kernel, wanted)]
    actions += _guard_actions(guard, kernel.guard)
    return sorted(actions, key=_order)


def _pair_actions(desired: DesiredPair, kernel: KernelSnapshot, wanted: AbstractSet[PolicyKey]) -> list[Action]:
    return [*_additions(desired, kernel), *_policy_actions(desired, kernel, wanted), *_removals(desired, kernel)]


def _additions(desired: DesiredPair, kernel: KernelSnapshot) -> list[Action]:
    found = []
    for sa in desired.install:
        if sa.name in kernel.sas:
            continue
        step = Step.ADD_SENDING if sa.set_mark is None else Step.ADD_RECEIVING
        found.append(Action(step, sa, desired.pair.peer.name, f"new generation {desired.decision.install}"))
    return found


def _policy_actions(desired: DesiredPair, kernel: KernelSnapshot, wanted: AbstractSet[PolicyKey]) -> list[Action]:
    """Return what brings the pair's policies to what is wanted; what another pair wants (same addresses) stays."""
    peer = desired.pair.peer.name
    found = []
    for policy in desired.policies:
        if kernel.policies.get(policy.name) != policy and not in_the_way(policy, kernel):
            out = policy.direction is Direction.OUT
            step = Step.SET_SENDING_POLICY if out else Step.SET_RECEIVING_POLICY
            found.append(Action(step, policy, peer, desired.decision.why))
    for present in policies_of(desired.pair, kernel):
        if present.name not in wanted:
            out = present.direction is Direction.OUT
            step = Step.DELETE_SENDING_POLICY if out else Step.DELETE_RECEIVING_POLICY
            found.append(Action(step, present.name, peer, desired.decision.why))
    return found


def in_the_way(policy: Policy, kernel: KernelSnapshot) -> str | None:
    """Return, in words, the foreign policy that stands where *policy* is to be: ours would replace it, so it is left."""
    if policy.name in kernel.foreign:
        return kernel.foreign[policy.name]
    present = kernel.policies.get(policy.name)
    return f"policy {present.name} priority {present.priority}" if present is not None and not present.ours else None


def _removals(desired: DesiredPair, kernel: KernelSnapshot) -> list[Action]:
    found = []
    for sa, spi in sas_of(desired.pair, kernel):
        generation = desired.known.generation(spi, own_is_lo=desired.pair.own_is_lo)
        receive, send = desired.decision.keep.get(generation, (False, False))
        sending = spi.sender == desired.pair.own.node_id
        if send if sending else receive:
            continue
        step = Step.DELETE_SENDING if sending else Step.DELETE_RECEIVING
        found.append(Action(step, sa.name, desired.pair.peer.name, _why_removed(generation, desired.decision)))
    return found


def _why_removed(generation: Generation, decision: Decision) -> str:
    return decision.why if decision.remove_all else f"generation {generation} is over"


def _guard_actions(wanted: Mapping[Network, GuardEntry], present: Mapping[Network, GuardEntry]) -> list[Action]:
    found = [
        Action(Step.SET_GUARD, entry, "", f"guard {prefix}") for prefix, entry in wanted.items() if present.get(prefix) != entry
    ]
    found += [
        Action(Step.DELETE_GUARD, prefix, "", f"nothing is known of {prefix} any more")
        for prefix in present
        if prefix not in wanted
    ]
    return found


def _order(action: Action) -> tuple[int, int, str, str]:
    return (int(action.step), _depth(action), action.peer, _text(action.object))


def _depth(action: Action) -> int:
    """Return the order among guard entries: narrow prefixes come before, and go after, the ranges that hold them.

    A range is unknown but for what is claimed in it; entered first, it would drop what its claims are to let pass.
    """
    if isinstance(action.object, GuardEntry):
        return -action.object.prefix.prefixlen
    if isinstance(action.object, IPv4Network | IPv6Network):
        return action.object.prefixlen
    return 0


def _text(thing: Object) -> str:
    if isinstance(thing, Sa):
        return str(thing.name)
    if isinstance(thing, Policy):
        return f"{thing.priority:x} {thing.name}"
    if isinstance(thing, GuardEntry):
        return str(thing.prefix)
    return str(thing)
