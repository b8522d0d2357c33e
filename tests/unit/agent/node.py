"""One node with one peer in steady state, as an agent's last pass leaves it, and a kernel in memory to look at."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network

from tests.fakes.builders import START
from wirecrypt.agent.last_pass import PassSnapshot
from wirecrypt.agent.serve.evidence import EGRESS, INGRESS, EvidenceSnapshot
from wirecrypt.agent.steps.guarding import GuardEntries
from wirecrypt.agent.store.keyring import KeyRing
from wirecrypt.agent.store.state import LedgerEntry, OwnSession, State
from wirecrypt.agent.view.cluster_view import ClusterView, pair_of
from wirecrypt.agent.view.pair_view import Flags, view_pair
from wirecrypt.agent.view.pass_state import PassState
from wirecrypt.errors import XfrmError
from wirecrypt.model.guard import Attachment, GuardEntry
from wirecrypt.model.objects import Node, NodePeer, NodeState
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Announcement, Epoch, Generation, Session
from wirecrypt.model.xfrm import Algorithm, Policy, PolicyKey, Sa, SaEntry, SaLimits, SaUsage
from wirecrypt.pairs.decide import Decision
from wirecrypt.pairs.inputs import Out, Receive
from wirecrypt.pairs.memory import PairMemory
from wirecrypt.plan.policies import Layout, Senders, wanted
from wirecrypt.plan.shared import shared
from wirecrypt.plan.snapshot import KernelSnapshot
from wirecrypt.plan.states import states
from wirecrypt.ports import Guard
from wirecrypt.settings import Settings

EPOCH = Epoch(1, "00" * 16)
GENERATION = Generation(1, 1, 1)
LANES = 2
SETTINGS = replace(Settings(), cluster_cidrs=(ip_network("10.0.0.0/13"),))
MARKS = SETTINGS.mark.layout


def peer(name: str, number: int) -> NodePeer:
    session = Session(1, EPOCH, bytes([number]) * 32, LANES, Algorithm.AES_256_GCM)
    return NodePeer(
        name=name,
        uid=f"peer-{name}",
        node_id=number,
        node_uid=f"uid-{name}",
        endpoints=(ip_address(f"192.0.2.{number}"), ip_address(f"fd00:2::{number}")),
        pod_cidrs=(ip_network(f"10.{number % 8}.0.0/24"), ip_network(f"fd00:{number}::/64")),
        state=NodeState.ACTIVE,
        created=START,
        boot_session=1,
        last_session=1,
        sessions=(session,),
    )


OWN, PEER = peer("a", 16), peer("b", 17)
PAIR = pair_of(OWN, PEER)
STEADY = Decision(
    out=Out.ESP,
    in_use=GENERATION,
    receive=Receive.REQUIRED,
    keep={GENERATION: (True, True)},
    install=None,
    target=GENERATION,
    announcement=Announcement(frozenset({GENERATION}), GENERATION, 1),
    why="in use",
)


def key(*, sending: bool, lane: int) -> SecretBytes:
    return SecretBytes(bytes([sending, lane]) * 18)


def sas(generation: Generation = GENERATION) -> tuple[Sa, ...]:
    made = states(
        PAIR,
        generation,
        lanes=LANES,
        slot=0,
        algorithm=Algorithm.AES_256_GCM,
        keys=key,
        marks=MARKS,
        limits=SaLimits(),
    )
    return tuple(made)


def policies() -> tuple[Policy, ...]:
    layout = Layout(MARKS, SETTINGS.control_port)
    return (*wanted(PAIR, STEADY, Senders({GENERATION: LANES}, {GENERATION: 0}), layout), *shared(MARKS))


def state() -> State:
    entry = LedgerEntry(
        generation=GENERATION,
        epoch_id=EPOCH.id,
        lanes=LANES,
        algorithm=Algorithm.AES_256_GCM,
        own_public=OWN.sessions[0].public,
        peer_public=PEER.sessions[0].public,
        src=PAIR.outer()[0],
        dst=PAIR.outer()[1],
        control_own=SecretBytes(b"o"),
        control_peer=SecretBytes(b"p"),
    )
    newer = replace(OWN.sessions[0], number=2)  # made, its generation not installed yet
    return State(OWN.node_uid, "boot", 1, 2, (OwnSession(newer, None),), ledger={PEER.node_uid: frozenset({entry})})


def pass_state(kernel: KernelSnapshot, decision: Decision = STEADY) -> PassState:
    """Return a round that decided *decision* on *kernel*."""
    nodes = tuple(Node(p.name, p.node_uid, "enabled", p.endpoints, p.pod_cidrs, START) for p in (OWN, PEER))
    cluster_view = ClusterView(OWN, (PEER,), nodes, (), ())
    made = PassState(own=OWN, cluster_view=cluster_view, state=state(), kernel=kernel, marks=MARKS, trusted=True)
    flags = Flags(gone=False, marked=True, block_joining=False)
    made.pair_views[PEER.node_uid] = view_pair(OWN, PEER, made.state, kernel, marks=MARKS, ring=KeyRing(), flags=flags)
    made.decisions[PEER.node_uid] = decision
    return made


def complete() -> KernelSnapshot:
    """Return the kernel with all that the steady pair should have."""
    entries = GuardEntries().wanted(pass_state(KernelSnapshot()), SETTINGS)
    return KernelSnapshot.of(sas(), policies(), entries.values())


def pass_snapshot(kernel: KernelSnapshot | None = None, decision: Decision = STEADY) -> PassSnapshot:
    made = pass_state(complete() if kernel is None else kernel, decision)
    return PassSnapshot(made, {PEER.node_uid: PairMemory()}, ("upl",), KeyRing())


ATTACHED = (Attachment("upl", EGRESS, current=True), Attachment("upl", INGRESS, current=True))


def snapshot(kernel: KernelSnapshot, shown: PassSnapshot | None = None) -> EvidenceSnapshot:
    """Return what a request sees of *kernel* when the last pass left *shown* (by default: all in order)."""
    usages = {name: SaUsage(100, 10, 10) for name in kernel.sas}
    return EvidenceSnapshot(shown or pass_snapshot(), kernel, usages, ATTACHED, {PEER.node_id: 12}, settled=True, pass_age=1.0)


@dataclass
class Memories:
    """A kernel in memory: what requests may read of it, and a list of what was read."""

    kernel: KernelSnapshot = field(default_factory=complete)
    attached: Sequence[Attachment] = ATTACHED
    reads: list[str] = field(default_factory=list)
    broken: bool = False
    on_read: Callable[[], object] = lambda: None

    def open(self) -> AbstractContextManager["Memories"]:
        """Return what requests open."""
        return nullcontext(self)

    def list_sas(self) -> list[SaEntry]:
        """Return all SAs; that is noted."""
        self.reads.append("sas")
        self.on_read()
        return [SaEntry(sa, SaUsage(100, 10, 10)) for sa in self.kernel.sas.values()]

    def list_policies(self) -> list[Policy]:
        """Return all policies."""
        return list(self.kernel.policies.values())

    def list_all_policies(self) -> tuple[list[Policy], dict[PolicyKey, str]]:
        """Return the policies; nobody else has any."""
        return self.list_policies(), {}

    def stats(self) -> Mapping[str, int]:
        """Return a counter, or refuse."""
        if self.broken:
            raise XfrmError("read the counters", answer="no")
        return {"XfrmInNoStates": 3}

    def loaded(self) -> bool:
        """Say that the guard is loaded."""
        return True

    def entries(self) -> Iterable[GuardEntry]:
        """Return the guard entries."""
        return self.kernel.guard.values()

    def attachments(self) -> Sequence[Attachment]:
        """Return the guard's filters."""
        return self.attached

    def counters(self) -> Mapping[str, int]:
        """Return a counter of the guard."""
        return {"passed_esp": 7}

    def refused(self) -> Mapping[str, int]:
        """Return a counter of the control port's filter."""
        return {"unknown sender": 5}

    def exempt(self) -> Mapping[int, int]:
        """Return packets in clear to and from an exempt peer."""
        return {PEER.node_id: 12}

    def without(self, *names: object) -> None:
        """Lose these objects."""
        kernel = self.kernel
        self.kernel = KernelSnapshot(
            {n: v for n, v in kernel.sas.items() if n not in names},
            {n: v for n, v in kernel.policies.items() if n not in names},
            {n: v for n, v in kernel.guard.items() if n not in names},
        )


def as_guard(memories: Memories) -> Guard:
    """Return the part that reads the guard."""
    return memories  # type: ignore[return-value]  # only what requests read
