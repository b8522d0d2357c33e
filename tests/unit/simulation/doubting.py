"""Doubt what stands: while a schedule is played, whatever an agent takes from its last pass is found out anew and compared."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock
from weakref import WeakKeyDictionary

from wirecrypt.agent.control.protocol import PeersByAddress, PeerSession
from wirecrypt.agent.datapath.writes import Datapath
from wirecrypt.agent.news import News
from wirecrypt.agent.status.node_status import PeerReport
from wirecrypt.agent.status.status_writer import StatusWriter
from wirecrypt.agent.steps import deciding, installing
from wirecrypt.agent.steps.deciding import Deciding
from wirecrypt.agent.steps.guarding import Entries, GuardEntries
from wirecrypt.agent.store.blocklist import PairsOnDisk
from wirecrypt.agent.store.keyring import KeyRing
from wirecrypt.agent.store.state import LedgerEntry
from wirecrypt.agent.view.cluster_view import ClusterView, ClusterViews
from wirecrypt.agent.view.pass_state import PassState
from wirecrypt.agent.view.peers import KnownPeers
from wirecrypt.agent.view.standing import SettledPairs
from wirecrypt.model.objects import NodePeer
from wirecrypt.model.pair import End
from wirecrypt.model.xfrm import Address
from wirecrypt.plan.diff import DesiredPair, is_settled
from wirecrypt.plan.snapshot import KernelSnapshot
from wirecrypt.settings import Settings


@contextmanager
def doubted() -> Iterator[None]:
    """Compare decisions that stand with new ones, settled pairs and what was read with the kernel, and what else is kept."""
    patches = (
        (Deciding, "_alike", _alike),
        (Deciding, "_stands", _stands),
        (Deciding, "_hold", _hold),
        (Deciding, "_decide", _decide),
        (SettledPairs, "still", _still),
        (Datapath, "snapshot", _snapshot),
        (News, "none", _none),
        (GuardEntries, "wanted", _wanted),
        (StatusWriter, "_peers", _peers),
        (PeersByAddress, "of", _by_address),
        (ClusterViews, "now", _now),
        (PairsOnDisk, "add", _add),
        (KeyRing, "keep", _keep),
    )
    with ExitStack() as stack:
        for where, name, does in patches:
            stack.enter_context(mock.patch.object(where, name, does))
        yield


_decide_once, _still_once = Deciding._decide, SettledPairs.still  # noqa: SLF001 - what is doubted
_snapshot_once, _none_once = Datapath.snapshot, News.none
_alike_once, _stands_once, _hold_once = Deciding._alike, Deciding._stands, Deciding._hold  # noqa: SLF001 - what is doubted
_wanted_once, _peers_once = GuardEntries.wanted, StatusWriter._peers  # noqa: SLF001 - what is doubted
_by_address_once, _now_once = PeersByAddress.of, ClusterViews.now
_add_once, _keep_once = PairsOnDisk.add, KeyRing.keep
_settings: WeakKeyDictionary[Deciding, Settings] = WeakKeyDictionary()


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
        desired = installing._desired(pass_state, view, decision, settings, installing.nothing_new)  # noqa: SLF001 - what is doubted
        assert stood == desired, f"what {view.peer.name} should have is not what it was taken to: {stood} and {desired}"
        assert is_settled(desired, pass_state.kernel), f"{view.peer.name} is taken for settled"
    return found


def _alike(self: Deciding, pass_state: PassState, settings: Settings, seen: KnownPeers) -> bool:
    _settings[self] = settings
    return _alike_once(self, pass_state, settings, seen)


def _stands(self: Deciding, pass_state: PassState, uid: str, peer: NodePeer, now: float) -> bool:
    if not _stands_once(self, pass_state, uid, peer, now):
        return False
    stood, peer_session = self._standing[uid], self._peer_sessions[uid]
    memory = peer_session.memory
    again = replace(pass_state, pair_views={}, decisions={}, failing={})
    self._decide(again, peer, _settings[self], vanished=False, ended=False, now=now)
    anew = self._standing.get(uid)
    assert anew is not None, f"what stands of {peer.name} is taken over, and is not to stand"
    assert anew.decision is stood.decision, f"what stands of {peer.name} is taken over, and would be decided anew"
    for of in ("pair_views", "decisions", "failing"):
        taken, found = (getattr(state, of)[uid] for state in (pass_state, again))
        assert taken == found, f"what stands of {peer.name} is taken over: {of}: {taken} and {found}"
    peer_session.memory, peer_session.pair_view, self._standing[uid] = memory, stood.view, stood
    return True


def _hold(self: Deciding, pass_state: PassState, seen: KnownPeers) -> None:
    shown, before = pass_state.cluster_view.nodes, self._plain
    _hold_once(self, pass_state, seen)
    nodes, plain = deciding.with_held(shown, (pass_state.own, *seen.peers.values()), before)
    assert (pass_state.cluster_view.nodes, self._plain) == (nodes, plain), "what is kept of plain Nodes' claims"


def _wanted(self: GuardEntries, pass_state: PassState, settings: Settings) -> Entries:
    found = _wanted_once(self, pass_state, settings)
    assert found == _wanted_once(GuardEntries(), pass_state, settings), "what is kept of the guard's entries"
    return found


def _peers(self: StatusWriter, pass_state: PassState, laggards: frozenset[str], exempt: Mapping[int, int]) -> list[PeerReport]:
    found = _peers_once(self, pass_state, laggards, exempt)
    kept, self._reports = self._reports, {}
    assert found == _peers_once(self, pass_state, laggards, exempt), "what is kept of the peers' reports"
    self._reports = kept
    return found


def _by_address(self: PeersByAddress, peer_sessions: Mapping[str, PeerSession]) -> Mapping[Address, PeerSession]:
    found = _by_address_once(self, peer_sessions)
    fresh = _by_address_once(PeersByAddress(), peer_sessions)
    assert found.keys() == fresh.keys(), "what is kept of the peers' addresses"
    assert all(found[address] is fresh[address] for address in fresh), "what is kept of who is at the peers' addresses"
    return found


def _now(self: ClusterViews) -> ClusterView:
    found = _now_once(self)
    assert found == ClusterView.of(self._name, self._cache), "what is kept of the cluster's view"
    return found


def _add(self: PairsOnDisk, own: End, peers: Sequence[tuple[End, bool]]) -> None:
    _add_once(self, own, peers)
    if peers and not self.refused:
        assert self.list is not None
        assert self.list == replace(self.list, own=own).with_peers(peers), "what is kept of the pairs on disk"


def _keep(self: KeyRing, ledger: Mapping[str, Collection[LedgerEntry]]) -> None:
    _keep_once(self, ledger)
    live = {(uid, entry.generation) for uid, entries in ledger.items() for entry in entries}
    assert self._kept.keys() <= live, "what is kept of keys' fingerprints"
