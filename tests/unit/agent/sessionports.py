"""What sessions are made of and go to, in memory: a state file, an API server, a kernel; and a node around the real classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from tests.unit.agent import node
from wirecrypt import keys
from wirecrypt.agent.components import Components, PairsOnDisk
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
from wirecrypt.errors import Conflict, Unreachable, XfrmError
from wirecrypt.model.guard import GuardEntry
from wirecrypt.model.objects import KeyRotation, NodeKey, NodePeer, Phase
from wirecrypt.model.session import Epoch, Session
from wirecrypt.model.xfrm import Algorithm, Policy, PolicyKey, Sa, SaEntry, SaKey, SaUsage
from wirecrypt.pairs.decide import decide
from wirecrypt.pairs.memory import PairMemory, Timing
from wirecrypt.ports import AgentApi, Failure, Guard, Xfrm
from wirecrypt.settings import Settings

BOOT = "boot-1"
ONE, TWO, OTHER_TWO = Epoch(1, "01" * 16), Epoch(2, "02" * 16), Epoch(2, "ff" * 16)
_SEEDS = {epoch: keys.new_seed() for epoch in (ONE, TWO, OTHER_TWO)}
LANES = 1
SETTINGS = replace(Settings(), lanes=LANES, algorithm=Algorithm.AES_256_GCM)
SMALL_ORDER = bytes(32)  # a public key with which no secret can be agreed on


def node_key(epoch: Epoch, node_uid: str = "uid-a") -> NodeKey:
    return NodeKey(epoch, keys.share(_SEEDS[epoch], node_uid))


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
        name, name, "", node.CREATED, phase=phase, from_epoch=start, to_epoch=to.number, to_epoch_id=to.id
    )  # fmt: skip


class Store:
    """A state file in memory; *logged* hears of each save."""

    def __init__(self, logged: Callable[[str], None] = lambda _what: None) -> None:
        self.state: State | None = None
        self._logged = logged

    def load(self) -> State | None:
        """Return what was kept."""
        return self.state

    def save(self, state: State) -> None:
        """Keep *state*."""
        self.state = state
        self._logged("save")

    def remove(self) -> None:
        """Keep nothing."""
        self.state = None


class Api:
    """The API server's part: the own NodePeer with its versions and CRD rules, the Secret's keys.

    *answer_lost*: a write is done and its answer does not arrive. *before_write* happens between read and write.
    """

    def __init__(self, own: NodePeer, *epochs: Epoch) -> None:
        self.own = own
        self.epochs = epochs or (ONE,)
        self.answer_lost = False
        self.before_write: Callable[[], None] = lambda: None
        self.writes = 0
        self.log: list[str] = []

    def node_peer(self, _name: str) -> NodePeer | None:
        """Return the own NodePeer."""
        self.log.append("read")
        return self.own

    def node_keys(self, _node: str) -> Sequence[NodeKey]:
        """Return the Secret's keys."""
        return [node_key(epoch) for epoch in self.epochs]

    def publish_sessions(self, read: NodePeer, *, boot_id: str, boot_session: int, sessions: Sequence[Session]) -> NodePeer:
        """Write the status if the version is still the one that was read."""
        self.log.append("write")
        self.before_write()
        if read.resource_version != self.own.resource_version:
            raise Conflict("patch", answer="the object has been modified")
        known = {s.number: s for s in self.own.sessions}
        assert all(known.get(s.number) == s or s.number > self.own.last_session for s in sessions), "refused by the CRD"
        self.writes += 1
        self.own = replace(
            self.own,
            boot_id=boot_id,
            boot_session=boot_session,
            last_session=max(self.own.last_session, *(s.number for s in sessions)),
            sessions=tuple(sessions),
            resource_version=str(int(self.own.resource_version) + 1),
        )
        if self.answer_lost:
            raise Unreachable("patch", answer="no answer")
        return self.own


@dataclass
class Kernel:
    """States and policies in memory, as ports. *lacks*: ciphers that it does not have."""

    sas: dict[SaKey, Sa] = field(default_factory=dict)
    policies: dict[PolicyKey, Policy] = field(default_factory=dict)
    guard: dict[object, GuardEntry] = field(default_factory=dict)
    usage: dict[SaKey, SaUsage] = field(default_factory=dict)
    lacks: frozenset[Algorithm] = frozenset()
    logged: Callable[[str], None] = lambda _what: None

    def list_sas(self) -> Sequence[SaEntry]:
        """Return the states."""
        return [SaEntry(sa, self.usage.get(name, SaUsage(0, 0, 0))) for name, sa in self.sas.items()]

    def list_policies(self) -> Sequence[Policy]:
        """Return the policies."""
        return list(self.policies.values())

    def list_all_policies(self) -> tuple[Sequence[Policy], Mapping[PolicyKey, str]]:
        """Return the policies; nobody else has any."""
        return self.list_policies(), {}

    def add_sas(self, sas: Sequence[Sa]) -> Sequence[Failure]:
        """Add states; those of a cipher that is not there are refused."""
        self.logged("add")
        bad = [sa for sa in sas if sa.algorithm in self.lacks]
        self.sas |= {sa.name: sa for sa in sas if sa not in bad}
        return [Failure(sa, XfrmError("add a state", answer="Function not implemented")) for sa in bad]

    def set_policies(self, policies: Sequence[Policy]) -> Sequence[Failure]:
        """Set policies."""
        self.policies |= {p.name: p for p in policies}
        return ()

    def delete_sas(self, names: Sequence[SaKey]) -> Sequence[Failure]:
        """Delete states."""
        for name in names:
            self.sas.pop(name, None)
        return ()

    def delete_policies(self, names: Sequence[PolicyKey]) -> Sequence[Failure]:
        """Delete policies."""
        for name in names:
            self.policies.pop(name, None)
        return ()

    def stats(self) -> Mapping[str, int]:
        """Return no counter."""
        return {}

    def loaded(self) -> bool:
        """Say that the guard is there."""
        return True

    def entries(self) -> Sequence[GuardEntry]:
        """Return the guard entries."""
        return list(self.guard.values())

    def set_entries(self, entries: Sequence[GuardEntry]) -> None:
        """Set guard entries."""
        self.guard |= {e.prefix: e for e in entries}

    def delete_entries(self, prefixes: Sequence[object]) -> None:
        """Delete guard entries."""
        for prefix in prefixes:
            self.guard.pop(prefix, None)


class Node:
    """Node a with the real keeper, publisher and installer; *peers* and *rotations* are what its API view shows."""

    def __init__(self, disk: Path, *peers: NodePeer, own: NodePeer | None = None) -> None:
        self.log: list[str] = []
        self.store = Store(self.log.append)
        self.api = Api(own or peer("a", 16))
        self.kernel = Kernel(logged=self.log.append)
        self.peers = peers
        self.rotations: tuple[KeyRotation, ...] = (rotation(ONE),)
        self.inputs: NodePeer | None = None  # an older one than the API's
        self.now = 1000.0
        self.lanes = LANES
        kernel: Any = self.kernel
        self.session_keeper = SessionKeeper(self.store, cast("AgentApi", self.api), BOOT)
        self.datapath = Datapath(cast("Xfrm", kernel), cast("Guard", kernel))
        outside: Any = SimpleNamespace()
        self.components = Components(
            node="a",
            cache=outside,
            api=cast("AgentApi", self.api),
            xfrm=kernel,
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
        pass_state = PassState(
            own=own, cluster_view=ClusterView(own, self.peers, (), self.rotations, ()), state=state, kernel=kernel, trusted=True
        )
        flags = Flags(gone=False, marked=False, block_joining=False)
        for each in self.peers:
            found = view_pair(own, each, state, kernel, marks=SETTINGS.mark.layout, ring=self.ring, flags=flags)
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
