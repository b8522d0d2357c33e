"""One pass of the agent: read the cluster and the kernel, decide, write the difference.

Everything is decided anew from what is there; a pass that changed nothing writes nothing. The order within a pass: guard,
state file, kernel, API, datagrams. An error of one peer is that peer's; an error of the API leaves the kernel as it is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from wirecrypt import logs
from wirecrypt.agent.components import Parts
from wirecrypt.agent.control.protocol import Conversation, Talk
from wirecrypt.agent.last_pass import Picture, Window
from wirecrypt.agent.status.status_writer import Reporter
from wirecrypt.agent.status.suspended import Holding
from wirecrypt.agent.steps.admission_check import Trust
from wirecrypt.agent.steps.installing import Installer
from wirecrypt.agent.steps.node_cleanup import Farewell
from wirecrypt.agent.steps.publishing import Publisher
from wirecrypt.agent.steps.renewal import Renewals
from wirecrypt.agent.store.keyring import KeyRing
from wirecrypt.agent.store.state import newest_seen
from wirecrypt.agent.view import peers as rosters
from wirecrypt.agent.view.cluster_view import World, end_of, without_new_keys
from wirecrypt.agent.view.configuration import Configuration, offer, timing
from wirecrypt.agent.view.pair_view import Flags, survey
from wirecrypt.agent.view.pass_state import Round, Undecided
from wirecrypt.errors import BpfError, LinkError, ObjectError
from wirecrypt.model.objects import NodePeer, NodeState
from wirecrypt.model.xfrm import SaKey
from wirecrypt.pairs import probing
from wirecrypt.pairs.decide import Out, decide
from wirecrypt.plan.marks import kept
from wirecrypt.settings import Joining, Settings

log = logs.get(__name__)

RESYNC: Final = 5.0  # seconds until the kernel is compared again when nothing was heard of
DUPLICATE: Final = (
    "another node holds this node's nodeID since longer: nothing is decided, the kernel keeps what it has. Next: take the"
    " label off, annotate the EncryptedNode wirecrypt.io/confirm-removal=true, and set the label again when it is gone"
)
REFUSED: Final = "refused, another node holds its nodeID since longer (DuplicateNodeID)"
_MOST_TURNS: Final = 8


class Agent:
    """The decisions of one node, pass after pass; all outside it sees through *parts*."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._ring = KeyRing()
        self._talks: dict[str, Talk] = {}
        self._known: dict[str, NodePeer] = {}
        self._deletions = rosters.Deletions(parts.cluster)
        self._renewals = Renewals()
        self._trust = Trust(parts.cluster)
        self._publisher = Publisher(parts, self._renewals)
        self._installer = Installer(parts, self._ring)
        self._holding = Holding(parts)
        self._farewell = Farewell(parts, self._deletions, self._holding)
        self._reporter = Reporter(parts)
        self._config = Configuration()
        self._told: dict[str, str] = {}
        self._links_due = float("-inf")
        self._guarded: object = None
        self._unguarded = ""  # why the guard is not in place
        self._wanted = self._in_place = Settings()
        self._moved = "-"  # why the mark field is not where it should be; before the first look nothing is known
        self.window = Window()

    def expired(self, keys: list[SaKey]) -> None:
        """Take note of SAs that reached a limit."""
        self._renewals.expired.update(keys)

    def links_changed(self) -> None:
        """Take note of links, addresses or routes that changed."""
        self._links_due = float("-inf")

    def step(self, now: float) -> float:
        """Do one pass at monotonic time *now*; return when the next one is due."""
        with self.window.passing():
            return self._step(now)

    def _step(self, now: float) -> float:
        if not self._parts.copies.synced():
            return now + RESYNC
        self._config.read(self._parts.copies.config())
        world, settings = World.of(self._parts.node, self._parts.copies), self._config.settings
        if world.own is not None and settings is not None and not world.refused:
            return self._active(world, world.own, settings, now)
        self._talks.clear()
        self._reporter.forget()
        self._moved = "-"
        self.window.show(settings or Settings(), None)  # the port is open all the same, and says that nothing is decided
        if world.own is None:
            return self._farewell.idle(world, now)
        return self._hold(world, world.own, now)

    def _hold(self, world: World, own: NodePeer, now: float) -> float:
        """Decide nothing and say why; the kernel keeps what it has."""
        self._parts.channel.close()
        self._farewell.active(own)
        if world.refused:
            self._holding.hold(own.node_uid, "DuplicateNodeID", DUPLICATE, now)
        elif self._config.trouble is not None:
            self._holding.report(own.node_uid, *self._config.trouble, now)
        return now + RESYNC

    def _active(self, world: World, own: NodePeer, settings: Settings, now: float) -> float:
        parts, settings = self._parts, self._placed(settings)
        self._farewell.active(own)
        self._holding.over()
        parts.keeper.open(own)
        self._ensure_guard(world, own, settings, now)
        parts.guarding.log_drops()
        parts.channel.listen(own.endpoints, settings.control_port)
        self._conversation(own, settings).take_in(self._talks, now)
        self._trust.check(now)
        turn = self._round(world, own, settings, now)
        for _ in range(_MOST_TURNS):
            if self._publisher.sessions(turn, settings, now) or self._installer.apply(turn, settings):
                turn = self._round(world, own, settings, now)
            else:
                break
        if self._publisher.publish(turn, now):
            turn = self._round(world, own, settings, now)
        self._publisher.tidy(turn)
        self._farewell.tidy(turn, self._talks, self._known)
        turn.state = parts.keeper.open(own)  # what has just been destroyed is reported as destroyed
        turn.failed.update(self._installer.foreign)
        self._tell(turn)
        self._reporter.report(turn, self._troubles(turn), settings, now)
        memories = {uid: talk.memory for uid, talk in self._talks.items()}
        self.window.show(settings, Picture(turn, memories, parts.guarding.uplinks, self._ring))
        self.window.sessions = self._publisher.made
        talking = self._conversation(own, settings)
        talking.examine(self._talks.values())
        times = timing(settings)
        due = [(talking.send_due(talk, now), talk.memory.due(now, times)) for talk in self._talks.values()]
        return min([now + RESYNC, *(moment for moments in due for moment in moments)])

    def _ensure_guard(self, world: World, own: NodePeer, settings: Settings, now: float) -> None:
        """Look at links and filters when a link, a peer's claims or the configuration changed, and every resync.

        A guard that the kernel refuses keeps no pair from its policies, and no node becomes Active behind it.
        """
        peers = tuple(claim for p in world.peers for claim in (*p.endpoints, *p.pod_cidrs))
        if now < self._links_due and (own, peers, settings) == self._guarded:
            return
        try:
            self._parts.guarding.ensure(own, peers, settings, offer(settings).lanes)
        except (BpfError, LinkError) as error:
            if str(error) != self._unguarded:
                log.error("guard not in place", error=str(error))  # noqa: TRY400 - the message says all
            self._unguarded = str(error)
            return
        self._unguarded = ""
        self._links_due, self._guarded = now + RESYNC, (own, peers, settings)

    def _placed(self, settings: Settings) -> Settings:
        """Return *settings* with the mark field where this node's SAs carry it: it does not move under them."""
        if settings != self._wanted or self._moved:
            sas = self._parts.datapath.snapshot().sas.values()
            layout, error = kept(settings.mark.layout, sas)
            if str(error or "") != self._moved and error is not None:
                log.error("configuration refused", reason="ConfigInvalid", error=str(error))
            self._wanted, self._moved = settings, str(error or "")
            self._in_place = replace(settings, mark=replace(settings.mark, shift=layout.shift))
        return self._in_place

    def _conversation(self, own: NodePeer, settings: Settings) -> Conversation:
        state, window = self._parts.keeper.open(own), self.window
        marks, times = settings.mark.layout, timing(settings)
        return Conversation(self._parts.channel, state, marks, times, live=window.live, refused=window.refused)

    def _round(self, world: World, own: NodePeer, settings: Settings, now: float) -> Round:
        """Look at every peer and decide; nothing is written."""
        parts = self._parts
        state = parts.keeper.open(own)
        kernel = parts.datapath.snapshot()
        seen = rosters.roster(world, self._known, parts.pairs_on_disk.list)
        turn = Round(own, world, state, kernel, trusted=self._trust.holds, guarded=not self._unguarded)
        for uid, peer in sorted(seen.peers.items(), key=lambda item: item[1].name):
            accepted = self._known.get(uid)
            vanished = uid in seen.vanished
            if not vanished:
                self._deletions.forget(uid)
                peer = peer if self._trust.holds else without_new_keys(peer, accepted)  # noqa: PLW2901 - refined
                self._known[uid] = peer
            try:
                self._decide(turn, rosters.unpublish(peer) if vanished else peer, settings, vanished=vanished, now=now)
            except ObjectError as error:
                self._leave_undecided(turn, peer, settings, str(error))
        for peer in world.duplicates:
            turn.failed[peer.node_uid] = REFUSED
            if peer.node_uid not in turn.surveys:
                self._leave_undecided(turn, peer, settings, REFUSED)
        return turn

    def _leave_undecided(self, turn: Round, peer: NodePeer, settings: Settings, why: str) -> None:
        """Note a peer that nothing can be decided about, by every claim of it that is known: what it has stays."""
        uid, disk = peer.node_uid, self._parts.pairs_on_disk
        talk = self._talks.get(uid)
        before = [talk.survey.pair.peer] if talk is not None and talk.survey is not None else []
        listed = [end for end in (disk.list.peers if disk.list else ()) if end.node_uid == uid]
        both_active = turn.own.state is peer.state is NodeState.ACTIVE
        over = both_active or disk.has(uid) or settings.joining is Joining.BLOCK
        turn.undecided[uid] = Undecided(peer.name, tuple(dict.fromkeys([end_of(peer), *before, *listed])), over)
        turn.failed[uid] = why

    def _decide(self, turn: Round, peer: NodePeer, settings: Settings, *, vanished: bool, now: float) -> None:
        parts = self._parts
        talk = self._talks.setdefault(peer.node_uid, Talk())
        flags = Flags(
            gone=False,
            marked=parts.pairs_on_disk.has(peer.node_uid),
            block_joining=settings.joining is Joining.BLOCK,
        )
        found = survey(turn.own, peer, turn.state, turn.kernel, marks=settings.mark.layout, ring=self._ring, flags=flags)
        self._ring.recall(found.pair, turn.state)
        if vanished and self._is_gone(turn, peer, plain=found.view.observed.out is Out.PLAIN, now=now):
            found = replace(found, view=replace(found.view, peer_gone=True))
        talk.memory = probing.observe(talk.memory, found.view, now)
        talk.survey = found
        turn.surveys[peer.node_uid] = found
        turn.decisions[peer.node_uid] = decide(found.view, talk.memory, now, timing(settings))
        turn.failing[peer.node_uid] = probing.failing(found.view, talk.memory, now, timing(settings))

    def _is_gone(self, turn: Round, peer: NodePeer, *, plain: bool, now: float) -> bool:
        """Ask the API server about a vanished peer; an API that went back confirms nothing."""
        if rosters.rolled_back(turn.own, newest_seen(turn.state)):
            return False
        return self._deletions.confirmed(peer, turn.world.nodes, plain=plain, now=now)

    def _tell(self, turn: Round) -> None:
        """Log what is wrong with a peer when it begins or changes; what the kernel refused was logged as it happened."""
        refused = {text for reason, text in turn.trouble if reason == "KernelRefused"}
        now = {uid: text for uid, text in turn.failed.items() if text not in refused}
        names = {uid: s.peer.name for uid, s in turn.surveys.items()} | {uid: u.name for uid, u in turn.undecided.items()}
        for uid, text in sorted(now.items()):
            if self._told.get(uid) != text:
                log.error("peer fails", peer=names.get(uid, ""), error=text)
        self._told = now

    def _troubles(self, turn: Round) -> list[tuple[str, str]]:
        disk = self._parts.pairs_on_disk
        found = [*turn.trouble, *(("ControlChannel", str(e)) for e in self._parts.channel.failed().values())]
        if self._config.trouble is not None:
            found.append(self._config.trouble)
        if self._moved:
            found.append(("ConfigInvalid", self._moved))
        if self._unguarded:
            found.append(("GuardRefused", self._unguarded))
        if disk.refused:
            found.append(("PairsNotWritten", disk.refused))
        if disk.trouble:
            found.append(("PairsUnreadable", disk.trouble))
        if not self._trust.holds:
            found.insert(0, ("AdmissionPolicyMissing", "a forbidden write was admitted: no new peer key is accepted"))
        return found
