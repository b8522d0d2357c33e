"""Random schedules of all that may happen to a cluster, over the real agents and the real controller.

A few seeds here; `python -m tests.unit.simulation all 0 1000` plays more.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog

from tests.unit.simulation import happenings
from tests.unit.simulation.schedules import PROFILES, check
from tests.unit.simulation.world import World
from wirecrypt.controller import decide
from wirecrypt.controller.decide import WAVE_SECONDS
from wirecrypt.model.objects import NodeState

pytestmark = pytest.mark.simulation

SEEDS = 1
MORE_SEEDS = range(SEEDS, 10)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Log nothing: what is told of a schedule is its story."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


@pytest.mark.L1
@pytest.mark.R1
@pytest.mark.C1
@pytest.mark.K1
@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_happens(name: str, seed: int) -> None:
    """Nothing is readable again, no key comes twice, undisturbed nodes lose nothing, and in the end all comes right."""
    check(name, seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("seed", MORE_SEEDS)
def test_whatever_else_happens(name: str, seed: int) -> None:
    """The same, with more seeds."""
    check(name, seed)


def test_every_event_is_in_some_profile() -> None:
    """What can happen does."""
    assert {event for profile in PROFILES.values() for event in profile.events} == {*happenings.EVENTS}


def test_waves_of_joining_come_to_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of six at a time, one of which never comes: the others are Active, and that one has kept them waiting for a while."""
    monkeypatch.setattr(decide, "MOST_JOINING", 2)
    world = World(1, "abcdef", "abcdef")
    world.machines["b"].mute = True
    world.machines["b"].end()
    most = 0
    for _ in range(int(WAVE_SECONDS) + 90):
        world.run(1.0)
        states = {name: peer.state for name, peer in world.server.peers.items()}
        most = max(most, sum(state is NodeState.JOINING for state in states.values()))
    assert states == {**dict.fromkeys("acdef", NodeState.ACTIVE), "b": NodeState.JOINING}
    assert most == 3  # two of a wave, and the one that belongs to none any more
