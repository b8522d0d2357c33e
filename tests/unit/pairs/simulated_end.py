"""What is not yet as it should be when faults have ended and all messages get through."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.unit.pairs.simulated_state import TIMING
from wirecrypt.model.objects import NodePeer, NodeState, Phase
from wirecrypt.pairs import probing
from wirecrypt.pairs.decide import Out, Receive
from wirecrypt.pairs.memory import Memory

if TYPE_CHECKING:
    from tests.unit.pairs.simulator import World


def unfinished(world: World) -> list[str]:
    """Return what is not yet as it should be at the end."""
    found = [f"{n} is {p.state.value}" for n, p in world.api.items() if p.state is not NodeState.ACTIVE]
    found += [f"{r.name} is {r.phase}" for r in world.rotations if r.phase in (Phase.SWITCHING, Phase.RETIRING)]
    for name in world.names:
        found += _node(world, name)
    return found


def _node(world: World, name: str) -> Iterator[str]:
    agent, kernel = world.agents[name], world.kernels[name]
    if name not in world.api:
        if set(kernel.sas) - kernel.foreign or set(kernel.policies) - kernel.foreign:
            yield f"{name} left and has objects"
        return
    if not agent.tmpfs.alive or not agent.tmpfs.alive <= {s.number for s in world.api[name].sessions}:
        yield f"{name} has sessions {agent.tmpfs.alive} and published others"
    uids = {p.node_uid for n, p in world.api.items() if n != name}
    if set(agent.turns) != uids:
        yield f"{name} has pairs with {set(agent.turns)}"
    for turn in agent.turns.values():
        yield from _pair(world, name, turn.peer)


def _pair(world: World, name: str, peer: NodePeer) -> Iterator[str]:
    turn = world.agents[name].turns[peer.node_uid]
    seen = turn.view.observed
    other = world.agents[peer.name].turns.get(world.ids[name].node_uid)
    theirs = other.view.observed.in_use if other else None
    if seen.out is not Out.ESP or seen.in_use is None or seen.in_use not in (theirs, None) or theirs is None:
        yield f"{name}→{peer.name}: {seen.out.value} {seen.in_use}, the peer {theirs}"
    elif set(seen.installed) != {seen.in_use} or not seen.installed[seen.in_use].whole:
        yield f"{name}→{peer.name}: installed {sorted(map(str, seen.installed))}"
    elif seen.receive is not Receive.REQUIRED or seen.in_use != turn.decision.target:
        yield f"{name}→{peer.name}: receives {seen.receive.value}, uses {seen.in_use}, wants {turn.decision.target}"
    elif probing.failing(turn.view, world.agents[name].memory.get(peer.node_uid, Memory()), world.now, TIMING):
        yield f"{name}→{peer.name} is reported as failing"
