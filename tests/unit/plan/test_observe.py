"""What the kernel has of a pair, read back from its states and policies, also from halves that a crash left."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plan.made import AB, KNOWN, MARKS, PORT, A, B, after, decision, desired, g, kernel, sas
from wirecrypt.model.pair import Pair
from wirecrypt.model.session import Generation
from wirecrypt.model.spi import AHEAD, RESIDUES, Spi
from wirecrypt.model.xfrm import Direction, Policy, PolicyAction, Sa
from wirecrypt.pairs.inputs import Observed, Out, Receive
from wirecrypt.plan import guard_entries
from wirecrypt.plan.diff import Step, plan
from wirecrypt.plan.observe import KnownGenerations, observe
from wirecrypt.plan.policies import PRIORITY_LANE
from wirecrypt.plan.snapshot import KernelSnapshot

OLD, NEW = g(1, 1), g(2, 1)


def seen(there: KernelSnapshot, known: KnownGenerations = KNOWN, *, pair: Pair = AB, right: bool = True) -> Observed:
    """Return what is observed when every key is right, or none."""
    return observe(pair, there, known, MARKS, lambda *_: right)


def spi(generation: Generation, sender: int = 16) -> Spi:
    found = Spi.decode(generation.spi(sender, 0))
    assert found is not None
    return found


def test_empty_kernel_is_nothing() -> None:
    """No state, no policy, no entry: plaintext both ways, nothing installed."""
    found = seen(kernel())
    assert found.nothing
    assert (found.out, found.receive, found.in_use, found.guard_accepts) == (Out.PLAIN, Receive.NONE, None, True)


@pytest.mark.parametrize("lanes", [1, 2, 16])
def test_steady_pair_is_read_back(lanes: int) -> None:
    """What a plan writes is what is observed: generation, lanes, slot, verdicts."""
    there = kernel(sas(NEW, slot=2, lanes=lanes), desired(decision(in_use=NEW), lanes={NEW: lanes}, slots={NEW: 2}).policies)
    found = seen(there)
    assert (found.out, found.in_use, found.receive, found.complete) == (Out.ESP, NEW, Receive.REQUIRED, True)
    assert set(found.installed) == {NEW}
    assert found.installed[NEW].complete
    assert (found.installed[NEW].lanes, found.installed[NEW].slot) == (lanes, 2)


@pytest.mark.parametrize("out", [Out.BLOCK, Out.PLAIN, Out.ESP])
@pytest.mark.parametrize("receive", [Receive.NONE, Receive.OPTIONAL, Receive.REQUIRED])
def test_verdicts_are_read_back(out: Out, receive: Receive) -> None:
    """Block, plaintext and ESP out; nothing, optional and required in."""
    wanted = decision(out, NEW if out is Out.ESP else None, receive=receive, keep={NEW: (True, True)})
    found = seen(kernel(sas(NEW), desired(wanted).policies))
    assert (found.out, found.receive) == (out, receive)


def test_oldest_pointed_at_is_in_use() -> None:
    """Of a switch that stopped half-way the old generation is in use, whichever lane still points at it ◆R14."""
    before = desired(decision(in_use=OLD), lanes={OLD: 3}).policies
    moved = desired(decision(in_use=NEW), lanes={NEW: 3}, slots={NEW: 1}).policies
    lane = [p for p in before if p.priority == PRIORITY_LANE][-1:]
    rest = [p for p in moved if p.name not in {x.name for x in lane}]
    assert seen(kernel(sas(OLD, lanes=3), sas(NEW, slot=1, lanes=3), rest, lane)).in_use == OLD


def test_missing_sa_of_the_generation_in_use_is_seen() -> None:
    """Policies that point at an SA that is gone: still ESP, still in use, not installed."""
    found = seen(kernel(desired(decision(in_use=NEW)).policies))
    assert (found.out, found.in_use, found.installed) == (Out.ESP, NEW, {})


def test_generation_without_receiving_sas_has_no_slot() -> None:
    """The slot is read from the mark that receiving SAs set; a sending rest has none, and may have no control policy."""
    found = seen(kernel(sas(NEW)[1:]))
    assert found.installed[NEW].slot == -1
    assert not found.installed[NEW].complete


def test_wrong_key_is_not_installed() -> None:
    """An SA with another key than was derived takes a slot, and counts as nothing."""
    found = seen(kernel(sas(NEW, slot=1)), right=False)
    assert (found.installed[NEW].rx, found.installed[NEW].tx, found.installed[NEW].slot) == (frozenset(), frozenset(), 1)


def test_lanes_come_from_the_ledger() -> None:
    """Half of a generation with four lanes is not whole, though each lane that is there has both SAs."""
    known = replace(KNOWN, ledger={NEW: 4})
    assert not seen(kernel(sas(NEW, lanes=2)), known).installed[NEW].complete
    assert seen(kernel(sas(NEW, lanes=4)), known).installed[NEW].complete


def test_untouched_is_what_the_counters_say() -> None:
    """A generation is untouched when no receiving SA of it ever carried a packet; unknown counts as touched."""
    two = sas(NEW, lanes=2)
    assert not seen(kernel(two)).installed[NEW].untouched
    idle = replace(kernel(two), packets={sa.name: 0 for sa in two})
    assert seen(idle).installed[NEW].untouched
    assert not seen(replace(idle, packets={two[0].name: 0, two[2].name: 0})).installed[NEW].untouched
    assert seen(replace(idle, packets={sa.name: 0 for sa in two[:2]})).installed[NEW].untouched


def test_guard_that_drops_the_peers_cleartext_is_seen() -> None:
    """Plaintext is accepted only when no entry of the peer's prefixes drops it."""
    wanted = guard_entries.wanted(A, [(AB, decision(in_use=NEW))], [], [])
    assert not seen(replace(kernel(), guard=wanted)).guard_accepts
    optional = guard_entries.wanted(A, [(AB, decision(in_use=NEW, receive=Receive.OPTIONAL))], [], [])
    assert seen(replace(kernel(), guard=optional)).guard_accepts


@pytest.mark.parametrize("missing", range(12))
def test_partial_policies_are_not_whole(missing: int) -> None:
    """While one flow class lacks its policy the change is not complete, whichever it is."""
    data = [p for p in desired(decision(in_use=NEW)).policies if p.selector.proto == 0]
    assert len(data) == 12
    assert seen(kernel(sas(NEW), data)).complete
    assert not seen(kernel(sas(NEW), data[:missing], data[missing + 1 :])).complete


def test_mixed_policies_are_not_whole() -> None:
    """Some required and some optional, or some blocking and some not: half of a change."""
    required = desired(decision(in_use=NEW)).policies
    optional = desired(decision(in_use=NEW, receive=Receive.OPTIONAL)).policies
    blocking = desired(decision(Out.BLOCK)).policies
    inwards = next(p for p in optional if p.direction is Direction.FWD)
    outwards = next(p for p in blocking if p.direction is Direction.OUT and p.selector.proto == 0)
    for other in (inwards, outwards):
        mixed = [p for p in required if p.name != other.name]
        found = seen(kernel(sas(NEW), mixed, [other]))
        assert not found.complete
        assert (found.out, found.receive) == (Out.ESP, Receive.REQUIRED)


def test_every_interruption_of_a_join_is_read_safely() -> None:
    """After each action from plaintext to ESP: never "complete" before the last flow, never plaintext after the first."""
    start = desired(decision(Out.PLAIN, receive=Receive.OPTIONAL, keep={NEW: (True, True)}))
    there = kernel(sas(NEW), start.policies)
    actions = plan([desired(decision(in_use=NEW, receive=Receive.OPTIONAL))], {}, there)
    sending = [a.step for a in actions].index(Step.SET_SENDING_POLICY)
    for done in range(len(actions) + 1):
        found = seen(after(actions[:done], there))
        assert found.out is (Out.ESP if done > sending else Out.PLAIN)
        assert found.complete is (done in (0, len(actions))) or found.out is Out.PLAIN


# ---- numbers from residues


@given(number=st.integers(1, 5000), back=st.integers(0, RESIDUES - AHEAD - 1))
def test_number_is_read_from_its_residue(number: int, back: int) -> None:
    """Without a ledger a number is known as long as the newest known is less than 56 above it."""
    known = KnownGenerations({}, own_last=number + back, peer_last=number, epochs={number + back: 1})
    assert known.generation(spi(Generation(1, number, number)), own_is_lo=True) == Generation(1, number, number)


@given(number=st.integers(1, 5000), old=st.integers(1, AHEAD))
def test_number_above_the_newest_known_is_read(number: int, old: int) -> None:
    """A view of the API that is a few sessions old, or a lost state file, does not make a number one of long ago."""
    known = KnownGenerations({}, own_last=max(0, number - old), peer_last=max(0, number - old), epochs={})
    found = known.generation(spi(Generation(1, number, number)), own_is_lo=False)
    assert (found.lo, found.hi) == (number, number)


@pytest.mark.parametrize(("number", "last"), [(1, 0), (63, 63), (64, 64), (65, 64), (65, 65), (128, 130), (1, 56), (64, 119)])
def test_number_at_the_wrap(number: int, last: int) -> None:
    """63, 64, 65 and 128 are read as what they are; there is no number 0 and none below it."""
    known = KnownGenerations({}, last, last, {})
    assert known.generation(spi(Generation(1, number, number)), own_is_lo=True).lo == number


def test_ledger_knows_better() -> None:
    """A generation in the ledger is read exactly, however old; of two with the same residues the newer was installed last."""
    known = KnownGenerations({g(3, 2, 5): 1}, own_last=1000, peer_last=900, epochs={})
    assert known.generation(spi(g(3, 2)), own_is_lo=True) == g(3, 2, 5)
    both = KnownGenerations({g(1, 3): 1, g(1, 67): 1}, 1, 67, {})
    assert both.generation(spi(g(1, 3)), own_is_lo=True) == g(1, 67)


@pytest.mark.parametrize(
    ("epochs", "number", "expected"),
    [({7: 1}, 7, 1), ({7: 1}, 5, 1), ({7: 1, 8: 2}, 8, 2), ({5: 1, 8: 2}, 6, 2), ({7: 1}, 9, 1), ({}, 9, 0)],
    ids=["known", "overtaken", "of two", "between", "never published", "nothing known"],
)
def test_epoch_of_a_forgotten_number(epochs: dict[int, int], number: int, expected: int) -> None:
    """A number that is not listed any more was overtaken by the next known one, of the same epoch."""
    known = KnownGenerations({}, own_last=9, peer_last=1, epochs=epochs)
    assert known.generation(spi(g(number, 1)), own_is_lo=True).epoch == expected


def test_block_policies_of_both_directions_belong_to_the_pair() -> None:
    """A boot's block policies have no template; they are known by the peer's prefixes in our priority band."""
    found = seen(kernel(desired(decision(Out.BLOCK)).policies))
    assert (found.out, found.receive) == (Out.BLOCK, Receive.REQUIRED)


def test_another_pairs_objects_are_not_seen() -> None:
    """States and policies towards c say nothing about b."""
    other = Pair(A, replace(B, name="c", node_id=18, endpoints=AB.peer.endpoints[1:], pod_cidrs=()))
    things: list[Sa | Policy] = [*sas(NEW), *desired(decision(in_use=NEW)).policies]
    assert seen(kernel(things), pair=replace(other, peer=replace(other.peer, endpoints=(A.endpoints[0] + 9,)))).nothing


def test_control_policies_are_not_traffic() -> None:
    """The block of unmarked control datagrams does not make a plaintext pair a blocked one."""
    wanted = decision(Out.PLAIN, receive=Receive.OPTIONAL, keep={NEW: (True, True)})
    control = [p for p in desired(wanted).policies if p.selector.dport == PORT]
    assert any(p.verdict is PolicyAction.BLOCK for p in control)
    assert seen(kernel(control)).out is Out.PLAIN
