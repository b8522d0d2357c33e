"""Write the node's status: gathered from a round, paced, and never in the way of the data path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from wirecrypt import logs
from wirecrypt.agent.components import Components
from wirecrypt.agent.status.node_status import EVERY, NodeReport, PeerReport, WriteLimiter, build
from wirecrypt.agent.store.state import as_seen
from wirecrypt.agent.view.pair_view import PairView
from wirecrypt.agent.view.pass_state import PassState, cleaned
from wirecrypt.errors import BpfError, ClusterError, Conflict, NotFound, ObjectError
from wirecrypt.model.objects import NodeState
from wirecrypt.model.xfrm import NO_LIMIT, SaEntry
from wirecrypt.pairs import sessions as rules
from wirecrypt.pairs.decide import Decision, OfferedSession
from wirecrypt.pairs.probing import protected
from wirecrypt.settings import Settings

log = logs.get(__name__)
AGAIN: Final = 2.0
COMPARE: Final = 120.0  # seconds between two looks at what the API server has of what was written: nobody tells of a change


class StatusWriter:
    """Writes the status of the own EncryptedNode when it is worth a write."""

    def __init__(self, components: Components) -> None:
        self._components = components
        self._pacer = WriteLimiter()
        self._not_before = float("-inf")
        self._uid = ""
        self._compared = self._counted = float("-inf")
        self._packets: Mapping[int, int] = {}

    def forget(self) -> None:
        """Note that others wrote the status, or that the object may be another next time."""
        self._pacer.forget()

    def report(self, pass_state: PassState, trouble: Sequence[tuple[str, str]], settings: Settings, now: float) -> None:
        """Write the status if it changed; a refusal is logged and tried again later."""
        if pass_state.own.node_uid != self._uid:
            self._uid = pass_state.own.node_uid
            self._pacer.forget()
        if now - self._compared >= COMPARE:
            self._compare(now)
        status = build(self._node(pass_state, trouble, settings), _peers(pass_state, self._exempt(pass_state, now)))
        if now < self._not_before or not self._pacer.due(status, now):
            return
        try:
            own = self._components.api.encrypted_node(self._components.node)
            if own is None or own.node_uid != pass_state.own.node_uid:
                self._not_before = now + AGAIN
                return
            self._components.api.write_node_status(own, status)
        except (Conflict, NotFound):
            self._not_before = now + AGAIN
        except (ClusterError, ObjectError) as error:
            log.warning("status not written", error=str(error))
            self._not_before = now + AGAIN
        else:
            self._pacer.written(status, now)

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

    def _node(self, pass_state: PassState, trouble: Sequence[tuple[str, str]], settings: Settings) -> NodeReport:
        sessions = as_seen(pass_state.state)
        listed = [o.session.epoch.number for o in rules.to_publish(sessions) if o.published]
        return NodeReport(
            state=pass_state.own.state,
            boot_id=self._components.boot_id,
            own_epochs=_own_epochs(pass_state, sessions),
            published_epoch=max(listed, default=0),
            mtu=settings.mtu,
            headroom=headroom(self._components.xfrm.list_sas()),
            versions=self._components.versions,
            trouble=tuple(trouble),
            cleaned=cleaned(pass_state, settings.mark.layout),
        )


def headroom(entries: Iterable[SaEntry]) -> int:
    """Return how much of its soft limits the busiest SA has left, in percent."""
    left = 100
    for entry in entries:
        limits, use = entry.sa.limits, entry.usage
        for used, limit in ((use.bytes, limits.soft_bytes), (use.packets, limits.soft_packets)):
            if limit != NO_LIMIT and limit > 0:
                left = min(left, max(0, 100 - used * 100 // limit))
    return left


def _peers(pass_state: PassState, exempt: Mapping[int, int]) -> list[PeerReport]:
    """Return every peer that is there, also those that nothing could be decided about."""
    there = ((s, d) for s, d in pass_state.pairs() if not s.inputs.peer_gone and s.peer.state is not NodeState.EXCLUDED)
    decided = [_peer(pass_state, s, d, exempt.get(s.peer.node_id, 0)) for s, d in there]
    return decided + [
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


def _peer(pass_state: PassState, pair_view: PairView, decision: Decision, exempt_packets: int) -> PeerReport:
    uid = pair_view.peer.node_uid
    return PeerReport(
        name=pair_view.peer.name,
        protected=protected(pair_view.inputs),
        ready=decision.ready,
        failing=pass_state.failed.get(uid) or pass_state.failing.get(uid, ""),
        joining=NodeState.JOINING in (pair_view.inputs.own_state, pair_view.inputs.peer_state),
        sending_epoch=_sending_epoch(pair_view),
        accepting_epochs=_accepting_epochs(pair_view),
        exempt=pair_view.inputs.exempt,
        exempt_packets=exempt_packets,
    )


def _sending_epoch(pair_view: PairView) -> int:
    """Return the epoch that the pair sends with, 0 when it sends nothing or its peer lags behind."""
    used = pair_view.inputs.observed.in_use
    return used.epoch if used is not None and not _lags(pair_view) else 0


def _accepting_epochs(pair_view: PairView) -> frozenset[int]:
    """Return the epochs that the pair accepts, none when its peer lags behind: that one's own word keeps its epoch."""
    return (
        frozenset() if _lags(pair_view) else frozenset(g.epoch for g, i in pair_view.inputs.observed.installed.items() if i.rx)
    )


def _lags(pair_view: PairView) -> bool:
    """Return whether the peer has not come to this node's epochs: one that is down delays only itself, and no rotation ◆."""
    own = max((o.session.epoch.number for o in pair_view.inputs.own_sessions if o.published), default=0)
    return max((s.epoch.number for s in pair_view.inputs.peer_sessions), default=0) < own


def _own_epochs(pass_state: PassState, sessions: Sequence[OfferedSession]) -> frozenset[int]:
    """Return the epochs of living own sessions, without those that live for peers that lag behind alone."""
    wanted = {epoch.number for epoch in rules.wanted_epochs(pass_state.cluster_view.rotations)}
    used = wanted.union(*(_accepting_epochs(view) for view, _ in pass_state.pairs()))
    return frozenset(o.session.epoch.number for o in sessions if o.alive and (not wanted or o.session.epoch.number in used))
