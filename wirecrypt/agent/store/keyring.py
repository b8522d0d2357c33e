"""Keys of generations, as far as they are needed after the SAs exist.

Traffic keys are derived for the one moment in which the SAs are installed, and go nowhere else. What stays in memory are
fingerprints, to compare the kernel's keys with; control keys stand in the ledger. Neither gives a traffic key back, so a
private session key can be destroyed while generations that came of it live on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from wirecrypt import keys
from wirecrypt.agent.store.state import LedgerEntry, State
from wirecrypt.errors import SecretError
from wirecrypt.model.objects import NodePeer
from wirecrypt.model.pair import Pair
from wirecrypt.model.session import Epoch, Generation, Session
from wirecrypt.model.xfrm import Algorithm, Sa, strongest_common

Fingerprints = Mapping[tuple[bool, int], str]  # by (sending, lane)


class KeyRing:
    """Fingerprints of the traffic keys of generations, by peer and generation."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, Generation], Fingerprints] = {}
        self._kept_for: Mapping[str, Collection[LedgerEntry]] | None = None  # nothing is kept that is not in this ledger

    def derive(self, pair: Pair, generation: Generation, state: State, peer: NodePeer) -> tuple[LedgerEntry, keys.PairKeys]:
        """Return a new generation's ledger entry and keys.

        Raises `SecretError` when a session of it, its private key or the node key is not at hand.
        """
        own, theirs = _sessions(pair, generation, state, peer)
        algorithm = strongest_common(own.algorithm, theirs.algorithm)
        derived = _derive(pair, _terms(pair, own, theirs, algorithm), state)
        lanes = min(own.lanes, theirs.lanes)
        src, dst = pair.outer()
        entry = LedgerEntry(
            generation=generation,
            epoch_id=own.epoch.id,
            lanes=lanes,
            algorithm=algorithm,
            own_public=own.public,
            peer_public=theirs.public,
            src=src,
            dst=dst,
            control_own=derived.control_key(derived.own),
            control_peer=derived.control_key(derived.peer),
        )
        self._kept[pair.peer.node_uid, generation], self._kept_for = _fingerprints(derived, lanes), None
        return entry, derived

    def recall(self, pair: Pair, state: State) -> None:
        """Remember again, after a restart, the listed generations whose private key still lives."""
        for entry in state.ledger.get(pair.peer.node_uid, ()):
            if (pair.peer.node_uid, entry.generation) in self._kept or not _derivable(entry, state):
                continue
            derived = _derive(pair, _listed(pair, entry), state)
            self._kept[pair.peer.node_uid, entry.generation] = _fingerprints(derived, entry.lanes)

    def right_key(self, peer_uid: str, generation: Generation, lane: int, sa: Sa) -> bool:
        """Return whether *sa* has the key that it should have; one that cannot be compared any more is taken as it is."""
        kept = self._kept.get((peer_uid, generation))
        wanted = kept.get((not sa.receives, lane)) if kept else None
        return wanted is None or wanted == sa.key.fingerprint

    def compared(self, peer_uid: str, state: State) -> tuple[bool, ...]:
        """Return of which of a peer's listed generations keys can be compared."""
        return tuple((peer_uid, entry.generation) in self._kept for entry in state.ledger.get(peer_uid, ()))

    def keep(self, ledger: Mapping[str, Collection[LedgerEntry]]) -> None:
        """Drop the generations that are not in the *ledger* any more; who reads meanwhile sees all or what is left."""
        if ledger is self._kept_for:
            return
        live = {(uid, entry.generation) for uid, entries in ledger.items() for entry in entries}
        if not self._kept.keys() <= live:
            self._kept = {name: fingerprints for name, fingerprints in self._kept.items() if name in live}
        self._kept_for = ledger


def _sessions(pair: Pair, generation: Generation, state: State, peer: NodePeer) -> tuple[Session, Session]:
    own = state.session(generation.number(lo=pair.own_is_lo))
    number = generation.number(lo=not pair.own_is_lo)
    theirs = next((s for s in peer.sessions if s.number == number), None)
    if own is None or theirs is None:
        what = f"{generation} with {peer.name}"
        raise SecretError("find the sessions of a generation", what=what, answer="one end's session is not known")
    return own.session, theirs


def _listed(pair: Pair, entry: LedgerEntry) -> keys.Terms:
    epoch = Epoch(entry.generation.epoch, entry.epoch_id)
    numbers = (entry.generation.number(lo=pair.own_is_lo), entry.generation.number(lo=not pair.own_is_lo))
    own = Session(numbers[0], epoch, entry.own_public, entry.lanes, entry.algorithm)
    peer = Session(numbers[1], epoch, entry.peer_public, entry.lanes, entry.algorithm)
    return _terms(pair, own, peer, entry.algorithm)


def _terms(pair: Pair, own: Session, peer: Session, algorithm: Algorithm) -> keys.Terms:
    return keys.Terms.of(
        own.epoch,
        algorithm,
        keys.KeyEnd(pair.own.node_id, pair.own.node_uid, own.number, own.public),
        keys.KeyEnd(pair.peer.node_id, pair.peer.node_uid, peer.number, peer.public),
    )


def _derivable(entry: LedgerEntry, state: State) -> bool:
    alive = any(o.key is not None and o.session.public == entry.own_public for o in state.sessions)
    return alive and state.node_key(Epoch(entry.generation.epoch, entry.epoch_id)) is not None


def _derive(pair: Pair, terms: keys.Terms, state: State) -> keys.PairKeys:
    what = f"generation {terms.generation} with {pair.peer.name}"
    ends = {terms.lo.public, terms.hi.public}
    private = next((o.key for o in state.sessions if o.key is not None and o.session.public in ends), None)
    node_key = state.node_key(terms.epoch)
    if private is None or node_key is None:
        missing = "the session's private key is gone" if private is None else "there is no node key of its epoch"
        raise SecretError("derive keys", what=what, answer=missing, hint="a new session is made at the next need")
    return keys.pair_keys(terms, private, keys.pair_secret(node_key.share, pair.peer.node_uid))


def _fingerprints(derived: keys.PairKeys, lanes: int) -> Fingerprints:
    sides = {True: derived.own, False: derived.peer}
    return {(out, lane): derived.traffic_key(side, lane).fingerprint for out, side in sides.items() for lane in range(lanes)}
