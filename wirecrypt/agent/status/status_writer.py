"""Write the node's status: gathered from a round, paced, and never in the way of the data path."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from wirecrypt import logs
from wirecrypt.agent.components import Parts
from wirecrypt.agent.status.node_status import NodeReport, Pacer, PeerReport, build
from wirecrypt.agent.store.state import as_seen
from wirecrypt.agent.view.pair_view import Survey
from wirecrypt.agent.view.pass_state import Round, cleaned
from wirecrypt.errors import ClusterError, Conflict, NotFound, ObjectError
from wirecrypt.model.objects import NodeState
from wirecrypt.model.xfrm import NO_LIMIT, SaEntry
from wirecrypt.pairs import sessions as rules
from wirecrypt.pairs.decide import Decision
from wirecrypt.pairs.probing import protected
from wirecrypt.settings import Settings

log = logs.get(__name__)
AGAIN: Final = 2.0


class Reporter:
    """Writes the status of the own EncryptedNode when it is worth a write."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._pacer = Pacer()
        self._not_before = float("-inf")
        self._uid = ""

    def forget(self) -> None:
        """Note that others wrote the status, or that the object may be another next time."""
        self._pacer.forget()

    def report(self, turn: Round, trouble: Sequence[tuple[str, str]], settings: Settings, now: float) -> None:
        """Write the status if it changed; a refusal is logged and tried again later."""
        if turn.own.node_uid != self._uid:
            self._uid = turn.own.node_uid
            self._pacer.forget()
        status = build(self._node(turn, trouble, settings), _peers(turn))
        if now < self._not_before or not self._pacer.due(status, now):
            return
        try:
            own = self._parts.cluster.encrypted_node(self._parts.node)
            if own is None or own.node_uid != turn.own.node_uid:
                self._not_before = now + AGAIN
                return
            self._parts.cluster.write_node_status(own, status)
        except (Conflict, NotFound):
            self._not_before = now + AGAIN
        except (ClusterError, ObjectError) as error:
            log.warning("status not written", error=str(error))
            self._not_before = now + AGAIN
        else:
            self._pacer.written(status, now)

    def _node(self, turn: Round, trouble: Sequence[tuple[str, str]], settings: Settings) -> NodeReport:
        sessions = as_seen(turn.state)
        listed = [o.session.epoch.number for o in rules.to_publish(sessions) if o.published]
        return NodeReport(
            state=turn.own.state,
            boot_id=self._parts.boot_id,
            own_epochs=frozenset(o.session.epoch.number for o in sessions if o.alive),
            published_epoch=max(listed, default=0),
            mtu=settings.mtu,
            headroom=headroom(self._parts.xfrm.list_sas()),
            versions=self._parts.versions,
            trouble=tuple(trouble),
            cleaned=cleaned(turn),
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


def _peers(turn: Round) -> list[PeerReport]:
    """Return every peer that is there, also those that nothing could be decided about."""
    decided = [_peer(turn, s, d) for s, d in turn.pairs() if not s.view.peer_gone]
    return decided + [
        PeerReport(
            name=peer.name,
            protected=False,
            ready=False,
            failing=turn.failed[uid],
            joining=False,
            sending_epoch=0,
            accepting_epochs=frozenset(),
        )
        for uid, peer in turn.undecided.items()
    ]


def _peer(turn: Round, survey: Survey, decision: Decision) -> PeerReport:
    uid = survey.peer.node_uid
    seen = survey.view.observed
    return PeerReport(
        name=survey.peer.name,
        protected=protected(survey.view),
        ready=decision.ready,
        failing=turn.failed.get(uid) or turn.failing.get(uid, ""),
        joining=NodeState.JOINING in (survey.view.own_state, survey.view.peer_state),
        sending_epoch=_sending_epoch(survey),
        accepting_epochs=frozenset(g.epoch for g, i in seen.installed.items() if i.rx),
    )


def _sending_epoch(survey: Survey) -> int:
    """Return the epoch that the pair sends with, 0 when it sends nothing or its peer has not come to this node's epochs.

    A peer that is down delays only itself: what is sent to it with an older key does not hold up a rotation.
    """
    used = survey.view.observed.in_use
    own = max((o.session.epoch.number for o in survey.view.own_sessions if o.published), default=0)
    peer = max((s.epoch.number for s in survey.view.peer_sessions), default=0)
    return used.epoch if used is not None and peer >= own else 0
