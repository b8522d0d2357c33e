"""The end of a pair, and of a node: what is forgotten when the kernel has nothing of it any more."""

from __future__ import annotations

from typing import Final

from wirecrypt import logs
from wirecrypt.agent.conversation import Talk
from wirecrypt.agent.parts import Parts
from wirecrypt.agent.rounds import Round
from wirecrypt.agent.world import World
from wirecrypt.errors import ClusterError
from wirecrypt.model.objects import LABEL_ENABLED, NodePeer, NodeState
from wirecrypt.model.pair import Pair
from wirecrypt.model.session import Word
from wirecrypt.plan.diff import Wish, plan
from wirecrypt.plan.observe import Known
from wirecrypt.plan.snapshot import KernelSnapshot, policies_of, sas_of
from wirecrypt.rotation.pair import Decision, Out, Receive

log = logs.get(__name__)
IDLE: Final = 60.0
AGAIN: Final = 5.0


class Farewell:
    """Forget pairs that left, and take the node's own objects away when it is no longer enabled."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._idle = False

    def active(self) -> None:
        """Note that the node is enabled."""
        self._idle = False

    def tidy(self, turn: Round, talks: dict[str, Talk], known: dict[str, NodePeer]) -> None:
        """Forget each pair that was to be removed and of which the kernel has nothing."""
        for uid, survey in turn.surveys.items():
            if turn.decisions[uid].remove_all and survey.view.observed.nothing:
                self._parts.pairs_on_disk.drop(uid)
                if survey.view.peer_gone:
                    talks.pop(uid, None)
                    known.pop(uid, None)

    def idle(self, world: World, now: float) -> float:
        """Be without any kernel object; what a node that left still has is removed once its absence is confirmed."""
        self._parts.channel.close()
        if self._idle:
            return now + IDLE
        if not self._left(world):
            return now + AGAIN
        self._remove_pairs()
        self._parts.guarding.remove()
        self._parts.keeper.close()
        self._parts.pairs_on_disk.remove()
        self._idle = True
        log.info("idle", reason="the node is not enabled")
        return now + IDLE

    def _left(self, world: World) -> bool:
        """Say whether the API server itself says that this node takes no part: absence from a view is not enough ◆."""
        node = next((n for n in world.nodes if n.name == self._parts.node), None)
        if node is not None and node.label == LABEL_ENABLED:
            return False
        try:
            return self._parts.cluster.node_peer(self._parts.node) is None
        except ClusterError as error:
            log.warning("api server", error=str(error))
            return False

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


def cleaned(turn: Round) -> bool:
    """Say whether a leaving node has nothing of any pair left in the kernel."""
    return turn.own.state is NodeState.LEAVING and all(s.view.observed.nothing and d.remove_all for s, d in turn.pairs())


def _present(pair: Pair, kernel: KernelSnapshot) -> bool:
    return bool(sas_of(pair, kernel) or policies_of(pair, kernel))


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
