"""What a controller remembers does not grow with its age: not with rotations, not with nodes that come, fail and go."""

from __future__ import annotations

from tests.fakes.builders import node
from tests.unit.controller.test_passes import controller, encrypted_cluster
from tests.unit.controller.watched import WatchedServer, agents
from tests.unit.held import grown, held
from wirecrypt.controller import Controller
from wirecrypt.controller.actions import Chain, DeleteEncrypted
from wirecrypt.controller.worker import Worker
from wirecrypt.errors import Forbidden
from wirecrypt.model.objects import EncryptedNode, NodeState, Phase


def settle(leader: Controller, server: WatchedServer) -> None:
    """Let the same leader and the agents work until there is nothing to do."""
    for _ in range(40):
        before = server.version, server.writes
        leader.once()
        agents(server)
        if (server.version, server.writes) == before:
            return


def round_of(leader: Controller, server: WatchedServer, number: int) -> None:
    """Have a node join whose keys cannot be written at first, and go; and have all keys changed."""
    new = node(number)
    server.nodes[new.name] = new
    server.foreign.add(new.name)
    settle(leader, server)
    server.foreign.clear()
    server.create_rotation(f"to-{number}", "by hand")
    settle(leader, server)
    server.gone_ids.clear()  # with the keys under which an ID was used it may be used again
    assert server.rotations[f"to-{number}"].phase is Phase.COMPLETE
    del server.nodes[new.name]
    settle(leader, server)


def test_nothing_that_the_loop_holds_grows() -> None:
    """Once all that can happen has happened, the same again and again leaves every container as large as it was."""
    server = encrypted_cluster(1, 2, 3)
    leader = controller(server)
    for number in range(10, 22):  # more than KeyRotations are kept of
        round_of(leader, server, number)
    before = held(leader)
    for number in range(22, 26):
        round_of(leader, server, number)
    assert grown(before, held(leader)) == {}


class _Refusing(WatchedServer):
    """An API server that deletes nothing."""

    def delete_encrypted_node(self, encrypted: EncryptedNode) -> None:
        """Refuse."""
        raise Forbidden("DELETE", what=encrypted.name, answer="403")


def test_ten_thousand_nodes_that_failed_and_went_leave_nothing() -> None:
    """How long to wait for one is kept as long as there is something to do about it."""
    server = _Refusing()
    worker = Worker(server, lambda: True, clock=lambda: 0.0)
    for number in range(10_000):
        gone = EncryptedNode(f"n{number}", "", 16, f"uid-{number}", NodeState.LEAVING, node(1).created)
        worker.do([Chain(gone.name, (DeleteEncrypted(gone, "gone"),))], server.view())
    assert sum(len(each) for each in vars(worker).values() if isinstance(each, dict | set)) < 10
