"""What may fail: machines, agents, their copies, the network, the controller; and who may turn hostile."""

# ruff: noqa: D401 - what happens is told as it is seen

from __future__ import annotations

from dataclasses import replace

from tests.fakes import crd
from tests.fakes.api import Copies
from tests.unit.simulation.machine import Machine
from tests.unit.simulation.world import World
from wirecrypt import keys
from wirecrypt.errors import ClusterError
from wirecrypt.model.access import TokenIdentity
from wirecrypt.model.objects import NodeState
from wirecrypt.model.session import Epoch, Session
from wirecrypt.model.spi import Spi
from wirecrypt.model.xfrm import Algorithm


def on(world: World, machine: Machine, _number: int) -> str:
    """The machine boots."""
    if machine.on or machine.name not in world.server.nodes:
        return ""
    machine.on = True
    machine.boot(start=world.now + 0.5)
    world.change_node(machine, ready=True)
    return "is on again"


def reboot(world: World, machine: Machine, number: int) -> str:
    """The machine boots at once."""
    if not machine.on:
        return ""
    world.judge.touch(machine.name)
    machine.boot(start=world.now + (0.1, 1.0, 5.0)[number % 3])
    world.judge.rebooted(machine.name)
    return "boots"


def not_ready(world: World, machine: Machine, number: int) -> str:
    """The Node is not Ready, or is again, though nothing is wrong with the machine."""
    if not machine.on or machine.name not in world.server.nodes:
        return ""
    world.change_node(machine, ready=bool(number % 2))
    _touch_silent(world)
    return f"its Node is {'' if number % 2 else 'not '}Ready"


def restart(world: World, machine: Machine, number: int) -> str:
    """The agent is started anew, perhaps with copies that are older than those before."""
    if machine.agent is None:
        return ""
    old = list(world.history)
    copies = old[number % len(old)] if old and number % 3 == 0 else None
    for name in world.machines if copies is not None else ():
        if _wish(copies, name) != _wish(world.server.copies(), name):  # who sees one stay that leaves blocks for a moment
            world.judge.touch(machine.name, name if name != machine.name else "")
    machine.start(copies=copies)
    return "its agent is started anew" + (", with old copies" if number % 3 == 0 else "")


def _wish(copies: Copies, name: str) -> tuple[bool, bool]:
    """Return whether a node has the label, and whether it is on its way out, as these copies show it."""
    node, peer = copies.nodes.get(name), copies.peers.get(name)
    leaves = peer is not None and peer.state in (NodeState.LEAVING, NodeState.REMOVED)
    return node is not None and node.label is not None, leaves


def crash(world: World, machine: Machine, number: int) -> str:
    """The agent ends after some more writes."""
    machine.ends_after = number % 40
    return f"its agent ends after {number % 40} more writes"


def dead(world: World, machine: Machine, number: int) -> str:
    """The agent ends, and comes back late."""
    if machine.agent is None:
        return ""
    world.judge.touch(machine.name)
    machine.end()
    machine.revives = world.now + 5.0 + number % 40
    return f"its agent is dead for {5 + number % 40} s"


def forgets(world: World, machine: Machine, _number: int) -> str:
    """The agent loses its state file and is started anew."""
    if machine.agent is None:
        return ""
    machine.tmpfs.kept = None
    machine.start()
    return "its agent loses its state file"


def frozen(world: World, machine: Machine, number: int) -> str:
    """The agent's copies stand still for a while."""
    machine.frozen = world.now + 1.0 + number % 30
    return f"its copies stand still for {1 + number % 30} s"


def cut_off(world: World, machine: Machine, _number: int) -> str:
    """The agent cannot ask the API server any more, or can again."""
    machine.api.down = not machine.api.down
    return f"its agent {'cannot' if machine.api.down else 'can'} ask the API server"


def renewal(world: World, machine: Machine, _number: int) -> str:
    """The kernel tells of soft limits that were reached."""
    if machine.agent is None:
        return ""
    sending = [n for n, sa in machine.kernel.sas.items() if sa.src in machine.addresses]
    machine.agent.expired(sending)
    machine.due = min(machine.due, world.now)
    return "its SAs reach a soft limit"


def wiped(world: World, machine: Machine, number: int) -> str:
    """Somebody flushes its SAs."""
    names = [n for n in machine.kernel.sas if number % 2 or (spi := Spi.decode(n.spi)) is None or spi.sender % 2]
    world.judge.touch(machine.name)
    for name in names:
        del machine.kernel.sas[name]
    machine.kernel.version += 1
    machine.due = min(machine.due, world.now)
    return f"somebody deletes {len(names)} of its SAs"


def controller_dies(world: World, _machine: Machine, number: int) -> str:
    """The controller ends after some more writes."""
    world.server.most = world.server.writes + number % 12
    return f"(the controller ends after {number % 12} more writes)"


def controller_away(world: World, _machine: Machine, number: int) -> str:
    """The controller does not look for a while."""
    world.absent = world.now + 5 + number % 30
    return f"(no controller for {5 + number % 30} s)"


def noise(world: World, _machine: Machine, number: int) -> str:
    """Datagrams are lost, come twice, come late; others act in the middle of passes."""
    world.lost, world.doubled = (0.0, 0.3, 0.8)[number % 3], (0.0, 0.5)[number % 2]
    _touch_silent(world)
    world.slow, world.restless = (0.02, 0.5, 3.0)[number // 3 % 3], (0.0, 0.05)[number // 2 % 2]
    return f"(of datagrams {world.lost:.0%} are lost, {world.doubled:.0%} come twice, up to {world.slow} s late)"


def _touch_silent(world: World) -> None:
    """Expect nothing of a node that is not Ready while datagrams are lost: who leaves may take it for down and silent."""
    for name, node in world.server.nodes.items():
        if world.lost and not node.ready:
            world.judge.touch(name)


def hostile(world: World, machine: Machine, number: int) -> str:
    """Somebody has the node's token, ends its agent and publishes numbers that never were."""
    peer, node = world.peer(machine), world.server.nodes.get(machine.name)
    if peer is None or node is None or peer.node_uid != node.uid or peer.state is NodeState.EXCLUDED or not machine.on:
        return ""
    world.judge.touch(machine.name)
    machine.end()
    machine.hostile = True
    highest = crd.ahead(s.epoch.number for s in peer.sessions)
    last = peer.last_session + crd.STEP if peer.last_session else crd.HIGHEST
    epoch, number_now = (highest, peer.last_session + 1) if number % 2 else (1, last)
    known = {k.epoch.number: k.epoch for k in world.server.keys[machine.name].keys} if machine.name in world.server.keys else {}
    told = known.get(max(known, default=0), Epoch(epoch, "ff" * 16)) if not number % 2 else Epoch(epoch, "ff" * 16)
    session = Session(number_now, told, keys.new_session_key().public, 1, Algorithm.AES_256_GCM)
    token = TokenIdentity(node=machine.name, node_uid=node.uid)
    try:
        world.server.publish(
            token,
            replace(
                peer,
                sessions=(session,),
                last_session=number_now,
                boot_session=number_now if number % 3 else peer.boot_session,
                proposed=tuple(a for m in world.machines.values() for a in m.addresses),
            ),
        )
    except ClusterError as error:
        return f"is hostile, and refused: {error}"
    status = world.server.encrypted.get(machine.name)
    if status is not None and status.status is not None:
        lie = replace(status.status, sending_epoch=crd.HIGHEST, accepting_epochs=(1, crd.HIGHEST))
        world.server.encrypted[machine.name] = replace(status, status=lie)  # as after nine million writes, a step each
        world.server.note()
    return f"is hostile: session {number_now} of epoch {told.number}"
