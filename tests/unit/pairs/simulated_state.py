"""What a simulated agent keeps, sees and says: its tmpfs, its view of the API, datagrams, and how keys come about."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from wirecrypt.model.mark import MarkLayout
from wirecrypt.model.objects import KeyRotation, NodePeer
from wirecrypt.model.pair import Pair
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Announcement, Generation, Session
from wirecrypt.model.xfrm import Policy, SaKey
from wirecrypt.pairs.decide import Decision
from wirecrypt.pairs.inputs import Out, PairInputs, Receive
from wirecrypt.pairs.memory import Timing
from wirecrypt.plan import observe, policies

MARKS = MarkLayout()
PORT = 4900
LAYOUT = policies.Layout(MARKS, PORT)
TIMING = Timing(
    drain=1.0, linger=0.1, blind=0.3, blind_first=0.03, quick=0.01, slow=0.5, steady=1.0, again=0.25, patience=2.0, away=6.0
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A ledger entry: lanes, the control key that both ends derive, fingerprints of the traffic keys by SA."""

    lanes: int
    control: bytes
    prints: Mapping[tuple[bool, int], str]


@dataclass(slots=True)
class Tmpfs:
    """What outlives the agent but not the boot. *alive*: numbers of sessions whose private key exists."""

    boot_id: str
    boot_session: int = 0
    last: int = 0
    made: dict[int, Session] = field(default_factory=dict)
    alive: set[int] = field(default_factory=set)
    ledger: dict[str, dict[Generation, Entry]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What an agent sees of the API: NodePeers by name, rotations."""

    peers: Mapping[str, NodePeer]
    rotations: tuple[KeyRotation, ...]


@dataclass(frozen=True, slots=True)
class Datagram:
    """A control datagram on its way, inside the ESP of *spi*; *key* is that SA's fingerprint, *mac* the control key."""

    sender: str
    receiver: str
    probe: bool
    generation: Generation
    lane: int
    nonce: bytes
    announcement: Announcement
    via: SaKey
    key: str
    mac: bytes


@dataclass(frozen=True, slots=True)
class SimulatedPair:
    """One peer in one pass."""

    peer: NodePeer
    pair: Pair
    known: observe.KnownGenerations
    inputs: PairInputs
    decision: Decision


BLOCK_ALL = Decision(
    out=Out.BLOCK,
    in_use=None,
    receive=Receive.REQUIRED,
    keep={},
    install=None,
    target=None,
    announcement=Announcement(frozenset(), None, 0),
    why="boot",
)


def blocking(pair: Pair) -> list[Policy]:
    return policies.wanted(pair, BLOCK_ALL, policies.Senders({}, {}), LAYOUT)


@dataclass(frozen=True, slots=True)
class Derivation:
    """Keys of one generation: equal at both ends, a function of all that tells two SAs apart."""

    pair: Pair
    generation: Generation
    own_public: bytes
    peer_public: bytes

    def traffic(self, *, sending: bool, lane: int) -> SecretBytes:
        """Return the key of an SA."""
        sender = self.pair.own if sending else self.pair.peer
        return SecretBytes(self._digest("esp", sender.node_uid, lane) + bytes(4))

    def control(self) -> bytes:
        """Return the control key."""
        return self._digest("control", "", 0)

    def _digest(self, use: str, sender: str, lane: int) -> bytes:
        lo, hi = self.own_public, self.peer_public
        if not self.pair.own_is_lo:
            lo, hi = hi, lo
        return hashlib.sha256(f"{use} {self.generation} {sender} {lane} {lo.hex()} {hi.hex()}".encode()).digest()
