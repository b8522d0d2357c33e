"""Turn the difference between wanted and present kernel objects into ordered actions.

Pure: no I/O, no clock, no logging. The order is the safety argument, so it is written once, here:
receiving states, sending states, policies (receiving and control before sending), guard entries, and only then removals:
guard entries, sending policies, other policies, sending states, receiving states. A packet always finds what it needs:
what is added is not used before it is complete, and what is removed was not used when the plan was made.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network

from wirecrypt.model.guard import GuardEntry
from wirecrypt.model.pair import Pair
from wirecrypt.model.session import Generation
from wirecrypt.model.xfrm import Direction, Network, Policy, PolicyKey, Sa, SaKey
from wirecrypt.pairs.decide import Decision
from wirecrypt.plan.observe import KnownGenerations
from wirecrypt.plan.shared import is_shared
from wirecrypt.plan.snapshot import KernelSnapshot, policies_of, sas_of
from wirecrypt.plan.strays import Strays


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


def plan(  # noqa: PLR0913 - what is wanted, of pairs and of the node
    desired_pairs: Iterable[DesiredPair],
    guard: Mapping[Network, GuardEntry],
    kernel: KernelSnapshot,
    *,
    shared: Collection[Policy] = (),
    strays: Iterable[Strays] = (),
    settled: Collection[DesiredPair] = (),
) -> list[Action]:
    """Return the ordered actions that bring the kernel to what is wanted; none when it is there already.

    *shared*: the policies that a node with any pair has besides. *strays*: what is left from before, and may go.
    *settled*: more pairs, which have what they want: nothing of them is compared.
    """
    desired_pairs = list(desired_pairs)
    wanted = _Wanted([*desired_pairs, *settled])
    actions = [a for desired in desired_pairs for a in _pair_actions(desired, kernel, wanted)]
    actions += _shared_actions(shared if wanted.any else (), kernel)
    actions += [a for stray in strays for a in _stray_actions(stray, wanted)]
    actions += _guard_actions(guard, kernel.guard)
    return sorted(actions, key=_order)


def is_settled(desired: DesiredPair, kernel: KernelSnapshot) -> bool:
    """Return whether a pair has all that it should and nothing else, whatever other pairs want."""
    whole = not _pair_actions(desired, kernel, _Wanted([desired]))
    return whole and not any(in_the_way(policy, kernel) for policy in desired.policies)


class _Wanted:
    """The names of the policies that any of *desired_pairs* wants; found out when somebody asks for one."""

    def __init__(self, desired_pairs: Collection[DesiredPair]) -> None:
        self._desired_pairs = desired_pairs

    @property
    def any(self) -> bool:
        """Return whether any policy is wanted."""
        return any(desired.policies for desired in self._desired_pairs)

    def __contains__(self, name: PolicyKey) -> bool:
        return name in self._names

    @cached_property
    def _names(self) -> AbstractSet[PolicyKey]:
        return {policy.name for desired in self._desired_pairs for policy in desired.policies}


def _shared_actions(shared: Collection[Policy], kernel: KernelSnapshot) -> list[Action]:
    """Return what brings the policies of no pair to what is wanted: they are there before a pair's, and go after them."""
    why = "what stays readable between nodes"
    found = [
        Action(_set(policy.direction), policy, "", why)
        for policy in shared
        if kernel.policies.get(policy.name) != policy and not in_the_way(policy, kernel)
    ]
    if not shared and any(p.ours and not is_shared(p) for p in kernel.policies.values()):
        return found
    kept = {policy.name for policy in shared}
    extra = (p for p in kernel.shared if p.name not in kept)
    return found + [Action(_delete(p.direction), p.name, "", "no pair is left") for p in extra]


def _stray_actions(stray: Strays, wanted: _Wanted) -> list[Action]:
    why = "left from a tunnel between other addresses"
    found = [Action(_delete(p.direction), p.name, stray.peer, why) for p in stray.policies if p.name not in wanted]
    for sa in stray.sas:
        step = Step.DELETE_RECEIVING if sa.receives else Step.DELETE_SENDING
        found.append(Action(step, sa.name, stray.peer, why))
    return found


def _set(direction: Direction) -> Step:
    return Step.SET_SENDING_POLICY if direction is Direction.OUT else Step.SET_RECEIVING_POLICY


def _delete(direction: Direction) -> Step:
    return Step.DELETE_SENDING_POLICY if direction is Direction.OUT else Step.DELETE_RECEIVING_POLICY


def _pair_actions(desired: DesiredPair, kernel: KernelSnapshot, wanted: _Wanted) -> list[Action]:
    return [*_additions(desired, kernel), *_policy_actions(desired, kernel, wanted), *_removals(desired, kernel)]


def _additions(desired: DesiredPair, kernel: KernelSnapshot) -> list[Action]:
    found = []
    for sa in desired.install:
        if sa.name in kernel.sas:
            continue
        step = Step.ADD_RECEIVING if sa.receives else Step.ADD_SENDING
        found.append(Action(step, sa, desired.pair.peer.name, f"new generation {desired.decision.install}"))
    return found


def _policy_actions(desired: DesiredPair, kernel: KernelSnapshot, wanted: _Wanted) -> list[Action]:
    """Return what brings the pair's policies to what is wanted; what another pair wants (same addresses) stays."""
    peer = desired.pair.peer.name
    why = desired.decision.why
    differ = (p for p in desired.policies if kernel.policies.get(p.name) != p and not in_the_way(p, kernel))
    own = {p.name for p in desired.policies}
    extra = (p for p in policies_of(desired.pair, kernel) if p.name not in own and p.name not in wanted)
    return [
        *(Action(_set(p.direction), p, peer, why) for p in differ),
        *(Action(_delete(p.direction), p.name, peer, why) for p in extra),
    ]


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
    if wanted is present:
        return []
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
