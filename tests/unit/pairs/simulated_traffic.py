"""What must hold of data packets at every moment, in a world of simulated nodes.

Packets are not sent one by one: after every change, whatever each flow takes *now* counts as in flight for as long as a
drain, and every packet in flight must be receivable at every moment. That is the strongest adversary a network can be.
The exemptions are those of the models: what a reboot or a flush destroyed, and nothing else. A flow between two nodes is
exempt from one of these faults until it takes an SA that both ends have since then; from then on it must work again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tests.unit.pairs.simulated_agent import Agent
from tests.unit.pairs.simulated_kernel import BLOCKED, PLAIN, Flow, Kernel
from tests.unit.pairs.simulated_state import MARKS, PORT
from wirecrypt.model.objects import NodePeer, NodeState
from wirecrypt.model.spi import RESIDUES, Spi
from wirecrypt.model.xfrm import Sa, SaKey

FLUSH = "flush"


class Violation(AssertionError):
    """Something that must hold does not."""


@dataclass(frozen=True, slots=True)
class Packet:
    """A data packet: its flow, and the SA (with the key's fingerprint) that it travels in; PLAIN without.

    *disturbed*: what its flow, in cleartext, had not recovered from when it was sent.
    """

    flow: Flow
    via: SaKey | str
    key: str = ""
    disturbed: frozenset[str] = frozenset()


class Traffic:
    """Kernels, who they belong to, and the packets between them."""

    def __init__(self, names: list[str]) -> None:
        self.now = 100.0
        self.names = names
        self.api: dict[str, NodePeer] = {}
        self.ids: dict[str, NodePeer] = {}
        self.kernels = {n: Kernel(self._note_sa(n)) for n in names}
        self.agents: dict[str, Agent] = {}
        self.unreceived = 0  # datagrams that found no receiving SA
        self._keys: dict[tuple[str, SaKey, str], int] = {}  # node, SA, key → boot in which it was added
        self.slept: set[tuple[str, str]] = set()  # (a, b): a was off when b was removed, and hears of it when it is back
        self._wiped: set[tuple[str, SaKey]] = set()
        self._disturbed: dict[tuple[str, str, Flow], frozenset[str]] = {}  # by what: names of rebooted nodes, FLUSH
        self._secured: set[tuple[str, int, str, Flow]] = set()
        self._flying: dict[tuple[str, str], dict[Packet, float]] = {}
        self._versions: dict[str, int] = {}

    def note_session(self, name: str, number: int) -> None:
        """Take note of a session that was made: no SA of the node may carry its residue."""
        id_ = self.ids[name].node_id
        for sa in self.kernels[name].sas.values():
            spi = Spi.decode(sa.spi)
            other = next((p for p in self.ids.values() if p.name != name and {sa.src, sa.dst} & set(p.endpoints)), None)
            if spi is None or other is None or sa.name in self.kernels[name].foreign:
                continue
            carried = spi.residue_lo if id_ < other.node_id else spi.residue_hi
            if carried == number % RESIDUES:
                raise Violation(f"{name} takes number {number}, whose SPIs are still in its kernel")

    def expect_control_blocked(self, name: str, peer: str) -> None:
        """Raise Violation unless a control datagram with and without a mark is blocked at *name*."""
        own, other = self.ids[name].endpoints[0], self.ids[peer].endpoints[0]
        for mark in (0, MARKS.control(0, 0).value, MARKS.control(1, 1).value):
            if self.kernels[name].route(Flow(own, other, mark, 17, PORT)) != BLOCKED:
                raise Violation(f"a control datagram leaves {name} with mark {mark:#x}")

    def forgive(self, name: str, key: SaKey) -> None:
        """Note that an SA was lost by no fault of the core."""
        self._wiped.add((name, key))
        self.kernels[name].version += 1

    def disturb(self, name: str, peers: Iterable[str], by: str) -> None:
        """Note that *by* inevitably disturbs what *name* and each of *peers* send each other, until it works again."""
        for pair in [pair for peer in peers for pair in ((name, peer), (peer, name)) if set(pair) <= self.ids.keys()]:
            for flow in self._flows(*pair):
                self._disturbed[*pair, flow] = self._disturbance(*pair, flow) | {by}

    def _disturbance(self, sender: str, receiver: str, flow: Flow) -> frozenset[str]:
        return self._disturbed.get((sender, receiver, flow), frozenset())

    def check(self) -> None:
        """Raise Violation when anything that must hold does not."""
        before, self._versions = self._versions, {n: k.version for n, k in self.kernels.items()}
        changed = {n for n, version in self._versions.items() if before.get(n) != version}
        for sender, receiver in self._ordered():
            if not {sender, receiver} & changed:
                continue
            packets = self._flying.setdefault((sender, receiver), {})
            if sender not in changed:
                self._check_arrivals(sender, receiver, packets)
                continue
            routes = {self._packet(sender, receiver, flow) for flow in self._flows(sender, receiver)} - {None}
            for packet, at in packets.items():
                if at == float("inf") and packet not in routes:
                    packets[packet] = self.now
            packets |= dict.fromkeys((p for p in routes if p is not None), float("inf"))
            self._check_arrivals(sender, receiver, packets)

    def _check_arrivals(self, sender: str, receiver: str, packets: Iterable[Packet]) -> None:
        for packet in packets:
            self._check_arrival(sender, receiver, packet)

    def _ordered(self) -> Iterator[tuple[str, str]]:
        return ((a, b) for a in self.names for b in self.names if a != b and a in self.ids and b in self.ids)

    def _flows(self, sender: str, receiver: str) -> Iterable[Flow]:
        a, b = self.ids[sender], self.ids[receiver]
        pods = [(c[5], d[7]) for c, d in zip(a.pod_cidrs, b.pod_cidrs, strict=True)]
        yield Flow(*pods[0])
        yield Flow(*pods[0], MARKS.encrypt(1).value)
        yield Flow(*pods[1], MARKS.encrypt(0).value)
        yield Flow(a.endpoints[0], pods[0][1])
        yield Flow(pods[0][0], b.endpoints[0], MARKS.encrypt(3).value)

    def _packet(self, sender: str, receiver: str, flow: Flow) -> Packet | None:
        route = self.kernels[sender].route(flow)
        other = self.ids[receiver]
        disturbed = self._disturbance(sender, receiver, flow)
        if route == BLOCKED:
            if not disturbed:
                raise Violation(f"{sender} blocks traffic to {receiver}")
            return None
        if route == PLAIN:
            self._check_plain(sender, receiver, flow)
            return Packet(flow, PLAIN, disturbed=disturbed)
        assert isinstance(route, SaKey)
        self._secured.add((sender, self.agents[sender].boot, other.node_uid, flow))
        sa = self.kernels[sender].sas.get(route)
        if sa is None:
            if (sender, route) not in self._wiped:
                raise Violation(f"{sender} sends to {receiver} over {route}, which it has not")
            return None
        assert self.ids[sender].node_uid != other.node_uid
        there = self.kernels[receiver].sas.get(route)
        if there is not None and there.key.fingerprint == sa.key.fingerprint:
            self._disturbed.pop((sender, receiver, flow), None)
        return Packet(flow, route, sa.key.fingerprint)

    def _check_plain(self, sender: str, receiver: str, flow: Flow) -> None:
        a, b = self.api.get(sender), self.api.get(receiver)
        if a is None or b is None or NodeState.LEAVING in (a.state, b.state):
            return
        if FLUSH in self._disturbance(sender, receiver, flow):
            return
        if a.state is b.state is NodeState.ACTIVE:
            raise Violation(f"{sender} sends plaintext to {receiver}, both are Active")
        if b.node_uid in self.agents[sender].disk:
            raise Violation(f"{sender} sends plaintext to {receiver}, a pair that a boot blocks")
        if (sender, self.agents[sender].boot, b.node_uid, flow) in self._secured:
            raise Violation(f"{sender} sends plaintext to {receiver} again")

    def _check_arrival(self, sender: str, receiver: str, packet: Packet) -> None:
        kernel = self.kernels[receiver]
        if isinstance(packet.via, str):
            by = packet.disturbed | self._disturbance(sender, receiver, packet.flow)
            leaving = any(n in self.api and self.api[n].state is NodeState.LEAVING for n in (sender, receiver))
            excused = bool(by & {FLUSH, sender}) or (receiver in by and (leaving or receiver not in self.api))
            excused |= (receiver, sender) in self.slept
            if not kernel.takes_plain(packet.flow) and not excused:
                raise Violation(f"{receiver} drops plaintext of {sender}")
            return
        sa = kernel.sas.get(packet.via)
        if sa is not None and sa.key.fingerprint == packet.key:
            return
        boot = self._keys.get((receiver, packet.via, packet.key))
        if boot is not None and boot != self.agents[receiver].boot:
            return
        if (receiver, packet.via) not in self._wiped:
            raise Violation(f"{receiver} cannot receive what {sender} sent over {packet.via}")

    def _note_sa(self, name: str) -> Callable[[Sa], None]:
        def note(sa: Sa) -> None:
            key = (name, sa.name, sa.key.fingerprint)
            if key in self._keys:
                raise Violation(f"{name} installs {sa.name} with the same key twice")
            self._keys[key] = self.agents[name].boot

        return note
