"""Short ways to write down what one end of a pair knows. The own end is `lo` (nodeID 16), the peer `hi` (nodeID 17)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from wirecrypt.model.objects import NodeState
from wirecrypt.model.session import Announcement, Epoch, Generation, Session
from wirecrypt.model.xfrm import Algorithm
from wirecrypt.pairs import decide, probing
from wirecrypt.pairs.decide import Decision
from wirecrypt.pairs.inputs import Installed, Observed, OfferedSession, Out, PairInputs, Receive
from wirecrypt.pairs.memory import PairMemory, Timing

TIMING = Timing()
NOW = 1000.0
ACTIVE, JOINING, LEAVING = NodeState.ACTIVE, NodeState.JOINING, NodeState.LEAVING


def g(own: int, peer: int, epoch: int = 1) -> Generation:
    """Return the generation of these session numbers."""
    return Generation(epoch, own, peer)


def session(number: int, epoch: int = 1, *, lanes: int = 1, epoch_id: str = "") -> Session:
    """Return a published session."""
    return Session(number, Epoch(epoch, epoch_id or f"{epoch:032x}"), bytes([number % 256]) * 32, lanes, Algorithm.AES_256_GCM)


def own(number: int, epoch: int = 1, *, published: bool = True, alive: bool = True) -> OfferedSession:
    """Return an own session."""
    return OfferedSession(session(number, epoch), published, alive)


def complete(slot: int = 0, *, lanes: int = 1, packets: int | None = None) -> Installed:
    """Return a generation with all its SAs."""
    every = frozenset(range(lanes))
    return Installed(lanes, every, every, slot, packets)


def receiving(slot: int = 0, packets: int | None = None) -> Installed:
    """Return a generation of which only the receiving SA is left."""
    return Installed(1, frozenset({0}), frozenset(), slot, packets)


def esp(in_use: Generation, installed: Mapping[Generation, Installed], **more: Any) -> Observed:  # noqa: ANN401 - fields of Observed
    """Return a pair that sends over *in_use* and requires ESP."""
    seen = Observed(installed, Out.ESP, in_use, Receive.REQUIRED)
    return replace(seen, **more)


def inputs(observed: Observed, **more: Any) -> PairInputs:  # noqa: ANN401 - fields of View
    """Return a view: by default both Active, both with session 1, whatever is installed is in the ledger."""
    plain = PairInputs(
        own_is_lo=True,
        own_id=16,
        peer_id=17,
        own_state=ACTIVE,
        peer_state=ACTIVE,
        own_sessions=(own(1),),
        peer_sessions=(session(1),),
        peer_boot_session=1,
        observed=observed,
        ledger=frozenset(observed.installed),
        marked=False,
    )
    return replace(plain, **more)


def heard(*sending: Generation, in_use: Generation | None = None, newest: int = 1, **flags: bool) -> Announcement:
    """Return a word of the peer."""
    return Announcement(frozenset(sending), in_use, newest, **flags)


def long_after(seen: PairInputs, memory: PairMemory | None = None, *, now: float = NOW) -> Decision:
    """Decide when whatever holds now has held for longer than any drain."""
    memory = probing.observe(memory or PairMemory(), seen, now - 2 * TIMING.drain, TIMING)
    return decide.decide(seen, probing.observe(memory, seen, now, TIMING), now, TIMING)
