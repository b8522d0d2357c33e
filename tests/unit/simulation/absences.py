"""What may be missing of a node, and what a person may wish of it."""

# ruff: noqa: D401 - what happens is told as it is seen

from __future__ import annotations

from dataclasses import replace

from tests.unit.simulation.machine import Machine
from tests.unit.simulation.world import World
from wirecrypt.model.objects import LABEL_ENABLED, NodeState


def entry_gone(world: World, machine: Machine, number: int) -> str:
    """One address or prefix is not in the Node's list any more."""
    node = world.server.nodes.get(machine.name)
    if node is None or (node.label is not None and world.peer(machine) is None):
        return ""  # nobody but the object that is gone knew what the Node does not say
    entries = [*node.endpoints, *node.pod_cidrs]
    if not entries:
        return ""
    gone = entries[number % len(entries)]
    world.change_node(
        machine,
        endpoints=tuple(a for a in node.endpoints if a != gone),
        pod_cidrs=tuple(p for p in node.pod_cidrs if p != gone),
    )
    return f"{gone} is gone from its Node"


def lists_gone(world: World, machine: Machine, number: int) -> str:
    """No address, or no prefix, is in the Node's list any more."""
    if machine.name not in world.server.nodes or (world.wished(machine) and world.peer(machine) is None):
        return ""
    lists: dict[str, object] = ({"endpoints": ()}, {"pod_cidrs": ()}, {"endpoints": (), "pod_cidrs": ()})[number % 3]  # type: ignore[assignment]
    world.change_node(machine, **lists)
    return f"no {' nor '.join(lists)} at its Node"


def lists_back(world: World, machine: Machine, _number: int) -> str:
    """The Node says again what the machine has."""
    world.change_node(machine, endpoints=machine.addresses, pod_cidrs=machine.pods)
    return "its Node says again what it has"


def peer_deleted(world: World, machine: Machine, number: int) -> str:
    """Its NodePeer is deleted, with or without regard for our finalizer."""
    peer = world.server.peers.get(machine.name)
    if peer is None:
        return ""
    if number % 2:
        world.server.peers[machine.name] = replace(peer, deleting=True, resource_version=f"{peer.resource_version}d")
    else:
        del world.server.peers[machine.name]
        lists_back(world, machine, 0)  # nobody but the object knew what the Node does not say
    world.server.note()
    return f"its NodePeer is {'being ' if number % 2 else ''}deleted"


def encrypted_deleted(world: World, machine: Machine, _number: int) -> str:
    """Its EncryptedNode is deleted."""
    if world.server.encrypted.pop(machine.name, None) is None:
        return ""
    world.server.note()
    return "its EncryptedNode is deleted"


def kinds_replaced(world: World, _machine: Machine, number: int) -> str:
    """Kinds are replaced by force: all objects of them are gone, also those that only they told of."""
    every = {"NodePeers": world.server.peers, "EncryptedNodes": world.server.encrypted, "KeyRotations": world.server.rotations}
    which = [name for bit, name in enumerate(every) if (number % 7 + 1) >> bit & 1]
    stones = {name: peer for name, peer in world.server.peers.items() if peer.state is NodeState.REMOVED}
    for name in which:
        every[name].clear()  # type: ignore[attr-defined]  # one mapping each
    world.server.peers |= stones  # that an agent which sleeps meanwhile misses them is a known limit
    for machine in world.machines.values():
        lists_back(world, machine, 0)  # nobody but the object knew what the Node does not say
    world.server.note()
    return f"(all {' and '.join(which)} are gone)"


def keys_deleted(world: World, machine: Machine, _number: int) -> str:
    """The Secret with its keys is deleted."""
    if world.server.keys.pop(machine.name, None) is None:
        return ""
    world.server.note()
    return "the Secret with its keys is deleted"


def recycled(world: World, machine: Machine, number: int) -> str:
    """Its Node is deleted and made anew: by the same machine or another one, there or elsewhere, with the label or without."""
    label = None if number % 7 == 0 else LABEL_ENABLED
    other, moved = number % 3 == 0, number % 2 == 0
    before = world.server.nodes.get(machine.name)
    world.judge.touch(machine.name)
    if moved:
        machine.replaced += 1
        machine.place(machine.number + 16 * machine.replaced, pods=number % 5 == 0)
    if other:
        machine.listed = None
        machine.boot(start=world.now + 1.0)
        world.judge.rebooted(machine.name, replaced=True)
    elif moved:
        machine.boot(start=world.now + 1.0)
        world.judge.rebooted(machine.name)
    if label is None or (before is not None and before.label is None):
        world.judge.parted(machine.name)
    machine.on, machine.hostile = True, False
    world.make_node(machine, label=label)
    return (
        f"its Node is made anew {'with' if label else 'without'} the label, on {'another' if other else 'the same'} machine"
        f" at {'other' if moved else 'the same'} addresses"
    )


def removed(world: World, machine: Machine, number: int) -> str:
    """Its Node is deleted, and the machine is off or goes on as it is."""
    if machine.name not in world.server.nodes:
        return ""
    world.judge.touch(machine.name)
    if number % 2 == 0:
        off(world, machine, 0)
    del world.server.nodes[machine.name]
    world.server.note()
    return f"its Node is deleted, and the machine is {'on' if number % 2 else 'off'}"


def born(world: World, machine: Machine, number: int) -> str:
    """A Node that was deleted is there again, on a new machine."""
    if machine.name in world.server.nodes:
        return ""
    return recycled(world, machine, 3 if number % 2 else 6)


def label_set(world: World, machine: Machine, _number: int) -> str:
    """The label is set. Who has not let go of the pair of before blocks the new one until it is proved: a known limit."""
    world.change_node(machine, label=LABEL_ENABLED)
    for other in world.machines.values():
        if other is not machine and (_lists(other, machine) or _lists(machine, other)):
            world.judge.touch(machine.name, other.name)
    return "its label is set"


def _lists(one: Machine, other: Machine) -> bool:
    """Return whether a boot of *one* would block *other*."""
    return one.listed is not None and other.name in {end.name for end in one.listed.peers}


def label_off(world: World, machine: Machine, _number: int) -> str:
    """The label is taken off."""
    world.change_node(machine, label=None)
    world.judge.parted(machine.name)
    return "its label is taken off"


def label_bad(world: World, machine: Machine, _number: int) -> str:
    """The label has a value that nobody knows, which changes nothing."""
    node = world.server.nodes.get(machine.name)
    if node is None or node.label is None:
        return ""
    world.change_node(machine, label="enable")
    return "its label has a value that nobody knows"


def rotate(world: World, _machine: Machine, _number: int) -> str:
    """A person asks for a rotation."""
    return f"(rotation {world.ask()} is asked for)"


def rotate_without(world: World, machine: Machine, _number: int) -> str:
    """A person asks for a rotation, without this node if it holds it up."""
    world.judge.touch(machine.name)
    return f"(rotation {world.ask(machine.name)} is asked for, if need be without it)"


def off(world: World, machine: Machine, _number: int) -> str:
    """The machine is off."""
    if not machine.on:
        return ""
    world.judge.touch(machine.name)
    machine.boot(start=None)
    machine.on = False
    world.judge.rebooted(machine.name)
    world.change_node(machine, ready=False)
    return "is off"
