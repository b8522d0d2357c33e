"""What is not yet as it should be when faults have ended and all messages get through."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.unit.pairs.simulated_state import TIMING
from wirecrypt.model.objects import NodePeer, NodeState, Phase
from wirecrypt.pairs import probing
from wirecrypt.pairs.inputs import Out, Receive
from wirecrypt.pairs.memory import PairMemory

if TYPE_CHECKING:
    from tests.unit.pairs.simulator import SimulatedCluster


def unfinished(cluster: SimulatedCluster) -> list[str]:
    """Return what is not yet as it should be at the end."""
    found = [f"{n} is {p.state.value}" for n, p in cluster.api.items() if p.state is not NodeState.ACTIVE]
    found += [f"{r.name} is {r.phase}" for r in cluster.rotations if r.phase in (Phase.SWITCHING, Phase.RETIRING)]
    for name in cluster.names:
        found += _node(cluster, name)
    return found


def _node(cluster: SimulatedCluster, name: str) -> Iterator[str]:
    agent, kernel = cluster.agents[name], cluster.kernels[name]
    if name not in cluster.api:
        if set(kernel.sas) - kernel.foreign or set(kernel.policies) - kernel.foreign:
            yield f"{name} left and has objects"
        return
    if not agent.tmpfs.alive or not agent.tmpfs.alive <= {s.number for s in cluster.api[name].sessions}:
        yield f"{name} has sessions {agent.tmpfs.alive} and published others"
    uids = {p.node_uid for n, p in cluster.api.items() if n != name}
    if set(agent.pair_views) != uids:
        yield f"{name} has pairs with {set(agent.pair_views)}"
    for pair_view in agent.pair_views.values():
        yield from _pair(cluster, name, pair_view.peer)


def _pair(cluster: SimulatedCluster, name: str, peer: NodePeer) -> Iterator[str]:
    pair_view = cluster.agents[name].pair_views[peer.node_uid]
    seen = pair_view.inputs.observed
    other = cluster.agents[peer.name].pair_views.get(cluster.ids[name].node_uid)
    theirs = other.inputs.observed.in_use if other else None
    if seen.out is not Out.ESP or seen.in_use is None or seen.in_use not in (theirs, None) or theirs is None:
        yield f"{name}→{peer.name}: {seen.out.value} {seen.in_use}, the peer {theirs}"
    elif set(seen.installed) != {seen.in_use} or not seen.installed[seen.in_use].complete:
        yield f"{name}→{peer.name}: installed {sorted(map(str, seen.installed))}"
    elif seen.receive is not Receive.REQUIRED or seen.in_use != pair_view.decision.target:
        yield f"{name}→{peer.name}: receives {seen.receive.value}, uses {seen.in_use}, wants {pair_view.decision.target}"
    elif probing.failing(pair_view.inputs, cluster.agents[name].memory.get(peer.node_uid, PairMemory()), cluster.now, TIMING):
        yield f"{name}→{peer.name} is reported as failing"
