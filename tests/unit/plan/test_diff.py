"""The plan: from what is wanted and what is there to ordered actions."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.plan.made import AB, AC, A, B, C, after, decision, desired, g, kernel, sas
from wirecrypt.model.guard import GuardAction, GuardEntry
from wirecrypt.model.mark import Mark
from wirecrypt.model.objects import Node
from wirecrypt.model.pair import Pair
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Generation
from wirecrypt.model.xfrm import (
    PRIORITY_BAND,
    Algorithm,
    Direction,
    Network,
    Policy,
    PolicyAction,
    PolicyKey,
    Sa,
    SaKey,
    Selector,
    Template,
    host,
)
from wirecrypt.pairs.decide import Decision
from wirecrypt.pairs.inputs import Out, Receive
from wirecrypt.plan import guard_entries
from wirecrypt.plan.diff import DesiredPair, Step, in_the_way, plan
from wirecrypt.plan.policies import PRIORITY_DATA
from wirecrypt.plan.snapshot import KernelSnapshot

OLD, NEW = g(1, 1), g(2, 1)
MOVE = decision(in_use=NEW, keep={OLD: (True, False), NEW: (True, True)})


def installing(pair_: Pair = AB) -> DesiredPair:
    """Return the wish of a pair that uses OLD and installs NEW."""
    wanted = decision(in_use=OLD, keep={OLD: (True, True), NEW: (True, True)}, install=NEW)
    return desired(wanted, pair=pair_, install=sas(NEW, pair=pair_, slot=1))


def using(generation: Generation, pair_: Pair = AB) -> list[Sa | Policy]:
    """Return the kernel objects of a pair in the steady state."""
    steady = desired(decision(in_use=generation), pair=pair_)
    return [*sas(generation, pair=pair_), *steady.policies]


def entries(desired_pairs: list[DesiredPair]) -> dict[Network, GuardEntry]:
    return guard_entries.wanted(A, [(w.pair, w.decision) for w in desired_pairs], [], [])


@pytest.mark.C2
def test_nothing_to_do_is_no_action() -> None:
    """A kernel that has what is wanted gets no write."""
    desired_pairs = [desired(decision(in_use=OLD)), desired(decision(in_use=OLD), pair=AC)]
    there = kernel(using(OLD), using(OLD, AC))
    there = replace(there, guard=entries(desired_pairs))
    assert plan(desired_pairs, entries(desired_pairs), there) == []


def test_receiving_is_added_before_sending_and_nothing_is_removed_before_the_end() -> None:
    """Receiving SAs, sending SAs, receiving policies, sending policies, guard; only then what goes."""
    actions = plan([installing()], entries([installing()]), kernel(using(OLD)))
    steps = [a.step for a in actions]
    assert steps == sorted(steps)
    assert steps[:2] == [Step.ADD_RECEIVING, Step.ADD_SENDING]
    assert not any(s.removes for s in steps[: steps.index(Step.SET_GUARD)])


def test_each_action_has_a_reason_and_a_peer() -> None:
    """An operator reads what is done for whom, and why."""
    actions = plan([installing()], {}, kernel(using(OLD)))
    assert all(a.why and a.peer == "b" for a in actions)
    assert "new generation 1.2.1" in {a.why for a in actions}


def test_switch_is_an_update_of_each_policy() -> None:
    """No policy is deleted and set again: one update each, then the old sending SA goes and the receiving one stays."""
    slots = {OLD: 0, NEW: 1}
    there = kernel(using(OLD), sas(NEW, slot=1))
    actions = plan([desired(MOVE, slots=slots)], {}, there)
    data = {a.object.name for a in actions if isinstance(a.object, Policy) and a.object.priority == PRIORITY_DATA}
    assert data
    assert not data & {a.object for a in actions if isinstance(a.object, PolicyKey)}
    gone = [a.object for a in actions if a.step in (Step.DELETE_SENDING, Step.DELETE_RECEIVING)]
    assert gone == [sas(OLD)[1].name]


def test_lanes_that_a_generation_has_not_lose_their_policies_last() -> None:
    """From three lanes to one: lane 0 moves first; the policies of the other lanes go, and then the SAs."""
    before = desired(decision(in_use=OLD), lanes={OLD: 3})
    there = kernel(sas(OLD, lanes=3), before.policies, sas(NEW, slot=1))
    moved = desired(decision(in_use=NEW), lanes={NEW: 1}, slots={NEW: 1})
    actions = plan([moved], {}, there)
    steps = [a.step for a in actions]
    assert steps == sorted(steps)
    assert steps.index(Step.SET_SENDING_POLICY) < steps.index(Step.DELETE_SENDING_POLICY) < steps.index(Step.DELETE_SENDING)
    assert set(after(actions, there).sas) == {sa.name for sa in sas(NEW, slot=1)}
    assert plan([moved], {}, after(actions, there)) == []


def test_an_sa_that_is_there_is_never_written_again() -> None:
    """NEWSA only: of a half-installed generation what is there is left alone, whatever its key."""
    stranger = replace(sas(NEW, slot=1)[0], key=SecretBytes(bytes(36)))
    added = [a.object for a in plan([installing()], {}, kernel(using(OLD), [stranger])) if isinstance(a.object, Sa)]
    assert added == [sas(NEW, slot=1)[1]]


def test_removal_of_a_pair_leaves_nothing() -> None:
    """Policies before states, sending before receiving, and nothing of the pair stays."""
    gone = desired(decision(Out.PLAIN, keep={}, receive=Receive.NONE, remove_all=True))
    there = kernel(using(OLD), sas(NEW, slot=1), using(OLD, AC))
    actions = plan([gone], {}, there)
    assert all(a.step.removes for a in actions)
    left = after(actions, there)
    assert left.sas == kernel(using(OLD, AC)).sas
    assert left.policies == kernel(using(OLD, AC)).policies


DECISIONS: tuple[Decision, ...] = (
    decision(in_use=OLD),
    decision(Out.BLOCK),
    decision(Out.PLAIN, receive=Receive.OPTIONAL, keep={OLD: (True, True)}),
    decision(Out.PLAIN, receive=Receive.NONE),
    decision(in_use=OLD, receive=Receive.OPTIONAL),
    MOVE,
    decision(in_use=OLD, keep={OLD: (False, True), NEW: (True, True)}),
    decision(Out.PLAIN, receive=Receive.NONE, remove_all=True),
    replace(installing().decision),
)


def made(which: Decision, pair_: Pair, lanes: int) -> DesiredPair:
    """Return the wish of a decision, with the SAs that it installs."""
    new = sas(NEW, pair=pair_, slot=1, lanes=lanes) if which.install else ()
    return desired(which, pair=pair_, lanes={OLD: lanes, NEW: lanes}, slots={OLD: 0, NEW: 1}, install=new)


@pytest.mark.C2
@settings(deadline=None, max_examples=60)
@given(
    before=st.lists(st.sampled_from(DECISIONS), min_size=2, max_size=2),
    wanted=st.lists(st.sampled_from(DECISIONS), min_size=2, max_size=2),
    lanes=st.integers(1, 3),
    done=st.integers(0, 60),
    seed=st.integers(0, 1000),
)
def test_plans_end_from_wherever_they_were_interrupted(
    before: list[Decision], wanted: list[Decision], lanes: int, done: int, seed: int
) -> None:
    """From any mixture of two states, in any order of input: in order, all of it, then nothing more to do."""
    pairs = (AB, AC)
    start = [made(d, p, lanes) for d, p in zip(before, pairs, strict=True)]
    there = kernel(*[sas(OLD, pair=p, lanes=lanes) for p in pairs], *[w.install for w in start], *[w.policies for w in start])
    desired_pairs = [made(d, p, lanes) for d, p in zip(wanted, pairs, strict=True)]
    actions = plan(desired_pairs, entries(desired_pairs), there)
    steps = [a.step for a in actions]
    assert steps == sorted(steps)
    chance = random.Random(seed)
    shuffled = KernelSnapshot(
        dict(chance.sample(list(there.sas.items()), len(there.sas))),
        dict(chance.sample(list(there.policies.items()), len(there.policies))),
        dict(reversed(list(there.guard.items()))),
    )
    mixed = dict(reversed(list(entries(desired_pairs).items())))
    assert plan(chance.sample(desired_pairs, 2), mixed, shuffled) == actions
    halfway = after(actions[:done], there)
    rest = plan(desired_pairs, entries(desired_pairs), halfway)
    assert plan(desired_pairs, entries(desired_pairs), after(rest, halfway)) == []


# ---- foreign objects


def foreign_sa(spi: int, *, src: str = "192.0.2.1", dst: str = "192.0.2.2", reqid: int | None = None) -> Sa:
    return Sa(
        ip_address(src), ip_address(dst), spi, spi if reqid is None else reqid, Algorithm.AES_256_GCM, SecretBytes(bytes(36))
    )


OURS = OLD.spi(A.node_id, 0)
FOREIGN_SAS = (
    foreign_sa(OURS, reqid=7),
    foreign_sa(OLD.spi(99, 0)),
    foreign_sa(OURS, dst="198.51.100.9"),
    foreign_sa(OLD.spi(B.node_id, 0)),
    foreign_sa(OURS, src="192.0.2.2", dst="192.0.2.1"),
    foreign_sa(0x120),
    foreign_sa(0x0F),
    foreign_sa(0xC0FFEE00, src="2001:db8::1", dst="2001:db8::2"),
    foreign_sa(OLD.spi(C.node_id, 0), src="192.0.2.2", dst="192.0.2.1"),
)
SELECTOR = Selector(ip_network("0.0.0.0/0"), ip_network("10.2.0.0/16"))
ENDS = (Template(ip_address("192.0.2.1"), ip_address("192.0.2.2")),)
OTHERS = (Template(ip_address("192.0.2.1"), ip_address("198.51.100.9")),)
FOREIGN_POLICIES = (
    Policy(Direction.OUT, SELECTOR, PRIORITY_BAND.start - 1, templates=ENDS),
    Policy(Direction.OUT, SELECTOR, PRIORITY_BAND.stop, templates=ENDS),
    Policy(Direction.FWD, SELECTOR, 0, verdict=PolicyAction.BLOCK),
    Policy(Direction.OUT, replace(SELECTOR, dst=ip_network("10.99.0.0/16")), PRIORITY_DATA, templates=OTHERS),
    Policy(Direction.OUT, replace(SELECTOR, dst=ip_network("10.99.0.0/16")), PRIORITY_DATA, verdict=PolicyAction.BLOCK),
    Policy(Direction.IN, SELECTOR, PRIORITY_DATA),
    Policy(Direction.IN, replace(SELECTOR, proto=50), 2000, templates=ENDS),
)


@pytest.mark.C3
@pytest.mark.parametrize("which", DECISIONS)
def test_foreign_objects_are_in_no_action(which: Decision) -> None:
    """Another reqid, an unknown nodeID, other addresses, a priority next to our band, a block about somebody else: not ours."""
    for wanted in (which, decision(Out.PLAIN, receive=Receive.NONE, remove_all=True)):
        for policy in FOREIGN_POLICIES:
            there = kernel(FOREIGN_SAS, [policy])
            touched = plan([made(wanted, AB, 1)], {}, there)
            assert not [a for a in touched if a.object in set(there.sas)]
            assert not [a for a in touched if getattr(a.object, "name", a.object) == policy.name and a.step.removes]


@pytest.mark.C3
def test_foreign_policy_in_the_way_is_not_replaced() -> None:
    """A foreign policy with a selector of ours stays: setting ours would overwrite it. Our other policies are set."""
    stranger = FOREIGN_POLICIES[0]
    actions = plan([desired(decision(in_use=OLD))], {}, kernel(sas(OLD), [stranger]))
    assert stranger.name not in {getattr(a.object, "name", None) for a in actions}
    assert len([a for a in actions if a.step is Step.SET_SENDING_POLICY]) > 2


@pytest.mark.C3
def test_foreign_policy_that_no_policy_expresses_is_in_the_way_too() -> None:
    """What is known by name alone is not replaced, and is named in words; a foreign policy next to ours does not matter."""
    wanted = desired(decision(in_use=OLD))
    name = PolicyKey(Direction.OUT, SELECTOR)
    there = replace(kernel(sas(OLD)), foreign={name: "policy out in transport mode", replace(name, mark=Mark(1, 1)): "other"})
    assert name not in {getattr(a.object, "name", None) for a in plan([wanted], {}, there)}
    assert {in_the_way(p, there) for p in wanted.policies} == {None, "policy out in transport mode"}


def test_deletions_name_exact_keys() -> None:
    """A state is deleted by destination and SPI, a policy by direction, selector and mark; never by a wildcard."""
    gone = desired(decision(Out.PLAIN, keep={}, receive=Receive.NONE, remove_all=True))
    for action in plan([gone], {}, kernel(using(OLD))):
        assert isinstance(action.object, SaKey | PolicyKey)


def test_guard_entries_change_with_the_decision() -> None:
    """Entries that differ are set, those that nobody wants any more are deleted; before the removal of policies."""
    first, second = [desired(decision(in_use=OLD))], [desired(decision(Out.PLAIN, receive=Receive.NONE, remove_all=True))]
    there = replace(kernel(using(OLD)), guard=entries(first))
    actions = plan(second, {}, there)
    steps = [a.step for a in actions]
    assert {a.object for a in actions if a.step is Step.DELETE_GUARD} == set(entries(first))
    assert steps == sorted(steps)
    assert steps[0] is Step.DELETE_GUARD


@pytest.mark.L10
def test_an_address_of_the_own_node_that_moved_away_is_blocked() -> None:
    """What this node sends by an uplink to a further address of its own is for one that it has no more: nothing in clear."""
    vip = ip_address("198.51.100.7")
    found = guard_entries.wanted(replace(A, addresses=(vip,)), [], [], [ip_network("198.51.100.0/24")])
    entry = found[host(vip)]
    assert (entry.egress, entry.ingress, entry.node_id) == (GuardAction.SEALED, GuardAction.SEALED, A.node_id)
    assert {found[host(a)].egress for a in A.endpoints} == {GuardAction.PASS}


@pytest.mark.L7
def test_guard_entries_name_the_owner_of_what_is_encrypted() -> None:
    """Pods and addresses of a peer carry its nodeID once cleartext of either direction is not fine; own addresses the own."""
    plain = [
        Node("p", "uid-p", None, (ip_address("192.0.2.9"),), (ip_network("10.9.0.0/16"),), datetime.min.replace(tzinfo=UTC))
    ]
    joining = decision(Out.PLAIN, receive=Receive.OPTIONAL)
    found = guard_entries.wanted(A, [(AB, decision(Out.BLOCK)), (AC, joining)], plain, [ip_network("10.0.0.0/8")])
    of_b = {*B.pod_cidrs, *map(host, B.endpoints)}
    owned = dict.fromkeys(of_b, B.node_id) | dict.fromkeys(map(host, A.endpoints), A.node_id)
    assert {prefix: entry.node_id for prefix, entry in found.items() if entry.node_id} == owned
    one_way = guard_entries.wanted(A, [(AB, decision(Out.ESP, OLD, receive=Receive.OPTIONAL))], [], [])
    assert {one_way[prefix].node_id for prefix in of_b} == {B.node_id}
