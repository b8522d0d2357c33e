"""The SAs of one generation of a pair, both directions, every lane."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Protocol

from wirecrypt.model.mark import SLOTS, MarkLayout
from wirecrypt.model.pair import Pair
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Generation
from wirecrypt.model.xfrm import Algorithm, Sa, SaLimits


class TrafficKeys(Protocol):
    """Gives the key of one direction and lane of a generation."""

    def __call__(self, *, sending: bool, lane: int) -> SecretBytes:
        """Return the key of the SA by which this end sends, or receives, on *lane*."""


def free_slot(used: Collection[int]) -> int | None:
    """Return the lowest slot not *used*, None when the pair is full."""
    return next((slot for slot in range(SLOTS) if slot not in used), None)


def states(  # noqa: PLR0913 - the facts that make an SA
    pair: Pair,
    generation: Generation,
    *,
    lanes: int,
    slot: int,
    algorithm: Algorithm,
    keys: TrafficKeys,
    marks: MarkLayout,
    limits: SaLimits,
) -> Iterator[Sa]:
    """Yield the generation's SAs, receiving ones first; only sending SAs have limits.

    A receiving one marks what it has decrypted; a sending one takes the pod's mark off: ESP that still has it is a pod's own.
    """
    own, peer = pair.outer()
    for lane in range(lanes):
        spi = generation.spi(pair.peer.node_id, lane)
        key = keys(sending=False, lane=lane)
        yield Sa(peer, own, spi, spi, algorithm, key, set_mark=marks.decrypted(slot, lane))
    for lane in range(lanes):
        spi = generation.spi(pair.own.node_id, lane)
        yield Sa(own, peer, spi, spi, algorithm, keys(sending=True, lane=lane), set_mark=marks.unmarked(), limits=limits)
