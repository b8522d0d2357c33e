"""Random schedules: which events may happen, how often, and when; and the shortest one that still goes wrong."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from tests.unit.simulation import happenings
from tests.unit.simulation.doubting import doubted
from tests.unit.simulation.ending import end
from tests.unit.simulation.world import World

PAUSES = (0.0, 0.0, 0.03, 0.2, 0.6, 1.1, 1.1, 3.0, 3.0, 8.0, 20.0, 70.0)
_TRIES = 60  # schedules that are played to shorten one

Step = tuple[float, str, str, int]  # seconds before it, the event, the machine, a number to choose with


@dataclass(frozen=True, slots=True)
class Profile:
    """Events by name with how many of each at most; *names* are the machines, *mute* those whose agents never come."""

    events: Mapping[str, int] = field(default_factory=dict)
    names: str = "abc"
    labelled: str = "abc"
    mute: str = ""
    length: int = 14


_USUAL: Mapping[str, int] = MappingProxyType({"restart": 3, "crash": 3, "noise": 3, "frozen": 2, "controller_dies": 2})
PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "entries": Profile({**_USUAL, "entry_gone": 4, "lists_gone": 3, "lists_back": 4, "renewal": 2, "rotate": 1}),
        "objects": Profile(
            {
                **_USUAL,
                "peer_deleted": 3,
                "encrypted_deleted": 3,
                "keys_deleted": 3,
                "rotate": 2,
                "reboot": 2,
                "controller_away": 1,
            }
        ),
        "kinds": Profile({**_USUAL, "kinds_replaced": 3, "rotate": 3, "cut_off": 2, "dead": 1, "reboot": 2}),
        "recycled": Profile({**_USUAL, "recycled": 4, "removed": 1, "born": 2, "rotate": 1, "reboot": 2, "dead": 1}),
        "silent": Profile(
            {**_USUAL, "label_off": 2, "label_set": 4, "rotate": 2, "reboot": 1}, names="abcd", labelled="abcd", mute="d"
        ),
        "hostile": Profile({**_USUAL, "hostile": 1, "rotate": 2, "rotate_without": 1, "renewal": 1, "off": 1, "on": 1}),
        "leaving": Profile(
            {**_USUAL, "label_off": 3, "label_set": 3, "off": 2, "on": 2, "reboot": 1, "not_ready": 3, "renewal": 1, "dead": 1}
        ),
        "excluded": Profile({**_USUAL, "off": 2, "on": 2, "rotate_without": 2, "rotate": 1, "label_off": 1, "label_set": 2}),
        "rotations": Profile(
            {
                **_USUAL,
                "rotate": 3,
                "renewal": 4,
                "crash": 5,
                "forgets": 1,
                "keys_deleted": 1,
                "controller_away": 1,
                "cut_off": 2,
            }
        ),
        "everything": Profile(
            {**dict.fromkeys(happenings.EVENTS, 2), "wiped": 1, "forgets": 1, "hostile": 1, "removed": 1, "restart": 4},
            names="abcd",
            labelled="abc",
            length=20,
        ),
    }
)


def drawn(profile: Profile, seed: int) -> list[Step]:
    """Return the schedule of a seed."""
    chance = random.Random(seed)
    names, left = sorted(profile.events), Counter(profile.events)
    found = []
    for _ in range(profile.length):
        name = chance.choice([n for n in names for _ in range(left[n])] or ["restart"])
        left[name] -= 1
        found.append((chance.choice(PAUSES), name, chance.choice(profile.names), chance.randrange(1000)))
    return found


def play(profile: Profile, seed: int, steps: Sequence[Step]) -> World:
    """Let *steps* happen, then faults end; what must hold is looked at after every write, and that all comes right."""
    with doubted():
        return _play(profile, seed, steps)


def _play(profile: Profile, seed: int, steps: Sequence[Step]) -> World:
    world = World(seed, profile.names, profile.labelled)
    try:
        for name in profile.mute:
            world.machines[name].mute = True
            world.machines[name].end()
        world.run(8.0)
        for pause, name, machine, number in steps:
            world.run(pause)
            happen(world, name, machine, number)
        world.run(1.0)
        end(world)
    except AssertionError as error:
        error.add_note("\n".join(world.story))
        raise
    return world


def happen(world: World, name: str, machine: str, number: int = 0) -> None:
    """Let one event happen, at once."""
    with world.judge.away():
        words = happenings.EVENTS[name](world, world.machines[machine], number)
    if words:
        world.say(f"{machine} {words}")
    world.judge.look()


def shortened(profile: Profile, seed: int, steps: Sequence[Step]) -> list[Step]:
    """Return a shorter schedule that goes wrong as well."""
    steps, tries, size = list(steps), _TRIES, max(1, len(steps) // 2)
    while size and tries:
        for start in range(0, len(steps), size):
            rest = steps[:start] + steps[start + size :]
            tries -= 1
            if tries and fails(profile, seed, rest) is not None:
                steps = rest
                break
        else:
            size //= 2
    return steps


def fails(profile: Profile, seed: int, steps: Sequence[Step]) -> AssertionError | None:
    """Return what goes wrong, None when nothing does."""
    try:
        play(profile, seed, steps)
    except AssertionError as error:
        return error
    return None


def check(name: str, seed: int) -> None:
    """Play a seed of a profile; raises with the shortest story that is found of what went wrong."""
    profile = PROFILES[name]
    steps = drawn(profile, seed)
    error = fails(profile, seed, steps)
    if error is None:
        return
    short = shortened(profile, seed, steps)
    told = fails(profile, seed, short) or error
    raise AssertionError(f"{name} {seed}: {told}\n{short}\n" + "\n".join(getattr(told, "__notes__", ()))) from None
