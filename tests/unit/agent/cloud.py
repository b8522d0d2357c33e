"""A cluster in memory: an API server, nodes with their kernels, and on each the real agent over the real parts.

Only the ports stand in. Time is a number that `Cloud.run` moves. What a controller does is said by the test, object by object.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

from tests.fakes.agent_side import AgentSide
from tests.fakes.api import ApiServer
from tests.fakes.builders import EPOCH, FAST, START, document, node_key
from tests.fakes.channel import Channel
from tests.fakes.kernel import Kernel
from tests.fakes.links import Uplink
from tests.fakes.store import Store
from wirecrypt.agent.components import Components
from wirecrypt.agent.datapath.guard_attachment import GuardAttachment
from wirecrypt.agent.datapath.writes import Datapath
from wirecrypt.agent.reconciler import Reconciler
from wirecrypt.agent.store.blocklist import PairsOnDisk
from wirecrypt.agent.store.session_keeper import SessionKeeper
from wirecrypt.model.access import AccessPart, KeyAccess
from wirecrypt.model.link import Arrived
from wirecrypt.model.objects import LABEL_ENABLED, EncryptedNode, KeyRotation, KeySecret, Node, NodePeer, NodeState, Phase
from wirecrypt.model.session import Epoch
from wirecrypt.model.xfrm import Address, Network, SaKey, host

TICK = 0.25
CONFIG = f"{FAST}clusterCIDRs: [10.0.0.0/13]\n"
FIRST = KeyRotation("initial", "r", "", START, phase=Phase.COMPLETE, to_epoch=EPOCH.number, to_epoch_id=EPOCH.id)


class Machine:
    """One node: what outlives its agent, and the agent. *journal* has all that was written to its kernel."""

    def __init__(self, cloud: Cloud, name: str, number: int) -> None:
        self.cloud, self.name = cloud, name
        self.addresses: tuple[Address, ...] = (ip_address("192.0.2.0") + number,)
        self.pods: tuple[Network, ...] = (ip_network(f"10.{number % 8}.{(number - 16) // 8 % 256}.0/24"),)
        self.pairs = cloud.folder / f"{name}.json"
        self.boots = 0
        self.token = ""
        born = START + timedelta(seconds=number)
        cloud.api.nodes[name] = Node(name, f"uid-{name}", None, self.addresses, self.pods, born)
        self.boot()

    def boot(self) -> None:
        """Lose kernel and tmpfs, and start."""
        self.boots += 1
        self.journal: list[str] = []
        self.kernel = Kernel(self.journal.append)
        self.filters, self.store = self.kernel.guard, Store()
        self.channel = Channel(self.post)
        self.start()

    def start(self) -> None:
        """Start an agent, as after the end of the one before, with a token of the Node that is there now."""
        node, booted = self.cloud.api.nodes.get(self.name), f"boot-{self.name}-{self.boots}"
        self.token = node.uid if node else self.token
        self.api = api = AgentSide(self.cloud.api, self.name, self.token, None, self.cloud.writes.append, self.leave_pod)
        self.uplink = Uplink(self.addresses)
        components = Components(
            node=self.name,
            cache=api.watch,
            api=api,
            xfrm=self.kernel,
            channel=self.channel,
            datapath=Datapath(self.kernel, self.filters, self.kernel.changes),
            guard_attachment=GuardAttachment(self.filters, self.uplink),
            session_keeper=SessionKeeper(self.store, api, booted, clock=lambda: self.cloud.clock),
            pairs_on_disk=PairsOnDisk(self.pairs),
            boot_id=booted,
            versions=(("agent", "0"),),
        )
        self.agent = Reconciler(components)

    def leave_pod(self) -> None:
        """Note that the agent deleted its pod."""
        self.cloud.writes.append(f"delete pod of {self.name}")

    def post(self, src: Address, dst: Address, mark: int, data: bytes) -> bool:
        """Bring a datagram to whoever has its SA, if it leaves by one."""
        policies = (p for p in self.kernel.policies.values() if p.mark and p.mark.value == mark and p.selector.dst == host(dst))
        name = SaKey(dst, next((t.spi for p in policies for t in p.templates), 0))
        if name not in self.kernel.sas:
            return False
        for other in self.cloud.machines.values():
            sa = other.kernel.sas.get(name) if dst in other.addresses else None
            if sa is not None and sa.set_mark is not None and other.channel.arrive(Arrived(src, sa.set_mark.value, data)):
                other.kernel.used.add(name)
        return True


class Cloud:
    """An API server and machines; *now* is the time of all, by their *clock* it is another.

    *writes*: what agents wrote to the API; *epochs*: those that node keys are given of.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.api = ApiServer(config=document(CONFIG), rotations={FIRST.name: FIRST})
        self.writes: list[str] = []
        self.epochs: tuple[Epoch, ...] = (EPOCH,)
        self.machines: dict[str, Machine] = {}
        self.now = 1000.0
        self.clock = 0.0
        self.made = 0

    def add(self, name: str, number: int) -> Machine:
        """Have a node without label."""
        self.machines[name] = Machine(self, name, number)
        return self.machines[name]

    def label(self, name: str, *, node_id: int | None = None) -> None:
        """Label a node, and do what the controller does for one that joins."""
        node = self.api.nodes[name] = replace(self.api.nodes[name], label=LABEL_ENABLED)
        self.made += 1
        number = node_id if node_id is not None else int(str(node.endpoints[0]).rpartition(".")[2])
        created = START + timedelta(days=self.made)
        uid = f"object-{name}-{self.made}"
        self.api.encrypted[name] = EncryptedNode(name, uid, number, node.uid, NodeState.JOINING, created)
        claims = node.endpoints, node.pod_cidrs
        self.api.peers[name] = NodePeer(name, uid, number, node.uid, *claims, NodeState.JOINING, created)
        self.api.access |= {(name, part): KeyAccess(name, part, uid) for part in AccessPart}
        self.give(*self.epochs)

    def give(self, *epochs: Epoch) -> None:
        """Give every node keys of these epochs, and no others."""
        self.epochs = epochs
        for peer in self.api.peers.values():
            keys = tuple(node_key(epoch, peer.node_uid) for epoch in epochs)
            self.api.keys[peer.name] = KeySecret(peer.name, peer.node_uid, keys)

    def rotate(self, rotation: KeyRotation | None) -> None:
        """Have this rotation next to the first, and no other."""
        self.api.rotations = {r.name: r for r in (FIRST, rotation) if r is not None}

    def state(self, state: NodeState, *names: str) -> None:
        """Set the state of these nodes."""
        for name in names:
            self.api.peers[name] = replace(self.api.peers[name], state=state)
            self.api.encrypted[name] = replace(self.api.encrypted[name], state=state)

    def unlabel(self, name: str) -> None:
        """Take the label off: the controller sets the state Leaving."""
        self.api.nodes[name] = replace(self.api.nodes[name], label=None)
        self.state(NodeState.LEAVING, name)

    def remove(self, name: str) -> None:
        """Remove a node's objects, as the controller does at the end."""
        del self.api.peers[name], self.api.encrypted[name]

    def run(self, seconds: float, *names: str) -> None:
        """Let the agents of these machines, or of all, do passes for *seconds*."""
        for _ in range(int(seconds / TICK)):
            self.now += TICK
            for name in names or tuple(self.machines):
                self.machines[name].agent.step(self.now)

    def ready(self, name: str) -> tuple[bool | None, str]:
        """Return status and reason of the node's condition Ready."""
        return next((c.status, c.reason) for c in self.api.encrypted[name].conditions if c.type == "Ready")

    def peer(self, name: str) -> NodePeer:
        """Return the NodePeer of a node."""
        return self.api.peers[name]


def active(folder: Path, *names: str) -> Cloud:
    """Return a cloud whose nodes are Active, each pair encrypted."""
    cloud = Cloud(folder)
    for number, name in enumerate(names, 16):
        cloud.add(name, number)
        cloud.label(name)
    return joined(cloud, *names)


def joined(cloud: Cloud, *names: str) -> Cloud:
    """Return *cloud* when its labelled nodes of these *names* are Active, each pair encrypted."""
    cloud.run(6)
    cloud.state(NodeState.ACTIVE, *names)
    cloud.run(2)
    assert {cloud.ready(name) for name in names} == {(True, "AllPeersProtected")}
    return cloud
