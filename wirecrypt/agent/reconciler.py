"""One pass of the agent: read the cluster and the kernel, decide, write the difference.

Everything is decided anew from what is there; a pass that changed nothing writes nothing. The order within a pass: guard,
state file, kernel, API, datagrams. An error of one peer is that peer's; an error of the API leaves the kernel as it is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from wirecrypt import logs
from wirecrypt.agent.components import Components
from wirecrypt.agent.control.protocol import ControlProtocol, PeerSession, by_sender, session_of
from wirecrypt.agent.last_pass import LastPass, PassSnapshot
from wirecrypt.agent.status.status_writer import StatusWriter
from wirecrypt.agent.status.suspended import Suspended
from wirecrypt.agent.status.troubles import ADMISSION, Trouble, Troubles
from wirecrypt.agent.steps.admission_check import AdmissionCheck
from wirecrypt.agent.steps.guarding import GuardUpkeep
from wirecrypt.agent.steps.installing import Installer
from wirecrypt.agent.steps.node_cleanup import NodeCleanup
from wirecrypt.agent.steps.proposing import Proposer
from wirecrypt.agent.steps.publishing import Publisher
from wirecrypt.agent.steps.renewal import SessionRenewal
from wirecrypt.agent.steps.restores import Restores
from wirecrypt.agent.steps.token_check import TokenCheck
from wirecrypt.agent.store.keyring import KeyRing
from wirecrypt.agent.store.state import newest_seen
from wirecrypt.agent.view.cluster_view import ClusterView, end_of, without_new_keys
from wirecrypt.agent.view.configuration import Configuration, timing
from wirecrypt.agent.view.pair_view import Flags, view_pair
from wirecrypt.agent.view.pass_state import PassState, Undecided
from wirecrypt.agent.view.peers import Deletions, known_peers, rolled_back, unpublish, with_successions
from wirecrypt.errors import ObjectError, WirecryptError
from wirecrypt.model.admission import OWN_NODE
from wirecrypt.model.objects import NodePeer, NodeState
from wirecrypt.model.xfrm import Network, SaKey
from wirecrypt.pairs import probing
from wirecrypt.pairs.decide import Out, decide
from wirecrypt.plan.marks import kept
from wirecrypt.plan.snapshot import host
from wirecrypt.settings import Joining, Settings

log = logs.get(__name__)

RESYNC: Final = 5.0  # seconds until the kernel is compared again when nothing was heard of
DUPLICATE: Final = (
    "another node has held this node's nodeID longer: nothing is decided, the kernel keeps what it has. Next: take the"
    " label off, annotate the EncryptedNode wirecrypt.io/confirm-removal=true, and set the label again when it is gone"
)
REFUSED: Final = "refused, another node has held its nodeID longer (DuplicateNodeID)"
_MOST_REPEATS: Final = 8


class Reconciler:
    """The decisions of one node, pass after pass; all outside it sees through *components*."""

    def __init__(self, components: Components) -> None:
        self._components = components
        self._ring = KeyRing()
        self._peer_sessions: dict[str, PeerSession] = {}
        self._control: ControlProtocol | None = None  # while there is somebody to hear
        self._known: dict[str, NodePeer] = {}
        self._former: dict[Network, None] = {}  # claims of peers that were encrypted and are gone
        self._deletions = Deletions(components.api)
        self._renewal = SessionRenewal()
        self._admission = AdmissionCheck(components.api)
        self._tokens = TokenCheck(components.api)
        self._publisher = Publisher(components, self._renewal)
        self._proposer = Proposer(components)
        self._restores = Restores(components)
        self._installer = Installer(components, self._ring)
        self._suspended = Suspended(components)
        self._cleanup = NodeCleanup(components, self._deletions, self._suspended)
        self._status_writer = StatusWriter(components)
        self._found = Troubles(components)
        self._config = Configuration()
        self._logged: dict[str, str] = {}
        self._guard = GuardUpkeep(components, RESYNC)
        self._wanted = self._effective = Settings()
        self._mark_trouble = "-"  # why the mark field is not where it should be; before the first look nothing is known
        self.last_pass = LastPass()
        self.last_pass.copies = lambda: (components.cache.ages(), components.cache.restores())

    def expired(self, keys: list[SaKey]) -> None:
        """Take note of SAs that reached a limit."""
        self._renewal.expired.update(keys)

    def links_changed(self) -> None:
        """Take note of links, addresses or routes that changed."""
        self._guard.links_changed()

    def hear(self, now: float) -> bool:
        """Take in and answer control datagrams between two passes; return whether they call for one."""
        return self._control is not None and self._control.take_in(self._peer_sessions, now)

    def failed(self, error: WirecryptError, now: float) -> None:
        """Have the node's status say that a pass ended in *error*: what it said before is not known to hold any more."""
        snapshot = self.last_pass.snapshot
        if snapshot is not None:
            self._status_writer.forget()
            self._suspended.report(snapshot.pass_state.own.node_uid, "PassFailed", str(error), now)

    def step(self, now: float) -> float:
        """Do one pass at monotonic time *now*; return when the next one is due."""
        with self.last_pass.passing():
            return self._step(now)

    def _step(self, now: float) -> float:
        if not self._components.cache.synced():
            return now + RESYNC
        self._config.read(self._components.cache.config())
        if self._restores.new():
            self._say_again()
        cluster_view = ClusterView.of(self._components.node, self._components.cache)
        if cluster_view.own is not None and not cluster_view.refused:
            self._config.prove(now, self._components.api.reached)
        settings = self._config.settings
        if cluster_view.own is not None and settings is not None and not cluster_view.refused:
            return self._active(cluster_view, cluster_view.own, settings, now)
        self._peer_sessions.clear()
        self._control = None
        self._status_writer.forget()
        self._mark_trouble = "-"
        self.last_pass.show(settings or Settings(), None)  # the port is open all the same, and says that nothing is decided
        if cluster_view.own is None:
            return self._cleanup.idle(cluster_view, now)
        return self._suspend(cluster_view, cluster_view.own, now)

    def _say_again(self) -> None:
        """Take for untold whatever this node has told the API server."""
        self._status_writer.forget()
        self._suspended.end()
        self._proposer.forget()

    def _suspend(self, cluster_view: ClusterView, own: NodePeer, now: float) -> float:
        """Decide nothing and say why; the kernel keeps what it has."""
        self._components.channel.close()
        self._cleanup.active(own)
        if cluster_view.refused:
            self._suspended.suspend(own.node_uid, "DuplicateNodeID", DUPLICATE, now)
        elif self._config.trouble is not None:
            self._suspended.report(own.node_uid, *self._config.trouble, now)
        return now + RESYNC

    def _active(self, cluster_view: ClusterView, own: NodePeer, settings: Settings, now: float) -> float:
        components, settings = self._components, self._with_effective_mark(settings)
        self._cleanup.active(own)
        self._suspended.end()
        components.session_keeper.open(own)
        self._restores.hold(own)
        self._guard.ensure(own, settings, now)
        components.guard_attachment.log_drops()
        components.channel.listen(own.endpoints, settings.control_port)
        self._control = self._protocol(own, settings)
        self._control.take_in(self._peer_sessions, now)
        self._admission.check(now, own.name, [p.name for p in cluster_view.peers])
        self._tokens.check(now)
        pass_state = self._decide_all(cluster_view, own, settings, now)
        components.channel.admit(by_sender(self._peer_sessions.values()), settings.mark.layout)
        for _ in range(_MOST_REPEATS):
            if self._publisher.sessions(pass_state, settings, now) or self._installer.apply(pass_state, settings):
                pass_state = self._decide_all(cluster_view, own, settings, now)
            else:
                break
        if self._publisher.publish(pass_state, now):
            pass_state = self._decide_all(cluster_view, own, settings, now)
        self._proposer.propose(pass_state, settings, now)
        self._publisher.tidy(pass_state)
        self._cleanup.tidy(pass_state, self._peer_sessions, self._known)
        pass_state.state = components.session_keeper.open(own)  # what has just been destroyed is reported as destroyed
        pass_state.failed.update(self._installer.foreign)
        self._log_once(pass_state)
        self._status_writer.report(pass_state, self._troubles(pass_state), settings, now)
        memories = {uid: peer_session.memory for uid, peer_session in self._peer_sessions.items()}
        self.last_pass.show(settings, PassSnapshot(pass_state, memories, components.guard_attachment.uplinks, self._ring))
        self.last_pass.sessions = self._publisher.made
        self._control = protocol = self._protocol(own, settings)
        protocol.examine(self._peer_sessions.values())
        times = timing(settings)
        due = [
            (protocol.send_due(peer_session, now), peer_session.memory.due(now, times))
            for peer_session in self._peer_sessions.values()
        ]
        return min([now + RESYNC, *(moment for moments in due for moment in moments), *self._renewal.waits(now)])

    def _with_effective_mark(self, settings: Settings) -> Settings:
        """Return *settings* with the mark field where this node's SAs carry it: it does not move under them."""
        if settings != self._wanted or self._mark_trouble:
            sas = self._components.datapath.snapshot().sas.values()
            layout, error = kept(settings.mark.layout, sas)
            if str(error or "") != self._mark_trouble and error is not None:
                log.error("configuration refused", reason="ConfigInvalid", error=str(error))
            self._wanted, self._mark_trouble = settings, str(error or "")
            self._effective = replace(settings, mark=replace(settings.mark, shift=layout.shift))
        return self._effective

    def _protocol(self, own: NodePeer, settings: Settings) -> ControlProtocol:
        state, last_pass = self._components.session_keeper.open(own), self.last_pass
        marks, times = settings.mark.layout, timing(settings)
        return ControlProtocol(self._components.channel, state, marks, times, live=last_pass.live, refused=last_pass.refused)

    def _decide_all(self, cluster_view: ClusterView, own: NodePeer, settings: Settings, now: float) -> PassState:
        """Look at every peer and decide; nothing is written."""
        components = self._components
        state = components.session_keeper.open(own)
        kernel = components.datapath.snapshot()
        seen = known_peers(cluster_view, self._known, components.pairs_on_disk.list)
        if not rolled_back(own, newest_seen(state)):
            seen = with_successions(seen)
        pass_state = PassState(
            own,
            cluster_view,
            state,
            kernel,
            trusted=self._admission.holds,
            guarded=not self._guard.trouble,
            connected=components.api.api_addresses(),
            now=now,
            succeeded=seen.succeeded,
            former=tuple(self._former),
        )
        for uid, peer in sorted(seen.peers.items(), key=lambda item: item[1].name):
            accepted = self._known.get(uid)
            vanished = uid in seen.vanished
            if not vanished:
                self._deletions.forget(uid)
                peer = peer if self._admission.holds else without_new_keys(peer, accepted)  # noqa: PLW2901 - refined
                self._known[uid] = peer
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
        return pass_state

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
        ends = tuple(dict.fromkeys([end_of(peer), *before, *listed]))
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
        found = view_pair(
            pass_state.own, peer, pass_state.state, pass_state.kernel, marks=settings.mark.layout, ring=self._ring, flags=flags
        )
        self._ring.recall(found.pair, pass_state.state)
        if vanished and self._is_gone(pass_state, peer, plain=found.inputs.observed.out is Out.PLAIN, now=now):
            found = replace(found, inputs=replace(found.inputs, peer_gone=True))
            self._note_former(pass_state, peer)
        peer_session.memory = probing.observe(peer_session.memory, found.inputs, now)
        peer_session.pair_view = found
        pass_state.pair_views[peer.node_uid] = found
        pass_state.decisions[peer.node_uid] = decide(found.inputs, peer_session.memory, now, timing(settings))
        pass_state.failing[peer.node_uid] = probing.failing(found.inputs, peer_session.memory, now, timing(settings))

    def _note_former(self, pass_state: PassState, peer: NodePeer) -> None:
        """Note the claims of an encrypted peer that is gone: they are unknown now, whichever Node has them next."""
        if self._ended(peer, pass_state.own):
            self._former |= dict.fromkeys((*peer.pod_cidrs, *map(host, (*peer.endpoints, *peer.addresses))))
            pass_state.former = tuple(self._former)

    def _is_gone(self, pass_state: PassState, peer: NodePeer, *, plain: bool, now: float) -> bool:
        """Ask the API server about a vanished peer; an API that went back confirms nothing."""
        if rolled_back(pass_state.own, newest_seen(pass_state.state)):
            return False
        if any(shown.name == peer.name for shown in pass_state.cluster_view.peers):
            return True  # an API server has one object of a name, and this is another Node's
        if peer.identity in pass_state.cluster_view.removed:
            return True
        return self._deletions.confirmed(peer, pass_state.cluster_view.nodes, plain=plain, now=now)

    def _log_once(self, pass_state: PassState) -> None:
        """Log what is wrong with a peer when it begins or changes; what the kernel refused was logged as it happened."""
        refused = {text for reason, text in pass_state.trouble if reason == "KernelRefused"}
        now = {uid: text for uid, text in pass_state.failed.items() if text not in refused}
        names = {uid: s.peer.name for uid, s in pass_state.pair_views.items()} | {
            uid: u.name for uid, u in pass_state.undecided.items()
        }
        for uid, text in sorted(now.items()):
            if self._logged.get(uid) != text:
                log.error("peer fails", peer=names.get(uid, ""), error=text)
        self._logged = now

    def _troubles(self, pass_state: PassState) -> list[Trouble]:
        config = dict([self._config.trouble] if self._config.trouble else [])
        alone = not pass_state.cluster_view.peers
        write = f"{OWN_NODE} does not refuse a forbidden write: no new peer key is accepted"
        unsafe = "; ".join(filter(None, ("" if self._admission.holds or alone else write, self._tokens.words)))
        mark = {"ConfigInvalid": self._mark_trouble} if self._mark_trouble else {}
        return self._found.found(pass_state, {ADMISSION: unsafe, **mark, **config, "GuardRefused": self._guard.trouble})
