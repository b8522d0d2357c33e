"""The node's own sessions: made, written down, published, destroyed; always in this order, each step restartable.

A session is in the state file before any SA of it exists and before anybody hears of it. It is published by
compare-and-swap after a quorum read, or one number would get two public keys ◆R3. That it is offered is written down before it
is sent: an answer that is lost says nothing, and peers may send on what they saw. What the API server shows has the last word
on what is published; that it went back is believed only of a quorum read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from wirecrypt import keys, logs
from wirecrypt.agent.store import state as states
from wirecrypt.agent.store.state import LedgerEntry, OwnSession, SessionParams, State, as_seen
from wirecrypt.errors import StateError
from wirecrypt.model.objects import NodePeer, NodeState
from wirecrypt.model.session import Epoch, Generation, Session
from wirecrypt.pairs import sessions as rules
from wirecrypt.pairs.inputs import OfferedSession as SeenSession
from wirecrypt.ports import AgentApi

log = logs.get(__name__)


class StateStore(Protocol):
    """Where the state is kept: a file on tmpfs."""

    def load(self) -> State | None:
        """Return what was kept, None when there is nothing."""

    def save(self, state: State) -> None:
        """Keep *state*, atomically."""

    def remove(self) -> None:
        """Keep nothing any more."""


class SessionKeeper:
    """Owner of the state file. *state* is what it holds."""

    def __init__(self, store: StateStore, api: AgentApi, boot_id: str, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._api = api
        self._boot_id = boot_id
        self._clock = clock  # seconds since 1970
        self.state: State | None = None
        self._older: frozenset[str] = frozenset()  # versions of the own NodePeer from before what was published

    def open(self, own: NodePeer) -> State:
        """Return the state that belongs to this node and boot, a new one when there is none; raises `StateError`.

        It belongs to one nodeID: after a farewell the node gets another one, and starts without sessions. A NodePeer that was
        lost under the label is made again with the same ID, and gets the same sessions. What it lists is published: the agent
        may have died, or the answer got lost, in between.
        """
        if self.state is None or self.state.node_uid != own.node_uid:
            self.state = self._kept(own) or self._new(own)
        state = _seen_published(states.of_object(self.state, own), own)
        if state != self.state:
            self._save(state)
        return state

    def close(self) -> None:
        """Forget everything: the node left."""
        self.state = None
        self._store.remove()

    def seen(self) -> tuple[SeenSession, ...]:
        """Return the own sessions as the rules see them."""
        return as_seen(self._state)

    def fetch_keys(self, node: str) -> bool | None:
        """Read this node's Secret; keys of epochs that are in it are kept, those at hand already stay. None: nothing new."""
        found = {k.epoch: k for k in self._api.node_keys(node)}
        held = {k.epoch: k for k in self._state.node_keys}
        if not found.keys() - held.keys():
            return None
        self._save(states.with_node_keys(self._state, (held | found).values()))
        return True

    def make(
        self, need: rules.NeededSession, session_params: SessionParams, residues: Collection[int], own: NodePeer
    ) -> Session:
        """Make a session and write it down; raises `StateError` when its epoch's node key is not at hand."""
        if self._state.node_key(need.epoch) is None:
            raise StateError("make a session", what=f"epoch {need.epoch}", answer="no node key", hint="see the node's Secret")
        key = keys.new_session_key()
        number = rules.next_number(max(self._state.last_session, own.last_session), residues)
        session = Session(number, need.epoch, key.public, session_params.lanes, session_params.algorithm)
        state = states.with_session(replace(self._state, last_session=number - 1), OwnSession(session, key))
        self._save(replace(state, boot_session=state.boot_session or number))
        log.info("session made", session=number, epoch=need.epoch.number, reason=need.why)
        return session

    def outdated(self, own: NodePeer) -> bool:
        """Return whether *own* shows less than was published: an old view, or an API server that went back."""
        newest = max((o.session.number for o in self._state.sessions if o.published and o.key is not None), default=0)
        if own.last_session >= newest:
            self._older = frozenset()
            return False
        return own.resource_version not in self._older

    def look_again(self, own: NodePeer) -> bool:
        """Ask the API server itself; say whether it went back, so that what it lost is to be published again."""
        fresh = self._api.node_peer(own.name)
        if fresh is None or fresh.uid != own.uid:
            return False
        state = states.lost_by_api(self._state, fresh.last_session)
        if state == self._state:
            self._older |= {own.resource_version}
            return False
        log.warning("the API server went back", session=fresh.last_session)
        self._save(state)
        return True

    def api_went_back(self, own: NodePeer) -> None:
        """Note that the API server went back: what it does not show is not deleted, and no view is too old to tell."""
        self._older = frozenset()
        state = states.while_rolled_back(self.open(own))
        if state != self.state:
            self._save(state)

    def publish(self, own: NodePeer) -> bool:
        """Publish the newest sessions; False when the API server knows of a newer one, whose number is then skipped.

        What stands there already is not written again. Raises `Conflict` when somebody wrote in between, `ClusterError` when
        the API server refuses.
        """
        fresh = self._api.node_peer(own.name)
        if fresh is None or fresh.uid != own.uid:
            return False
        listed = [o.session for o in rules.to_publish(self.seen())]
        known = {s.number: s for s in fresh.sessions}
        if any(s.number <= fresh.last_session and known.get(s.number) != s for s in listed):
            self._overtaken(fresh)
            return False
        numbers = {s.number for s in listed}
        boot = (self._boot_id, self._state.boot_session)
        if not numbers <= known.keys() or (fresh.boot_id, fresh.boot_session) != boot:
            self._save_changed(states.offered(self._state, numbers))
            self._api.publish_sessions(fresh, boot_id=boot[0], boot_session=boot[1], sessions=listed)
        self._older |= {own.resource_version, fresh.resource_version}
        self._save(states.published(self._state, numbers))
        log.info("sessions published", session=max(numbers))
        return True

    def destroy(self, wanted: Sequence[Epoch], epochs_in_kernel: Collection[int]) -> None:
        """Destroy private keys that are over, and node keys of epochs without any ◆R4."""
        state = states.without_keys(self._state, rules.ended(self.seen(), wanted, epochs_in_kernel))
        used = {o.session.epoch for o in state.sessions if o.key is not None}
        if wanted:
            first = min(wanted).number
            later = {k.epoch for k in state.node_keys if k.epoch.number >= first or k.epoch.number in epochs_in_kernel}
            keep = used | {epoch for epoch in later if not rules.replaced(epoch, wanted)}
            state = states.with_node_keys(state, [k for k in state.node_keys if k.epoch in keep])
        self._save_changed(state)

    def forget_sessions(self, installed: Collection[int]) -> None:
        """Drop sessions without a private key that no generation in the kernel is made of."""
        idle = {o.session.number for o in self._state.sessions if o.key is None and o.session.number not in installed}
        self._save_changed(states.without_sessions(self._state, idle))

    def list_generations(self, entries: Sequence[tuple[str, LedgerEntry]]) -> None:
        """Write entries, each with its peer's node UID, into the ledger, in one write: before the first of their SAs ◆R8."""
        if entries:
            self._save(states.with_ledger_entries(self._state, entries))

    def trim_ledger(self, installed: Mapping[str, Collection[Generation]]) -> None:
        """Drop the entries of these peers that are neither *installed* nor of a session whose private key lives."""
        state, idle = self._state, dict[str, set[Generation]]()
        living = {own.session.public for own in state.sessions if own.key is not None}
        for uid, there in installed.items():
            entries = state.ledger.get(uid, ())
            over = {e.generation for e in entries if e.own_public not in living and e.generation not in there}
            if over := over and over - state.living(uid):
                idle[uid] = over
        if idle:
            self._save_changed(states.without_ledger_entries(state, idle))

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

    def _kept(self, own: NodePeer) -> State | None:
        try:
            kept = self._store.load()
        except StateError as error:
            log.error("state file lost", error=str(error))  # noqa: TRY400 - the message says all, a trace adds nothing
            return None
        return kept if kept is not None and (kept.node_uid, kept.boot_id) == (own.node_uid, self._boot_id) else None

    def _new(self, own: NodePeer) -> State:
        """Return the state of an agent that knows nothing of before: numbers go on from what its NodePeer says ◆R44.

        One that is past Joining and says none was made again, and what was used before nobody knows. No node has made as many
        sessions as seconds have passed, and a clock by which the API server's certificate is valid is not far behind.
        """
        same_boot = own.boot_id == self._boot_id
        lost = own.last_session == 0 and own.state is not NodeState.JOINING
        return State(
            node_uid=own.node_uid,
            boot_id=self._boot_id,
            boot_session=own.boot_session if same_boot else 0,
            last_session=int(self._clock()) if lost else own.last_session,
            sessions=tuple(OwnSession(s, None, published=True, offered=True) for s in own.sessions) if same_boot else (),
            peer_uid=own.uid,
            node_id=own.node_id,
        )

    def _save_changed(self, state: State) -> None:
        if state != self._state:
            self._save(state)

    def _save(self, state: State) -> None:
        self._store.save(state)
        self.state = state


def _seen_published(state: State, own: NodePeer) -> State:
    """Take the API server's word for what is published."""
    listed = {(s.number, s.public) for s in own.sessions}
    return states.published(state, {o.session.number for o in state.sessions if (o.session.number, o.session.public) in listed})
