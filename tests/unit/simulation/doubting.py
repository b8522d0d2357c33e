"""Doubt what stands: while a schedule is played, whatever an agent takes from its last pass is found out anew and compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

from wirecrypt.agent.datapath.writes import Datapath
from wirecrypt.agent.news import News
from wirecrypt.agent.steps import installing
from wirecrypt.agent.steps.deciding import Deciding
from wirecrypt.agent.view.pass_state import PassState
from wirecrypt.agent.view.standing import SettledPairs
from wirecrypt.model.objects import NodePeer
from wirecrypt.plan.diff import DesiredPair, is_settled
from wirecrypt.plan.snapshot import KernelSnapshot
from wirecrypt.settings import Settings


@contextmanager
def doubted() -> Iterator[None]:
    """Compare decisions that stand with new ones, settled pairs and what was read with the kernel; AssertionError."""
    decides, settles = mock.patch.object(Deciding, "_decide", _decide), mock.patch.object(SettledPairs, "still", _still)
    reads, wakes = mock.patch.object(Datapath, "snapshot", _snapshot), mock.patch.object(News, "none", _none)
    with decides, settles, reads, wakes:
        yield


_decide_once, _still_once = Deciding._decide, SettledPairs.still  # noqa: SLF001 - what is doubted
_snapshot_once, _none_once = Datapath.snapshot, News.none


def _snapshot(self: Datapath) -> KernelSnapshot:
    found = _snapshot_once(self)
    if not self.fresh:
        _compare(self, found)
    return found


def _none(self: News, now: float) -> bool:
    found = _none_once(self, now)
    if found:
        datapath = self._components.datapath
        _compare(datapath, _snapshot_once(datapath))
    return found


def _compare(datapath: Datapath, found: KernelSnapshot) -> None:
    """Compare what was read with the kernel; counters may be older."""
    there = datapath._read()  # noqa: SLF001 - what is doubted
    older = replace(there, packets=found.packets, used_up=found.used_up, headroom=found.headroom)
    assert older == found, "what was read of the kernel is not so any more"
    assert all(found.packets[name] <= count for name, count in there.packets.items()), "an SA has carried fewer packets"


def _decide(self: Deciding, pass_state: PassState, peer: NodePeer, settings: Settings, **more: Any) -> None:  # noqa: ANN401
    before = self._standing.get(peer.node_uid)
    _decide_once(self, pass_state, peer, settings, **more)
    after = self._standing.get(peer.node_uid)
    if before is None or after is None or after.decision is not before.decision:
        return
    peer_session = self._peer_sessions[peer.node_uid]
    memory = peer_session.memory
    again = replace(pass_state, pair_views={}, decisions={}, failing={})
    del self._standing[peer.node_uid]
    _decide_once(self, again, peer, settings, **more)
    for of in ("pair_views", "decisions", "failing"):
        stood, found = (getattr(state, of)[peer.node_uid] for state in (pass_state, again))
        assert stood == found, f"what stands of {peer.name} is not what would be decided: {of}: {stood} and {found}"
    anew = self._standing.get(peer.node_uid)
    assert anew is not None, f"what stands of {peer.name} is not to stand"
    assert anew.memory == memory, f"what stands of {peer.name} would be remembered otherwise: {memory} and {anew.memory}"
    peer_session.memory, peer_session.pair_view, self._standing[peer.node_uid] = memory, after.view, after


def _still(self: SettledPairs, pass_state: PassState, settings: Settings) -> Mapping[str, DesiredPair]:
    found = _still_once(self, pass_state, settings)
    for uid, stood in found.items():
        view, decision = pass_state.pair_views[uid], pass_state.decisions[uid]
        desired = installing._desired(pass_state, view, decision, settings, installing.nothing_new)  # noqa: SLF001
        assert stood == desired, f"what {view.peer.name} should have is not what it was taken to: {stood} and {desired}"
        assert is_settled(desired, pass_state.kernel), f"{view.peer.name} is taken for settled"
    return found
