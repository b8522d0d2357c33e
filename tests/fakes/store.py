"""The state file in memory."""

# ruff: noqa: D102 - the port says what the methods do

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wirecrypt.agent.store.state import State


@dataclass
class Store:
    """What was kept; *told* hears of each write after it was done."""

    told: Callable[[str], object] = lambda _: None
    kept: State | None = None

    def load(self) -> State | None:
        return self.kept

    def save(self, state: State) -> None:
        self.kept = state
        self.told("save")

    def remove(self) -> None:
        self.kept = None
        self.told("remove")
