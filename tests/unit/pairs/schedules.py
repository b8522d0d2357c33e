"""Random schedules of a simulated world: what may happen, how often, and in which order.

A `Profile` says which faults occur and how many of each. The bounds are those within which the protocol is known to finish
(the models; beyond them, for example a flush and two renewals, even the model has no way out).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from tests.unit.pairs.simulated_state import TIMING
from tests.unit.pairs.simulator import SimulatedCluster, steady
from wirecrypt.model.objects import Phase

Event = tuple[str, int, int]  # what, which node, a number to choose with

_PAUSES = (0.3, 0.6, 1.1)
_USUAL: Mapping[str, int] = MappingProxyType(
    {
        "begin": 14,
        "step": 40,
        "pass": 6,
        "deliver": 30,
        "double": 5,
        "drop": 4,
        "sync": 10,
        "tick": 10,
        "pause": 4,
        "control": 5,
    }
)
_WEIGHTS: Mapping[str, int] = MappingProxyType(
    {"renew": 3, "crash": 3, "stale": 2, "lose": 2, "join": 3, "leave": 2, "leave_without": 2}
)


@dataclass(frozen=True, slots=True)
class Profile:
    """Faults by name with how many of each; the nodes, and how many of them are protected when it starts."""

    faults: Mapping[str, int] = field(default_factory=dict)
    names: str = "ab"
    protected: int = 2

    @property
    def events(self) -> list[str]:
        """Return the names of what may happen, each as often as it is likely."""
        likely = {**_USUAL, **{name: _WEIGHTS.get(name, 1) for name in self.faults}}
        return [name for name, weight in likely.items() for _ in range(weight)]


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "renewals": Profile({"renew": 5}),
        "crashes": Profile({"renew": 5, "crash": 4, "stale": 3}),
        "lost state": Profile({"renew": 1, "crash": 2, "lose": 1}),
        "reboots": Profile({"renew": 3, "crash": 3, "stale": 2, "reboot": 2}),
        "flushed": Profile({"renew": 1, "wipe": 1}),
        "dropped candidates": Profile({"renew": 5, "crash": 2, "abort": 2}),
        "epochs": Profile({"renew": 4, "crash": 3, "stale": 2, "rotate": 2}),
        "epochs and reboots": Profile({"renew": 3, "crash": 3, "rotate": 2, "reboot": 2}),
        "joining": Profile({"join": 4, "crash": 4, "stale": 2}, protected=0),
        "joining a pair": Profile({"join": 4, "crash": 3, "renew": 2}, names="abc"),
        "joining and reboots": Profile({"join": 4, "crash": 4, "reboot": 2}, protected=0),
        "leaving": Profile({"leave": 2, "crash": 4, "renew": 3}),
        "joining and leaving": Profile({"join": 4, "leave": 2, "crash": 4}, protected=0),
        "joining, leaving, reboots": Profile({"join": 4, "leave": 2, "crash": 3, "reboot": 2}, protected=0),
        "leaving with a node off": Profile({"leave_without": 2, "join": 3, "crash": 3, "renew": 2}, names="abc", protected=3),
        "everything": Profile({"join": 4, "leave": 2, "crash": 3, "reboot": 1, "renew": 2, "rotate": 1}, names="abc"),
    }
)


def drawn(profile: Profile, seed: int, length: int = 200) -> list[Event]:
    """Return the schedule of a seed."""
    chance = random.Random(seed)
    events = profile.events
    return [(chance.choice(events), chance.randrange(len(profile.names)), chance.randrange(1000)) for _ in range(length)]


def play(profile: Profile, events: Sequence[Event], *, lanes: Sequence[int] = (2, 1, 3)) -> SimulatedCluster:
    """Let *events* happen, then faults end; what must hold is checked after each event, and that all is well at the end."""
    cluster = _start(profile, lanes)
    left = Counter(profile.faults)
    for what, node, number in events:
        if what in profile.faults:
            left[what] -= 1
            if left[what] < 0:
                continue
        happen = _HAPPENS[what]
        happen(cluster, profile.names[node], number)
        cluster.check()
    cluster.calm(120)
    return cluster


def _start(profile: Profile, lanes: Sequence[int]) -> SimulatedCluster:
    if profile.protected == len(profile.names):
        return steady(profile.names, lanes=lanes)
    cluster = SimulatedCluster(profile.names, lanes=lanes)
    cluster.rotate(1, Phase.COMPLETE)
    for name in profile.names[: profile.protected]:
        cluster.label(name)
    if profile.protected:
        cluster.calm()
    return cluster


def _begin(cluster: SimulatedCluster, name: str, _number: int) -> None:
    if not cluster.agents[name].in_pass:
        cluster.agents[name].begin()


def _pass(cluster: SimulatedCluster, name: str, number: int) -> None:
    _begin(cluster, name, number)
    while cluster.agents[name].in_pass:
        cluster.agents[name].step()
        cluster.check()


def _deliver(cluster: SimulatedCluster, _name: str, number: int) -> None:
    if cluster.network:
        cluster.deliver(number % len(cluster.network))


def _double(cluster: SimulatedCluster, _name: str, number: int) -> None:
    if cluster.network:
        cluster.deliver(number % len(cluster.network), keep=True)


def _drop(cluster: SimulatedCluster, _name: str, number: int) -> None:
    if cluster.network:
        del cluster.network[number % len(cluster.network)]


def _sync(cluster: SimulatedCluster, name: str, _number: int) -> None:
    if not cluster.agents[name].in_pass:
        cluster.sync(name)


def _renew(cluster: SimulatedCluster, name: str, _number: int) -> None:
    cluster.agents[name].wanted_renewal = True


def _wipe(cluster: SimulatedCluster, name: str, number: int) -> None:
    other = next(n for n in cluster.names if n != name)
    if not cluster.agents[name].in_pass and {name, other} <= set(cluster.ids):
        cluster.wipe(name, other, policies=number % 2 == 0)


def _rotate(cluster: SimulatedCluster, _name: str, _number: int) -> None:
    if all(r.phase is Phase.COMPLETE for r in cluster.rotations):
        cluster.rotate(max(r.to_epoch for r in cluster.rotations) + 1)


def _join(cluster: SimulatedCluster, name: str, _number: int) -> None:
    if name not in cluster.api:
        cluster.label(name)


def _leave_without(cluster: SimulatedCluster, name: str, number: int) -> None:
    """Have one node leave while another is off, for as long as it takes; the other comes back to what it was not told."""
    others = [other for other in cluster.names if other != name and other in cluster.api]
    if name not in cluster.api or not others or any(agent.in_pass for agent in cluster.agents.values()):
        return
    leaver, awake = others[number % len(others)], "".join(n for n in cluster.names if n != name)
    cluster.power_off(name)
    cluster.unlabel(leaver)
    end = cluster.now + 4 * TIMING.away
    while leaver in cluster.api and cluster.now < end:
        cluster.run(awake, TIMING.drain)
    cluster.power_on(name)


_HAPPENS: Mapping[str, Callable[[SimulatedCluster, str, int], None]] = MappingProxyType(
    {
        "begin": _begin,
        "step": lambda cluster, name, _: cluster.agents[name].step(),
        "pass": _pass,
        "deliver": _deliver,
        "double": _double,
        "drop": _drop,
        "sync": _sync,
        "tick": lambda cluster, _name, _: cluster.advance(0.05),
        "pause": lambda cluster, _name, number: cluster.advance(_PAUSES[number % 3]),
        "control": lambda cluster, _name, _: cluster.control(),
        "renew": _renew,
        "crash": lambda cluster, name, _: cluster.crash(name),
        "stale": lambda cluster, name, number: cluster.crash(name, stale=number % 7),
        "lose": lambda cluster, name, _: cluster.crash(name, lose=True),
        "reboot": lambda cluster, name, _: cluster.reboot(name),
        "wipe": _wipe,
        "abort": lambda cluster, name, _: cluster.drop_candidate(name),
        "rotate": _rotate,
        "join": _join,
        "leave": lambda cluster, name, _: cluster.unlabel(name),
        "leave_without": _leave_without,
    }
)
