"""A cluster in memory: an API server, nodes with their kernels, and on each the real agent over the real parts.

Only the ports stand in. Time is a number that `Cloud.run` moves. What a controller does is said by the test.
"""

# ruff: noqa: D102 - the port says what the channel's methods do

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

from tests.unit.agent.inmemory import CREATED, Api, Filters, Kernel, Memory, Uplink
from wirecrypt.agent.components import Components
from wirecrypt.agent.datapath.guard_attachment import GuardAttachment
from wirecrypt.agent.datapath.writes import Datapath
from wirecrypt.agent.reconciler import Reconciler
from wirecrypt.agent.store.blocklist import PairsOnDisk
from wirecrypt.agent.store.session_keeper import SessionKeeper
from wirecrypt.errors import KernelError
from wirecrypt.model.mark import MarkLayout
from wirecrypt.model.objects import LABEL_ENABLED, EncryptedNode, Node, NodePeer, NodeState
from wirecrypt.model.xfrm import Address, Network, SaKey
from wirecrypt.plan.snapshot import host
from wirecrypt.ports import Arrived

TICK = 0.25


@dataclass
class Channel:
    """Control datagrams: the mark chooses the SA, and arrives as the mark that the receiving SA sets."""

    cloud: Cloud
    machine: Machine
    inbox: list[Arrived] = field(default_factory=list)
    open: bool = False
    admitted: Mapping[Address, int] = field(default_factory=dict)

    def listen(self, addresses: Iterable[Address], port: int) -> Mapping[Address, KernelError]:
        assert (tuple(addresses), port > 0) == (self.machine.addresses, True)
        self.open = True
        return {}

    def failed(self) -> Mapping[Address, KernelError]:
        return {}

    def admit(self, senders: Iterable[Address], marks: MarkLayout) -> None:
        self.admitted = dict.fromkeys(senders, marks.shift)

    def unfiltered(self) -> str:
        return ""

    def files(self) -> Sequence[int]:
        return ()

    def send(self, src: Address, dst: Address, mark: int, data: bytes) -> bool:
        way = [
            p for p in self.machine.kernel.policies.values() if p.mark and p.mark.value == mark and p.selector.dst == host(dst)
        ]
        spi = next((t.spi for p in way for t in p.templates), 0)
        if SaKey(dst, spi) not in self.machine.kernel.sas:
            return False
        for other in self.cloud.machines.values():
            sa = other.kernel.sas.get(SaKey(dst, spi)) if dst in other.addresses and other.channel.open else None
            if sa is not None and sa.set_mark is not None and src in other.channel.admitted:
                other.channel.inbox.append(Arrived(src, sa.set_mark.value, data))
        return True

    def receive(self) -> Sequence[Arrived]:
        arrived, self.inbox = self.inbox, []
        return arrived

    def close(self) -> None:
        self.open, self.inbox = False, []


class Machine:
    """One node: what outlives its agent, and the agent. *journal* has all that was written to its kernel."""

    def __init__(self, cloud: Cloud, name: str, number: int) -> None:
        self.cloud, self.name = cloud, name
        self.addresses: tuple[Address, ...] = (ip_address(f"192.0.2.{number}"),)
        self.pods: tuple[Network, ...] = (ip_network(f"10.{number % 8}.0.0/24"),)
        self.pairs = cloud.folder / f"{name}.json"
        self.boots = 0
        self.boot()

    def boot(self) -> None:
        """Lose kernel and tmpfs, and start."""
        self.boots += 1
        self.journal: list[str] = []
        self.kernel, self.filters = Kernel(self.journal), Filters(self.journal)
        self.store = Memory()
        self.channel = Channel(self.cloud, self)
        self.start()

    def start(self) -> None:
        """Start an agent, as after the end of the one before."""
        api, booted = self.cloud.api, f"boot-{self.name}-{self.boots}"
        self.uplink = Uplink(self.addresses)
        components = Components(
            node=self.name,
            cache=api,
            api=api,
            xfrm=self.kernel,
            channel=self.channel,
            datapath=Datapath(self.kernel, self.filters),
            guard_attachment=GuardAttachment(self.filters, self.uplink),
            session_keeper=SessionKeeper(self.store, api, booted),
            pairs_on_disk=PairsOnDisk(self.pairs),
            boot_id=booted,
            versions=(("agent", "0"),),
        )
        self.agent = Reconciler(components)


class Cloud:
    """An API server and machines; *now* is the time of all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.api = Api()
        self.machines: dict[str, Machine] = {}
        self.now = 1000.0
        self.made = 0

    def add(self, name: str, number: int) -> Machine:
        """Have a node without label."""
        machine = self.machines[name] = Machine(self, name, number)
        born = CREATED + timedelta(seconds=number)
        self.api.nodes_by_name[name] = Node(name, f"uid-{name}", None, machine.addresses, machine.pods, born)
        return machine

    def label(self, name: str, *, node_id: int | None = None) -> None:
        """Label a node, and do what the controller does for one that joins."""
        node = self.api.nodes_by_name[name] = replace(self.api.nodes_by_name[name], label=LABEL_ENABLED)
        self.made += 1
        number = node_id if node_id is not None else int(str(node.endpoints[0]).rpartition(".")[2])
        created = CREATED + timedelta(days=self.made)
        uid = f"object-{name}-{self.made}"
        self.api.encrypted[name] = EncryptedNode(name, uid, number, node.uid, NodeState.JOINING, created)
        claims = node.endpoints, node.pod_cidrs
        self.api.by_name[name] = NodePeer(name, uid, number, node.uid, *claims, NodeState.JOINING, created)

    def state(self, state: NodeState, *names: str) -> None:
        """Set the state of these nodes."""
        for name in names:
            self.api.by_name[name] = replace(self.api.by_name[name], state=state)
            self.api.encrypted[name] = replace(self.api.encrypted[name], state=state)

    def unlabel(self, name: str) -> None:
        """Take the label off: the controller sets the state Leaving."""
        self.api.nodes_by_name[name] = replace(self.api.nodes_by_name[name], label=None)
        self.state(NodeState.LEAVING, name)

    def remove(self, name: str) -> None:
        """Remove a node's objects, as the controller does at the end."""
        del self.api.by_name[name], self.api.encrypted[name]

    def run(self, seconds: float, *names: str) -> None:
        """Let the agents of these machines, or of all, do passes for *seconds*."""
        for _ in range(int(seconds / TICK)):
            self.now += TICK
            for name in names or tuple(self.machines):
                self.machines[name].agent.step(self.now)

    def peer(self, name: str) -> NodePeer:
        """Return the NodePeer of a node."""
        return self.api.by_name[name]


def active(folder: Path, *names: str) -> Cloud:
    """Return a cloud whose nodes are Active, each pair encrypted."""
    cloud = Cloud(folder)
    for number, name in enumerate(names, 16):
        cloud.add(name, number)
        cloud.label(name)
    cloud.run(6)
    cloud.state(NodeState.ACTIVE, *names)
    cloud.run(2)
    assert {cloud.api.ready(name) for name in names} == {(True, "AllPeersProtected")}
    return cloud
