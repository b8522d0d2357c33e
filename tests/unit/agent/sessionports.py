"""What sessions are made of and go to, in memory: a state file, an API server, a kernel; and a node around the real classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.fakes.agent_side import AgentSide
from tests.fakes.api import ApiServer
from tests.fakes.builders import START, node_key
from tests.fakes.kernel import Kernel
from tests.fakes.store import Store
from tests.unit.agent import node
from wirecrypt import keys
from wirecrypt.agent.components import Components, PairsOnDisk
from wirecrypt.agent.datapath.guard_attachment import guard_settings
from wirecrypt.agent.datapath.writes import Datapath
from wirecrypt.agent.steps.installing import Installer
from wirecrypt.agent.steps.publishing import Publisher
from wirecrypt.agent.steps.renewal import SessionRenewal
from wirecrypt.agent.store.keyring import KeyRing
from wirecrypt.agent.store.session_keeper import SessionKeeper
from wirecrypt.agent.store.state import State
from wirecrypt.agent.view.cluster_view import ClusterView
from wirecrypt.agent.view.pair_view import Flags, view_pair
from wirecrypt.agent.view.pass_state import PassState
from wirecrypt.errors import Unreachable
from wirecrypt.model.access import AccessPart, KeyAccess
from wirecrypt.model.objects import KeyRotation, KeySecret, NodePeer, Phase
from wirecrypt.model.session import Epoch, Session
from wirecrypt.model.xfrm import Algorithm
from wirecrypt.pairs.decide import decide
from wirecrypt.pairs.memory import PairMemory, Timing
from wirecrypt.settings import Settings

BOOT = "boot-1"
ONE, TWO, OTHER_TWO = Epoch(1, "01" * 16), Epoch(2, "02" * 16), Epoch(2, "ff" * 16)
LANES = 1
SETTINGS = replace(Settings(), lanes=LANES, algorithm=Algorithm.AES_256_GCM)
MARKS = SETTINGS.mark.layout
SMALL_ORDER = bytes(32)  # a public key with which no secret can be agreed on


def peer(name: str, number: int, *sessions: Session) -> NodePeer:
    """Return a NodePeer with these sessions published."""
    plain = node.peer(name, number)
    last = max((s.number for s in sessions), default=0)
    return replace(plain, sessions=sessions, last_session=last, boot_session=min(last, 1), resource_version="1")


def session(number: int, epoch: Epoch = ONE, *, public: bytes = b"", lanes: int = LANES) -> Session:
    """Return a session of a peer."""
    return Session(number, epoch, public or keys.new_session_key().public, lanes, Algorithm.AES_256_GCM)


def rotation(to: Epoch, phase: Phase = Phase.COMPLETE, start: int = 0) -> KeyRotation:
    name = f"r{to.number}"
    return KeyRotation(
        name, name, "", START, phase=phase, from_epoch=start, to_epoch=to.number, to_epoch_id=to.id
    )  # fmt: skip


class Api(AgentSide):
    """What the agent of *own* has of an API server that gave it keys of *epochs*; *log* has its reads and writes.

    *answer_lost*: a write is done and its answer does not arrive. *before_write* happens between read and write.
    """

    def __init__(self, own: NodePeer, *epochs: Epoch) -> None:
        access = {(own.name, part): KeyAccess(own.name, part, "uid") for part in AccessPart}
        super().__init__(ApiServer(access=access, version=100), own.name, own.node_uid)
        self.own, self.epochs = own, epochs or (ONE,)
        self.answer_lost = False
        self.before_write: Callable[[], None] = lambda: None
        self.writes = 0
        self.log: list[str] = []

    @property
    def own(self) -> NodePeer:
        """Return the own NodePeer."""
        return self.server.peers[self.name]

    @own.setter
    def own(self, peer: NodePeer) -> None:
        self.server.peers[self.name] = peer

    @property
    def epochs(self) -> tuple[Epoch, ...]:
        """Return those of the Secret's keys."""
        return tuple(key.epoch for key in self.server.keys[self.name].keys)

    @epochs.setter
    def epochs(self, epochs: tuple[Epoch, ...]) -> None:
        keys = tuple(node_key(epoch, self.token) for epoch in epochs)
        self.server.keys[self.name] = KeySecret(self.name, self.token, keys)

    def node_peer(self, name: str) -> NodePeer | None:
        """Note the read."""
        self.log.append("read")
        return super().node_peer(name)

    def publish_sessions(self, peer: NodePeer, *, boot_id: str, boot_session: int, sessions: Sequence[Session]) -> NodePeer:
        """Note the write, and perhaps lose the answer."""
        self.log.append("write")
        self.before_write()
        written = super().publish_sessions(peer, boot_id=boot_id, boot_session=boot_session, sessions=sessions)
        self.writes += 1
        if self.answer_lost:
            raise Unreachable("patch", answer="no answer")
        return written


class Node:
    """Node a with the real keeper, publisher and installer; *peers* and *rotations* are what its API view shows."""

    def __init__(self, disk: Path, *peers: NodePeer, own: NodePeer | None = None) -> None:
        self.log: list[str] = []
        self.store = Store(self.log.append)
        self.api = Api(own or peer("a", 16))
        self.kernel = Kernel(self.log.append)
        self.peers = peers
        self.rotations: tuple[KeyRotation, ...] = (rotation(ONE),)
        self.inputs: NodePeer | None = None  # an older one than the API's
        self.now = 1000.0
        self.lanes = LANES
        self.kernel.guard.load(guard_settings(self.api.own, SETTINGS, marks=MARKS, esp_keeps_mark=False))
        self.log.clear()
        self.session_keeper = SessionKeeper(self.store, self.api, BOOT, clock=lambda: 0.0)
        self.datapath = Datapath(self.kernel, self.kernel.guard)
        outside: Any = SimpleNamespace()
        self.components = Components(
            node="a",
            cache=outside,
            api=self.api,
            xfrm=self.kernel,
            channel=outside,
            datapath=self.datapath,
            guard_attachment=outside,
            session_keeper=self.session_keeper,
            pairs_on_disk=PairsOnDisk(disk / "pairs.json"),
            boot_id=BOOT,
            versions=(),
        )
        self.renewal = SessionRenewal()
        self.publisher = Publisher(self.components, self.renewal)
        self.ring = KeyRing()
        self.installer = Installer(self.components, self.ring)

    @property
    def state(self) -> State:
        """Return what the keeper holds."""
        assert self.session_keeper.state is not None
        return self.session_keeper.state

    def look(self) -> PassState:
        """Look at every peer and decide."""
        own = self.inputs or self.api.own
        state, kernel = self.session_keeper.open(own), self.datapath.snapshot()
        cluster_view, marks = ClusterView(own, self.peers, (), self.rotations, ()), MARKS
        pass_state = PassState(own=own, cluster_view=cluster_view, state=state, kernel=kernel, marks=marks, trusted=True)
        flags = Flags(gone=False, marked=False, block_joining=False)
        for each in self.peers:
            found = view_pair(own, each, state, kernel, marks=marks, ring=self.ring, flags=flags)
            pass_state.pair_views[each.node_uid] = found
            pass_state.decisions[each.node_uid] = decide(found.inputs, PairMemory(), self.now, Timing())
        return pass_state

    def run(self) -> PassState:
        """Do a pass as the agent does: sessions and kernel until nothing changes, publication, tidying."""
        pass_state, settings = self.look(), replace(SETTINGS, lanes=self.lanes)
        for _ in range(8):
            if not self.publisher.sessions(pass_state, settings, self.now) and not self.installer.apply(pass_state, settings):
                break
            pass_state = self.look()
        if self.publisher.publish(pass_state, self.now):
            pass_state = self.look()
        self.publisher.tidy(pass_state)
        self.now += 1.0
        return pass_state
