"""One machine: its kernel, what is on its disk, its links, and the real agent over them.

An agent may end at any of its writes: `Ended` goes through everything, as a kill does.
"""

# ruff: noqa: D102 - the methods are those of the ports
from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from tests.fakes.agent_side import AgentSide
from tests.fakes.api import Copies
from tests.fakes.builders import FAST, document
from tests.fakes.channel import Channel
from tests.fakes.kernel import Kernel
from tests.fakes.links import Uplink
from tests.fakes.packet import Packet, Way
from tests.fakes.store import Store
from wirecrypt.agent.components import Components
from wirecrypt.agent.datapath.guard_attachment import GuardAttachment
from wirecrypt.agent.datapath.writes import Datapath
from wirecrypt.agent.prepare import prepare
from wirecrypt.agent.reconciler import Reconciler
from wirecrypt.agent.store.blocklist import Blocklist, PairsOnDisk
from wirecrypt.agent.store.session_keeper import SessionKeeper
from wirecrypt.errors import WirecryptError
from wirecrypt.model.xfrm import Address, Network, SaKey
from wirecrypt.settings import from_document

if TYPE_CHECKING:
    from tests.unit.simulation.world import World

CONFIG = document(
    f"{FAST}serviceCIDRs: [10.96.0.0/16]\nclusterCIDRs: [10.0.0.0/12, 'fd00:100::/32']\n"
    "nodeCIDRs: [192.0.2.0/24, 'fd00:2::/64']\nrotation: {patience: 30s}\n"
)
SETTINGS = from_document(CONFIG)
AFTER_ERROR = 1.0
SHORTEST = 0.01


class Ended(BaseException):
    """An agent was killed in the middle of what it did."""


@dataclass(frozen=True, slots=True)
class Datagram:
    """A control datagram in ESP, on its way."""

    packet: Packet
    name: SaKey
    key: str
    outer: Address
    data: bytes


class Disk(PairsOnDisk):
    """The list of pairs that a boot blocks, on a disk in memory."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.refused = ""
        self.list = machine.listed

    @property
    def trouble(self) -> str:
        return ""

    def remove(self) -> None:
        self.list = self._machine.listed = None
        self._machine.wrote()

    def _save(self, blocklist: Blocklist) -> None:
        if blocklist != self.list:
            self.list = self._machine.listed = blocklist
            self._machine.wrote()


class Machine:
    """A machine *on* or off; *mute*: its agent never comes; *hostile*: somebody else speaks with its token.

    *due*: when the agent looks next; *revives*: when one that ended is started again; *frozen*: until when its copies stand
    still; *lag*: it sees what changed from then on. *ends_after*: writes until its agent ends.
    """

    def __init__(self, world: World, name: str, number: int) -> None:
        self.world, self.name, self.number = world, name, number
        self.replaced = 0
        self.on, self.mute, self.hostile = True, False, False
        self.place(number)
        self.listed: Blocklist | None = None
        self.boots = 0
        self.api = AgentSide(world.server, name, "", Copies(), self.wrote, self.leave_pod)
        self.agent: Reconciler | None = None
        self.passing = False
        self.due = self.revives = self.sees = float("inf")
        self.frozen = 0.0
        self.ends_after: int | None = None
        self.boot(start=None)

    def place(self, number: int, *, pods: bool = True) -> None:
        """Have addresses, and with *pods* prefixes, of this number."""
        self.addresses: tuple[Address, ...] = (ip_address(f"192.0.2.{number}"), ip_address(f"fd00:2::{number}"))
        if pods:
            self.pods: tuple[Network, ...] = (ip_network(f"10.1.{number}.0/24"), ip_network(f"fd00:100:{number}::/64"))

    @property
    def stamp(self) -> tuple[object, ...]:
        """Return what tells whether anything may be sent or taken in another way than before."""
        return self.kernel, self.kernel.version, self.on, self.places

    @property
    def places(self) -> tuple[object, ...]:
        """Return where the machine and its pods are."""
        return self.addresses, self.pods

    def boot(self, *, start: float | None) -> None:
        """Lose kernel and tmpfs, block what is on disk, and have the agent start at *start*."""
        self.boots += 1
        self.end()
        judge = self.world.judge
        self.kernel = Kernel(self.wrote, adds=lambda sa: judge.added(self, sa), deletes=lambda sa: judge.deletes(self, sa))
        self.tmpfs = Store(self.wrote)
        self.ends_after = None
        prepare(self.listed, self.kernel, self.kernel.guard, Uplink(self.addresses), SETTINGS)
        self.revives = float("inf") if start is None else start

    def start(self, *, copies: Copies | None = None) -> None:
        """Start an agent, with a token of the Node object that is there now."""
        node = self.world.server.nodes.get(self.name)
        self.end()
        if node is None or self.mute or self.hostile or not self.on:
            return
        booted = f"boot-{self.name}-{self.boots}"
        self.api = AgentSide(
            self.world.server, self.name, node.uid, copies or self.world.server.copies(), self.wrote, self.leave_pod
        )
        self.channel = Channel(self.post)
        guard, disk = self.kernel.guard, Disk(self)
        components = Components(
            node=self.name,
            cache=self.api.watch,
            api=self.api,
            xfrm=self.kernel,
            channel=self.channel,
            datapath=Datapath(self.kernel, guard, self.kernel.changes),
            guard_attachment=GuardAttachment(guard, Uplink(self.addresses)),
            session_keeper=SessionKeeper(self.tmpfs, self.api, booted, clock=lambda: self.world.now),
            pairs_on_disk=disk,
            boot_id=booted,
            versions=(("agent", "0"),),
        )
        self.agent = Reconciler(components)
        self.world.judge.restarted(self.name)
        self.due, self.sees = self.world.now, self.world.now + self.world.lag()

    def leave_pod(self) -> None:
        """Have another pod of the agent soon."""
        self.revives = self.world.now + 1.0

    def end(self) -> None:
        """End the agent; the kernel goes on."""
        self.agent = None
        self.channel = Channel(self.post)
        self.passing = False
        self.due = self.revives = self.sees = float("inf")
        self.ends_after = None

    def step(self) -> None:
        """Do a pass."""
        self._guarded(self._step)

    def tend(self) -> None:
        """Do what is due between two passes."""
        self._guarded(self._tend)

    def hear(self) -> None:
        """Take in what has arrived, as between two passes."""
        self._guarded(self._hear)

    def post(self, src: Address, dst: Address, mark: int, data: bytes) -> bool:
        """Have a control datagram be on its way, if it leaves by an SA."""
        packet = Packet(src, dst, mark=mark, proto=17, dport=SETTINGS.control_port)
        sent = self.kernel.leaves(packet)
        if sent.way is not Way.ESP or sent.name is None or sent.src is None or not sent.key:
            return False
        self.world.post(Datagram(packet, sent.name, sent.key, sent.src, data))
        return True

    def wrote(self, _what: str = "") -> None:
        """Note a write of the agent: its end may come here, and others may act before the next one."""
        if self.ends_after is not None and self.agent is not None:
            self.ends_after -= 1
            if self.ends_after < 0:
                raise Ended
        self.world.judge.look()
        self.world.between(self)

    def _guarded(self, what: object) -> None:
        assert callable(what)
        self.passing = True
        try:
            what()
        except Ended:
            self.end()
            self.revives = self.world.now + self.world.chance.choice((0.0, 0.3, 2.0))
        finally:
            self.passing = False

    def _step(self) -> None:
        assert self.agent is not None
        agent, now = self.agent, self.world.now
        try:
            due = agent.step(now)
        except WirecryptError as error:
            self.world.say(f"{self.name}: pass failed: {error}")
            agent.failed(error, now)
            due = now + AFTER_ERROR
        self.due = max(due, now + SHORTEST)

    def _tend(self) -> None:
        if self.agent is not None and self.agent.tend(self.world.now):
            self.due = min(self.due, self.world.now + SHORTEST)

    def _hear(self) -> None:
        if self.agent is not None and self.agent.hear(self.world.now):
            self.due = min(self.due, self.world.now + SHORTEST)


def packets(sender: Machine, receiver: Machine) -> tuple[Packet, ...]:
    """Return one packet of each class and family that *sender* may send to *receiver*."""
    return _packets(sender.addresses, sender.pods, receiver.addresses, receiver.pods)


@cache
def _packets(
    own: tuple[Address, ...], pods: tuple[Network, ...], theirs: tuple[Address, ...], others: tuple[Network, ...]
) -> tuple[Packet, ...]:
    found: list[Packet] = []
    for here, source, there, other in zip(own, pods, theirs, others, strict=True):
        found += [
            Packet(source[5], other[7], from_pod=True, to_pod=True),
            Packet(here, other[7], to_pod=True),
            Packet(source[5], there, from_pod=True),
            Packet(here, there),
        ]
    return tuple(found)
