"""What must hold at every moment, whatever happens. It is looked at after each write of anybody.

Nothing is readable between two nodes that were encrypted, until a person's word ends it. No key is used twice for one
direction. No SA goes that a live pair sends by. Nobody that counts has an older epoch when a rotation is complete. Between
two nodes that no event touched nothing is lost, also of what is on its way when something changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.fakes.packet import Packet, Sent, Way
from tests.unit.simulation.machine import Machine, packets
from wirecrypt.model.guard import GuardAction
from wirecrypt.model.objects import KeyRotation, NodeState
from wirecrypt.model.spi import Spi
from wirecrypt.model.xfrm import Sa, SaKey, host

if TYPE_CHECKING:
    from tests.unit.simulation.world import World

FLIES = 0.9  # seconds that a packet is on its way at most: less than a drain
_ENDS = ("sender", "receiver")
_COUNT = (NodeState.JOINING, NodeState.ACTIVE)
_STAYS = (NodeState.JOINING, NodeState.ACTIVE, NodeState.EXCLUDED)


class Violation(AssertionError):
    """Something that must hold does not."""


@dataclass(slots=True)
class _Towards:
    """What is known of the traffic of one machine to another.

    *sealed*: packets that took ESP in this boot; *durable*: those that a boot blocks; *guarded*: prefixes that the guard had
    blocked. *now*: what is sent; *flying*: what was until a moment ago, and when;
    *arrived*: what of it came in ESP. *former*: there is no such node any more. The others say what that was seen with.
    """

    sealed: set[Packet] = field(default_factory=set)
    durable: set[Packet] = field(default_factory=set)
    guarded: set[object] = field(default_factory=set)
    now: dict[Packet, Sent] = field(default_factory=dict)
    flying: dict[tuple[Packet, Sent], float] = field(default_factory=dict)
    former: bool = False
    arrived: set[Packet] = field(default_factory=set)
    sender: object = None
    receiver: object = None
    places: object = None

    def open(self) -> None:
        """Note that plaintext is allowed (again)."""
        self.sealed.clear()
        self.guarded.clear()
        self.former = False
        self.durable.clear()


class Judge:
    """Sees everything, and raises `Violation`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._towards: dict[tuple[str, str], _Towards] = {}
        self._installed: set[tuple[str, SaKey, str]] = set()
        self._of: dict[tuple[str, SaKey, str], tuple[int, ...]] = {}  # the node IDs of both ends, as the installer saw them
        self._epochs: dict[tuple[str, SaKey, str], int] = {}
        self._senders: set[str] = set()
        self.touched: set[frozenset[str]] = set()
        self.probes = 0
        self._farewells: set[tuple[str, int]] = set()  # nodes, by name and node ID, whose label was taken off
        self._away = False
        self._changed: object = None

    # ---- what is told

    def touch(self, name: str, other: str = "") -> None:
        """Note that an event may cost packets between this machine and others, or one other."""
        names = [other] if other else [n for n in self._world.machines if n != name]
        self.touched |= {frozenset({name, each}) for each in names}

    @contextmanager
    def away(self) -> Iterator[None]:
        """Look away while something happens at once."""
        self._away, before = True, self._away
        try:
            yield
        finally:
            self._away = before

    def settled(self) -> None:
        """Note that all has come right: from here on nothing is excused."""
        self.touched.clear()

    def parted(self, name: str) -> None:
        """Note that a person's word ended the encryption of a node."""
        peer = self._world.peer(self._world.machines[name])
        if peer is not None:
            self._farewells.add((name, peer.node_id))
        for pair, towards in self._towards.items():
            if name in pair:
                towards.open()

    def rebooted(self, name: str, *, replaced: bool = False) -> None:
        """Note that a machine lost its kernel: what a boot does not block may be in clear, and all if it was *replaced*."""
        for pair, towards in self._towards.items():
            if pair[0] == name:
                if replaced:
                    towards.durable.clear()
                towards.sealed &= towards.durable
                if not towards.durable:
                    towards.open()
                towards.flying.clear()
                towards.now.clear()

    def restarted(self, name: str) -> None:
        """Note that an agent is new: it does not know who was there before, nor what a plain Node mentioned."""
        for machine in self._world.machines.values():
            node = self._world.server.nodes.get(machine.name)
            if node and node.label is None and not {*machine.addresses, *machine.pods} <= {*node.endpoints, *node.pod_cidrs}:
                self.touch(name, machine.name)
        for pair, towards in self._towards.items():
            if pair[0] == name and towards.former:
                towards.open()

    def added(self, machine: Machine, sa: Sa) -> None:
        """Look at an SA that is about to be added."""
        entry = (machine.name, sa.name, sa.key.fingerprint)
        if sa.name in machine.kernel.sas:
            raise Violation(f"{machine.name} installs {sa.name}, which is there")
        if entry in self._installed:
            raise Violation(f"{machine.name} installs {sa.name} with the same key twice")
        self._installed.add(entry)
        self._of[entry] = self._ids(machine, sa)
        self._epochs[entry] = self._epoch(sa)
        if sa.src in machine.addresses and not sa.receives:
            if sa.key.fingerprint in self._senders:
                raise Violation(f"{machine.name} sends with a key that was sent with before: {sa.name}")
            self._senders.add(sa.key.fingerprint)

    def deletes(self, machine: Machine, sa: Sa) -> None:
        """Look at an SA that is about to be deleted: nobody that is there sends by it."""
        if machine.kernel.points_at(sa.name):
            raise Violation(f"{machine.name} deletes {sa.name}, which its policies point at")
        sender = self._world.at(sa.src)
        if sa.src in machine.addresses or sender is None or not sender.on or not self._same_pair(machine, sender, sa):
            return
        theirs = sender.kernel.sas.get(sa.name)
        if theirs is not None and theirs.key == sa.key and sender.kernel.points_at(sa.name):
            raise Violation(f"{machine.name} deletes {sa.name}, by which {sender.name} sends to it")

    def completed(self, rotation: KeyRotation) -> None:
        """Look at the SAs that both ends of a pair have when a rotation is complete: none is of an older epoch."""
        counting = [m for m in self._world.machines.values() if self._counts(m) and not rotation.laggards]
        having = Counter((sa.name, sa.key.fingerprint) for machine in counting for sa in machine.kernel.sas.values())
        for machine in counting:
            for sa in machine.kernel.sas.values():
                epoch = self._epochs[machine.name, sa.name, sa.key.fingerprint]
                if epoch < rotation.to_epoch and having[sa.name, sa.key.fingerprint] == len(_ENDS):
                    raise Violation(f"{machine.name} has {sa.name} of epoch {epoch} when {rotation.name} is complete")

    def _counts(self, machine: Machine) -> bool:
        """Return whether a rotation is not complete without this machine."""
        peer = self._world.peer(machine)
        return peer is not None and peer.state in _COUNT and self._world.wished(machine) and not machine.hostile

    def _epoch(self, sa: Sa) -> int:
        """Return the epoch of an SA: that of either session whose residue is in its SPI, one of which is published."""
        spi, ends = Spi.decode(sa.spi), [self._world.at(address) for address in (sa.src, sa.dst)]
        ids = sorted(peer.node_id for peer in (self._world.peer(end) for end in ends if end) if peer)
        residues = (spi.residue_lo, spi.residue_hi) if spi else ()
        return max((self._world.server.epochs.get(session, 0) for session in zip(ids, residues, strict=False)), default=0)

    @staticmethod
    def _ids(machine: Machine, sa: Sa) -> tuple[int, ...]:
        """Return the node IDs that the ends of a receiving SA have: by the machine's copies, and by the SPI."""
        own, spi = machine.api.copies.peers.get(machine.name), Spi.decode(sa.spi)
        return (own.node_id if own else 0, spi.sender if spi else 0)

    def _same_pair(self, machine: Machine, sender: Machine, sa: Sa) -> bool:
        """Return whether the SA is of the pair that the two are now, and neither is on its way out."""
        peer, own = self._world.peer(sender), self._world.peer(machine)
        entry = (machine.name, sa.name, sa.key.fingerprint)
        if peer is None or own is None or self._of[entry] != (own.node_id, peer.node_id):
            return False
        nodes = self._world.server.nodes
        if sender.hostile:
            return False  # it says that it booted
        here = all(p.name in nodes and nodes[p.name].uid == p.node_uid for p in (peer, own))
        stay = all(p.state in (NodeState.JOINING, NodeState.ACTIVE) and not p.deleting for p in (peer, own))
        return here and stay and self._world.wished(machine) and self._world.wished(sender)

    # ---- what is seen

    def look(self) -> None:
        """Send what may be sent between any two machines, and judge what becomes of it."""
        machines = self._world.machines
        changed = (self._world.server.changes, *(m.stamp for m in machines.values()))
        if self._away or changed == self._changed:
            return
        self._changed = changed
        for sender, receiver in self.pairs():
            self._look(sender, receiver)

    def _look(self, sender: Machine, receiver: Machine) -> None:
        towards = self._towards.setdefault((sender.name, receiver.name), _Towards())
        self._end(sender, receiver, towards)
        if towards.sender != sender.stamp or towards.receiver != receiver.stamp:
            self._send(sender, receiver, towards)
            self._judge_arrivals(sender, receiver, towards)
        elif len(towards.durable) < len(towards.now):
            self._seal(sender, receiver, towards)

    def _send(self, sender: Machine, receiver: Machine, towards: _Towards) -> None:
        """Have what was sent until now be on its way, and what is sent from now on be judged."""
        before, now = towards.now, self._world.now
        if not sender.on:
            towards.now = {}
        elif towards.sender != sender.stamp or towards.places != receiver.places:
            towards.now = {packet: sender.kernel.leaves(packet) for packet in packets(sender, receiver)}
            towards.sealed &= towards.now.keys()
            towards.durable &= towards.now.keys()
            self._judge_sent(sender, receiver, towards)
        flying = {sent: at for sent, at in towards.flying.items() if now - at <= FLIES}
        over = before.items() - towards.now.items()
        towards.flying = flying | dict.fromkeys((each for each in over if each[1].way is not Way.BLOCKED), now)
        towards.sender, towards.receiver, towards.places = sender.stamp, receiver.stamp, receiver.places

    def _end(self, sender: Machine, receiver: Machine, towards: _Towards) -> None:
        """Take note of what ends encryption: a person's word, or, for all but prefixes of pods, that a node is no more.

        What was a pod's prefix is unknown then, whoever has it next, as long as the agent lives that knew the node.
        """
        if towards.former and self._world.peer(sender) and self._world.peer(receiver):
            towards.open()  # it joins as if for the first time
        for machine in (sender, receiver):
            node, peer = self._world.server.nodes.get(machine.name), self._world.peer(machine)
            if peer is not None and node is not None and node.label is None:
                self._farewells.add((peer.name, peer.node_id))
            leaving = peer is not None and peer.state is NodeState.LEAVING and (peer.name, peer.node_id) in self._farewells
            if (node is not None and node.label is None) or leaving:
                towards.open()
            elif node is None and peer is None:
                towards.former = True
                towards.durable.clear()
                towards.sealed = {packet for packet in towards.sealed if packet.to_pod and machine is receiver}

    def _judge_sent(self, sender: Machine, receiver: Machine, towards: _Towards) -> None:
        for packet, sent in towards.now.items():
            self.probes += 1
            if sent.way is Way.PLAIN and packet in towards.sealed | towards.durable:
                raise Violation(f"{sender.name} sends {packet.src} → {packet.dst} ({receiver.name}) in clear again")
            untouched = frozenset({sender.name, receiver.name}) not in self.touched
            if sent.way is Way.ESP and not sent.key and untouched:
                raise Violation(f"{sender.name} sends to {receiver.name} over {sent.name}, which it has not")
        self._judge_guard(sender, receiver, towards)

    def _judge_guard(self, sender: Machine, receiver: Machine, towards: _Towards) -> None:
        for prefix in receiver.pods:
            action = sender.kernel.guard.action(prefix[7], egress=True)
            if action is GuardAction.DROP and (towards.sealed or towards.durable):
                towards.guarded.add(prefix)
            elif prefix in towards.guarded and action in (GuardAction.PASS, None):
                raise Violation(f"{sender.name}: the guard lets {prefix} of {receiver.name} pass ({action})")

    def _judge_arrivals(self, sender: Machine, receiver: Machine, towards: _Towards) -> None:
        quiet = frozenset({sender.name, receiver.name}) not in self.touched and receiver.on
        arrived = set()
        for packet, sent in (*towards.now.items(), *towards.flying):
            if sent.way is Way.BLOCKED:
                if quiet:
                    raise Violation(f"{sender.name} blocks {packet.src} → {packet.dst} ({receiver.name})")
            elif receiver.on and receiver.kernel.takes(packet, sent):
                if sent.way is Way.ESP and towards.now.get(packet) is sent:
                    arrived.add(packet)
            elif quiet:
                how = "in clear" if sent.name is None else f"over {sent.name}"
                raise Violation(f"{receiver.name} does not get {packet.src} → {packet.dst}, sent {how} by {sender.name}")
        towards.arrived = arrived
        self._seal(sender, receiver, towards)

    def _seal(self, sender: Machine, receiver: Machine, towards: _Towards) -> None:
        """Note which packets arrive in ESP from here on, if the two nodes are a pair that stays."""
        peers = (self._world.peer(sender), self._world.peer(receiver))
        if not all(p is not None and p.state in _STAYS for p in peers):
            return
        if not (receiver.on and self._world.wished(sender) and self._world.wished(receiver)):
            return
        towards.former = towards.former and not towards.arrived
        towards.sealed |= towards.arrived
        uid = self._world.server.nodes[receiver.name].uid
        ends = [end for end in (sender.listed.peers if sender.listed else ()) if end.node_uid == uid]
        if ends:
            claims = (*ends[0].pod_cidrs, *map(host, ends[0].hosts))
            towards.durable |= {p for p in towards.arrived if any(p.dst in c for c in claims if c.version == p.dst.version)}

    def arrives(self, sender: Machine, receiver: Machine) -> dict[Packet, Way | None]:
        """Return how each packet gets from one machine to another, None for one that does not."""
        found: dict[Packet, Way | None] = {}
        for packet in packets(sender, receiver):
            sent = sender.kernel.leaves(packet)
            there = sent.way is not Way.BLOCKED and receiver.kernel.takes(packet, sent)
            found[packet] = sent.way if there else None
        return found

    def pairs(self) -> Iterator[tuple[Machine, Machine]]:
        """Yield every ordered pair of machines."""
        machines = self._world.machines.values()
        return ((a, b) for a in machines for b in machines if a is not b)
