"""What an agent must not forget between two starts of one boot: own sessions with their keys, node keys, the ledger.

Values and pure functions; `statefile` writes them down. The ledger lists every generation ever installed, *before* its
first SA ◆R8: what is listed is adopted and never created again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from wirecrypt.errors import StateError
from wirecrypt.keys import SessionKey
from wirecrypt.model.objects import NodeKey, NodePeer
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Epoch, Generation, Session
from wirecrypt.model.xfrm import Address, Algorithm
from wirecrypt.pairs.inputs import OfferedSession as SeenSession


@dataclass(frozen=True, slots=True)
class OwnSession:
    """An own session: *key* is None when it was destroyed; *published*: the API server has it.

    *offered*: it was sent to the API server, whatever came back; written down before it is sent.
    """

    session: Session
    key: SessionKey | None
    published: bool = False
    offered: bool = False

    def __post_init__(self) -> None:
        if self.key is not None and self.key.public != self.session.public:
            what = f"session {self.session.number}"
            hint = "make a new session"
            raise StateError("hold a session", what=what, answer="the key is not that of its X", hint=hint)


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A generation that was installed, and all that is needed to recognise it and to talk over it.

    *src* and *dst* are the tunnel's own and peer address, *own_public* and *peer_public* the ends' X. The control keys stay
    here because a generation may go on when its x is destroyed; while x lives, the traffic keys can be derived again.
    """

    generation: Generation
    epoch_id: str
    lanes: int
    algorithm: Algorithm
    own_public: bytes
    peer_public: bytes
    src: Address
    dst: Address
    control_own: SecretBytes
    control_peer: SecretBytes


@dataclass(frozen=True, slots=True)
class State:
    """The state of one node in one boot. *ledger* maps a peer's node UID to its entries; sessions are in order of number.

    *boot_session*: the first session number of this boot; *last_session*: the highest ever made, also of destroyed ones.
    *peer_uid*: the NodePeer object that the sessions were published in; *node_id*: its nodeID, 0 where no file said it.
    *rolled_back*: the highest session that the API server had and lost (a restore), 0 for none.
    """

    node_uid: str
    boot_id: str
    boot_session: int = 0
    last_session: int = 0
    sessions: tuple[OwnSession, ...] = ()
    node_keys: tuple[NodeKey, ...] = ()
    ledger: Mapping[str, frozenset[LedgerEntry]] = field(default_factory=dict)
    peer_uid: str = ""
    node_id: int = 0
    rolled_back: int = 0

    def session(self, number: int) -> OwnSession | None:
        """Return the own session of this number."""
        return next((own for own in self.sessions if own.session.number == number), None)

    def node_key(self, epoch: Epoch) -> NodeKey | None:
        """Return the node key of exactly this epoch: number and id."""
        return next((key for key in self.node_keys if key.epoch == epoch), None)

    def entry(self, peer_uid: str, generation: Generation) -> LedgerEntry | None:
        """Return the ledger's entry of a peer's generation."""
        return next((entry for entry in self.ledger.get(peer_uid, ()) if entry.generation == generation), None)

    def living(self, peer_uid: str) -> frozenset[Generation]:
        """Return the generations installed with this peer whose own session key still exists."""
        keys = {own.session.public for own in self.sessions if own.key is not None}
        return frozenset(entry.generation for entry in self.ledger.get(peer_uid, ()) if entry.own_public in keys)


def with_session(state: State, own: OwnSession) -> State:
    """Return the state with a new own session, or with the same one published or without its key.

    Raises `StateError` when the number stands for another session already, or a destroyed key would come back.
    """
    number, before = own.session.number, state.session(own.session.number)
    other = before is None and number <= state.last_session
    changed = before is not None and before.session != own.session
    revived = before is not None and before.key is None and own.key is not None
    if other or changed or revived:
        hint = "take a number above last_session"
        raise StateError("keep a session", what=f"number {number}", answer="the number was used before", hint=hint)
    rest = [each for each in state.sessions if each.session.number != number]
    sessions = tuple(sorted([*rest, own], key=lambda each: each.session.number))
    return replace(state, sessions=sessions, last_session=max(state.last_session, number))


def published(state: State, numbers: Collection[int]) -> State:
    """Return the state with these sessions marked as published, and so as offered."""
    sessions = tuple(replace(o, published=True, offered=True) if o.session.number in numbers else o for o in state.sessions)
    return replace(state, sessions=sessions)


def offered(state: State, numbers: Collection[int]) -> State:
    """Return the state with these sessions marked as offered: from now on a peer may know them."""
    sessions = tuple(replace(o, offered=True) if o.session.number in numbers else o for o in state.sessions)
    return replace(state, sessions=sessions)


def lost_by_api(state: State, last: int) -> State:
    """Return the state after the API server went back to session *last*: what lives above it is to be published again."""
    lost = {o.session.number for o in state.sessions if o.published and o.session.number > last}
    sessions = tuple(replace(o, published=o.published and o.session.number <= last) for o in state.sessions)
    return replace(state, sessions=sessions, rolled_back=max(lost, default=state.rolled_back))


def while_rolled_back(state: State) -> State:
    """Return the state after the API server went back, whatever it shows of this node; the next session ends it."""
    published = max((o.session.number for o in state.sessions if o.published), default=0)
    return replace(state, rolled_back=max(state.rolled_back, published))


def newest_seen(state: State) -> int:
    """Return the session below which an API view is older than what was seen before.

    After a restore that is one that is still to be made: what the restored API does not show proves nothing until then.
    """
    known = max((o.session.number for o in state.sessions if o.published), default=0)
    return max(known, state.rolled_back + 1) if state.rolled_back else known


def of_object(state: State, own: NodePeer) -> State:
    """Return what stays with the NodePeer that the node has now.

    With another one of the same nodeID, which was lost and made again: all, to be published there ◆R31. With one of another ID,
    after a farewell: numbers and ledger, so that none comes twice; no session, no x.
    """
    known = replace(state, peer_uid=own.uid, node_id=own.node_id)
    if state.peer_uid in ("", own.uid):  # a file of an earlier version names neither object nor ID
        return known
    if state.node_id == own.node_id:
        return replace(known, sessions=tuple(replace(o, published=False) for o in state.sessions))
    return replace(known, boot_session=0, sessions=(), rolled_back=0)


def without_keys(state: State, numbers: Collection[int]) -> State:
    """Return the state with the private keys of these sessions destroyed; the sessions themselves stay known."""
    sessions = tuple(replace(o, key=None) if o.session.number in numbers else o for o in state.sessions)
    return replace(state, sessions=sessions)


def without_sessions(state: State, numbers: Collection[int]) -> State:
    """Return the state without these sessions; their numbers stay used, their ledger entries stay."""
    return replace(state, sessions=tuple(o for o in state.sessions if o.session.number not in numbers))


def with_node_keys(state: State, node_keys: Iterable[NodeKey]) -> State:
    """Return the state with exactly these node keys, in order of epoch."""
    return replace(state, node_keys=tuple(sorted(node_keys, key=lambda key: key.epoch)))


def with_ledger_entries(state: State, entries: Iterable[tuple[str, LedgerEntry]]) -> State:
    """Return the state with further generations in the ledgers of peers, each named by its node UID.

    One that is listed already changes nothing. Raises `StateError` when one is listed with other facts: it would have two keys.
    """
    ledger = dict(state.ledger)
    for uid, entry in entries:
        listed = ledger.get(uid, frozenset())
        if any(one.generation == entry.generation and one != entry for one in listed):
            what = f"generation {entry.generation} with {uid}"
            hint = "make a new session"
            raise StateError("write the ledger", what=what, answer="it is listed with other facts", hint=hint)
        ledger[uid] = listed | {entry}
    return replace(state, ledger=ledger)


def without_ledger_entries(state: State, over: Mapping[str, Collection[Generation]]) -> State:
    """Return the state without these generations, by the peer's node UID: only after their SAs are gone ◆R8.

    Raises `StateError` while the own session key of one of them still exists: its SAs could be created twice.
    """
    ledger = dict(state.ledger)
    for uid, generations in over.items():
        if not state.living(uid).isdisjoint(generations):
            hint = "destroy the session's key first"
            raise StateError("shorten the ledger", what=f"peer {uid}", answer="a session key still lives", hint=hint)
        rest = frozenset(e for e in ledger.pop(uid, ()) if e.generation not in generations)
        ledger |= {uid: rest} if rest else {}
    return replace(state, ledger=ledger)


@dataclass(frozen=True, slots=True)
class SessionParams:
    """What this node offers in a new session."""

    lanes: int
    algorithm: Algorithm


def as_seen(state: State) -> tuple[SeenSession, ...]:
    """Return the own sessions of *state* as the rules see them."""
    return tuple(SeenSession(o.session, o.published, o.key is not None, o.offered) for o in state.sessions)
