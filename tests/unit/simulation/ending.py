"""The end of a schedule: faults stop, and then all has to come right, first with what stays down, then with all of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.fakes.packet import Way
from tests.unit.simulation import absences, failures
from tests.unit.simulation.judge import Violation
from tests.unit.simulation.machine import Machine
from tests.unit.simulation.world import World
from wirecrypt.model.objects import LABEL_ENABLED, NodeState, Phase
from wirecrypt.model.spi import Spi

LONGEST = 420.0  # seconds: an agent is taken for silent after 180, a removal waits for 60
_OPEN = (Phase.PENDING, Phase.DISTRIBUTING, Phase.SWITCHING)


def end(world: World) -> None:
    """Have all come right; raises `Violation` where it does not."""
    world.say("the end: faults stop")
    with world.judge.away():
        calm(world)
        _without_hostile(world)
    settle(world, "with what is down", rotations=False)
    world.say("the end: all that is down comes back, and a last rotation")
    with world.judge.away():
        for machine in world.machines.values():
            failures.on(world, machine, 0)
        world.ask()
        _without_hostile(world)
    settle(world, "after a last rotation", rotations=True)
    for machine in world.machines.values():
        if machine.hostile or _excluded(world, machine):
            world.say(f"the end: {machine.name} leaves, and joins again as itself")
            with world.judge.away():
                absences.label_off(world, machine, 0)
                machine.hostile = False
                machine.revives = world.now
    settle(world, "after those cut off have left", rotations=True)
    for machine in world.machines.values():
        if not world.wished(machine) and machine.name in world.server.nodes:
            world.say(f"the end: {machine.name} is labelled")
            with world.judge.away():
                absences.label_set(world, machine, 0)
    settle(world, "with all labels set", rotations=True)


def _without_hostile(world: World) -> None:
    """Have every rotation go on without a machine that somebody else speaks for."""
    hostile = tuple(m.name for m in world.machines.values() if m.hostile)
    for name, rotation in world.server.rotations.items():
        if rotation.phase not in (Phase.COMPLETE, Phase.ABORTED):
            world.server.rotations[name] = replace(rotation, without=(*rotation.without, *hostile))
    world.server.note()


def calm(world: World) -> None:
    """Stop all faults. What is off stays off, and who is hostile stays."""
    world.lost = world.doubled = world.restless = 0.0
    world.slow = 0.02
    world.server.most = 2**31
    world.looks, world.absent = world.now, 0.0
    for machine in world.machines.values():
        machine.frozen, machine.api.down, machine.ends_after = 0.0, False, None
        world.change_node(machine, ready=machine.on)
        absences.lists_back(world, machine, 0)
        node = world.server.nodes.get(machine.name)
        if node is not None and node.label not in (None, LABEL_ENABLED):
            absences.label_set(world, machine, 0)
    _attend(world)


def settle(world: World, when: str, *, rotations: bool) -> None:
    """Let time pass until nothing is left to do."""
    limit = world.now + LONGEST
    while world.now < limit:
        world.run(2.0)
        _attend(world)
        if not any(unfinished(world, rotations=rotations)):
            world.judge.settled()
            _touch_outsiders(world)
            return
    raise Violation(f"not finished {when}: {'; '.join(unfinished(world, rotations=rotations))}")


def _attend(world: World) -> None:
    """Do what a person, or the kubelet, does in such a cluster: start agents, confirm what is really gone."""
    for machine in world.machines.values():
        if machine.agent is None and machine.revives > world.now + 10:
            machine.start()
    for name, peer in list(world.server.peers.items()):
        node = world.server.nodes.get(name)
        gone = node is None or node.uid != peer.node_uid
        never = peer.state is NodeState.LEAVING and world.machines[name].hostile  # it says no farewell
        if (gone or never) and not peer.confirmed and peer.state is not NodeState.REMOVED:
            world.server.peers[name] = replace(peer, confirmed=True)
            world.server.note()


def _touch_outsiders(world: World) -> None:
    """Expect nothing of traffic with machines that are off, hostile or cut off."""
    for machine in world.machines.values():
        if not machine.on or machine.hostile or _excluded(world, machine) or machine.name not in world.server.nodes:
            world.judge.touch(machine.name)


def _excluded(world: World, machine: Machine) -> bool:
    peer = world.peer(machine)
    return peer is not None and peer.state is NodeState.EXCLUDED


def unfinished(world: World, *, rotations: bool) -> Iterator[str]:
    """Yield what is not yet as it should be."""
    for machine in world.machines.values():
        yield from _node(world, machine)
    there = [m for m in world.machines.values() if m.on and not m.hostile and m.name in world.server.nodes]
    for sender in there:
        for receiver in there:
            if sender is not receiver:
                yield from _pair(world, sender, receiver)
    waiting = [r for r in world.server.rotations.values() if r.phase in (None, *_OPEN)]
    if rotations:
        waiting = [r for r in world.server.rotations.values() if r.phase not in (Phase.COMPLETE, Phase.ABORTED)]
    elif any(r.phase is Phase.RETIRING for r in world.server.rotations.values()):
        waiting = [r for r in waiting if r.phase not in (None, Phase.PENDING)]
    yield from (f"rotation {r.name} is {r.phase}: {r.conditions[0].message if r.conditions else ''}" for r in waiting)


def _node(world: World, machine: Machine) -> Iterator[str]:
    peer, node = world.peer(machine), world.server.nodes.get(machine.name)
    kernel = machine.kernel
    if node is None or not world.wished(machine):
        if peer is not None and (machine.on or node is None):
            yield f"{machine.name} is {peer.state.value}, and should not be there"
        heard = machine.on and node is not None and not machine.mute and not machine.hostile
        if heard and (kernel.sas or kernel.policies or kernel.guard.loaded()):
            yield f"{machine.name} left and has {len(kernel.sas)} SAs, {len(kernel.policies)} policies"
        return
    if machine.mute or machine.hostile or not machine.on:
        return
    waited_for = [m for m in world.machines.values() if m.hostile and not _excluded(world, m)]  # it spoke once: cut it off
    done = (NodeState.ACTIVE, NodeState.EXCLUDED, *((NodeState.JOINING,) if waited_for else ()))
    if peer is None or peer.node_uid != node.uid or peer.state not in done:
        yield f"{machine.name} is {peer.state.value if peer else 'not there'}"
    ids = {p.node_id for p in world.server.peers.values() if p.state is not NodeState.REMOVED}
    senders = {spi.sender for sa in kernel.sas.values() if (spi := Spi.decode(sa.spi))}
    if senders - ids:
        yield f"{machine.name} has SAs of senders {sorted(senders - ids)} that are no more"


def _pair(world: World, sender: Machine, receiver: Machine) -> Iterator[str]:
    ends = (sender, receiver)
    ways = set(world.judge.arrives(sender, receiver).values())
    both = all(world.wished(m) for m in ends)
    if both and any(_excluded(world, m) for m in ends):
        if Way.PLAIN in ways or Way.ESP in ways:
            yield f"{sender.name} → {receiver.name}: {ways}, though one is cut off"
        return
    if both and any(m.mute for m in ends):
        return
    wanted = {Way.ESP} if both else {Way.PLAIN}
    if ways != wanted:
        yield f"{sender.name} → {receiver.name}: {sorted(str(w and w.value) for w in ways)}"
