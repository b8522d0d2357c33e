"""Agents as their loop runs them: a pass when one is due or called for, and between passes what needs none."""

from __future__ import annotations

from collections import Counter

from tests.unit.agent.cloud import Cloud

MOMENT = 0.05  # seconds between two looks at whether anybody is to be woken


class Woken:
    """Agents that make a pass only when one is due, a datagram calls for it, or an object that they watch changed.

    *passes*: how many each of them made.
    """

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.due = dict.fromkeys(cloud.machines, 0.0)
        self.seen: dict[str, object] = {}
        self.passes: Counter[str] = Counter()
        self._last: object = None

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.cloud.now + seconds
        while self.cloud.now < end:
            self.cloud.now += MOMENT
            watched = self._watched()
            for name in self.cloud.machines:
                if watched is not self.seen.get(name) or self._called(name):
                    self.seen[name] = watched
                    self.passes[name] += 1
                    self.due[name] = self.cloud.machines[name].agent.step(self.cloud.now)

    def _called(self, name: str) -> bool:
        now, machine = self.cloud.now, self.cloud.machines[name]
        heard = bool(machine.channel.inbox) and machine.agent.hear(now)
        return heard or now >= self.due[name] or (now >= machine.agent.tending_due and machine.agent.tend(now))

    def _watched(self) -> object:
        """Return what is watched; the same value as before as long as it is equal to it."""
        watched = dict(self.cloud.api.peers), dict(self.cloud.api.rotations)
        self._last = self._last if watched == self._last else watched
        return self._last
