"""Which peers a node has, and which of them are gone: absence from a view is never consent ◆R15.

A peer is every NodePeer that the API shows, and every one that this agent knew (from an earlier view, or from the list of
pairs on disk) until its deletion is confirmed: by a quorum read, from an API that is not older than what was seen before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from wirecrypt.agent.store.blocklist import Blocklist
from wirecrypt.agent.view.cluster_view import ClusterView
from wirecrypt.errors import ClusterError, ObjectError
from wirecrypt.model.objects import LABEL_ENABLED, Node, NodePeer, NodeState
from wirecrypt.model.pair import End
from wirecrypt.plan.holders import without
from wirecrypt.ports import AgentApi

ASK: Final = 5.0  # seconds between two questions about one peer, and for which an answer holds


@dataclass(frozen=True, slots=True)
class KnownPeers:
    """Peers by node UID, in the order of their names; *vanished*: those that the API does not show.

    *succeeded*: those of them whose tunnel's addresses the API shows as another peer's, which is in their place.
    """

    peers: Mapping[str, NodePeer]
    vanished: frozenset[str]
    succeeded: Mapping[str, NodePeer] = field(default_factory=dict)

    def predecessors(self, peer: NodePeer) -> list[NodePeer]:
        """Return the peers of before that *peer* is in the place of: by its name, or by an address or prefix of theirs."""
        before = [*self.succeeded.values(), *(self.peers[uid] for uid in self.vanished)]
        if not before:
            return []
        claims = {*peer.endpoints, *peer.pod_cidrs}
        return [old for old in before if old.name == peer.name or claims & {*old.endpoints, *old.pod_cidrs}]


def known_peers(cluster_view: ClusterView, before: Mapping[str, NodePeer], blocklist: Blocklist | None) -> KnownPeers:
    """Return this pass's peers: the API's, and those known from *before* or from disk that it does not show.

    An address that moved to one that is shown is not the missing one's any more.
    """
    shown = {p.node_uid: p for p in cluster_view.peers}
    if shown.keys() >= before.keys() and (blocklist is None or shown.keys() >= blocklist.uids):
        return KnownPeers(shown, frozenset())
    known = {end.node_uid: _from_disk(end) for end in (blocklist.peers if blocklist else ())} | dict(before)
    taken = {a for peer in (cluster_view.own, *cluster_view.peers) if peer for a in peer.addresses}
    missing = {uid: without(peer, taken) for uid, peer in known.items() if uid not in shown}
    peers = sorted({**missing, **shown}.items(), key=lambda item: item[1].name)
    return KnownPeers(dict(peers), frozenset(missing))


def with_successions(seen: KnownPeers) -> KnownPeers:
    """Return *seen* with each vanished peer set aside whose tunnel would end where a peer that is shown has its own.

    An address is one node's, and the API says whose: a Node that was made anew, or a machine that got the address of one
    before. Two pairs between the same two addresses would each take the other's SAs and policies for their own ◆R17.
    """
    if not seen.vanished:
        return seen
    places = {p.endpoints[:1] for uid, p in seen.peers.items() if uid not in seen.vanished and p.endpoints}
    succeeded = {uid: p for uid, p in seen.peers.items() if uid in seen.vanished and p.endpoints[:1] in places}
    peers = {uid: p for uid, p in seen.peers.items() if uid not in succeeded}
    return KnownPeers(peers, seen.vanished - succeeded.keys(), succeeded)


class Deletions:
    """Which peers are gone, or begun anew, by the API server's own word; that word holds for ASK seconds, and never longer."""

    def __init__(self, api: AgentApi) -> None:
        self._api = api
        self._answers: dict[str, tuple[float, bool]] = {}
        self._current: dict[str, tuple[float, bool]] = {}  # by the object's own UID

    def forget(self, node_uid: str) -> None:
        """Note that the peer is shown (again), or that nothing of it is left: what was confirmed says nothing any more ◆R15."""
        self._answers.pop(node_uid, None)

    def confirmed(self, peer: NodePeer, nodes: tuple[Node, ...], *, plain: bool, now: float) -> bool:
        """Return whether a vanished *peer* is really gone; the API server is asked at most once in ASK seconds."""
        asked, gone = self._answers.get(peer.node_uid, (float("-inf"), False))
        if now - asked >= ASK:
            gone = deletion_confirmed(peer, nodes, self._api, plain=plain)
            self._answers[peer.node_uid] = (now, gone)
        return gone

    def current(self, peer: NodePeer, now: float) -> bool:
        """Return whether the API server itself shows this very object of *peer*, and not a later one of its name."""
        asked, same = self._current.get(peer.uid, (float("-inf"), False))
        if now - asked >= ASK:
            same = self._shows(peer)
            self._current = {peer.uid: (now, same)} | {uid: each for uid, each in self._current.items() if now - each[0] < ASK}
        return same

    def _shows(self, peer: NodePeer) -> bool:
        try:
            found = self._api.node_peer(peer.name)
        except (ClusterError, ObjectError):
            return False
        return found is not None and found.uid == peer.uid


def deletion_confirmed(peer: NodePeer, nodes: tuple[Node, ...], api: AgentApi, *, plain: bool) -> bool:
    """Return whether a vanished *peer* is really gone: its NodePeer by a quorum read, and its Node too.

    A peer that left (traffic to it is *plain* already) is gone without its Node being deleted. No answer is no proof, and
    nor is an object that cannot be read. A labelled Node of its name has a NodePeer before long, which is in its place. That
    one is there already is believed of nobody else ◆R46: a copy may be older than what this agent knew before it started.
    """
    if not plain and any(n.uid == peer.node_uid for n in nodes):
        return False
    try:
        found = api.node_peer(peer.name)
    except (ClusterError, ObjectError):
        return False
    if found is not None:
        return found.node_uid != peer.node_uid or (found.state is NodeState.REMOVED and found.identity == peer.identity)
    return plain or not any(n.name == peer.name and n.label == LABEL_ENABLED for n in nodes)


def rolled_back(own: NodePeer, last_published: int) -> bool:
    """Return whether the API is older than what this agent has seen (restored from a backup): then nothing is removed."""
    return own.last_session < last_published


def unpublish(peer: NodePeer) -> NodePeer:
    """Return a vanished peer without sessions: nothing new is made with it."""
    return replace(peer, sessions=())


def _from_disk(end: End) -> NodePeer:
    return NodePeer(
        name=end.name,
        uid="",
        node_id=end.node_id,
        node_uid=end.node_uid,
        endpoints=end.endpoints,
        pod_cidrs=end.pod_cidrs,
        addresses=end.addresses,
        state=NodeState.ACTIVE,
        created=datetime.fromtimestamp(0, UTC),
    )
