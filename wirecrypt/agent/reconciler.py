"""One pass of the agent: prepare → converge → publish → report → schedule.

Everything is decided anew from what is there; a pass that changed nothing writes nothing. The order within a pass: guard,
state file, kernel, API, datagrams. An error of one peer is that peer's; an error of the API leaves the kernel as it is.
"""

from __future__ import annotations

from typing import Final

from wirecrypt import logs
from wirecrypt.agent.components import Components
from wirecrypt.agent.control.probe_timer import ProbeBudget
from wirecrypt.agent.control.protocol import ControlProtocol, PeersByAddress, PeerSession
from wirecrypt.agent.last_pass import LastPass, PassSnapshot
from wirecrypt.agent.news import News
from wirecrypt.agent.status.status_writer import StatusWriter
from wirecrypt.agent.status.suspended import Suspended
from wirecrypt.agent.status.troubles import Trouble, Troubles
from wirecrypt.agent.steps.admission_check import AdmissionCheck
from wirecrypt.agent.steps.deciding import Deciding
from wirecrypt.agent.steps.guarding import GuardUpkeep
from wirecrypt.agent.steps.installing import Installer
from wirecrypt.agent.steps.node_cleanup import NodeCleanup
from wirecrypt.agent.steps.own_restart import OwnRestart
from wirecrypt.agent.steps.policy_tries import PolicyTries
from wirecrypt.agent.steps.proposing import Proposer
from wirecrypt.agent.steps.publishing import Publisher
from wirecrypt.agent.steps.renewal import SessionRenewal
from wirecrypt.agent.steps.restores import Restores
from wirecrypt.agent.steps.tending import RESYNC, Tending, at_rest, oldest, resync
from wirecrypt.agent.store.keyring import KeyRing
from wirecrypt.agent.view.cluster_view import ClusterView, ClusterViews
from wirecrypt.agent.view.configuration import Configuration, timing
from wirecrypt.agent.view.mark_place import MarkPlace
from wirecrypt.agent.view.pass_state import PassState
from wirecrypt.agent.view.peers import Deletions
from wirecrypt.errors import WirecryptError
from wirecrypt.model.admission import OWN_NODE
from wirecrypt.model.conditions import Reason
from wirecrypt.model.objects import NodePeer
from wirecrypt.model.xfrm import SaKey
from wirecrypt.settings import Settings

log = logs.get(__name__)

DUPLICATE: Final = (
    "another node has held this node's nodeID longer: nothing is decided, the kernel keeps what it has. Next: take the"
    " label off, annotate the EncryptedNode wirecrypt.io/confirm-removal=true, and set the label again when it is gone"
)
_MOST_REPEATS: Final = 8
REST_A_PEER: Final = 0.005  # seconds after a pass, in which what others say becomes one reason for the next
MOST_REST: Final = 1.0


class Reconciler:
    """The decisions of one node, pass after pass; all outside it sees through *components*."""

    def __init__(self, components: Components) -> None:
        self._components = components
        self._ring = KeyRing()
        self._peer_sessions: dict[str, PeerSession] = {}
        self._senders = PeersByAddress()
        self._views = ClusterViews(components.node, components.cache)
        self._budget = ProbeBudget()
        self._control: ControlProtocol | None = None  # while there is somebody to hear
        self._deletions = Deletions(components.api)
        self._deciding = Deciding(components, self._deletions, self._ring, self._peer_sessions)
        self._renewal = SessionRenewal()
        self._admission = AdmissionCheck(components.api)
        self._policies = PolicyTries(components.api)
        self._restart = OwnRestart(components.api, components.node)
        self._publisher = Publisher(components, self._renewal)
        self._proposer = Proposer(components)
        self._restores = Restores(components)
        self._installer = Installer(components, self._ring)
        self._status_writer = StatusWriter(components)
        self._suspended = Suspended(components, self._status_writer)
        self._cleanup = NodeCleanup(components, self._deletions, self._suspended)
        self._found = Troubles(components)
        self._config = Configuration()
        self._logged: dict[str, str] = {}
        self._guard = GuardUpkeep(components, RESYNC)
        self._tending = Tending(components, self._guard)
        self._mark_field = MarkPlace()
        self.last_pass = LastPass()
        self._news = News(components, self.last_pass.live)
        self.last_pass.copies = lambda: (components.cache.ages(), components.cache.restores())

    def expired(self, keys: list[SaKey]) -> None:
        """Take note of SAs that reached a limit: counters say more now, and after a hard one an SA is gone."""
        if keys:
            self._components.datapath.forget()
        self._renewal.expired.update(keys)

    def links_changed(self) -> None:
        """Take note of links, addresses or routes that changed."""
        self._guard.links_changed()
        self._news.come()

    def hear(self, now: float) -> bool:
        """Take in and answer control datagrams between two passes; return whether they call for one."""
        return self._control is not None and self._calls(self._control.take_in(self._peer_sessions, now))

    @property
    def rest(self) -> float:
        """Return for how many seconds after a pass what others say calls for no other.

        A pass looks at every peer, and each says much while all join or rotate: without a rest it would be their product.
        """
        return min(MOST_REST, REST_A_PEER * len(self._peer_sessions))

    @property
    def tending_due(self) -> float:
        """Return when `tend` has something to do, in monotonic seconds."""
        return self._tending.due

    def tend(self, now: float) -> bool:
        """Do what is due and needs no pass, as to probe some peers; return whether it calls for one."""
        return self._control is not None and self._calls(self._tending.tend(self._control, self._peer_sessions, now))

    def _calls(self, called: bool) -> bool:  # noqa: FBT001 - what it returns
        if called:
            self._news.come()
        return called

    def failed(self, error: WirecryptError, now: float) -> None:
        """Have the node's status say that a pass ended in *error*: what it said before is not known to hold any more."""
        self._components.datapath.forget()
        snapshot = self.last_pass.snapshot
        if snapshot is not None:
            self._status_writer.forget()
            self._suspended.report(snapshot.pass_state.own.node_uid, Reason.PASS_FAILED, str(error), now)

    def step(self, now: float) -> float:
        """Do one pass at monotonic time *now*, or what needs none if there is no news; return when the next is due."""
        if self._news.none(now) and not self.hear(now) and not (now >= self.tending_due and self.tend(now)):
            return self._news.until
        with self.last_pass.passing():
            self._news.begin()
            return self._step(now)

    def _step(self, now: float) -> float:
        self._components.datapath.begin(now, oldest(len(self._peer_sessions)))
        if not self._components.cache.synced():
            return now + RESYNC
        self._config.read(self._components.cache.config())
        if self._restores.new():
            self._say_again()
        cluster_view = self._views.now()
        self._restart.check(cluster_view.node(self._components.node), now)
        if cluster_view.own is not None and not cluster_view.refused:
            self._config.prove(now, self._components.api.reached)
        settings = self._config.settings
        if cluster_view.own is not None and settings is not None and not cluster_view.refused:
            return self._active(cluster_view, cluster_view.own, settings, now)
        self._peer_sessions.clear()
        self._components.datapath.forget()
        self._control = None
        self._tending.forget()
        self._status_writer.forget()
        self._mark_field.forget()
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
            self._suspended.suspend(own.node_uid, Reason.DUPLICATE_NODE_ID, DUPLICATE, now)
        elif self._config.trouble is not None:
            self._suspended.report(own.node_uid, *self._config.trouble, now)
        return now + RESYNC

    def _active(self, cluster_view: ClusterView, own: NodePeer, settings: Settings, now: float) -> float:
        self._tending.forget()
        self._mark_field.look(settings, self._components.datapath)
        self._prepare(cluster_view, own, settings, now)
        pass_state = self._converge(cluster_view, own, settings, now)
        pass_state = self._publish(pass_state, settings, now)
        rests = self._report(pass_state, settings, now)
        return self._schedule(pass_state, settings, now, rests=rests)

    def _prepare(self, cluster_view: ClusterView, own: NodePeer, settings: Settings, now: float) -> None:
        """Bring about what every decision rests on: state, guard, sockets, what was heard, policies that were tried."""
        components = self._components
        self._cleanup.active(own)
        self._suspended.end()
        components.session_keeper.open(own)
        self._restores.hold(own)
        self._guard.ensure(own, settings, self._mark_field.layout, now)
        components.guard_attachment.log_drops()
        components.channel.listen(own.endpoints, settings.control_port)
        self._control = self._protocol(own, settings)
        self._control.take_in(self._peer_sessions, now)
        self._admission.check(now, own.name, [p.name for p in cluster_view.peers])
        if not self._restart.asked:
            self._policies.check(now)

    def _look(self, cluster_view: ClusterView, own: NodePeer, settings: Settings, now: float) -> PassState:
        trusted, guarded = self._admission.holds, not self._guard.trouble
        marks = self._mark_field.layout
        return self._deciding.look(cluster_view, own, settings, now, marks=marks, trusted=trusted, guarded=guarded)

    def _converge(self, cluster_view: ClusterView, own: NodePeer, settings: Settings, now: float) -> PassState:
        """Make sessions and write to the kernel until there is nothing left to do."""
        pass_state = self._look(cluster_view, own, settings, now)
        self._components.channel.admit(self._senders.of(self._peer_sessions), pass_state.marks)
        for _ in range(_MOST_REPEATS):
            if self._publisher.sessions(pass_state, settings, now) or self._installer.apply(pass_state, settings):
                pass_state = self._look(cluster_view, own, settings, now)
            else:
                break
        return pass_state

    def _publish(self, pass_state: PassState, settings: Settings, now: float) -> PassState:
        """Publish what peers need, and let go of what nobody needs any more."""
        if self._publisher.publish(pass_state, now):
            pass_state = self._look(pass_state.cluster_view, pass_state.own, settings, now)
        self._proposer.propose(pass_state, settings, now)
        self._publisher.tidy(pass_state)
        self._cleanup.tidy(pass_state, self._peer_sessions, self._deciding.known)
        pass_state.state = self._components.session_keeper.open(pass_state.own)  # what was destroyed is reported as destroyed
        self._ring.keep(pass_state.state.ledger)
        return pass_state

    def _report(self, pass_state: PassState, settings: Settings, now: float) -> bool:
        """Say how the pass ended: in the log, in the status, to who asks; return whether all rests until something happens."""
        pass_state.failed.update(self._installer.foreign)
        self._log_once(pass_state)
        troubles = self._troubles(pass_state)
        self._status_writer.report(pass_state, troubles, settings, now)
        memories = {uid: peer_session.memory for uid, peer_session in self._peer_sessions.items()}
        uplinks = self._components.guard_attachment.uplinks
        self.last_pass.show(settings, PassSnapshot(pass_state, memories, uplinks, self._ring))
        self.last_pass.sessions = self._publisher.made
        parts = self._config, self._restart, self._publisher, self._proposer, self._status_writer, self._found
        return not troubles and at_rest(pass_state) and all(part.rests for part in parts)

    def _schedule(self, pass_state: PassState, settings: Settings, now: float, *, rests: bool) -> float:
        """Send the probes that are due; return when the next pass is, if nothing happens before."""
        self._control = protocol = self._protocol(pass_state.own, settings)
        protocol.examine(self._peer_sessions.values())
        times = timing(settings, len(self._peer_sessions))
        moments = {uid: protocol.moments(peer_session, now) for uid, peer_session in self._peer_sessions.items()}
        self._tending.after(pass_state, settings, times, {uid: each.probe for uid, each in moments.items()})
        steps = [each.fact for each in moments.values()]
        again = resync(pass_state, self._components.datapath.read_at, rests=rests)
        due = min([again, *steps, self._status_writer.waits, *self._renewal.waits(now)])
        self._news.end(due, rests=rests)
        return due

    def _protocol(self, own: NodePeer, settings: Settings) -> ControlProtocol:
        state, last_pass = self._components.session_keeper.open(own), self.last_pass
        marks, times = self._mark_field.layout, timing(settings, len(self._peer_sessions))
        return ControlProtocol(
            self._components.channel,
            state,
            marks,
            times,
            live=last_pass.live,
            refused=last_pass.refused,
            budget=self._budget,
            senders=self._senders,
        )

    def _log_once(self, pass_state: PassState) -> None:
        """Log what is wrong with a peer when it begins or changes; what the kernel refused was logged as it happened."""
        refused = {text for reason, text in pass_state.trouble if reason == Reason.KERNEL_REFUSED}
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
        unsafe = "; ".join(filter(None, ("" if self._admission.holds or alone else write, self._policies.words)))
        mark = {Reason.CONFIG_INVALID: self._mark_field.trouble} if self._mark_field.trouble else {}
        return self._found.found(
            pass_state, {Reason.ADMISSION_POLICY_MISSING: unsafe, **mark, **config, Reason.GUARD_REFUSED: self._guard.trouble}
        )
