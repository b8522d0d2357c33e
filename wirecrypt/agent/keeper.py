"""The node's own sessions: made, written down, published, destroyed; always in this order, each step restartable.

A session is in the state file before any SA of it exists and before anybody hears of it. It is published by
compare-and-swap after a quorum read, or one number would get two public keys ◆.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from wirecrypt import keys, logs
from wirecrypt.agent import state as states
from wirecrypt.agent.state import LedgerEntry, OwnSession, State
from wirecrypt.errors import StateError
from wirecrypt.model.objects import NodePeer
from wirecrypt.model.session import Generation, Session
from wirecrypt.model.xfrm import Algorithm
from wirecrypt.ports import Cluster
from wirecrypt.rotation import sessions as rules
from wirecrypt.rotation.pair import OwnSession as SeenSession

log = logs.get(__name__)


class Store(Protocol):
    """Where the state is kept: a file on tmpfs."""

    def load(self) -> State | None:
        """Return what was kept, None when there is nothing."""

    def save(self, state: State) -> None:
        """Keep *state*, atomically."""

    def remove(self) -> None:
        """Keep nothing any more."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What this node offers in a new session."""

    lanes: int
    algorithm: Algorithm


class Keeper:
    """Owner of the state file. *state* is what it holds."""

    def __init__(self, store: Store, cluster: Cluster, boot_id: str) -> None:
        self._store = store
        self._cluster = cluster
        self._boot_id = boot_id
        self.state: State | None = None

    def open(self, own: NodePeer) -> State:
        """Return the state that belongs to this node and boot, a new one when there is none; raises `StateError`."""
        if self.state is not None and self.state.node_uid == own.node_uid:
            return self.state
        kept = self._load()
        if kept is not None and kept.node_uid == own.node_uid and kept.boot_id == self._boot_id:
            self.state = _seen_published(kept, own)
        else:
            same_boot = own.boot_id == self._boot_id
            self.state = State(
                node_uid=own.node_uid,
                boot_id=self._boot_id,
                boot_session=own.boot_session if same_boot else 0,
                last_session=own.last_session,
                sessions=tuple(OwnSession(s, None, published=True) for s in own.sessions) if same_boot else (),
            )
        return self.state

    def close(self) -> None:
        """Forget everything: the node left."""
        self.state = None
        self._store.remove()

    def seen(self) -> tuple[SeenSession, ...]:
        """Return the own sessions as the rules see them."""
        return as_seen(self._state)

    def fetch_keys(self, node: str) -> None:
        """Read this node's Secret; keys of epochs that are in it are kept, those at hand already stay."""
        found = {k.epoch: k for k in self._cluster.node_keys(node)}
        held = {k.epoch: k for k in self._state.node_keys}
        if found.keys() - held.keys():
            self._save(states.with_node_keys(self._state, (held | found).values()))

    def make(self, need: rules.Need, offer: Offer, residues: Collection[int], own: NodePeer) -> Session:
        """Make a session and write it down; raises `StateError` when its epoch's node key is not at hand."""
        node_key = max((k for k in self._state.node_keys if k.epoch.number == need.epoch), key=lambda k: k.epoch, default=None)
        if node_key is None:
            raise StateError("make a session", what=f"epoch {need.epoch}", answer="no node key", hint="see the node's Secret")
        key = keys.new_session_key()
        number = rules.next_number(max(self._state.last_session, own.last_session), residues)
        session = Session(number, node_key.epoch, key.public, offer.lanes, offer.algorithm)
        state = states.with_session(replace(self._state, last_session=number - 1), OwnSession(session, key))
        self._save(replace(state, boot_session=state.boot_session or number))
        log.info("session made", session=number, epoch=need.epoch, reason=need.why)
        return session

    def publish(self, own: NodePeer) -> bool:
        """Publish the newest sessions; False when the API server knows of a newer one, whose number is then skipped.

        Raises `Conflict` when somebody wrote in between, `ClusterError` when the API server refuses.
        """
        fresh = self._cluster.node_peer(own.name)
        if fresh is None or fresh.node_uid != own.node_uid:
            return False
        listed = rules.to_publish(self.seen())
        known = {s.number: s for s in fresh.sessions}
        if any(o.session.number <= fresh.last_session and known.get(o.session.number) != o.session for o in listed):
            self._overtaken(fresh)
            return False
        self._cluster.publish_sessions(
            fresh,
            boot_id=self._boot_id,
            boot_session=self._state.boot_session,
            sessions=[o.session for o in listed],
        )
        numbers = {o.session.number for o in listed}
        self._save(states.published(self._state, numbers))
        log.info("sessions published", session=max(numbers))
        return True

    def destroy(self, wanted: Sequence[int], epochs_in_kernel: Collection[int]) -> None:
        """Destroy private keys that are over, and node keys of epochs without any ◆."""
        state = states.without_keys(self._state, rules.over(self.seen(), wanted, epochs_in_kernel))
        used = {o.session.epoch.number for o in state.sessions if o.key is not None} | set(epochs_in_kernel)
        if wanted:
            keep = [k for k in state.node_keys if k.epoch.number >= min(wanted) or k.epoch.number in used]
            state = states.with_node_keys(state, keep)
        self._save_changed(state)

    def forget_sessions(self, installed: Collection[int]) -> None:
        """Drop sessions without a private key that no generation in the kernel is made of."""
        idle = {o.session.number for o in self._state.sessions if o.key is None and o.session.number not in installed}
        self._save_changed(states.without_sessions(self._state, idle))

    def list_generation(self, peer_uid: str, entry: LedgerEntry) -> None:
        """Write *entry* into the ledger: before the first SA of its generation ◆."""
        self._save(states.with_ledger_entry(self._state, peer_uid, entry))

    def trim_ledger(self, peer_uid: str, installed: Collection[Generation]) -> None:
        """Drop a peer's entries that are neither installed nor of a session whose private key lives."""
        living = self._state.living(peer_uid)
        entries = self._state.ledger.get(peer_uid, frozenset())
        idle = {e.generation for e in entries} - living - set(installed)
        self._save_changed(states.without_ledger_entries(self._state, peer_uid, idle))

    def _overtaken(self, fresh: NodePeer) -> None:
        log.warning("another publication is newer", session=fresh.last_session)
        numbers = {o.session.number for o in self._state.sessions if not o.published}
        last = max(self._state.last_session, fresh.last_session)
        self._save(replace(states.without_keys(self._state, numbers), last_session=last))

    @property
    def _state(self) -> State:
        if self.state is None:
            raise StateError("use the state", answer="it was not opened", hint="open it with the own NodePeer first")
        return self.state

    def _load(self) -> State | None:
        try:
            return self._store.load()
        except StateError as error:
            log.error("state file lost", error=str(error))  # noqa: TRY400 - the message says all, a trace adds nothing
            return None

    def _save_changed(self, state: State) -> None:
        if state != self._state:
            self._save(state)

    def _save(self, state: State) -> None:
        self._store.save(state)
        self.state = state


def _seen_published(state: State, own: NodePeer) -> State:
    """Take the API server's word for what is published: the agent may have died between the two writes."""
    listed = {(s.number, s.public) for s in own.sessions}
    return states.published(state, {o.session.number for o in state.sessions if (o.session.number, o.session.public) in listed})


def as_seen(state: State) -> tuple[SeenSession, ...]:
    """Return the own sessions of *state* as the rules see them."""
    return tuple(SeenSession(o.session, o.published, o.key is not None) for o in state.sessions)
