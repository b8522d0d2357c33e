"""The end of a pair, and of a node: what is forgotten when the kernel has nothing of it any more."""

from __future__ import annotations

from typing import Final

from wirecrypt import logs
from wirecrypt.agent.components import Components
from wirecrypt.agent.control.protocol import PeerSession
from wirecrypt.agent.status.suspended import Suspended
from wirecrypt.agent.steps.own_restart import REPLACED
from wirecrypt.agent.view.cluster_view import ClusterView
from wirecrypt.agent.view.pass_state import PassState
from wirecrypt.agent.view.peers import Deletions
from wirecrypt.errors import ClusterError, ObjectError
from wirecrypt.model.conditions import Reason
from wirecrypt.model.objects import LABEL, LABEL_ENABLED, NodePeer, NodeState
from wirecrypt.model.pair import End
from wirecrypt.model.spi import Spi
from wirecrypt.plan.diff import plan
from wirecrypt.plan.strays import everything

log = logs.get(__name__)
IDLE: Final = 60.0
AGAIN: Final = 5.0


class NodeCleanup:
    """Forget pairs that left, and take the node's own objects away when it is no longer enabled."""

    def __init__(self, components: Components, deletions: Deletions, suspended: Suspended) -> None:
        self._components = components
        self._deletions = deletions
        self._suspended = suspended
        self._idle = False

    def active(self, own: NodePeer) -> None:
        """Note that the node is enabled, and on disk whether it is Leaving."""
        self._idle = False
        self._components.pairs_on_disk.note(own.end, leaving=own.state is NodeState.LEAVING)

    def tidy(self, pass_state: PassState, peer_sessions: dict[str, PeerSession], known: dict[str, NodePeer]) -> None:
        """Forget each pair that was to be removed and of which the kernel has nothing."""
        disk, views = self._components.pairs_on_disk, pass_state.pair_views
        removed = [uid for uid, v in views.items() if pass_state.decisions[uid].remove_all and v.inputs.observed.nothing]
        disk.drop(removed)
        left = [uid for uid, old in pass_state.succeeded.items() if not _is_left(pass_state, old)]
        over = [uid for uid in left if self._is_noted(pass_state, uid, pass_state.succeeded[uid])]
        disk.drop(over)
        for uid in (*over, *(uid for uid in removed if views[uid].inputs.peer_gone)):
            peer_sessions.pop(uid, None)
            known.pop(uid, None)
            self._deletions.forget(uid)

    def _is_noted(self, pass_state: PassState, uid: str, old: NodePeer) -> bool:
        """Return whether the peer in the place of *old* is on disk where that one is."""
        disk = self._components.pairs_on_disk
        successors = [v.peer for v in pass_state.pair_views.values() if v.peer.endpoints[:1] == old.endpoints[:1]]
        return not disk.has(uid) or all(disk.has(peer.node_uid) for peer in successors)

    def idle(self, cluster_view: ClusterView, now: float) -> float:
        """Be without any kernel object; what a node that left still has is removed once its absence is confirmed."""
        self._components.channel.close()
        if self._idle:
            return now + IDLE
        try:
            if not self._absent(cluster_view):
                self._say_replaced(cluster_view, now)
                return now + AGAIN
            why = self._unsaid(cluster_view)
        except (ClusterError, ObjectError) as error:
            log.warning("api server", error=str(error))
            return now + AGAIN
        if why:
            self._suspended.suspend(self._identity(cluster_view), Reason.ROLLBACK_SEEN, why, now)
            return now + IDLE  # whatever changes in the API is told at once
        self._suspended.end()
        self._remove_pairs()
        self._components.guard_attachment.remove()
        self._components.session_keeper.close()
        self._components.pairs_on_disk.remove()
        self._idle = True
        log.info("idle", reason="the node is not enabled")
        return now + IDLE

    def _say_replaced(self, cluster_view: ClusterView, now: float) -> None:
        """Say that the pairs here are those of a Node that is there no more, and what lets its successor take them over."""
        node, disk = cluster_view.node(self._components.node), self._components.pairs_on_disk
        if node is not None and disk.list and disk.list.peers and disk.list.own.node_uid != node.uid:
            self._suspended.suspend(disk.list.own.node_uid, Reason.NODE_REPLACED, REPLACED, now)

    def _absent(self, cluster_view: ClusterView) -> bool:
        """Return whether the API server itself says that this node takes no part: absence from a view is not enough ◆R15."""
        node = cluster_view.node(self._components.node)
        if node is not None and node.label == LABEL_ENABLED:
            return False
        found = self._components.api.node_peer(self._components.node)
        return found is None or found.state is NodeState.REMOVED

    def _unsaid(self, cluster_view: ClusterView) -> str:
        """Return why absence is no consent, empty when it is: a farewell was seen, or there is nothing that it could strip.

        An API server that was restored to before the label looks the same as one after a farewell that was said.
        """
        disk = self._components.pairs_on_disk
        if disk.list is None:
            trouble = disk.trouble or disk.refused
            return f"nothing is removed: {trouble}" if trouble else ""
        own = disk.list.own
        removed = (own.node_uid, own.node_id) in cluster_view.removed
        if disk.list.leaving or removed or self._is_another(own, cluster_view):
            return ""
        left = everything(self._components.datapath.snapshot())
        if not disk.list.peers and not left.sas and not left.policies:
            return ""
        return (
            "the API server has no NodePeer of this node and never said that it leaves: all that there is of its pairs stays."
            f" Next: label the node again ({LABEL}={LABEL_ENABLED}), and to have it leave take the label off again"
        )

    def _is_another(self, own: End, cluster_view: ClusterView) -> bool:
        """Return whether the API server itself shows a Node of this name that is not the one whose pairs are on disk."""
        node = cluster_view.node(self._components.node)
        if node is None or node.uid == own.node_uid:
            return False
        return any(n.name == node.name and n.uid != own.node_uid for n in self._components.api.nodes())

    def _identity(self, cluster_view: ClusterView) -> str:
        """Return the UID of the Node that the pairs on disk are of, or that has this name."""
        blocklist, node = self._components.pairs_on_disk.list, cluster_view.node(self._components.node)
        return blocklist.own.node_uid if blocklist else node.uid if node else ""

    def _remove_pairs(self) -> None:
        """Remove what is left of pairs: those on disk, which a boot blocks, and those that had not come that far.

        A node that was never enabled has none: what looks like one is another's.
        """
        datapath = self._components.datapath
        if self._components.pairs_on_disk.list is None:
            return
        for _ in range(2):  # what no pair has goes after the pairs
            kernel = datapath.snapshot()
            for error in datapath.apply(plan((), kernel.guard, kernel, strays=[everything(kernel)])).values():
                raise error


def _is_left(pass_state: PassState, old: NodePeer) -> bool:
    """Return whether the kernel has an SA that a former peer sends by."""
    found = (Spi.decode(sa.spi) for sa in pass_state.kernel.sas.values() if sa.receives and sa.src in old.endpoints)
    return any(spi.sender == old.node_id for spi in found if spi is not None)
