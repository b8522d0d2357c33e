"""What may happen to a world: each event by its name, with the machine that it is about and a number to choose by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from tests.unit.simulation import absences, failures
from tests.unit.simulation.machine import Machine
from tests.unit.simulation.world import World

Event = Callable[[World, Machine, int], str]  # returns what was done, in words, "" when nothing could be

EVENTS: Mapping[str, Event] = MappingProxyType(
    {
        event.__name__: event
        for event in (
            absences.entry_gone,
            absences.lists_gone,
            absences.lists_back,
            absences.peer_deleted,
            absences.encrypted_deleted,
            absences.keys_deleted,
            absences.kinds_replaced,
            absences.recycled,
            absences.removed,
            absences.born,
            absences.label_set,
            absences.label_off,
            absences.label_bad,
            absences.rotate,
            absences.rotate_without,
            absences.off,
            failures.on,
            failures.reboot,
            failures.not_ready,
            failures.restart,
            failures.crash,
            failures.dead,
            failures.forgets,
            failures.frozen,
            failures.cut_off,
            failures.renewal,
            failures.wiped,
            failures.controller_dies,
            failures.controller_away,
            failures.noise,
            failures.hostile,
        )
    }
)
