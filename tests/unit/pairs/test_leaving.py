"""A pair goes back to plaintext when a node is unlabelled, without a loss, and nothing of it stays."""

from __future__ import annotations

import pytest

from tests.unit.pairs.simulator import World, steady
from tests.unit.pairs.views import ACTIVE, LEAVING, NOW, TIMING, esp, g, heard, long_after, view, whole
from wirecrypt.model.objects import Phase
from wirecrypt.pairs import decide, probing
from wirecrypt.pairs.decide import Observed, Out, Receive
from wirecrypt.pairs.memory import Memory, Sent

ESP = esp(g(1, 1), {g(1, 1): whole()})
PLAIN = Observed({g(1, 1): whole()}, Out.PLAIN, None, Receive.OPTIONAL)
SAYS_PLAIN = heard(g(1, 1), accepts_plain=True, sends_plain=True)


def test_plaintext_is_accepted_first() -> None:
    """The first step of both ends: take plaintext, go on encrypting."""
    for states in ({"own_state": LEAVING}, {"peer_state": LEAVING}):
        decision = long_after(view(ESP, **states))
        assert (decision.out, decision.in_use, decision.receive) == (Out.ESP, g(1, 1), Receive.OPTIONAL)


def test_encryption_stops_when_the_peer_accepts_plaintext() -> None:
    """The peer's word, not the own view of the API, ends encryption ◆."""
    decision = long_after(view(ESP, own_state=LEAVING), Memory(word=heard(g(1, 1), in_use=g(1, 1), accepts_plain=True)))
    assert (decision.out, decision.receive) == (Out.PLAIN, Receive.OPTIONAL)
    assert decision.keep[g(1, 1)] == (True, True)


def test_accepted_plaintext_means_nothing_without_leaving() -> None:
    """A word that accepts plaintext does not end the encryption of a pair that is Active to this end's knowledge."""
    decision = long_after(view(ESP), Memory(word=heard(g(1, 1), accepts_plain=True, sends_plain=True)))
    assert (decision.out, decision.receive) == (Out.ESP, Receive.REQUIRED)


def test_leaver_removes_a_drain_after_both_know() -> None:
    """An answer shows that the peer has heard this end's "sends plaintext" and says the same: a drain later all may go ◆."""
    seen = view(PLAIN, own_state=LEAVING)
    told = Memory().sent(b"n", Sent(g(1, 1), 0, NOW, decide.word(seen)), proving=False)
    knows = probing.observe(told.answer(b"n", (g(1, 1), 0), SAYS_PLAIN, NOW), seen, NOW)
    assert not decide.decide(seen, knows, NOW + 9.9, TIMING).remove_all
    assert decide.decide(seen, knows, NOW + 10.0, TIMING).remove_all


def test_it_does_not_matter_whose_word_of_plaintext_comes_last() -> None:
    """The peer has our word, and says later, by itself, that it sends plaintext: from then on both know."""
    seen = view(PLAIN, own_state=LEAVING)
    told = Memory().sent(b"n", Sent(g(1, 1), 0, NOW, decide.word(seen)), proving=False)
    first = probing.observe(told.answer(b"n", (g(1, 1), 0), heard(g(1, 1), accepts_plain=True), NOW), seen, NOW)
    assert first.plain_known_since is None
    assert probing.observe(first.heard(SAYS_PLAIN), seen, NOW + 3).plain_known_since == NOW + 3


def test_a_word_that_the_peer_has_not_confirmed_is_not_known() -> None:
    """What the peer confirmed was another word of ours: whether it knows of our plaintext nobody can say ◆."""
    seen = view(PLAIN, own_state=LEAVING)
    memory = Memory(word=SAYS_PLAIN, confirmed=heard(g(1, 1), in_use=g(1, 1)))
    assert probing.observe(memory, seen, NOW).plain_known_since is None


@pytest.mark.parametrize(
    ("own_state", "peer_state", "own_id", "first"),
    [(LEAVING, ACTIVE, 16, True), (LEAVING, LEAVING, 18, True), (LEAVING, LEAVING, 16, False), (ACTIVE, LEAVING, 18, False)],
)
def test_one_end_removes_first(own_state: object, peer_state: object, own_id: int, first: bool) -> None:  # noqa: FBT001
    """The leaver does, of two leavers the one with the higher nodeID; the other waits until the first is deleted."""
    seen = view(PLAIN, own_state=own_state, peer_state=peer_state, own_id=own_id)
    memory = Memory(word=SAYS_PLAIN, plain_known_since=NOW)
    assert decide.decide(seen, memory, NOW + TIMING.drain, TIMING).remove_all is first


def test_leaver_with_nothing_is_done() -> None:
    """Who has nothing of a pair, and sends plaintext, has left it, whoever would have been first."""
    seen = view(Observed(), own_state=LEAVING, peer_state=LEAVING, ledger=frozenset())
    assert long_after(seen).remove_all


def test_peer_of_a_leaver_installs_to_be_able_to_speak() -> None:
    """The leaver may wait for a word over a generation that this end has not installed yet."""
    decision = long_after(view(Observed(), peer_state=LEAVING, ledger=frozenset()))
    assert decision.install == g(1, 1)
    assert (decision.out, decision.receive) == (Out.PLAIN, Receive.OPTIONAL)


def test_blocked_pair_leaves_by_word_too() -> None:
    """After a reboot while leaving: blocked until a new generation brings the peer's word."""
    blocked = Observed({g(1, 1): whole()}, Out.BLOCK, None, Receive.REQUIRED)
    seen = view(blocked, own_state=LEAVING)
    assert long_after(seen).out is Out.BLOCK
    assert long_after(seen, Memory(word=heard(g(1, 1), accepts_plain=True))).out is Out.PLAIN


@pytest.mark.parametrize("names", ["a", "b", "ab"])
def test_nothing_stays(names: str) -> None:
    """One or both nodes leave: no packet is lost, and in the end neither kernel has an object of the pair."""
    world = steady("ab", lanes=(2, 2))
    for name in names:
        world.unlabel(name)
    world.calm()
    for name in "ab":
        kernel = world.kernels[name]
        assert not kernel.sas
        assert not kernel.policies


def test_others_stay_protected() -> None:
    """One of three nodes leaves: the pair of the other two goes on as it was."""
    world = steady("abc", lanes=(1, 1, 1))
    ends = {*world.ids["a"].endpoints, *world.ids["b"].endpoints}
    before = {name for name, sa in world.kernels["a"].sas.items() if {sa.src, sa.dst} <= ends}
    world.unlabel("c")
    world.calm()
    assert len(before) == 2
    assert set(world.kernels["a"].sas) == before
    assert len(world.agents["a"].turns) == 1


def test_leaver_that_installed_while_its_peer_was_down() -> None:
    """A node joins while its peer's agent is down, and leaves again: it is not stuck when the peer comes back."""
    world = World("ab", lanes=(1, 1))
    world.rotate(1, Phase.COMPLETE)
    world.label("b")
    world.calm()
    world.label("a")
    world.run("a", 1.0)
    world.unlabel("a")
    world.run("a", 1.0)
    assert world.kernels["a"].sas
    world.calm()
    assert "a" not in world.api


@pytest.mark.parametrize("stop", range(0, 40, 5))
def test_leaver_dies_after_each_action(stop: int) -> None:
    """A leaver whose agent dies after any of its actions comes to the same end."""
    world = steady("ab", lanes=(1, 1))
    world.unlabel("a")
    done = 0
    for _ in range(300):
        world.round("b")
        world.sync("a")
        agent = world.agents["a"]
        agent.begin()
        while agent.in_pass and done < stop:
            done += bool(agent.pending)
            agent.step()
            world.check()
        if done >= stop or "a" not in world.api:
            break
        for datagram in world.network:
            world.agents[datagram.receiver].receive(datagram)
        world.network.clear()
        world.control()
        world.advance(0.05)
    world.crash("a")
    world.calm()


def test_leaves_and_joins_again() -> None:
    """Labelled again after it left, a node is a new one: new object, new nodeID, new sessions."""
    world = steady("ab", lanes=(1, 1))
    for _ in range(3):
        world.unlabel("b")
        world.calm()
        world.label("b")
        world.calm()
    assert world.ids["b"].node_id == 20
