"""What one pass works on, and what it finds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from wirecrypt.agent.store.state import State
from wirecrypt.agent.view.cluster_view import ClusterView
from wirecrypt.agent.view.exemption import exempts
from wirecrypt.agent.view.pair_view import PairView
from wirecrypt.errors import ObjectError
from wirecrypt.model.conditions import Reason
from wirecrypt.model.mark import MarkLayout
from wirecrypt.model.objects import NodePeer, NodeState
from wirecrypt.model.pair import End, Pair
from wirecrypt.model.session import Announcement
from wirecrypt.model.xfrm import Address, Network
from wirecrypt.pairs.decide import Decision
from wirecrypt.pairs.inputs import Out, Receive
from wirecrypt.pairs.node_traffic import EXEMPT, SEALED
from wirecrypt.plan.snapshot import KernelSnapshot, pointed_at, policies_of, sas_of
from wirecrypt.plan.strays import strays
from wirecrypt.settings import Settings


@dataclass(frozen=True, slots=True)
class Undecided:
    """A peer that nothing could be decided about: every claim of it that is known, the newest first.

    *ended*: plaintext with it is over for good: both ends Active, or the pair is on disk. *exempt*: not so between addresses.
    """

    name: str
    ends: tuple[End, ...]
    ended: bool
    exempt: bool = False


@dataclass(slots=True)
class PassState:
    """One look at everything, by peer node UID in the order of names: surveys, decisions, why a pair fails, what went wrong.

    *vanished*: peers that the API does not show, by UID. *succeeded*: those in whose place another one is shown, by UID.
    *former*: claims of peers that were encrypted and are gone. *undecided*: peers about which nothing could be decided;
    *failed* says why. *guarded*: the guard is in place. *marks*: where the field of packet marks is. *connected*: where this
    agent reaches the API server. *now*: monotonic seconds.
    """

    own: NodePeer
    cluster_view: ClusterView
    state: State
    kernel: KernelSnapshot
    marks: MarkLayout
    trusted: bool
    guarded: bool = True
    connected: frozenset[Address] = frozenset()
    now: float = 0.0
    pair_views: dict[str, PairView] = field(default_factory=dict)
    decisions: dict[str, Decision] = field(default_factory=dict)
    failing: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    undecided: dict[str, Undecided] = field(default_factory=dict)
    vanished: frozenset[str] = frozenset()
    succeeded: Mapping[str, NodePeer] = field(default_factory=dict)
    former: tuple[Network, ...] = ()
    trouble: list[tuple[Reason, str]] = field(default_factory=list)

    def exempts(self, peer: NodePeer, settings: Settings) -> bool | None:
        """Return whether this end wishes node→node with *peer* in clear, None while that cannot be told."""
        return exempts(self.own, peer, self.cluster_view.nodes_by_uid, settings, self.connected)

    def ungranted(self) -> tuple[str, ...]:
        """Return the prefixes and addresses that the own Node has and its NodePeer has not, in words."""
        node = self.cluster_view.nodes_by_uid.get(self.own.node_uid)
        if node is None:
            return ()
        own = (*self.own.pod_cidrs, *self.own.endpoints, *self.own.addresses)
        return tuple(str(claim) for claim in (*node.pod_cidrs, *node.endpoints) if claim not in own)

    def known_pairs(self) -> list[Pair]:
        """Return every pair by every claim of its peer that is known."""
        own = self.own.end
        undecided = [Pair(own, end) for peer in self.undecided.values() for end in peer.ends]
        return [*(s.pair for s in self.pair_views.values()), *undecided]

    def pairs(self) -> Iterator[tuple[PairView, Decision]]:
        """Yield each peer's survey and decision, in the order of names."""
        decisions = self.decisions
        return ((view, decisions[uid]) for uid, view in self.pair_views.items())

    def own_residues(self) -> set[int]:
        """Return the residues of own session numbers that SAs in the kernel carry, or policies point at ◆R2."""
        return {
            spi.residue_lo if s.pair.own_is_lo else spi.residue_hi
            for s in self.pair_views.values()
            for spi in (*(spi for _, spi in sas_of(s.pair, self.kernel)), *pointed_at(s.pair, self.kernel))
        }

    def own_numbers(self) -> set[int]:
        """Return the own session numbers that generations in the kernel are made of."""
        return set().union(*(view.own_numbers for view in self.pair_views.values()))

    def epochs(self) -> set[int]:
        """Return the epochs of generations in the kernel."""
        return set().union(*(view.epochs for view in self.pair_views.values()))


def block(why: str, *, exempt: bool = False) -> Decision:
    """Return the decision to drop whatever is not encrypted, both ways, without any generation; *exempt*: not node→node."""
    return Decision(
        out=Out.BLOCK,
        in_use=None,
        receive=Receive.REQUIRED,
        keep={},
        install=None,
        target=None,
        announcement=Announcement(frozenset(), None, 0),
        why=why,
        nodes=EXEMPT if exempt else SEALED,
    )


def cleaned(pass_state: PassState) -> bool:
    """Return whether a leaving node has nothing of any pair left in the kernel.

    Also not of one that it cannot decide about, and nothing from a tunnel between other addresses.
    """
    if pass_state.own.state is not NodeState.LEAVING:
        return False
    own = pass_state.own.end
    undecided = [Pair(own, end) for peer in pass_state.undecided.values() for end in peer.ends]
    decided = all(s.inputs.observed.nothing and d.remove_all for s, d in pass_state.pairs())
    if not decided or any(_has(pair, pass_state.kernel) for pair in undecided):
        return False
    joined = [pair for pair in pass_state.known_pairs() if _joins(pair)]
    return not strays(joined, pass_state.own.node_id, pass_state.kernel, pass_state.marks)


def _joins(pair: Pair) -> bool:
    """Return whether the ends share an address family."""
    return not {a.version for a in pair.own.endpoints}.isdisjoint(a.version for a in pair.peer.endpoints)


def _has(pair: Pair, kernel: KernelSnapshot) -> bool:
    """Return whether the kernel has anything of *pair*: never so without a tunnel's addresses."""
    try:
        return _present(pair, kernel)
    except ObjectError:
        return False


def _present(pair: Pair, kernel: KernelSnapshot) -> bool:
    return bool(sas_of(pair, kernel) or policies_of(pair, kernel))
