"""What joining and a rotation ask of the API server by the number of nodes: real controller and agents, all else in memory.

python3 -m tests.bench.requests FOLDER [NODES ...] writes FOLDER/requests.json: requests a node, and the events that
each agent's watch of NodePeers brings. Copies are a moment late, as those of watches are.
"""

from __future__ import annotations

import logging
import string
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import structlog

from tests.bench.rows import write_rows
from tests.unit.simulation.world import World
from wirecrypt.model.objects import NodeState, Phase

SIZES: Final = (4, 8, 16)
READS: Final = ("node", "node_peer", "encrypted_node", "node_keys")
AGENT_WRITES: Final = ("publish_sessions", "propose_addresses", "write_node_status")
CONTROLLER_WRITES: Final = (
    *("create_encrypted_node", "update_encrypted_node", "delete_encrypted_node", "create_node_peer", "update_node_peer"),
    *("remove_node_peer", "write_keys", "delete_keys", "grant_keys", "write_seed", "delete_seed", "hold_rotation"),
    *("write_rotation", "node_event", "rotation_event"),
)
OF_NODE_PEERS: Final = ("publish_sessions", "propose_addresses", "create_node_peer", "update_node_peer", "remove_node_peer")
PATIENCE: Final = 120  # seconds of the clock


class Requests:
    """Counts what is asked of an API server, by method, by agents through *apis*, and by a controller."""

    def __init__(self, *apis: object, controller: object = None) -> None:
        self.counts: Counter[str] = Counter()
        for api in apis:
            self._count(api, READS + AGENT_WRITES)
        if controller is not None:
            self._count(controller, CONTROLLER_WRITES)

    def taken(self) -> Counter[str]:
        """Return the counts since the last call."""
        found = Counter(self.counts)
        self.counts.clear()
        return found

    def _count(self, of: object, names: tuple[str, ...]) -> None:
        for name in names:
            setattr(of, name, self._counting(name, getattr(of, name)))

    def _counting(self, name: str, does: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*words: Any, **more: Any) -> Any:  # noqa: ANN401 - handed on
            self.counts[name] += 1
            return does(*words, **more)

        return counted


def measured(nodes: int) -> dict[str, float]:
    """Return what so many nodes ask that are labelled at once, and then rotate."""
    world = World(0, string.ascii_letters[:nodes], string.ascii_letters[:nodes])
    requests = Requests(*(machine.api for machine in world.machines.values()), controller=world.server)
    _until(world, lambda: [p.state for p in world.server.peers.values()] == [NodeState.ACTIVE] * nodes)
    joining = requests.taken()
    world.run(30)
    requests.taken()
    name = world.ask()
    _until(world, lambda: world.server.rotations[name].phase is Phase.COMPLETE)
    rotating = requests.taken()
    return {"nodes": nodes, **dict(_row("joining", joining, nodes)), **dict(_row("a rotation", rotating, nodes))}


def _until(world: World, done: Callable[[], bool]) -> None:
    for _ in range(PATIENCE):
        world.run(1.0)
        if done():
            return
    raise TimeoutError("\n".join(world.story))


def _row(what: str, counts: Counter[str], nodes: int) -> Iterator[tuple[str, float]]:
    for kind, names in (("reads", READS), ("writes", AGENT_WRITES), ("writes by the controller", CONTROLLER_WRITES)):
        yield f"{what}: {kind}", round(sum(counts[name] for name in names) / nodes, 2)
    yield f"{what}: events", sum(counts[name] for name in OF_NODE_PEERS)


@contextmanager
def quiet() -> Iterator[None]:
    """Log nothing."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


def main(folder: Path, sizes: tuple[int, ...]) -> None:
    """Measure and write down; what was measured is shown as it comes."""
    what = "requests a node, and events that each agent gets, by the number of nodes"
    with quiet():
        write_rows(folder / "requests.json", what, measured, sizes)


if __name__ == "__main__":
    main(Path(sys.argv[1]), tuple(map(int, sys.argv[2:])) or SIZES)
