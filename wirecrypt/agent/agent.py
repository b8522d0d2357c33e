"""One pass of the agent: read the cluster and the kernel, decide, write the difference.

Everything is decided anew from what is there; a pass that changed nothing writes nothing. The order within a pass: guard,
state file, kernel, API, datagrams. An error of one peer is that peer's; an error of the API leaves the kernel as it is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from wirecrypt import logs
from wirecrypt.agent import roster as rosters
from wirecrypt.agent.conversation import Conversation, Talk
from wirecrypt.agent.installing import Installer
from wirecrypt.agent.keyring import KeyRing
from wirecrypt.agent.leaving import Farewell
from wirecrypt.agent.limits import Renewals
from wirecrypt.agent.parts import Parts, offer
from wirecrypt.agent.publishing import Publisher
from wirecrypt.agent.reporting import Reporter
from wirecrypt.agent.rounds import Round
from wirecrypt.agent.survey import Flags, survey
from wirecrypt.agent.trust import Trust
from wirecrypt.agent.window import Picture, Window
from wirecrypt.agent.world import World, without_new_keys
from wirecrypt.errors import ConfigError, ObjectError
from wirecrypt.model.objects import NodePeer
from wirecrypt.model.xfrm import SaKey
from wirecrypt.rotation import probing
from wirecrypt.rotation.memory import Timing
from wirecrypt.rotation.pair import Out, decide
from wirecrypt.settings import Joining, Settings

log = logs.get(__name__)

RESYNC: Final = 5.0  # seconds until the kernel is compared again when nothing was heard of
_MOST_TURNS: Final = 8


class Agent:
    """The decisions of one node, pass after pass; all outside it sees through *parts*."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._ring = KeyRing()
        self._talks: dict[str, Talk] = {}
        self._known: dict[str, NodePeer] = {}
        self._renewals = Renewals()
        self._trust = Trust(parts.cluster)
        self._publisher = Publisher(parts, self._renewals)
        self._installer = Installer(parts, self._ring)
        self._farewell = Farewell(parts)
        self._reporter = Reporter(parts)
        self._settings = Settings()
        self._config_version = ""
        self._config_error = ""
        self._confirmed: dict[str, float] = {}
        self._links_due = float("-inf")
        self._guarded: object = None
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
        self._read_settings()
        world = World.of(self._parts.node, self._parts.copies)
        if world.own is None:
            self._talks.clear()
            self.window.show(self._settings, None)
            return self._farewell.idle(world, now)
        return self._active(world, world.own, now)

    def _active(self, world: World, own: NodePeer, now: float) -> float:
        parts, settings = self._parts, self._settings
        self._farewell.active()
        parts.keeper.open(own)
        self._ensure_guard(world, own, settings, now)
        parts.guarding.log_drops()
        parts.channel.listen(own.endpoints, settings.control_port)
        self._conversation(own).take_in(self._talks, now)
        self._trust.check(now)
        turn = self._round(world, own, now)
        for _ in range(_MOST_TURNS):
            if self._publisher.sessions(turn, settings, now) or self._installer.apply(turn, settings):
                turn = self._round(world, own, now)
            else:
                break
        if self._publisher.publish(turn, now):
            turn = self._round(world, own, now)
        self._publisher.tidy(turn)
        self._farewell.tidy(turn, self._talks, self._known)
        self._reporter.report(turn, self._troubles(world, turn), settings, now)
        memories = {uid: talk.memory for uid, talk in self._talks.items()}
        self.window.show(settings, Picture(turn, memories, parts.guarding.uplinks, self._ring))
        self.window.sessions = self._publisher.made
        talking = self._conversation(own)
        talking.examine(self._talks.values())
        return min([now + RESYNC, *(talking.send_due(t, now) for t in self._talks.values())])

    def _ensure_guard(self, world: World, own: NodePeer, settings: Settings, now: float) -> None:
        """Look at links and filters when a link, a peer's address or the configuration changed, and every resync."""
        peers = tuple(a for p in world.peers for a in p.endpoints)
        if now < self._links_due and (own, peers, settings) == self._guarded:
            return
        self._parts.guarding.ensure(own, peers, settings, offer(settings).lanes)
        self._links_due, self._guarded = now + RESYNC, (own, peers, settings)

    def _conversation(self, own: NodePeer) -> Conversation:
        state = self._parts.keeper.open(own)
        marks, window = self._settings.mark.layout, self.window
        times = timing(self._settings)
        return Conversation(self._parts.channel, state, marks, times, live=window.live, refused=window.refused)

    def _round(self, world: World, own: NodePeer, now: float) -> Round:
        """Look at every peer and decide; nothing is written."""
        parts = self._parts
        state = parts.keeper.open(own)
        kernel = parts.datapath.snapshot()
        seen = rosters.roster(world, self._known, parts.pairs_on_disk.list)
        turn = Round(own=own, world=world, state=state, kernel=kernel, trusted=self._trust.holds)
        for uid, peer in sorted(seen.peers.items(), key=lambda item: item[1].name):
            accepted = self._known.get(uid)
            vanished = uid in seen.vanished
            if not vanished:
                peer = peer if self._trust.holds else without_new_keys(peer, accepted)  # noqa: PLW2901 - refined
                self._known[uid] = peer
            try:
                self._decide(turn, rosters.unpublish(peer) if vanished else peer, vanished=vanished, now=now)
            except ObjectError as error:
                turn.failed[uid] = str(error)
        return turn

    def _decide(self, turn: Round, peer: NodePeer, *, vanished: bool, now: float) -> None:
        parts, settings = self._parts, self._settings
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
        """Ask the API server about a vanished peer, at most once a resync; an API that went back confirms nothing."""
        if peer.node_uid in self._confirmed:
            asked = self._confirmed[peer.node_uid]
            if asked == float("-inf"):
                return True
            if now - asked < RESYNC:
                return False
        published = max((o.session.number for o in turn.state.sessions if o.published), default=0)
        if rosters.rolled_back(turn.own, published):
            return False
        gone = rosters.deletion_confirmed(peer, turn.world.nodes, self._parts.cluster, plain=plain)
        self._confirmed[peer.node_uid] = float("-inf") if gone else now
        return gone

    def _troubles(self, world: World, turn: Round) -> list[tuple[str, str]]:
        found = list(turn.trouble)
        if self._config_error:
            found.append(("ConfigInvalid", self._config_error))
        if not self._trust.holds:
            found.insert(0, ("AdmissionPolicyMissing", "a forbidden write was admitted: no new peer key is accepted"))
        if self._parts.node in world.duplicates:
            found.insert(0, ("DuplicateNodeID", "another node holds the same nodeID since longer"))
        return found

    def _read_settings(self) -> None:
        """Take the newest configuration; a bad one is refused, and the one before stays."""
        document = self._parts.copies.config()
        version = document.resource_version if document else "none"
        if version == self._config_version:
            return
        self._config_version = version
        try:
            self._settings, self._config_error = Settings.from_document(document), ""
        except ConfigError as error:
            self._config_error = str(error)
            log.error("configuration refused", error=str(error))  # noqa: TRY400 - the message says all


def timing(settings: Settings) -> Timing:
    """Return the times of pairs as configured."""
    return Timing(drain=settings.drain, linger=settings.linger, steady=settings.probe.steady)
