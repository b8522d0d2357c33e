"""Machines, an API server, a controller and the network between them, with one clock that is moved by hand.

Who acts next is a matter of time: a pass that is due, copies that arrive, a datagram, a look of the controller. How late each
comes is drawn from the schedule's own chance, so that a schedule always happens in the same way.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

from tests.fakes.api import Copies
from tests.fakes.builders import START
from tests.fakes.packet import Sent, Way
from tests.fakes.versions import Killed
from tests.unit.simulation.judge import Judge
from tests.unit.simulation.machine import CONFIG, SETTINGS, Datagram, Machine
from tests.unit.simulation.watched import WatchedServer
from wirecrypt.controller import decide as controlling
from wirecrypt.controller.worker import Worker
from wirecrypt.model.link import Arrived
from wirecrypt.model.objects import LABEL_ENABLED, KeyRotation, Node, NodePeer, NodeState, Phase
from wirecrypt.model.xfrm import Address

LOOK = 5.0  # seconds between two looks of the controller without a reason
_NEVER = float("inf")
_OLD_COPIES = 16


class World:
    """Everything. *names* become machines with a Node each; those in *labelled* are to be encrypted."""

    def __init__(self, seed: int, names: str, labelled: str) -> None:
        self.chance = random.Random(seed)
        self.now = 1000.0
        self.story: list[str] = []
        self.server = WatchedServer(config=CONFIG, clock=lambda: self.now)
        self.judge = Judge(self)
        self.machines: dict[str, Machine] = {}
        self.machines |= {name: Machine(self, name, number) for number, name in enumerate(names, 16)}
        self.wire: list[tuple[float, int, Datagram]] = []
        self.posted = 0
        self.lost = self.doubled = 0.0  # shares of datagrams
        self.slow = 0.02  # seconds that a datagram takes at most
        self.restless = 0.0  # how likely others act between two writes of a pass
        self.history: deque[Copies] = deque(maxlen=_OLD_COPIES)
        self._seen_changes = -1
        self.absent = 0.0  # until when no controller looks
        self.uids = 0
        self.lead()
        for name in names:
            self.make_node(self.machines[name], label=LABEL_ENABLED if name in labelled else None)
            self.machines[name].start()

    # ---- the cluster

    def lead(self) -> None:
        """Have a new process lead, that remembers nothing."""
        self.server.most = 2**31
        self.memory = controlling.ControllerMemory()
        self.worker = Worker(self.server, lambda: True, clock=lambda: self.now)
        self.looks = self.now

    def make_node(self, machine: Machine, *, label: str | None) -> None:
        """Have a Node of the machine's name, with all that the machine has."""
        self.uids += 1
        made = START + timedelta(seconds=self.now)
        uid = f"uid-{machine.name}-{self.uids}"
        self.server.nodes[machine.name] = Node(machine.name, uid, label, machine.addresses, machine.pods, made)
        self.server.note()

    def change_node(self, machine: Machine, **changes: object) -> None:
        """Change the machine's Node, if it has one."""
        node = self.server.nodes.get(machine.name)
        if node is not None:
            self.server.nodes[machine.name] = replace(node, **changes)  # type: ignore[arg-type]  # fields of a Node
            self.server.note()

    def ask(self, *without: str) -> str:
        """Ask for a rotation, and return its name; *without*: nodes that may be cut off for it."""
        self.uids += 1
        name, made = f"asked-{self.uids}", START + timedelta(seconds=self.now)
        self.server.rotations[name] = KeyRotation(
            name, f"uid-{name}", "asked", made, without=without, resource_version=f"{self.server.version}.{self.uids}"
        )
        self.server.note()
        return name

    def wished(self, machine: Machine) -> bool:
        """Return whether a person wishes the machine's traffic encrypted."""
        node = self.server.nodes.get(machine.name)
        return node is not None and node.label is not None

    def peer(self, machine: Machine) -> NodePeer | None:
        """Return the machine's NodePeer, none for one that was removed."""
        peer = self.server.peers.get(machine.name)
        return peer if peer is not None and peer.state is not NodeState.REMOVED else None

    def at(self, address: Address) -> Machine | None:
        """Return the machine that is reached at an address of its own, or of its pods."""
        for machine in self.machines.values():
            if address in machine.addresses or any(address in p for p in machine.pods if p.version == address.version):
                return machine
        return None

    def say(self, what: str) -> None:
        """Add to the story."""
        self.story.append(f"{self.now - 1000:8.2f}  {what}")

    # ---- time

    def lag(self) -> float:
        """Return how late a change is seen."""
        return self.chance.choice((0.0, 0.02, 0.1, 0.4))

    def run(self, seconds: float) -> None:
        """Let time pass, and everybody act."""
        end = self.now + seconds
        while True:
            self.spread()
            at, act = min(self._next(), key=lambda each: each[0])
            if at > end:
                break
            self.now = max(self.now, at)
            act()
            self.judge.look()
        self.now = end
        self.judge.look()

    def spread(self) -> None:
        """Have what changed in the API be seen, by each a little later."""
        if self.server.changes == self._seen_changes:
            return
        self._seen_changes = self.server.changes
        self.history.append(self.server.copies())
        self.looks = min(self.looks, self.now + self.lag() + 0.01)
        for machine in self.machines.values():
            if machine.agent is not None:
                machine.sees = min(machine.sees, self.now + self.lag())

    def _next(self) -> list[tuple[float, Callable[[], None]]]:
        found: list[tuple[float, Callable[[], None]]] = [(max(self.looks, self.absent), self.control), (_NEVER, lambda: None)]
        if self.wire:
            found.append((self.wire[0][0], self._deliver))
        for machine in self.machines.values():
            found.append((machine.revives, machine.start))
            if machine.agent is not None:
                found.append((max(machine.sees, machine.frozen), lambda m=machine: self._sees(m)))  # type: ignore[misc]
                found.append((machine.due, machine.step))
                found.append((machine.agent.tending_due, machine.tend))
        return found

    def _sees(self, machine: Machine) -> None:
        machine.sees = _NEVER
        if not machine.api.down:
            machine.api.copies = self.server.copies()
            machine.due = self.now
        else:
            machine.sees = self.now + 1.0

    def control(self) -> None:
        """Have the controller look and do what is due."""
        self.looks = self.now + LOOK
        view = self.server.view()
        assert view is not None
        now = controlling.Now(START + timedelta(seconds=int(self.now)), self.now, f"{self.chance.getrandbits(128):032x}")
        self.memory = replace(self.memory, refused=self.worker.refused).seen(view, self.now)
        before = {name: (peer.state, peer.node_id) for name, peer in self.server.peers.items()}
        phases = {name: rotation.phase for name, rotation in self.server.rotations.items()}
        try:
            self.worker.do(controlling.decide(view, SETTINGS, self.memory, now), view)
        except Killed:
            self.say("the controller dies")
            self.lead()
            self.looks = self.now + self.chance.choice((0.1, 3.0, 15.0))
        self._tell(before, phases)

    def _tell(self, before: dict[str, tuple[NodeState, int]], phases: Mapping[str, object]) -> None:
        peers = {name: (peer.state, peer.node_id) for name, peer in self.server.peers.items()}
        for name in sorted(before.keys() | peers.keys()):
            if before.get(name) != peers.get(name):
                state, node_id = peers.get(name, (None, 0))
                self.say(f"  controller: {name} is {state.value + f' ({node_id})' if state else 'removed'}")
        for name, rotation in self.server.rotations.items():
            if rotation.phase is not phases.get(name) and rotation.phase:
                self.say(f"  controller: rotation {name} is {rotation.phase.value}")
                if rotation.phase is Phase.COMPLETE:
                    self.judge.completed(rotation)

    def between(self, writer: Machine) -> None:
        """Have others act between two writes of a pass, now and then."""
        if self.restless and writer.passing and self.chance.random() < self.restless:
            idle = [m for m in self.machines.values() if m.agent is not None and not m.passing]
            if idle:
                self.chance.choice(idle).step()

    # ---- the network

    def post(self, datagram: Datagram) -> None:
        """Put a datagram on the wire; it may be lost, or arrive twice."""
        for _ in range(2 if self.chance.random() < self.doubled else 1):
            if self.chance.random() >= self.lost:
                self.posted += 1
                at = self.now + 0.001 + self.chance.random() * self.slow
                self.wire.append((at, self.posted, datagram))
        self.wire.sort(key=lambda each: each[:2])

    def _deliver(self) -> None:
        _, _, datagram = self.wire.pop(0)
        receiver = self.at(datagram.packet.dst)
        if receiver is None or not receiver.on or receiver.agent is None:
            return
        sa = receiver.kernel.sas.get(datagram.name)
        sent = Sent(Way.ESP, datagram.name, datagram.key, datagram.outer)
        if sa is None or sa.set_mark is None or not receiver.kernel.takes(datagram.packet, sent):
            return
        if receiver.channel.arrive(Arrived(datagram.packet.src, sa.set_mark.value, datagram.data)):
            receiver.hear()
