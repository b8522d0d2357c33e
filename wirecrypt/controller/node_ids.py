"""Which node IDs are free: those of live nodes are used, and one that was given up rests for a whole epoch. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from wirecrypt.errors import ObjectError
from wirecrypt.model.objects import SeedSecret
from wirecrypt.model.spi import MAX_NODE_ID, MIN_NODE_ID


def resting(seeds: Iterable[SeedSecret]) -> frozenset[int]:
    """Return the IDs that may not be given out: released in a live epoch, or in the one before it."""
    return frozenset(node_id for seed in seeds for node_id in (*seed.released, *seed.carried))


def allocate(used: Iterable[int], seeds: Iterable[SeedSecret]) -> int:
    """Return the lowest node ID that is neither used nor resting; raises `ObjectError` when there is none."""
    taken = {*used, *resting(seeds)}
    for node_id in range(MIN_NODE_ID, MAX_NODE_ID + 1):
        if node_id not in taken:
            return node_id
    raise ObjectError(
        "choose a node ID",
        what=f"{MIN_NODE_ID}..{MAX_NODE_ID}",
        answer="all are used or resting",
        hint="rotate twice, so that IDs of deleted nodes are free again",
    )
