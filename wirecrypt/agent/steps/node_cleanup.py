"""The end of a pair, and of a node: what is forgotten when the kernel has nothing of it any more."""

from __future__ import annotations

from typing import Final

from wirecrypt import logs
from wirecrypt.agent.components import Parts
from wirecrypt.agent.control.protocol import Talk
from wirecrypt.agent.status.suspended import Holding
from wirecrypt.agent.view.cluster_view import World
from wirecrypt.agent.view.pass_state import Round, _present
from wirecrypt.agent.view.peers import Deletions
from wirecrypt.errors import ClusterError, ObjectError
from wirecrypt.model.objects import LABEL, LABEL_ENABLED, Node, NodePeer
from wirecrypt.model.pair import End, Pair
from wirecrypt.model.session import Word
from wirecrypt.pairs.decide import Decision, Out, Receive
from wirecrypt.plan.diff import Wish, plan
from wirecrypt.plan.observe import Known

log = logs.get(__name__)
IDLE: Final = 60.0
AGAIN: Final = 5.0


class Farewell:
    """Forget pairs that left, and take the node's own objects away when it is no longer enabled."""

    def __init__(self, parts: Parts, deletions: Deletions, holding: Holding) -> None:
        self._parts = parts
        self._deletions = deletions
        self._holding = holding
        self._idle = False

    def active(self, own: NodePeer) -> None:
        """Note that the node is enabled, and on disk whether it is Leaving."""
        self._idle = False
        self._parts.pairs_on_disk.note(own)

    def tidy(self, turn: Round, talks: dict[str, Talk], known: dict[str, NodePeer]) -> None:
        """Forget each pair that was to be removed and of which the kernel has nothing."""
        for uid, survey in turn.surveys.items():
            if turn.decisions[uid].remove_all and survey.view.observed.nothing:
                self._parts.pairs_on_disk.drop(uid)
                if survey.view.peer_gone:
                    talks.pop(uid, None)
                    known.pop(uid, None)
                    self._deletions.forget(uid)

    def idle(self, world: World, now: float) -> float:
        """Be without any kernel object; what a node that left still has is removed once its absence is confirmed."""
        self._parts.channel.close()
        if self._idle:
            return now + IDLE
        try:
            if not self._absent(world):
                return now + AGAIN
            why = self._unsaid(world)
        except (ClusterError, ObjectError) as error:
            log.warning("api server", error=str(error))
            return now + AGAIN
        if why:
            self._holding.hold(self._identity(world), "RollbackSeen", why, now)
            return now + IDLE  # whatever changes in the API is told at once
        self._holding.over()
        self._remove_pairs()
        self._parts.guarding.remove()
        self._parts.keeper.close()
        self._parts.pairs_on_disk.remove()
        self._idle = True
        log.info("idle", reason="the node is not enabled")
        return now + IDLE

    def _absent(self, world: World) -> bool:
        """Say whether the API server itself says that this node takes no part: absence from a view is not enough ◆."""
        node = self._node(world)
        if node is not None and node.label == LABEL_ENABLED:
            return False
        return self._parts.cluster.node_peer(self._parts.node) is None

    def _unsaid(self, world: World) -> str:
        """Return why absence is no consent, empty when it is: a farewell was seen, or there is nothing that it could strip.

        An API server that was restored to before the label looks the same as one after a farewell that was said.
        """
        disk = self._parts.pairs_on_disk
        if disk.list is None:
            return f"nothing is removed: {disk.trouble}" if disk.trouble else ""
        if not disk.list.peers or disk.list.leaving or self._is_another(disk.list.own, world):
            return ""
        return (
            f"the API server has no NodePeer of this node and never said that it leaves: {len(disk.list.peers)} pairs stay as"
            f" they are. Next: label the node again ({LABEL}={LABEL_ENABLED}), and to have it leave take the label off again"
        )

    def _is_another(self, own: End, world: World) -> bool:
        """Say whether the API server itself shows a Node of this name that is not the one whose pairs are on disk."""
        node = self._node(world)
        if node is None or node.uid == own.node_uid:
            return False
        return any(n.name == node.name and n.uid != own.node_uid for n in self._parts.cluster.nodes())

    def _identity(self, world: World) -> str:
        """Return the UID of the Node that the pairs on disk are of, or that has this name."""
        blocklist, node = self._parts.pairs_on_disk.list, self._node(world)
        return blocklist.own.node_uid if blocklist else node.uid if node else ""

    def _node(self, world: World) -> Node | None:
        return next((n for n in world.nodes if n.name == self._parts.node), None)

    def _remove_pairs(self) -> None:
        """Remove what is left of pairs on disk (a boot blocks them before the agent knows that the node left)."""
        blocklist = self._parts.pairs_on_disk.list
        if blocklist is None or not blocklist.peers:
            return
        kernel = self._parts.datapath.snapshot()
        wishes = [_nothing(pair) for pair in blocklist.pairs() if _present(pair, kernel)]
        failed = self._parts.datapath.apply(plan(wishes, kernel.guard, kernel))
        for error in failed.values():
            raise error


def _nothing(pair: Pair) -> Wish:
    decision = Decision(
        out=Out.PLAIN,
        in_use=None,
        receive=Receive.NONE,
        keep={},
        install=None,
        target=None,
        word=Word(frozenset(), None, 0),
        why="the node is not enabled",
        remove_all=True,
    )
    return Wish(pair, decision, Known({}, 0, 0, {}), (), ())
