"""Which node IDs are free: those of live nodes are used, and one that was given up rests for a whole epoch. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from wirecrypt.errors import ObjectError
from wirecrypt.model.objects import SeedSecret
from wirecrypt.model.spi import MAX_NODE_ID, MIN_NODE_ID


def resting(seeds: Iterable[SeedSecret]) -> frozenset[int]:
    """Return the IDs that may not be given out: released in a live epoch, or in the one before it."""
    return frozenset(node_id for seed in seeds for node_id in (*seed.released, *seed.carried))


class NodeIds:
    """Gives out node IDs, each once: *used* are those of objects, *kept* those that only lie next to a Node's keys ◆R31."""

    def __init__(self, used: Iterable[int], kept: Iterable[int], seeds: Iterable[SeedSecret]) -> None:
        self._taken = {*used, *resting(seeds)}
        self._spared = frozenset(kept)
        self._others = iter(range(MIN_NODE_ID, MAX_NODE_ID + 1))

    def take(self, kept: int = 0) -> int:
        """Return the ID that lies next to the Node's own keys if it is free, else the lowest that is, also of keys.

        Raises `ObjectError` when there is none.
        """
        found = kept if kept and kept not in self._taken else next(filter(self._is_free, self._others), 0)
        if not found:
            raise ObjectError(
                "choose a node ID",
                what=f"{MIN_NODE_ID}..{MAX_NODE_ID}",
                answer="all are used or resting",
                hint="rotate twice, so that IDs of deleted nodes are free again",
            )
        self._taken.add(found)
        return found

    def _is_free(self, node_id: int) -> bool:
        return node_id not in self._taken and node_id not in self._spared
