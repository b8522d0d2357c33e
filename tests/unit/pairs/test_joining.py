"""A pair goes from plaintext to ESP while it carries traffic."""

from __future__ import annotations

import pytest

from tests.unit.pairs.simulator import SimulatedCluster
from tests.unit.pairs.views import ACTIVE, JOINING, NOW, TIMING, complete, esp, g, heard, inputs, long_after, session
from wirecrypt.model.objects import NodeState, Phase
from wirecrypt.pairs import decide, probing
from wirecrypt.pairs.inputs import Observed, Out, Receive
from wirecrypt.pairs.memory import PairMemory

PLAIN = Observed({g(1, 1): complete()}, Out.PLAIN, None, Receive.OPTIONAL)
ESP = esp(g(1, 1), {g(1, 1): complete()}, receive=Receive.OPTIONAL)


def joining(seen: Observed, **more: object) -> decide.PairInputs:
    return inputs(seen, own_state=JOINING, **more)


def cluster(names: str = "ab", *, labelled: str = "ab") -> SimulatedCluster:
    made = SimulatedCluster(names, lanes=(2, 1, 3))
    made.rotate(1, Phase.COMPLETE)
    for name in labelled:
        made.label(name)
    return made


def test_plaintext_goes_on_until_proved() -> None:
    """Towards a joining node traffic stays as it is; what comes encrypted is taken as well."""
    decision = long_after(joining(PLAIN))
    assert (decision.out, decision.receive) == (Out.PLAIN, Receive.OPTIONAL)
    assert not decision.mark


def test_proved_means_esp() -> None:
    """When every lane is answered, this end sends ESP, and does not require it yet."""
    decision = long_after(joining(PLAIN), PairMemory(proved={g(1, 1): frozenset({0})}))
    assert (decision.out, decision.in_use, decision.receive) == (Out.ESP, g(1, 1), Receive.OPTIONAL)


def test_esp_is_required_a_drain_after_the_peers_word() -> None:
    """The word that the peer sends ESP starts the drain; before its end its last plaintext packets are taken."""
    seen = joining(ESP)
    memory = probing.observe(PairMemory(announcement=heard(g(1, 1), in_use=g(1, 1))), seen, NOW, TIMING)
    assert decide.decide(seen, memory, NOW + 9.9, TIMING).receive is Receive.OPTIONAL
    assert decide.decide(seen, memory, NOW + 10.0, TIMING).receive is Receive.REQUIRED


def test_required_stays_required() -> None:
    """A restart in the middle of joining forgets the word, not what the kernel requires."""
    decision = long_after(joining(esp(g(1, 1), {g(1, 1): complete()})))
    assert decision.receive is Receive.REQUIRED
    assert decision.mark


@pytest.mark.parametrize("marked", [False, True])
def test_ready_comes_after_the_mark(marked: bool) -> None:  # noqa: FBT001 - a table's column
    """Sending ESP and requiring it puts the pair on disk; only what is there is reported as ready ◆R24 ◆R25."""
    decision = long_after(joining(esp(g(1, 1), {g(1, 1): complete()}), marked=marked))
    assert decision.mark
    assert decision.ready is marked


def test_blocked_joining_pair_does_not_require_by_itself() -> None:
    """After the peer's reboot traffic to it is blocked; its plaintext is taken until it says that it sends ESP."""
    seen = joining(ESP, peer_sessions=(session(2),), peer_boot_session=2)
    decision = long_after(seen, PairMemory(announcement=heard(g(1, 1), in_use=g(1, 1))))
    assert (decision.out, decision.receive) == (Out.BLOCK, Receive.OPTIONAL)


def test_both_active_means_required_at_once() -> None:
    """Active at both ends was set because both were ready: nothing is waited for."""
    decision = long_after(inputs(ESP, own_state=ACTIVE))
    assert decision.receive is Receive.REQUIRED


def test_two_nodes_join_at_once() -> None:
    """Both labelled together: plaintext until proved, no packet lost, both Active in the end."""
    joined = cluster()
    joined.calm()
    assert {p.state for p in joined.api.values()} == {NodeState.ACTIVE}


def test_third_node_joins() -> None:
    """A third node joins two that are protected, and none of the three pairs loses a packet."""
    joined = cluster("abc")
    joined.calm()
    joined.label("c")
    joined.calm()
    assert len(joined.agents["c"].pair_views) == 2


@pytest.mark.simulation
@pytest.mark.parametrize("stop", range(0, 60, 6))
def test_agent_dies_while_joining(stop: int) -> None:
    """An agent that dies after any of its actions while joining comes to the same end, and nothing is lost."""
    joined = cluster()
    done = 0
    for _ in range(300):
        joined.round("b")
        agent = joined.agents["a"]
        joined.sync("a")
        agent.begin()
        while agent.in_pass and done < stop:
            done += bool(agent.pending)
            agent.step()
            joined.check()
        if done >= stop:
            break
        for datagram in joined.network:
            joined.agents[datagram.receiver].receive(datagram)
        joined.network.clear()
        joined.control()
        joined.advance(0.05)
    joined.crash("a")
    joined.calm()


def test_reboot_of_a_joining_node_before_it_is_marked() -> None:
    """It boots without blocking anybody, sends plaintext until proved, and the peer comes along."""
    joined = cluster()
    joined.run("ab", 0.3)
    joined.reboot("b")
    joined.calm()


def test_reboot_of_an_active_node_blocks_until_proved() -> None:
    """A protected pair is blocked from boot on, and protected again when the new session is proved."""
    joined = cluster()
    joined.calm()
    joined.reboot("b")
    pair_view = joined.agents["b"].disk
    assert pair_view
    joined.calm()
