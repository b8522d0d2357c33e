"""Put together, for one peer, all that a decision rests on."""

from __future__ import annotations

from dataclasses import dataclass

from wirecrypt.agent.store.keyring import KeyRing
from wirecrypt.agent.store.state import State, as_seen
from wirecrypt.agent.view.cluster_view import pair_of
from wirecrypt.model.mark import MarkLayout
from wirecrypt.model.objects import NodePeer
from wirecrypt.model.pair import Pair
from wirecrypt.model.session import Generation
from wirecrypt.model.xfrm import Sa
from wirecrypt.pairs.decide import PairInputs
from wirecrypt.plan.observe import KnownGenerations, observe
from wirecrypt.plan.snapshot import KernelSnapshot


@dataclass(frozen=True, slots=True)
class PairView:
    """One peer: its object, the pair, how residues are read, and the view that decisions are made on."""

    peer: NodePeer
    pair: Pair
    known: KnownGenerations
    inputs: PairInputs


@dataclass(frozen=True, slots=True)
class Flags:
    """What is known of one peer next to its object: deletion confirmed, on disk as one to block, joining blocks."""

    gone: bool
    marked: bool
    block_joining: bool


def view_pair(  # noqa: PLR0913 - each is a source of its own
    own: NodePeer, peer: NodePeer, state: State, kernel: KernelSnapshot, *, marks: MarkLayout, ring: KeyRing, flags: Flags
) -> PairView:
    """Return all about *peer*; raises `ObjectError` when the two nodes share no address family."""
    pair = pair_of(own, peer)
    known = _known(pair, own, peer, state)

    def right(generation: Generation, lane: int, sa: Sa) -> bool:
        return ring.right_key(peer.node_uid, generation, lane, sa)

    inputs = PairInputs(
        own_is_lo=pair.own_is_lo,
        own_id=own.node_id,
        peer_id=peer.node_id,
        own_state=own.state,
        peer_state=peer.state,
        own_sessions=as_seen(state),
        peer_sessions=peer.sessions,
        peer_boot_session=peer.boot_session,
        observed=observe(pair, kernel, known, marks, right),
        ledger=frozenset(known.ledger),
        marked=flags.marked,
        peer_gone=flags.gone,
        block_joining=flags.block_joining,
    )
    return PairView(peer, pair, known, inputs)


def _known(pair: Pair, own: NodePeer, peer: NodePeer, state: State) -> KnownGenerations:
    entries = state.ledger.get(peer.node_uid, frozenset())
    numbers = {o.session.number: o.session.epoch.number for o in state.sessions}
    numbers |= {s.number: s.epoch.number for s in own.sessions}
    peer_numbers = [e.generation.number(lo=not pair.own_is_lo) for e in entries]
    return KnownGenerations(
        ledger={e.generation: e.lanes for e in entries},
        own_last=max(state.last_session, own.last_session),
        peer_last=max([peer.last_session, *peer_numbers]),
        epochs=numbers,
    )
