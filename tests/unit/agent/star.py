"""One agent with as many peers as a test wants, each of which has that one alone."""

from __future__ import annotations

from tests.unit.agent.cloud import Cloud
from tests.unit.agent.woken import Woken
from wirecrypt.model.objects import KeySecret, NodeState
from wirecrypt.model.session import Epoch

MIDDLE = "middle"
FIRST = 16  # nodeID of the middle


class Star(Cloud):
    """One node that has all others as its peers, each of which has that one alone."""

    def give(self, *epochs: Epoch) -> None:
        """Give keys to the nodes that have none: an epoch is never changed here."""
        new = {name: peer for name, peer in self.api.peers.items() if name not in self.api.keys}
        there, self.api.peers = self.api.peers, new
        before: dict[str, KeySecret] = dict(self.api.keys)
        super().give(*epochs)
        self.api.peers = there
        self.api.keys = before | dict(self.api.keys)

    def grow(self, peers: int) -> None:
        """Label the middle and *peers* others."""
        for number, name in enumerate((MIDDLE, *(f"peer-{n:04}" for n in range(peers))), FIRST):
            machine = self.add(name, number)
            machine.api.sees = None if name == MIDDLE else (name, MIDDLE)
            self.label(name, node_id=number)

    def join(self, woken: Woken) -> None:
        """Have all agents run until every pair of the middle is protected, and all nodes are Active."""
        woken.run(1.0)
        while self.ready(MIDDLE)[1] != "AllPeersProtected":
            woken.run(1.0)
            self.state(NodeState.ACTIVE, *(name for name in self.machines if name != MIDDLE))
            status = self.api.encrypted[MIDDLE].status
            if status is not None and len(status.ready_for) == len(self.machines) - 1:
                self.state(NodeState.ACTIVE, MIDDLE)
