"""Put together, for one peer, all that a decision rests on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

from wirecrypt.agent.store.keyring import KeyRing
from wirecrypt.agent.store.state import State, as_seen
from wirecrypt.agent.view.cluster_view import pair_of
from wirecrypt.model.mark import MarkLayout
from wirecrypt.model.objects import NodePeer
from wirecrypt.model.pair import Pair
from wirecrypt.model.session import Generation
from wirecrypt.model.xfrm import Sa
from wirecrypt.pairs.inputs import Observed, Out, PairInputs
from wirecrypt.pairs.probing import protected
from wirecrypt.plan.observe import KnownGenerations, observe
from wirecrypt.plan.snapshot import KernelSnapshot


@dataclass(frozen=True)
class PairView:
    """One peer: its object, the pair, how residues are read, and the view that decisions are made on."""

    peer: NodePeer
    pair: Pair
    known: KnownGenerations
    inputs: PairInputs

    @cached_property
    def protected(self) -> bool:
        """Whether traffic of every flow is encrypted both ways and nothing else is accepted."""
        return protected(self.inputs)

    @cached_property
    def own_numbers(self) -> frozenset[int]:
        """The own session numbers that generations in the kernel are made of."""
        return _one(frozenset(self.inputs.own_number(generation) for generation in self.inputs.observed.installed))

    @cached_property
    def peer_epochs(self) -> tuple[int, ...]:
        """The epochs that the peer has published sessions of."""
        return tuple(session.epoch.number for session in self.inputs.peer_sessions)

    @cached_property
    def epochs(self) -> frozenset[int]:
        """The epochs of generations in the kernel."""
        return _one(frozenset(generation.epoch for generation in self.inputs.observed.installed))

    @cached_property
    def accepted_epochs(self) -> frozenset[int]:
        """Those of them by which something is received."""
        return _one(frozenset(generation.epoch for generation, there in self.inputs.observed.installed.items() if there.rx))


@lru_cache(maxsize=1024)
def _one(numbers: frozenset[int]) -> frozenset[int]:
    """Return the one object of these numbers: most pairs of a node have the same."""
    return numbers


@dataclass(frozen=True, slots=True)
class Flags:
    """What is known of one peer next to its object: deletion confirmed, on disk as one to block, joining blocks.

    *exempts*: this end wishes node→node in clear, None: not known, so it stays as it is. *peer_exempts*: the peer does.
    *peer_down*: its Node is not Ready, or gone.
    """

    gone: bool
    marked: bool
    block_joining: bool
    exempts: bool | None = False
    peer_exempts: bool = False
    peer_down: bool = False


def view_pair(  # noqa: PLR0913 - each is a source of its own
    own: NodePeer, peer: NodePeer, state: State, kernel: KernelSnapshot, *, marks: MarkLayout, ring: KeyRing, flags: Flags
) -> PairView:
    """Return all about *peer*; raises `ObjectError` when the two nodes share no address family."""
    pair = pair_of(own, peer)
    known = _known(pair, own, peer, state)

    def right(generation: Generation, lane: int, sa: Sa) -> bool:
        return ring.right_key(peer.node_uid, generation, lane, sa)

    observed = observe(pair, kernel, known, marks, right)
    inputs = PairInputs(
        own_is_lo=pair.own_is_lo,
        own_id=own.node_id,
        peer_id=peer.node_id,
        own_state=own.state,
        peer_state=peer.state,
        own_sessions=as_seen(state),
        peer_sessions=peer.sessions,
        peer_boot_session=peer.boot_session,
        observed=observed,
        ledger=frozenset(known.ledger),
        marked=flags.marked,
        peer_gone=flags.gone,
        block_joining=flags.block_joining,
        exempts=_as_it_is(observed) if flags.exempts is None else flags.exempts,
        peer_exempts=flags.peer_exempts,
        peer_down=flags.peer_down,
        replaced=_replaced(pair, peer, state),
    )
    return PairView(peer, pair, known, inputs)


def _as_it_is(observed: Observed) -> bool:
    """Return whether node→node is in clear now; where nothing is enforced it is to be sealed."""
    return observed.out is not Out.PLAIN and not observed.nodes.sends


def _replaced(pair: Pair, peer: NodePeer, state: State) -> frozenset[Generation]:
    """Return the listed generations whose number of the peer's stands there with another key than they were made of."""
    shown = {s.number: s.public for s in peer.sessions}
    listed = ((e, e.generation.number(lo=not pair.own_is_lo)) for e in state.ledger.get(peer.node_uid, ()))
    return frozenset(e.generation for e, number in listed if shown.get(number, e.peer_public) != e.peer_public)


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
