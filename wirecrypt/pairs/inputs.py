"""What a decision about one pair rests on: what the kernel has of it, the sessions of both ends, and who they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from wirecrypt.model.objects import NodeState
from wirecrypt.model.session import Generation, Session
from wirecrypt.pairs.node_traffic import SEALED, GuardedOut, NodeTraffic


class Out(Enum):
    """What happens to traffic towards the peer."""

    PLAIN = "plain"
    BLOCK = "block"
    ESP = "esp"


class Receive(Enum):
    """What is asked of traffic from the peer: nothing, ESP or plaintext, ESP only."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class Installed:
    """What the kernel has of one generation: lanes of receiving and sending SAs, how many there should be, the slot.

    *packets*: how many came over its receiving SAs, by the kernel's counters; None where it is not known.
    """

    lanes: int
    rx: frozenset[int]
    tx: frozenset[int]
    slot: int
    packets: int | None = field(default=None, compare=False)  # it moves with every packet

    @property
    def untouched(self) -> bool:
        """Return whether nothing ever came over its receiving SAs."""
        return self.packets == 0

    @property
    def complete(self) -> bool:
        """Return whether every lane has both its SAs."""
        return self.rx == self.tx == frozenset(range(self.lanes))


@dataclass(frozen=True, slots=True)
class Observed:
    """What the kernel has of one pair. *in_use* is the oldest generation that an OUT policy points at.

    *former*: generations, as this pair would read their numbers, of a node that was in the peer's place before.
    """

    installed: Mapping[Generation, Installed] = field(default_factory=dict)
    out: Out = Out.PLAIN
    in_use: Generation | None = None
    receive: Receive = Receive.NONE
    guard_accepts: bool = True  # the guard lets cleartext from the peer in
    complete: bool = True  # every flow has its policies; not so after a death in the middle of a change
    nodes: NodeTraffic = SEALED
    guarded: GuardedOut = field(default_factory=GuardedOut)
    former: frozenset[Generation] = frozenset()

    @property
    def nothing(self) -> bool:
        """Return whether the kernel has no object of this pair."""
        return not self.installed and self.out is Out.PLAIN and self.receive is Receive.NONE


@dataclass(frozen=True, slots=True)
class OfferedSession:
    """An own session as the pair sees it: published or not yet, and whether its private key still exists.

    *offered*: its publication was tried, so that it may be known to peers even if no answer said so.
    """

    session: Session
    published: bool
    alive: bool = True
    offered: bool = False

    @property
    def perhaps_known(self) -> bool:
        """Return whether a peer may know the session."""
        return self.published or self.offered


@dataclass(frozen=True, slots=True)
class PairInputs:
    """All that one decision about one pair rests on, apart from memory and time.

    *peer_gone*: its deletion is confirmed. *ledger*: generations ever installed with the session keys that live.
    *marked*: the pair is on disk as one to block at boot. *block_joining*: `joining: block` in the configuration.
    *exempts*: this end wishes node→node in clear; *peer_exempts*: the peer said, in its present boot, that it does.
    *peer_down*: its Node is not Ready, or gone. *replaced*: generations of the ledger whose peer has published another key
    under its number since: it lost its numbers and began again.
    """

    own_is_lo: bool
    own_id: int
    peer_id: int
    own_state: NodeState
    peer_state: NodeState
    own_sessions: tuple[OfferedSession, ...]
    peer_sessions: tuple[Session, ...]
    peer_boot_session: int
    observed: Observed
    ledger: frozenset[Generation]
    marked: bool
    peer_gone: bool = False
    block_joining: bool = False
    exempts: bool = False
    peer_exempts: bool = False
    peer_down: bool = False
    replaced: frozenset[Generation] = frozenset()

    def own_number(self, generation: Generation) -> int:
        """Return this end's session number in *generation*."""
        return generation.number(lo=self.own_is_lo)

    def peer_number(self, generation: Generation) -> int:
        """Return the peer's session number in *generation*."""
        return generation.number(lo=not self.own_is_lo)

    @property
    def leaving(self) -> bool:
        """Return whether either end is on its way out."""
        return NodeState.LEAVING in (self.own_state, self.peer_state)

    @property
    def excluded(self) -> bool:
        """Return whether a person cut either end off."""
        return NodeState.EXCLUDED in (self.own_state, self.peer_state)

    @property
    def both_active(self) -> bool:
        """Return whether both ends are Active."""
        return self.own_state is NodeState.ACTIVE and self.peer_state is NodeState.ACTIVE

    @property
    def exempt(self) -> bool:
        """Return whether traffic between the ends' addresses is in clear by an end's wish."""
        return self.exempts or self.peer_exempts

    @property
    def sealed(self) -> bool:
        """Return whether node→node is ESP both ways and nothing else is taken, where it is to be so."""
        return self.exempt or self.observed.nodes == SEALED

    @property
    def ended(self) -> bool:
        """Return whether plaintext between the ends is over for good, or was never wished: both Active, or on disk ◆R21."""
        return self.both_active or self.marked or self.block_joining
