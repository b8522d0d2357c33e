"""A pair goes back to plaintext when a node is unlabelled, without a loss, and nothing of it stays."""

from __future__ import annotations

import pytest

from tests.unit.pairs.simulator import SimulatedCluster, steady
from tests.unit.pairs.views import ACTIVE, LEAVING, NOW, TIMING, complete, esp, g, heard, inputs, long_after
from wirecrypt.model.objects import NodeState, Phase
from wirecrypt.pairs import decide, probing
from wirecrypt.pairs.inputs import Observed, Out, Receive
from wirecrypt.pairs.memory import PairMemory, Sent

ESP = esp(g(1, 1), {g(1, 1): complete()})
PLAIN = Observed({g(1, 1): complete()}, Out.PLAIN, None, Receive.OPTIONAL)
SAYS_PLAIN = heard(g(1, 1), accepts_plain=True, sends_plain=True)


def test_plaintext_is_accepted_first() -> None:
    """The first step of both ends: take plaintext, go on encrypting."""
    for states in ({"own_state": LEAVING}, {"peer_state": LEAVING}):
        decision = long_after(inputs(ESP, **states))
        assert (decision.out, decision.in_use, decision.receive) == (Out.ESP, g(1, 1), Receive.OPTIONAL)


def test_encryption_stops_when_the_peer_accepts_plaintext() -> None:
    """The peer's word, not the own view of the API, ends encryption ◆R26."""
    decision = long_after(
        inputs(ESP, own_state=LEAVING), PairMemory(announcement=heard(g(1, 1), in_use=g(1, 1), accepts_plain=True))
    )
    assert (decision.out, decision.receive) == (Out.PLAIN, Receive.OPTIONAL)
    assert decision.keep[g(1, 1)] == (True, True)


def test_accepted_plaintext_means_nothing_without_leaving() -> None:
    """A word that accepts plaintext does not end the encryption of a pair that is Active to this end's knowledge."""
    decision = long_after(inputs(ESP), PairMemory(announcement=heard(g(1, 1), accepts_plain=True, sends_plain=True)))
    assert (decision.out, decision.receive) == (Out.ESP, Receive.REQUIRED)


def test_leaver_removes_a_drain_after_both_know() -> None:
    """An answer shows that the peer has heard this end's "sends plaintext" and says the same: a drain later all may go ◆R26."""
    seen = inputs(PLAIN, own_state=LEAVING)
    said = PairMemory().sent(b"n", Sent(g(1, 1), 0, NOW, decide.announcement(seen)), proving=False)
    knows = probing.observe(said.answer(b"n", (g(1, 1), 0), SAYS_PLAIN, NOW), seen, NOW, TIMING)
    assert not decide.decide(seen, knows, NOW + 9.9, TIMING).remove_all
    assert decide.decide(seen, knows, NOW + 10.0, TIMING).remove_all


def test_a_leaver_waits_for_no_word_of_a_peer_that_was_cut_off() -> None:
    """It says none: what there is of the pair goes at once, and the peer finds the controller's word ◆R28."""
    for seen in (ESP, PLAIN, Observed(out=Out.BLOCK, receive=Receive.REQUIRED)):
        assert decide.decide(
            inputs(seen, own_state=LEAVING, peer_state=NodeState.EXCLUDED), PairMemory(), NOW, TIMING
        ).remove_all
        assert not decide.decide(inputs(seen, peer_state=NodeState.EXCLUDED), PairMemory(), NOW, TIMING).remove_all


def test_it_does_not_matter_whose_word_of_plaintext_comes_last() -> None:
    """The peer has our word, and says later, by itself, that it sends plaintext: from then on both know."""
    seen = inputs(PLAIN, own_state=LEAVING)
    said = PairMemory().sent(b"n", Sent(g(1, 1), 0, NOW, decide.announcement(seen)), proving=False)
    first = probing.observe(said.answer(b"n", (g(1, 1), 0), heard(g(1, 1), accepts_plain=True), NOW), seen, NOW, TIMING)
    assert first.plain_known_since is None
    assert probing.observe(first.heard(SAYS_PLAIN), seen, NOW + 3, TIMING).plain_known_since == NOW + 3


def test_a_word_that_the_peer_has_not_confirmed_is_not_known() -> None:
    """What the peer confirmed was another word of ours: whether it knows of our plaintext nobody can say ◆R26."""
    seen = inputs(PLAIN, own_state=LEAVING)
    memory = PairMemory(announcement=SAYS_PLAIN, confirmed=heard(g(1, 1), in_use=g(1, 1)))
    assert probing.observe(memory, seen, NOW, TIMING).plain_known_since is None


@pytest.mark.parametrize(
    ("own_state", "peer_state", "own_id", "first"),
    [(LEAVING, ACTIVE, 16, True), (LEAVING, LEAVING, 18, True), (LEAVING, LEAVING, 16, False), (ACTIVE, LEAVING, 18, False)],
)
def test_one_end_removes_first(own_state: object, peer_state: object, own_id: int, first: bool) -> None:  # noqa: FBT001
    """The leaver does, of two leavers the one with the higher nodeID; the other waits until the first is deleted."""
    seen = inputs(PLAIN, own_state=own_state, peer_state=peer_state, own_id=own_id)
    memory = PairMemory(announcement=SAYS_PLAIN, plain_known_since=NOW)
    assert decide.decide(seen, memory, NOW + TIMING.drain, TIMING).remove_all is first


def test_leaver_with_nothing_is_done() -> None:
    """Who has nothing of a pair, and sends plaintext, has left it, whoever would have been first."""
    seen = inputs(Observed(), own_state=LEAVING, peer_state=LEAVING, ledger=frozenset())
    assert long_after(seen).remove_all


def test_peer_of_a_leaver_installs_to_be_able_to_speak() -> None:
    """The leaver may wait for a word over a generation that this end has not installed yet."""
    decision = long_after(inputs(Observed(), peer_state=LEAVING, ledger=frozenset()))
    assert decision.install == g(1, 1)
    assert (decision.out, decision.receive) == (Out.PLAIN, Receive.OPTIONAL)


def test_blocked_pair_leaves_by_word_too() -> None:
    """After a reboot while leaving: blocked until a new generation brings the peer's word."""
    blocked = Observed({g(1, 1): complete()}, Out.BLOCK, None, Receive.REQUIRED)
    seen = inputs(blocked, own_state=LEAVING)
    assert long_after(seen).out is Out.BLOCK
    assert long_after(seen, PairMemory(announcement=heard(g(1, 1), accepts_plain=True))).out is Out.PLAIN


@pytest.mark.parametrize("names", ["a", "b", "ab"])
def test_nothing_stays(names: str) -> None:
    """One or both nodes leave: no packet is lost, and in the end neither kernel has an object of the pair."""
    cluster = steady("ab", lanes=(2, 2))
    for name in names:
        cluster.unlabel(name)
    cluster.calm()
    for name in "ab":
        kernel = cluster.kernels[name]
        assert not kernel.sas
        assert not kernel.policies


def test_others_stay_protected() -> None:
    """One of three nodes leaves: the pair of the other two goes on as it was."""
    cluster = steady("abc", lanes=(1, 1, 1))
    ends = {*cluster.ids["a"].endpoints, *cluster.ids["b"].endpoints}
    before = {name for name, sa in cluster.kernels["a"].sas.items() if {sa.src, sa.dst} <= ends}
    cluster.unlabel("c")
    cluster.calm()
    assert len(before) == 2
    assert set(cluster.kernels["a"].sas) == before
    assert len(cluster.agents["a"].pair_views) == 1


def test_leaver_that_installed_while_its_peer_was_down() -> None:
    """A node joins while its peer's agent is down, and leaves again: it is not stuck when the peer comes back."""
    cluster = SimulatedCluster("ab", lanes=(1, 1))
    cluster.rotate(1, Phase.COMPLETE)
    cluster.label("b")
    cluster.calm()
    cluster.label("a")
    cluster.run("a", 1.0)
    cluster.unlabel("a")
    cluster.run("a", 1.0)
    assert cluster.kernels["a"].sas
    cluster.calm()
    assert "a" not in cluster.api


@pytest.mark.simulation
@pytest.mark.parametrize("stop", range(0, 40, 5))
def test_leaver_dies_after_each_action(stop: int) -> None:
    """A leaver whose agent dies after any of its actions comes to the same end."""
    cluster = steady("ab", lanes=(1, 1))
    cluster.unlabel("a")
    done = 0
    for _ in range(300):
        cluster.round("b")
        cluster.sync("a")
        agent = cluster.agents["a"]
        agent.begin()
        while agent.in_pass and done < stop:
            done += bool(agent.pending)
            agent.step()
            cluster.check()
        if done >= stop or "a" not in cluster.api:
            break
        for datagram in cluster.network:
            cluster.agents[datagram.receiver].receive(datagram)
        cluster.network.clear()
        cluster.control()
        cluster.advance(0.05)
    cluster.crash("a")
    cluster.calm()


def test_leaves_and_joins_again() -> None:
    """Labelled again after it left, a node is a new one: new object, new nodeID, new sessions."""
    cluster = steady("ab", lanes=(1, 1))
    for _ in range(3):
        cluster.unlabel("b")
        cluster.calm()
        cluster.label("b")
        cluster.calm()
    assert cluster.ids["b"].node_id == 20
