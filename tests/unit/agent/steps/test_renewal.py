"""When a session is used up: soft limits by the counters that each pass lists, and age; told or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.agent.sessionports import ONE, TWO, Node, peer, rotation, session
from wirecrypt.agent.steps.renewal import BURST, FIRST_GAP, REFILL, SessionRenewal
from wirecrypt.model.objects import Phase
from wirecrypt.model.session import Epoch
from wirecrypt.model.xfrm import NO_LIMIT, SaKey, SaLimits, SaUsage

NEVER = 1e9
LIMITS = SaLimits(soft_bytes=1000, hard_bytes=2000, soft_packets=10, hard_packets=20)


def sending(node: Node) -> list[SaKey]:
    """Return the sending SAs, oldest epoch first."""
    return sorted((name for name, sa in node.kernel.sas.items() if not sa.receives), key=lambda n: n.spi)


def protected(disk: Path, *epochs: Epoch) -> Node:
    """Return a node with a session of each epoch, installed, whose SAs have soft limits."""
    node = Node(disk, peer("b", 17, *(session(n, e) for n, e in enumerate(epochs, 1))))
    node.api.epochs = epochs
    for each, before in zip(epochs, (None, *epochs), strict=False):
        node.rotations = (
            *node.rotations,
            rotation(each, Phase.SWITCHING if before else Phase.COMPLETE, before.number if before else 0),
        )
        node.run()
        node.run()
    for name in sending(node):
        node.kernel.sas[name] = replace(node.kernel.sas[name], limits=LIMITS)
    return node


def reasons(node: Node) -> set[Epoch]:
    """Return the epochs whose sessions a pass would replace."""
    pass_state = node.look()
    return set(node.renewal.reasons(pass_state.state, pass_state.pairs(), pass_state.kernel, node.now, NEVER))


@pytest.mark.parametrize(
    ("used", "expected"),
    [(SaUsage(999, 9, 9), False), (SaUsage(1000, 1, 1), True), (SaUsage(1, 10, 10), True), (SaUsage(5000, 50, 50), True)],
)
def test_a_soft_limit_is_seen_without_being_told(tmp_path: Path, used: SaUsage, *, expected: bool) -> None:
    """The agent was down, or the event was lost: the counters say the same in every later pass."""
    node = protected(tmp_path, ONE)
    node.kernel.usage[sending(node)[0]] = used
    assert reasons(node) == reasons(node) == ({ONE} if expected else set())


def test_no_limit_is_never_reached(tmp_path: Path) -> None:
    """An SA without limits is never used up, nor is a receiving one."""
    node = protected(tmp_path, ONE)
    for name, sa in node.kernel.sas.items():
        node.kernel.sas[name] = replace(sa, limits=SaLimits())
        node.kernel.usage[name] = SaUsage(NO_LIMIT - 1, NO_LIMIT - 1, 0)
    assert reasons(node) == set()


def test_a_used_up_session_is_replaced_once(tmp_path: Path) -> None:
    """The replacement answers the reason: the old SAs stay above their limit and no further session is made."""
    node = protected(tmp_path, ONE)
    node.kernel.usage[sending(node)[0]] = SaUsage(1000, 1, 1)
    for _ in range(10):
        node.run()
        node.now += 1000.0
        node.renewal.born.clear()
    assert node.state.last_session == 2


def test_the_replacement_of_one_epoch_leaves_the_limits_of_another(tmp_path: Path) -> None:
    """Sessions of two epochs live while a rotation switches: one is replaced, the other's limit still counts."""
    node = protected(tmp_path, ONE, TWO)
    logged = [sa.name for sa in node.kernel.sas.values() if not sa.receives]
    assert len(logged) == 2
    node.renewal.expired.update(logged)
    assert reasons(node) == {ONE, TWO}
    node.renewal.made(node.now)
    assert reasons(node) == {ONE, TWO}


def test_what_was_told_of_an_sa_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    """Its SPI may come again."""
    node = protected(tmp_path, ONE)
    name = sending(node)[0]
    node.renewal.expired.add(name)
    assert reasons(node) == {ONE}
    sa = node.kernel.sas.pop(name)
    node.look()
    reasons(node)
    node.kernel.sas[name] = sa
    assert "soft limit" not in " ".join(_words(node))


def _words(node: Node) -> list[str]:
    pass_state = node.look()
    return list(node.renewal.reasons(pass_state.state, pass_state.pairs(), pass_state.kernel, node.now, NEVER).values())


def test_replacements_keep_a_gap_that_grows() -> None:
    """At most one a gap, twice as long while they follow each other."""
    renewal = SessionRenewal()
    assert renewal.allowed(0.0)
    renewal.made(0.0)
    assert not renewal.allowed(FIRST_GAP - 0.1)
    assert renewal.allowed(FIRST_GAP)
    renewal.made(FIRST_GAP)
    assert not renewal.allowed(2 * FIRST_GAP)
    assert renewal.allowed(3 * FIRST_GAP)


def test_dark_pairs_are_not_kept_waiting_by_the_gap() -> None:
    """A burst of replacements, however many there were before for used-up ones; then one each refill, and never longer."""
    renewal = SessionRenewal()
    for number in range(10):
        renewal.made(float(number))
    assert not renewal.allowed(10.0)
    renewal.dark = frozenset({"uid-b"})
    for _ in range(BURST):
        assert (renewal.allowed(10.0), renewal.waits(10.0)) == (True, [])
        renewal.made(10.0)
    assert (renewal.allowed(10.0), renewal.waits(10.0)) == (False, [10.0 + REFILL])
    for number in range(1, 5):
        now = 10.0 + number * REFILL
        assert not renewal.allowed(now - 0.1)
        assert renewal.allowed(now)
        renewal.made(now)


def test_a_quiet_time_gives_the_burst_back() -> None:
    """And no more than that."""
    renewal = SessionRenewal(dark=frozenset({"uid-b"}))
    for _ in range(BURST):
        renewal.made(0.0)
    later = 10 * BURST * REFILL
    for _ in range(BURST):
        assert renewal.allowed(later)
        renewal.made(later)
    assert not renewal.allowed(later)
