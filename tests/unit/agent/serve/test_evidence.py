"""Facts name exactly what the kernel lacks beyond what the agent's last pass knew."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.agent import node
from tests.unit.agent.node import GENERATION, LANES, OWN, PAIR, PEER, SETTINGS
from wirecrypt.agent.serve.evidence import EGRESS, Afterwards, EvidenceSnapshot, facts
from wirecrypt.agent.serve.prefixes import Prefixes
from wirecrypt.agent.steps.installing import preview
from wirecrypt.agent.view.pair_view import PairView
from wirecrypt.model.guard import GuardAction, GuardEntry
from wirecrypt.model.pair import End, Pair
from wirecrypt.model.session import Generation
from wirecrypt.model.verify_facts import CaptureSummary, Clear, Deviation, EspSeen, NodeEvidence
from wirecrypt.model.xfrm import Direction, Sa, SaUsage, host
from wirecrypt.pairs.node_traffic import NodeTraffic
from wirecrypt.plan.diff import Step
from wirecrypt.plan.snapshot import KernelSnapshot

NOTHING = Afterwards({}, {}, {}, ())
WHOLE = node.complete()
SENDING = tuple(GENERATION.spi(OWN.node_id, lane) for lane in range(LANES))
RECEIVING = tuple(GENERATION.spi(PEER.node_id, lane) for lane in range(LANES))


def seen(snapshot: EvidenceSnapshot, after: Afterwards = NOTHING) -> NodeEvidence:
    return facts(snapshot, after, SETTINGS, "a", CaptureSummary(("upl",), 1.0))


def without(*names: object) -> KernelSnapshot:
    memories = node.Memories(WHOLE)
    memories.without(*names)
    return memories.kernel


def test_a_whole_kernel_has_no_deviation() -> None:
    """All lanes' SPIs are used and present, nothing is missing, different or unwanted."""
    made = seen(node.snapshot(WHOLE))
    (peer,) = made.peers
    assert (peer.node, peer.out, peer.receive, peer.in_use) == ("b", "esp", "required", str(GENERATION))
    assert peer.uses == SENDING
    assert {s.spi for s in peer.sas if not s.sending} == set(RECEIVING)
    assert (peer.sending_missing, peer.receiving_missing) == ((), ())
    assert (peer.policies_out, peer.policies_in, peer.guard_out, peer.guard_in) == ((), (), (), ())
    assert (made.guard_out, made.guard_in) == ((), ())


def test_packets_in_clear_are_told_by_peer() -> None:
    """What the guard counted between node addresses is that peer's, by its node ID; of a node without any it is 0."""
    (peer,) = seen(node.snapshot(WHOLE)).peers
    (silent,) = seen(replace(node.snapshot(WHOLE), exempt={OWN.node_id: 3})).peers
    assert (peer.exempt_packets, silent.exempt_packets) == (12, 0)


@given(st.sets(st.sampled_from(sorted([sa.spi for sa in WHOLE.sas.values()]))), st.data())
def test_exactly_what_is_missing_is_named(spis: set[int], data: st.DataObject) -> None:
    """Whatever subset of SAs and policies is deleted, the facts name that subset by direction, and nothing else."""
    policies = data.draw(st.sets(st.sampled_from(sorted(WHOLE.policies, key=lambda p: p.order))))
    gone = [name for name, sa in WHOLE.sas.items() if sa.spi in spis]
    made = seen(node.snapshot(without(*gone, *policies)))
    (peer,) = made.peers
    assert set(peer.sending_missing) == spis & set(SENDING)
    assert set(peer.receiving_missing) == spis & set(RECEIVING)
    for found, out in (
        ((*peer.policies_out, *made.guard_out), True),
        ((*peer.policies_in, *made.guard_in), False),
    ):
        expected = {Deviation(f"policy {p}", "missing") for p in policies if (p.direction is Direction.OUT) is out}
        assert set(found) == expected


def test_different_and_unwanted_policies_are_named() -> None:
    """A policy that was changed is different; one in our band that nobody wants is not wanted; a foreign one is nobody's."""
    first = next(p for p in node.policies() if p.direction is Direction.FWD)
    changed = replace(first, templates=(replace(first.templates[0], optional=True),))
    extra = replace(first, selector=replace(first.selector, dst=ip_network("10.9.0.0/16")))
    foreign = replace(extra, priority=7)
    kernel = KernelSnapshot.of(node.sas(), [*node.policies(), changed, extra], WHOLE.guard.values())
    (peer,) = seen(node.snapshot(kernel)).peers
    assert set(peer.policies_in) == {
        Deviation(f"policy {changed.name}", "different"),
        Deviation(f"policy {extra.name}", "not wanted"),
    }
    kernel = KernelSnapshot.of(node.sas(), [*node.policies(), foreign], WHOLE.guard.values())
    (peer,) = seen(node.snapshot(kernel)).peers
    assert peer.policies_in == ()


def test_what_the_last_pass_itself_had_to_do_is_no_deviation() -> None:
    """A policy that was missing when the pass ended is under way; one that went missing since is not."""
    first, second = node.policies()[:2]
    shown = node.pass_snapshot(without(first.name))
    (peer,) = seen(node.snapshot(without(first.name, second.name), shown)).peers
    assert peer.policies_in == (Deviation(f"policy {second.name}", "missing"),)


def test_guard_entries_are_told_by_direction() -> None:
    """An entry that lets cleartext out is a matter of what is sent, one that lets it in of what is received."""
    prefix, address = PEER.pod_cidrs[0], host(PEER.endpoints[0])
    out = GuardEntry(prefix, GuardAction.PASS, GuardAction.DROP)
    kernel = KernelSnapshot.of(node.sas(), node.policies(), {**without(address).guard, prefix: out}.values())
    (peer,) = seen(node.snapshot(kernel)).peers
    assert peer.guard_out == (Deviation(f"guard entry {prefix}", "different"), Deviation(f"guard entry {address}", "missing"))
    assert peer.guard_in == (Deviation(f"guard entry {address}", "missing"),)


def test_a_hole_in_the_guard_that_is_nobodys_prefix_concerns_the_node() -> None:
    """An entry that nobody wants, and one of the cluster's ranges that is gone, are told once for all peers."""
    hole = GuardEntry(ip_network("10.1.0.8/29"), GuardAction.PASS, GuardAction.PASS)
    (api,) = SETTINGS.cluster_cidrs
    guard = {**without(api).guard, hole.prefix: hole}
    made = seen(node.snapshot(KernelSnapshot.of(node.sas(), node.policies(), guard.values())))
    expected = {Deviation(f"guard entry {hole.prefix}", "not wanted"), Deviation(f"guard entry {api}", "missing")}
    assert (set(made.guard_out), set(made.guard_in)) == (expected, expected)


def test_a_guard_that_is_not_attached_is_told() -> None:
    """Each uplink without the program is named; so is that there is no uplink at all."""
    snapshot = replace(node.snapshot(WHOLE), attachments=node.ATTACHED[1:])
    assert seen(snapshot).guard_out == (Deviation(f"{EGRESS} on upl", "missing"),)
    assert seen(snapshot).guard_in == ()
    blind = replace(snapshot, snapshot=replace(node.pass_snapshot(), uplinks=()))
    assert seen(blind).guard_out == (Deviation(f"{EGRESS} on any uplink", "missing"),)


def test_counters_and_captures_come_to_their_peer() -> None:
    """Growth of counters, ESP towards the peer's address by own SPIs, and readable flows towards its pods."""
    sa = next(s for s in node.sas() if s.spi == SENDING[0])
    target = PAIR.outer()[1]
    leak = Clear(str(OWN.pod_cidrs[0][2]), str(PEER.pod_cidrs[0][2]), 6, 1, 80, "", 3)
    esp = {(target, SENDING[0]): 5, (target, RECEIVING[0]): 1, (ip_address("192.0.2.99"), SENDING[1]): 9}
    after = Afterwards({sa.name: SaUsage(400, 14, 14, integrity_errors=2)}, {}, esp, (leak,))
    (peer,) = seen(node.snapshot(WHOLE), after).peers
    grown = {s.spi: (s.grown, s.errors) for s in peer.sas}
    assert (grown[SENDING[0]], grown[SENDING[1]]) == ((4, 2), (None, 0))
    assert (peer.esp, peer.clear, peer.later) == ((EspSeen(SENDING[0], 5),), (leak,), (SENDING[0],))


def test_no_key_is_in_facts() -> None:
    """Facts hold fingerprints; no byte of a key, in any spelling."""
    text = repr(seen(node.snapshot(WHOLE)))
    for sa in node.sas():
        assert sa.key.fingerprint in text
        assert sa.key.reveal().hex() not in text
        assert str(sa.key.reveal()) not in text


V4 = st.integers(1, 250).flatmap(lambda n: st.integers(8, 30).map(lambda length: ip_network((n << 20, length), strict=False)))


def viewed(pair: Pair, *, sealed: bool) -> PairView:
    """Return *pair* as a pass saw it: node→node is sealed, or in clear."""
    whole = node.pass_state(WHOLE).pair_views[PEER.node_uid]
    observed = replace(whole.inputs.observed, nodes=NodeTraffic(sends=sealed))
    return replace(whole, pair=pair, inputs=replace(whole.inputs, observed=observed))


@given(st.lists(V4, min_size=1, max_size=4, unique=True), st.ip_addresses(v=4), st.ip_addresses(v=4), st.data())
def test_prefixes_find_what_the_policies_would(prefixes: list, source: object, target: object, data: st.DataObject) -> None:
    """A packet is a peer's concern exactly when one of its prefixes holds the target, or it goes to an address of the peer.

    From any source where node→node is sealed, else from own pods; and a quote of a packet from its pods to own ones is, too.
    """
    own = End("a", 16, "uid-a", (ip_address("192.0.2.1"),), (ip_network("10.0.0.0/24"),))
    pairs = [
        Pair(own, End(f"n{i}", 17 + i, f"uid-{i}", (ip_address(f"203.0.113.{i}"),), (prefix,)))
        for i, prefix in enumerate(prefixes)
    ]
    sealed = data.draw(st.booleans())
    found = Prefixes(viewed(pair, sealed=sealed) for pair in pairs)
    inside = data.draw(st.sampled_from([ip_address("10.0.0.9"), source]))
    there = data.draw(st.sampled_from([target, prefixes[0][0], ip_address("203.0.113.0")]))
    holders = {f"uid-{i}" for i, prefix in enumerate(prefixes) if there in prefix}
    if not holders and (sealed or inside in own.pod_cidrs[0]):
        holders = {p.peer.node_uid for p in pairs if there in p.peer.endpoints}
    if not holders and there in own.pod_cidrs[0]:
        holders = {f"uid-{i}" for i, prefix in enumerate(prefixes) if inside in prefix}
    assert (found.peer(inside, there) in holders) if holders else found.peer(inside, there) is None


def test_a_preview_of_a_whole_kernel_is_empty() -> None:
    """An agent with nothing to do would change nothing."""
    assert preview(node.pass_state(WHOLE), SETTINGS) == []


@pytest.mark.C2
def test_a_preview_lists_what_is_missing() -> None:
    """It names the write, the object, the peer and the reason."""
    lost = node.policies()[0]
    (action,) = preview(node.pass_state(without(lost.name)), SETTINGS)
    assert (action.step, action.object, action.peer, action.why) == (Step.SET_RECEIVING_POLICY, lost, "b", "in use")


@pytest.mark.K1
def test_a_preview_derives_no_key_and_lists_nothing() -> None:
    """A generation to install shows its SAs in order, without keys; the ledger stays as it was."""
    newer = Generation(1, 2, 1)
    decision = replace(node.STEADY, install=newer, keep={**node.STEADY.keep, newer: (True, True)})
    pass_state = node.pass_state(WHOLE, decision)
    before = pass_state.state
    actions = [a for a in preview(pass_state, SETTINGS) if isinstance(a.object, Sa)]
    assert [a.step for a in actions] == [Step.ADD_RECEIVING] * LANES + [Step.ADD_SENDING] * LANES
    assert {a.object.spi for a in actions} == {newer.spi(n, lane) for n in (16, 17) for lane in range(LANES)}
    assert all(len(a.object.key) == 0 for a in actions)
    assert (pass_state.state, pass_state.state.entry(PEER.node_uid, newer)) == (before, None)
