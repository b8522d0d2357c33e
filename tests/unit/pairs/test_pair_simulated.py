"""Random schedules of messages, passes and faults over two and three nodes: nothing is lost, and all ends well."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.pairs.schedules import PROFILES, drawn, play
from tests.unit.pairs.simulator import steady
from wirecrypt.plan.diff import Step
from wirecrypt.plan.policies import PRIORITY_LANE

pytestmark = pytest.mark.simulation

LANES = ((1, 1, 1), (2, 1, 3), (2, 2, 2))

# Derandomized: beyond the bounds of the models a random schedule may meet what the protocol itself cannot finish.
BOUNDED = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.C1
@pytest.mark.K1
@pytest.mark.C2
@pytest.mark.C3
@pytest.mark.parametrize("name", PROFILES)
@BOUNDED
@given(seed=st.integers(0, 2**32), lanes=st.sampled_from(LANES))
def test_random_schedules(name: str, seed: int, lanes: tuple[int, ...]) -> None:
    """Whatever is in flight can be received, no key comes twice, nothing is in clear; in the end all is well."""
    profile = PROFILES[name]
    play(profile, drawn(profile, seed), lanes=lanes)


@pytest.mark.parametrize("lose", [False, True], ids=["state kept", "state lost"])
@pytest.mark.parametrize("stop", range(9))
def test_agent_dies_after_each_action(stop: int, lose: bool) -> None:  # noqa: FBT001 - a table's column
    """An agent that dies after the first, second, … action of the plan for a new generation comes to the same end."""
    cluster = steady("ab", lanes=(2, 2))
    agent = cluster.agents["a"]
    agent.wanted_renewal = True
    agent.begin()
    agent.begin()
    for _ in range(stop):
        agent.step()
        cluster.check()
    cluster.crash("a", lose=lose)
    cluster.check()
    cluster.calm()


@pytest.mark.parametrize("stop", [0, 1, 2, 4, 8])
def test_agent_dies_within_a_switch(stop: int) -> None:
    """An agent that dies after some of the policies moved to the new generation comes to the same end."""
    cluster = steady("ab", lanes=(2, 2))
    agent = cluster.agents["a"]
    agent.wanted_renewal = True
    for _ in range(400):
        cluster.round("b")
        cluster.sync("a")
        agent.begin()
        if any(getattr(a.object, "priority", 0) >= PRIORITY_LANE and a.step is Step.SET_SENDING_POLICY for a in agent.pending):
            break
        while agent.in_pass:
            agent.step()
        for datagram in cluster.network:
            cluster.agents[datagram.receiver].receive(datagram)
        cluster.advance(0.02)
    for _ in range(stop):
        agent.step()
        cluster.check()
    cluster.crash("a")
    cluster.calm()
