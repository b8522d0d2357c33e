"""What is decided about every peer in one look at the cluster, the kernel and the disk; nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from wirecrypt.agent.components import Components
from wirecrypt.agent.control.protocol import PeerSession, session_of
from wirecrypt.agent.store.keyring import KeyRing
from wirecrypt.agent.store.state import newest_seen
from wirecrypt.agent.view.cluster_view import ClusterView, without_new_keys
from wirecrypt.agent.view.configuration import timing
from wirecrypt.agent.view.pair_view import Flags, PairView, view_pair
from wirecrypt.agent.view.pass_state import PassState, Undecided
from wirecrypt.agent.view.peers import Deletions, KnownPeers, known_peers, rolled_back, unpublish, with_successions
from wirecrypt.agent.view.standing import Facts, OwnFacts, StandingDecision, facts, of_pair, stands_until
from wirecrypt.errors import ObjectError
from wirecrypt.model.mark import MarkLayout
from wirecrypt.model.objects import Node, NodePeer, NodeState
from wirecrypt.model.ranges import inside
from wirecrypt.model.xfrm import Network
from wirecrypt.pairs import probing
from wirecrypt.pairs.decide import decide
from wirecrypt.pairs.inputs import Out
from wirecrypt.plan.holders import Claims, with_held
from wirecrypt.plan.snapshot import KernelSnapshot
from wirecrypt.settings import Joining, Settings

REFUSED: Final = "refused, another node has held its nodeID longer (DuplicateNodeID)"


class Deciding:
    """Decides, look after look, and remembers what looks must not forget: peers that were shown, and their claims.

    *known*: by node UID, as last shown.
    """

    def __init__(
        self, components: Components, deletions: Deletions, ring: KeyRing, peer_sessions: dict[str, PeerSession]
    ) -> None:
        self._components = components
        self._deletions = deletions
        self._ring = ring
        self._peer_sessions = peer_sessions
        self.known: dict[str, NodePeer] = {}
        self._former: dict[Network, None] = {}  # claims of peers that were encrypted and are gone
        self._plain: Mapping[str, Claims] = {}  # by UID, of Nodes without the label: what is held for them
        self._standing: dict[str, StandingDecision] = {}  # by node UID
        self._compared: KernelSnapshot | None = None  # what all of these were compared with
        self._held_for: Facts = ()
        self._held: tuple[Node, ...] = ()  # the Nodes with all that is held for them
        self._common: Facts = ()  # what they rest on that is no pair's alone, () where a pair may rest on others

    def look(  # noqa: PLR0913 - what it looks at
        self,
        cluster_view: ClusterView,
        own: NodePeer,
        settings: Settings,
        now: float,
        *,
        marks: MarkLayout,
        trusted: bool,
        guarded: bool,
    ) -> PassState:
        """Look at every peer and decide; nothing is written. *trusted*: the API server lets no node speak for another."""
        components = self._components
        state = components.session_keeper.open(own)
        kernel = components.datapath.snapshot()
        self._forget_former(cluster_view)
        seen = known_peers(cluster_view, self.known, components.pairs_on_disk.list)
        if not rolled_back(own, newest_seen(state)):
            seen = with_successions(seen)
        pass_state = PassState(
            own,
            cluster_view,
            state,
            kernel,
            marks,
            trusted=trusted,
            guarded=guarded,
            connected=components.api.api_addresses(),
            now=now,
            vanished=seen.vanished,
            succeeded=seen.succeeded,
            former=tuple(self._former),
        )
        if not self._standing.keys() <= seen.peers.keys() - seen.vanished:
            there = seen.peers.keys() - seen.vanished
            self._standing = {uid: each for uid, each in self._standing.items() if uid in there}
        alike = self._alike(pass_state, settings, seen)
        for uid, peer in seen.peers.items():
            if alike and self._stands(pass_state, uid, peer, now):
                continue
            accepted = self.known.get(uid)
            vanished = uid in seen.vanished
            if not vanished:
                self._deletions.forget(uid)
                peer = peer if trusted else without_new_keys(peer, accepted)  # noqa: PLW2901 - refined
                self.known[uid] = peer
            try:
                ended = any(self._ended(old, own) for old in seen.predecessors(peer))
                shown = unpublish(peer) if vanished else peer
                self._decide(pass_state, shown, settings, vanished=vanished, ended=ended, now=now)
            except ObjectError as error:
                self._leave_undecided(pass_state, peer, settings, str(error))
        for peer in cluster_view.duplicates:
            pass_state.failed[peer.node_uid] = REFUSED
            if peer.node_uid not in pass_state.pair_views:
                self._leave_undecided(pass_state, peer, settings, REFUSED)
        self._hold(pass_state, seen)
        self._compared = kernel
        return pass_state

    def _alike(self, pass_state: PassState, settings: Settings, seen: KnownPeers) -> bool:
        """Return whether all is as at the last look that is no pair's alone, but for the kernel; and every peer is shown."""
        state, nodes = pass_state.state, pass_state.cluster_view.nodes_by_uid
        before, self._common = self._common, ()
        if seen.vanished or seen.succeeded or not pass_state.trusted:
            return False
        own = pass_state.own, nodes.get(pass_state.own.node_uid), state.sessions, state.node_keys, state.last_session
        times = timing(settings, len(self._peer_sessions))
        self._common = (*own, settings, times, pass_state.marks, pass_state.connected)
        return self._common == before

    def _stands(self, pass_state: PassState, uid: str, peer: NodePeer, now: float) -> bool:
        """Return whether nothing has changed that is this pair's alone, and have what was decided about it stand."""
        before, peer_session = self._standing.get(uid), self._peer_sessions.get(uid)
        if before is None or peer_session is None or peer_session.pair_view is not before.view or peer_session.owed:
            return False
        kernel = None if pass_state.kernel is self._compared else pass_state.kernel
        if not before.rests(self._own_facts(pass_state, uid, peer), kernel, peer_session.memory, now):
            return False
        pass_state.pair_views[uid], pass_state.decisions[uid] = before.view, before.decision
        pass_state.failing[uid] = before.failing
        return True

    def _own_facts(self, pass_state: PassState, uid: str, peer: NodePeer) -> OwnFacts:
        node = pass_state.cluster_view.nodes_by_uid.get(uid)
        return OwnFacts(peer, node, pass_state.state.ledger.get(uid), self._components.pairs_on_disk.has(uid))

    def _hold(self, pass_state: PassState, seen: KnownPeers) -> None:
        """Have plain Nodes keep the claims that are held for them; nothing is worked out anew while all Nodes are the same."""
        shown = pass_state.cluster_view.nodes, (pass_state.own, *seen.peers.values()), self._plain
        if shown != self._held_for:
            nodes, self._plain = with_held(*shown)
            self._held_for, self._held = (*shown[:2], self._plain), nodes
        pass_state.cluster_view = replace(pass_state.cluster_view, nodes=self._held)

    def _leave_undecided(self, pass_state: PassState, peer: NodePeer, settings: Settings, why: str) -> None:
        """Note a peer that nothing can be decided about, by every claim of it that is known: what it has stays."""
        uid, disk = peer.node_uid, self._components.pairs_on_disk
        peer_session = self._peer_sessions.get(uid)
        before = [peer_session.pair_view.pair.peer] if peer_session is not None and peer_session.pair_view is not None else []
        listed = [end for end in (disk.list.peers if disk.list else ()) if end.node_uid == uid]
        both_active = pass_state.own.state is peer.state is NodeState.ACTIVE
        ended = both_active or disk.has(uid) or settings.joining is Joining.BLOCK
        exempts = pass_state.exempts(peer, settings)
        exempt = disk.exempts(uid) if exempts is None else exempts
        ends = tuple(dict.fromkeys([peer.end, *before, *listed]))
        pass_state.undecided[uid] = Undecided(peer.name, ends, ended, exempt)
        pass_state.failed[uid] = why

    def _ended(self, peer: NodePeer, own: NodePeer) -> bool:
        """Return whether plaintext with *peer* is over for good, and so with whoever is in its place."""
        return self._components.pairs_on_disk.has(peer.node_uid) or own.state is peer.state is NodeState.ACTIVE

    def _decide(  # noqa: PLR0913 - the facts about one peer
        self, pass_state: PassState, peer: NodePeer, settings: Settings, *, vanished: bool, ended: bool, now: float
    ) -> None:
        components = self._components
        peer_session = session_of(self._peer_sessions, peer)
        flags = Flags(
            gone=False,
            marked=components.pairs_on_disk.has(peer.node_uid) or ended,
            block_joining=settings.joining is Joining.BLOCK,
            exempts=pass_state.exempts(peer, settings),
            peer_exempts=peer_session.memory.peer_exempts(peer.boot_session),
            peer_down=peer.node_uid not in pass_state.cluster_view.ready,
        )
        times, memory = timing(settings, len(self._peer_sessions)), peer_session.memory
        compared = self._ring.compared(peer.node_uid, pass_state.state)
        rests_on = facts(pass_state.own, peer, pass_state.state, flags, (compared, pass_state.marks, times))
        before = self._standing.pop(peer.node_uid, None)
        kernel = None if pass_state.kernel is self._compared else pass_state.kernel
        if before is not None and before.holds(rests_on, kernel, memory, now):
            stands = before
        else:
            view = self._view(pass_state, peer, flags, vanished=vanished, now=now)
            memory = peer_session.memory = probing.observe(memory, view.inputs, now, times)
            decision = decide(view.inputs, memory, now, times)
            until = now if vanished else stands_until(view, decision, memory, now, times)
            found = of_pair(view.pair, pass_state.kernel) if until > now else ()
            stands = StandingDecision(view, decision, "", rests_on, found, memory, until)
        view = stands.view
        why = probing.failing(view.inputs, memory, now, times)
        recalled = self._ring.compared(peer.node_uid, pass_state.state) != compared  # more is known of the kernel's keys now
        same = not recalled and probing.says_the_same(view.inputs, memory)
        own = self._own_facts(pass_state, peer.node_uid, peer) if same else None
        if stands.until > now:
            self._standing[peer.node_uid] = replace(stands, failing=why, memory=memory, own=own)
        peer_session.pair_view, peer_session.owed = view, False
        pass_state.pair_views[peer.node_uid] = view
        pass_state.decisions[peer.node_uid] = stands.decision
        pass_state.failing[peer.node_uid] = why

    def _view(self, pass_state: PassState, peer: NodePeer, flags: Flags, *, vanished: bool, now: float) -> PairView:
        """Return all that is known of the pair; keys of generations that were forgotten are derived again."""
        found = view_pair(
            pass_state.own, peer, pass_state.state, pass_state.kernel, marks=pass_state.marks, ring=self._ring, flags=flags
        )
        if found.inputs.replaced and not self._deletions.current(peer, now):  # an old copy shows keys of before
            found = replace(found, inputs=replace(found.inputs, replaced=frozenset()))
        self._ring.recall(found.pair, pass_state.state)
        if vanished and self._is_gone(pass_state, peer, plain=found.inputs.observed.out is Out.PLAIN, now=now):
            found = replace(found, inputs=replace(found.inputs, peer_gone=True))
            if found.inputs.observed.out is not Out.PLAIN:  # what left in order is in clear, and stays so
                self._note_former(pass_state, peer)
        return found

    def _note_former(self, pass_state: PassState, peer: NodePeer) -> None:
        """Note the claims of an encrypted peer that is gone: they are unknown now, whichever Node has them next."""
        if self._ended(peer, pass_state.own):
            self._former |= dict.fromkeys(peer.end.claims)
            pass_state.former = tuple(self._former)

    def _forget_former(self, cluster_view: ClusterView) -> None:
        """Forget the former claims that a Node without the label has, all of them: they are in clear by a person's word."""
        if self._former:
            plain = tuple(claim for node in cluster_view.nodes if node.label is None for claim in node.claims)
            self._former = {claim: None for claim in self._former if inside(claim, plain) is None}

    def _is_gone(self, pass_state: PassState, peer: NodePeer, *, plain: bool, now: float) -> bool:
        """Ask the API server about a vanished peer; an API that went back confirms nothing."""
        if rolled_back(pass_state.own, newest_seen(pass_state.state)):
            return False
        if peer.identity in pass_state.cluster_view.removed:
            return True
        return self._deletions.confirmed(peer, pass_state.cluster_view.nodes, plain=plain, now=now)
