"""The agent's ports in memory: a kernel, the guard, links, the state file, an API server.

What they are asked to do they do, by the kernel's and the API server's rules as far as an agent can tell, and they note it.
`cloud` puts them together.
"""

# ruff: noqa: D102 - the ports say what their methods do

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache

from wirecrypt import keys
from wirecrypt.agent.store.state import State
from wirecrypt.errors import BpfError, ObjectError, Unreachable
from wirecrypt.model.guard import Attachment, Drop, GuardEntry, GuardSettings
from wirecrypt.model.link import Link
from wirecrypt.model.objects import (
    ConfigDocument,
    EncryptedNode,
    KeyRotation,
    Node,
    NodeKey,
    NodePeer,
    NodeStatus,
    Phase,
)
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Epoch, Session
from wirecrypt.model.xfrm import Address, Direction, Network, Policy, PolicyKey, Sa, SaEntry, SaKey, SaUsage
from wirecrypt.ports import Failure

EPOCH = Epoch(1, "ab" * 16)
CREATED = datetime(2030, 1, 1, tzinfo=UTC)
CONFIG = "lanes: 1\nalgorithm: aes-256-gcm\nclusterCIDRs: [10.0.0.0/13]\ndrain: 1s\n"


@cache
def node_key(uid: str) -> SecretBytes:
    return keys.share(SecretBytes(bytes(32)), uid)


@dataclass
class Kernel:
    """States and policies; *journal* has every write in order, also the guard's."""

    journal: list[str]
    sas: dict[SaKey, Sa] = field(default_factory=dict)
    policies: dict[PolicyKey, Policy] = field(default_factory=dict)

    def list_sas(self) -> Sequence[SaEntry]:
        return [SaEntry(sa, SaUsage(0, 1, 1)) for sa in self.sas.values()]

    def list_policies(self) -> Sequence[Policy]:
        return list(self.policies.values())

    def list_all_policies(self) -> tuple[Sequence[Policy], Mapping[PolicyKey, str]]:
        return self.list_policies(), {}

    def add_sas(self, sas: Sequence[Sa]) -> Sequence[Failure]:
        self.journal += [f"add {sa.name}" for sa in sas]
        assert not self.sas.keys() & {sa.name for sa in sas}
        self.sas |= {sa.name: sa for sa in sas}
        return ()

    def set_policies(self, policies: Sequence[Policy]) -> Sequence[Failure]:
        self.journal += [f"set {p.name}" for p in policies]
        self.policies |= {p.name: p for p in policies}
        return ()

    def delete_sas(self, keys: Sequence[SaKey]) -> Sequence[Failure]:
        self.journal += [f"delete {key}" for key in keys]
        self.sas = {name: sa for name, sa in self.sas.items() if name not in keys}
        return ()

    def delete_policies(self, keys: Sequence[PolicyKey]) -> Sequence[Failure]:
        self.journal += [f"delete {key}" for key in keys]
        self.policies = {name: p for name, p in self.policies.items() if name not in keys}
        return ()

    def stats(self) -> Mapping[str, int]:
        return {}

    def out(self, peer: NodePeer) -> set[str]:
        """Return what traffic to the peer's pods meets: "esp", "block", or nothing."""
        policies = [p for p in self.policies.values() if p.direction is Direction.OUT and p.selector.dst in peer.pod_cidrs]
        return {"esp" if p.templates else "block" for p in policies}


@dataclass
class Filters:
    """The guard: programs, attachments, entries. *refusal*: loading or attaching fails with this answer."""

    journal: list[str]
    settings: GuardSettings | None = None
    table: dict[Network, GuardEntry] = field(default_factory=dict)
    attached: set[str] = field(default_factory=set)
    refusal: str = ""

    def load(self, settings: GuardSettings) -> None:
        self._may("load")
        self.settings = settings

    def configure(self, settings: GuardSettings) -> bool:
        changed, self.settings = settings != self.settings, settings
        return changed

    def entries(self) -> Sequence[GuardEntry]:
        return list(self.table.values())

    def set_entries(self, entries: Iterable[GuardEntry]) -> None:
        for entry in entries:
            self._may(f"guard {entry.prefix}")
            self.table[entry.prefix] = entry

    def delete_entries(self, prefixes: Iterable[Network]) -> None:
        for prefix in prefixes:
            self.journal.append(f"unguard {prefix}")
            self.table.pop(prefix, None)

    def attachments(self) -> Sequence[Attachment]:
        names = ("wirecrypt_guard_egress", "wirecrypt_guard_ingress")
        return [Attachment(link, name, current=True) for link in sorted(self.attached) for name in names]

    def attach_guard(self, link: str) -> None:
        self._may(f"attach {link}")
        self.attached.add(link)

    def attach_mark(self, link: str) -> None:
        raise AssertionError(link)

    def hold(self) -> None:
        pass

    def detach(self, link: str) -> None:
        self.attached.discard(link)

    def unload(self) -> None:
        if self.loaded():
            self.journal.append("unload")
        self.settings, self.table, self.attached = None, {}, set()

    def loaded(self) -> bool:
        return self.settings is not None

    def counters(self) -> Mapping[str, int]:
        return {}

    def refused(self) -> Mapping[str, int]:
        return {}

    def exempt(self) -> Mapping[int, int]:
        return {}

    def drops(self, limit: int = 64) -> Sequence[Drop]:  # noqa: ARG002 - the port's
        return ()

    def _may(self, what: str) -> None:
        self.journal.append(what)
        if self.refusal:
            raise BpfError(what, answer=self.refusal)


@dataclass
class Uplink:
    """One link with the node's addresses."""

    addresses: tuple[Address, ...]

    def links(self) -> Sequence[Link]:
        return [Link(2, "upl", "", 1500, up=True, master=None, foreign_peer=False, addresses=self.addresses)]

    def threshold(self) -> tuple[int, int, int, int]:
        return (0, 0, 0, 0)


@dataclass
class Memory:
    """The state file."""

    kept: State | None = None

    def load(self) -> State | None:
        return self.kept

    def save(self, state: State) -> None:
        self.kept = state

    def remove(self) -> None:
        self.kept = None


@dataclass
class Api:
    """An API server with what is stored in it, and every agent's local copies of that.

    *epochs*: those that node keys are given of; *moving*: a rotation next to the first. *hidden*: NodePeers that no copy shows;
    *malformed*: that nobody can read; *down*: no answer; *policed*: the admission policies are in force; *tried*: on whom.
    *narrow*: nobody gets a token of another node.
    *malformed*: that nobody can read; *down*: no answer. *undone*: how often the copies saw it go back.
    *age*: for how long that of NodePeers was not confirmed.
    """

    nodes_by_name: dict[str, Node] = field(default_factory=dict)
    by_name: dict[str, NodePeer] = field(default_factory=dict)
    encrypted: dict[str, EncryptedNode] = field(default_factory=dict)
    document: ConfigDocument | None = field(default_factory=lambda: ConfigDocument({"config.yaml": CONFIG}, "1"))
    epochs: tuple[Epoch, ...] = (EPOCH,)
    moving: KeyRotation | None = None
    hidden: set[str] = field(default_factory=set)
    malformed: set[str] = field(default_factory=set)
    down: bool = False
    narrow: bool = True
    addresses: frozenset[Address] = frozenset()
    writes: list[str] = field(default_factory=list)
    policed: bool = True
    tried: list[tuple[str, ...]] = field(default_factory=list)
    undone: int = 0
    age: float = 0.0

    # ---- the copies

    def synced(self) -> bool:
        return True

    def restores(self) -> int:
        return self.undone

    def ages(self) -> Mapping[str, float]:
        return {"Node": 0.0, "NodePeer": self.age}

    def nodes(self) -> Sequence[Node]:
        return list(self.nodes_by_name.values())

    def peers(self) -> Sequence[NodePeer]:
        return [p for name, p in self.by_name.items() if name not in self.hidden | self.malformed]

    def rotations(self) -> Sequence[KeyRotation]:
        first = KeyRotation("initial", "r", "", CREATED, phase=Phase.COMPLETE, to_epoch=EPOCH.number, to_epoch_id=EPOCH.id)
        return [first, self.moving] if self.moving else [first]

    def config(self) -> ConfigDocument | None:
        return self.document

    # ---- the server

    def node_peers(self) -> Sequence[NodePeer]:
        return list(self.by_name.values())

    def node_peer(self, name: str) -> NodePeer | None:
        self._answer()
        if name in self.malformed:
            raise ObjectError("read a NodePeer", what=name, answer="malformed")
        return self.by_name.get(name)

    def encrypted_nodes(self) -> Sequence[EncryptedNode]:
        return list(self.encrypted.values())

    def encrypted_node(self, name: str) -> EncryptedNode | None:
        self._answer()
        return self.encrypted.get(name)

    def key_rotations(self) -> Sequence[KeyRotation]:
        return self.rotations()

    def node_keys(self, node: str) -> Sequence[NodeKey]:
        self._answer()
        return [NodeKey(epoch, node_key(self.nodes_by_name[node].uid)) for epoch in self.epochs]

    def publish_sessions(self, peer: NodePeer, *, boot_id: str, boot_session: int, sessions: Sequence[Session]) -> NodePeer:
        self._answer()
        self.writes.append(f"publish {peer.name}")
        last = max(s.number for s in sessions)
        now = replace(peer, boot_id=boot_id, boot_session=boot_session, last_session=last, sessions=tuple(sessions))
        self.by_name[peer.name] = now
        return now

    def propose_addresses(self, node: str, addresses: Sequence[Address]) -> None:
        self._answer()
        self.writes.append(f"propose {node}")
        self.by_name[node] = replace(self.by_name[node], proposed=tuple(addresses))

    def write_node_status(self, node: EncryptedNode, status: NodeStatus) -> None:
        self._answer()
        self.writes.append(f"status {node.name}")
        self.encrypted[node.name] = replace(node, status=status)

    def forbidden_write_refused(self, others: Sequence[str]) -> bool:
        self._answer()
        self.tried.append(tuple(others))
        return self.policed

    def foreign_token_refused(self) -> bool:
        self._answer()
        return self.narrow

    def api_addresses(self) -> frozenset[Address]:
        return self.addresses

    def reached(self, since: float) -> bool:  # noqa: ARG002 - the port's
        return not self.down

    def ready(self, name: str) -> tuple[bool | None, str]:
        """Return status and reason of the node's condition Ready."""
        status = self.encrypted[name].status
        assert status is not None
        return next((c.status, c.reason) for c in status.conditions if c.type == "Ready")

    def configure(self, text: str) -> None:
        """Write the configuration document."""
        version = int(self.document.resource_version) + 1 if self.document else 100
        self.document = ConfigDocument({"config.yaml": text}, str(version))

    def _answer(self) -> None:
        if self.down:
            raise Unreachable("ask the API server", answer="nothing")
