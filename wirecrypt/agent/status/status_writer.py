"""Write the node's status: gathered from a round, paced, and never in the way of the data path."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from wirecrypt import logs
from wirecrypt.agent.components import Components
from wirecrypt.agent.status.node_status import EVERY, NodeReport, PeerReport, WriteLimiter, build
from wirecrypt.agent.store.state import as_seen
from wirecrypt.agent.view.pair_view import PairView
from wirecrypt.agent.view.pass_state import PassState, cleaned
from wirecrypt.errors import BpfError, ClusterError, Conflict, NotFound, ObjectError
from wirecrypt.model.objects import EncryptedNode, NodeState, NodeStatus
from wirecrypt.model.session import LEAP
from wirecrypt.pairs import sessions as rules
from wirecrypt.pairs.decide import Decision
from wirecrypt.pairs.inputs import OfferedSession
from wirecrypt.retry import Backoff, Delays
from wirecrypt.settings import Settings

log = logs.get(__name__)
AGAIN: Final = Delays(first=2.0, most=30.0, jitter=0.0)
LATE: Final = 60.0  # seconds after the own publication in which a peer whose Node is Ready comes along
COMPARE: Final = 120.0  # seconds between two looks at what the API server has of what was written: nobody tells of a change


class StatusWriter:
    """Writes the status of the own EncryptedNode when it is worth a write."""

    def __init__(self, components: Components) -> None:
        self._components = components
        self._pacer = WriteLimiter()
        self._backoff = Backoff(AGAIN)
        self._uid = ""
        self._compared = self._counted = float("-inf")
        self._packets: Mapping[int, int] = {}
        self._reports: dict[str, tuple[PairView, Decision, tuple[bool, str, int], PeerReport]] = {}  # of the last status
        self._object: EncryptedNode | None = None  # as the last write, or look, left it
        self._newest = (0, float("-inf"))  # the newest epoch that is published, and since when

    @property
    def rests(self) -> bool:
        """Return whether nothing waits to be written again."""
        return not self._backoff.failures and self.waits == float("inf")

    @property
    def waits(self) -> float:
        """Return when what waits for its turn is to be written, infinity when nothing does."""
        return self._pacer.waits

    def forget(self) -> None:
        """Note that others wrote the status, or that the object may be another next time."""
        self._pacer.forget()
        self._object = None

    def report(self, pass_state: PassState, trouble: Sequence[tuple[str, str]], settings: Settings, now: float) -> None:
        """Write the status if it changed."""
        if pass_state.own.node_uid != self._uid:
            self._uid = pass_state.own.node_uid
            self._pacer.forget()
        if now - self._compared >= COMPARE:
            self._compare(now)
        laggards = self._laggards(pass_state, now)
        node = self._node(pass_state, trouble, settings, laggards)
        status = build(node, self._peers(pass_state, laggards, self._exempt(pass_state, now)))
        if self._pacer.due(status, now) and self.write(self._uid, lambda _: status, now):
            self._pacer.written(status, now)

    def write(self, node_uid: str, make: Callable[[NodeStatus | None], NodeStatus], now: float) -> bool:
        """Write what *make* makes of the status that stands there, if the object is of this Node; say whether it was written.

        A refusal is logged and tried again later; without an EncryptedNode there is nobody to tell.
        """
        if not self._backoff.due(now):
            return False
        written = False
        try:
            written = self._write_again(node_uid, make) or self._write_anew(node_uid, make)
        except (Conflict, NotFound):
            pass  # it is just being written or removed
        except (ClusterError, ObjectError) as error:
            log.warning("status not written", error=str(error))
        self._backoff = self._backoff.succeeded() if written else self._backoff.failed(now)
        return written

    def _write_again(self, node_uid: str, make: Callable[[NodeStatus | None], NodeStatus]) -> bool:
        """Write over what was written last, unread; return False when others have written meanwhile, or may have."""
        own, self._object = self._object, None
        if own is None or own.node_uid != node_uid:
            return False
        try:
            self._object = self._components.api.write_node_status(own, make(own.status))
        except (Conflict, NotFound):
            return False
        return True

    def _write_anew(self, node_uid: str, make: Callable[[NodeStatus | None], NodeStatus]) -> bool:
        api = self._components.api
        own = api.encrypted_node(self._components.node)
        if own is None or own.node_uid != node_uid:
            return False
        self._object = api.write_node_status(own, make(own.status))
        return True

    def _exempt(self, pass_state: PassState, now: float) -> Mapping[int, int]:
        """Return packets in clear by nodeID, where a pair is exempt, as of the last minute; a pass does not fail for them."""
        if now - self._counted < EVERY or not any(s.inputs.exempt for s in pass_state.pair_views.values()):
            return self._packets
        self._counted = now
        try:
            self._packets = self._components.datapath.exempt()
        except BpfError as error:
            log.warning("packets not counted", error=str(error))
        return self._packets

    def _compare(self, now: float) -> None:
        """Look at the own EncryptedNode: one that was made anew, or restored from a backup, is to be written again."""
        self._compared = now
        try:
            found = self._components.api.encrypted_node(self._components.node)
        except (ClusterError, ObjectError):
            return  # whoever cannot be asked has not said that anything is gone
        if found is not None:
            self._pacer.compare(found.status)

    def _laggards(self, pass_state: PassState, now: float) -> frozenset[str]:
        """Return the UIDs of peers that do not come to this node's epochs: what is down delays only itself ◆R42.

        One that is there comes a moment later: it is counted until then, or the first to publish would say that it sends with
        its new epoch to all ◆R45. One that names an epoch that never was never comes.
        """
        own = max((o.session.epoch.number for o in as_seen(pass_state.state) if o.published), default=0)
        if own != self._newest[0]:
            self._newest = (own, now)
        late = now - self._newest[1] >= LATE
        return frozenset(uid for uid, view in pass_state.pair_views.items() if _lags(view, own, late=late))

    def _peers(self, pass_state: PassState, laggards: frozenset[str], exempt: Mapping[int, int]) -> list[PeerReport]:
        """Return every peer that is there, also those that nothing could be decided about.

        What is reported of a pair is worked out anew where its view, its decision or what fails has changed.
        """
        before, self._reports = self._reports, {}
        for uid, view in pass_state.pair_views.items():
            if view.inputs.peer_gone or view.peer.state is NodeState.EXCLUDED:
                continue
            decision, failing = pass_state.decisions[uid], pass_state.failed.get(uid) or pass_state.failing.get(uid, "")
            rests_on = (uid in laggards, failing, exempt.get(view.peer.node_id, 0))
            known = before.get(uid)
            if known is None or known[0] is not view or known[1] is not decision or known[2] != rests_on:
                known = (view, decision, rests_on, _peer(view, decision, *rests_on))
            self._reports[uid] = known
        return [*(report for *_, report in self._reports.values()), *_undecided(pass_state)]

    def _node(
        self, pass_state: PassState, trouble: Sequence[tuple[str, str]], settings: Settings, laggards: frozenset[str]
    ) -> NodeReport:
        sessions = as_seen(pass_state.state)
        listed = [o.session.epoch.number for o in rules.to_publish(sessions) if o.published]
        return NodeReport(
            state=pass_state.own.state,
            boot_id=self._components.boot_id,
            own_epochs=_own_epochs(pass_state, sessions, laggards),
            published_epoch=max(listed, default=0),
            mtu=settings.mtu,
            headroom=pass_state.kernel.headroom,
            versions=self._components.versions,
            trouble=tuple(trouble),
            cleaned=cleaned(pass_state),
        )


def _undecided(pass_state: PassState) -> list[PeerReport]:
    return [
        PeerReport(
            name=peer.name,
            protected=False,
            ready=False,
            failing=pass_state.failed[uid],
            joining=False,
            sending_epoch=0,
            accepting_epochs=frozenset(),
        )
        for uid, peer in pass_state.undecided.items()
    ]


def _peer(pair_view: PairView, decision: Decision, lags: bool, failing: str, exempt_packets: int) -> PeerReport:  # noqa: FBT001 - a fact
    """Return what is reported of a pair; with one that *lags* nothing of epochs: that one's own word keeps its epoch."""
    used = pair_view.inputs.observed.in_use
    return PeerReport(
        name=pair_view.peer.name,
        protected=pair_view.protected,
        ready=decision.ready,
        failing=failing,
        joining=NodeState.JOINING in (pair_view.inputs.own_state, pair_view.inputs.peer_state),
        sending_epoch=0 if used is None or lags else used.epoch,
        accepting_epochs=frozenset() if lags else pair_view.accepted_epochs,
        exempt=pair_view.inputs.exempt,
        exempt_packets=exempt_packets,
    )


def _lags(pair_view: PairView, own: int, *, late: bool) -> bool:
    """Return whether the peer is behind the *own* epoch, and is down, *late*, or names an epoch that never was."""
    numbers = pair_view.peer_epochs
    lies = any(number > own + LEAP for number in numbers)
    behind = max((number for number in numbers if number <= own + LEAP), default=0) < own
    return behind and (lies or late or pair_view.inputs.peer_down)


def _own_epochs(pass_state: PassState, sessions: Sequence[OfferedSession], laggards: frozenset[str]) -> frozenset[int]:
    """Return the epochs of living own sessions, without those that live for peers that lag behind alone."""
    wanted = {epoch.number for epoch in rules.wanted_epochs(pass_state.cluster_view.rotations)}
    others = (view for uid, view in pass_state.pair_views.items() if uid not in laggards)
    used = wanted.union(*(view.accepted_epochs for view in others))
    return frozenset(o.session.epoch.number for o in sessions if o.alive and (not wanted or o.session.epoch.number in used))
