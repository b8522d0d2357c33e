"""What the agent reports of its node: built purely, written at once on a transition and else at most once a minute."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from wirecrypt.model.conditions import CLEANED, READY, Condition, Reason
from wirecrypt.model.objects import NodeState, NodeStatus

MOST: Final = 4  # writes in as many seconds: among many peers there is a transition every moment
EVERY: Final = 60.0
COUNTERS: Final = 600.0
_MOST_FAILING: Final = 16
_MESSAGE: Final = 512
_MOST_NAMED: Final = 3
CUT_OFF: Final = "cut off by a person, its pairs are blocked; to have it back take its label off, and set it again"


@dataclass(frozen=True, slots=True)
class PeerReport:
    """One peer as the status sees it; *exempt*: traffic between the nodes' own addresses is in clear by an end's wish."""

    name: str
    protected: bool
    ready: bool
    failing: str
    joining: bool
    sending_epoch: int
    accepting_epochs: frozenset[int]
    exempt: bool = False
    exempt_packets: int = 0


@dataclass(frozen=True, slots=True)
class NodeReport:
    """Facts about the node next to its peers. *trouble* is (reason, message) of what is wrong, most important first."""

    state: NodeState
    boot_id: str
    own_epochs: frozenset[int]
    published_epoch: int
    mtu: int
    headroom: int
    versions: tuple[tuple[str, str], ...]
    trouble: tuple[tuple[str, str], ...]
    cleaned: bool


def build(node: NodeReport, peers: Sequence[PeerReport]) -> NodeStatus:
    """Return the status; `sendingEpoch` is the oldest epoch that any pair sends with."""
    sending = [p.sending_epoch for p in peers if p.sending_epoch]
    accepting = set(node.own_epochs).union(*(p.accepting_epochs for p in peers))
    failing = sorted(f"{p.name}: {p.failing}" for p in peers if p.failing)
    return NodeStatus(
        boot_id=node.boot_id,
        sending_epoch=min([*sending, node.published_epoch]),
        accepting_epochs=tuple(sorted(accepting)),
        peers_desired=len(peers),
        peers_protected=sum(p.protected for p in peers),
        peers_failing=len(failing),
        ready_for=tuple(sorted(p.name for p in peers if p.ready and p.joining)),
        failing=tuple(f[:_MESSAGE] for f in failing[:_MOST_FAILING]),
        mtu=node.mtu,
        sequence_headroom=node.headroom,
        versions=node.versions,
        conditions=(_ready(node, peers), *_cleaned(node)),
        exempt_packets=_exempt_packets(peers),
    )


def held(
    before: NodeStatus | None, boot_id: str, versions: tuple[tuple[str, str], ...], reason: str, message: str
) -> NodeStatus:
    """Return the status of a node that decides nothing: not Ready, ready for nobody, its last epochs and peers as they were."""
    nothing = NodeStatus(boot_id, 0, (), 0, 0, 0, (), (), 0, 100, versions, ())
    ready = Condition(READY, status=False, reason=reason, message=message[:_MESSAGE])
    known = replace(before or nothing, boot_id=boot_id, versions=versions)
    return replace(known, peers_protected=0, ready_for=(), conditions=(ready,))


def _exempt_packets(peers: Sequence[PeerReport]) -> tuple[tuple[str, int], ...]:
    found = sorted(((p.name, p.exempt_packets) for p in peers if p.exempt and p.exempt_packets), key=lambda f: (-f[1], f[0]))
    return tuple(found[:_MOST_FAILING])


class WriteLimiter:
    """Says when a status is worth a write; *waits*: until when a transition does."""

    def __init__(self) -> None:
        self.waits = float("inf")
        self._written: NodeStatus | None = None
        self._last: deque[float] = deque([float("-inf")] * MOST, maxlen=MOST)

    def due(self, status: NodeStatus, now: float) -> bool:
        """Return whether to write *status* now: a transition at once, mere numbers once a minute, the same never.

        Counters of packets, which never rest, only now and then, or with what is written anyway. After four writes a
        transition waits until four seconds have passed since the first of them; then what holds by that time is written.
        """
        self.waits = float("inf")
        free = self._last[0] + MOST
        if self._written is None or _settled(status) != _settled(self._written):
            self.waits = free if now < free else self.waits
            return now >= free
        counted = replace(status, exempt_packets=self._written.exempt_packets) == self._written
        return status != self._written and now - self._last[-1] >= (COUNTERS if counted else EVERY)

    def written(self, status: NodeStatus, now: float) -> None:
        """Note that *status* was written."""
        self._written = status
        self._last.append(now)

    def forget(self) -> None:
        """Note that nothing is known of what the API server has."""
        self._written = None

    def compare(self, found: NodeStatus | None) -> None:
        """Forget what was written when it is not what was *found*: the object was made anew, or comes from a backup."""
        if found is None or (self._written is not None and _essence(found) != _essence(self._written)):
            self.forget()


def _essence(status: NodeStatus) -> tuple[NodeStatus, frozenset[tuple[str, bool | None, str]]]:
    said = frozenset((c.type, c.status, c.reason) for c in status.conditions)
    return replace(_settled(status), conditions=()), said


def _settled(status: NodeStatus) -> NodeStatus:
    return replace(status, sequence_headroom=0, exempt_packets=(("any", 1),) if status.exempt_packets else ())


def _ready(node: NodeReport, peers: Sequence[PeerReport]) -> Condition:  # noqa: PLR0911 - one return a reason, the worst first
    done = f"{sum(p.protected for p in peers)} of {len(peers)} peers protected"
    if exempt := sum(p.exempt for p in peers):
        done += f", node to node in clear with {exempt}"
    if node.trouble:
        reason, message = node.trouble[0]
        return Condition(READY, status=False, reason=reason, message=message[:_MESSAGE])
    if node.state is NodeState.EXCLUDED:
        return Condition(READY, status=False, reason=Reason.EXCLUDED, message=CUT_OFF)
    if node.state is NodeState.LEAVING:
        return Condition(READY, status=False, reason=Reason.LEAVING, message=f"on the way out, {done}")
    if not node.published_epoch:
        return Condition(READY, status=False, reason=Reason.NO_SESSION, message="no session is published yet")
    failing = [p for p in peers if p.failing]
    if failing:
        message = "; ".join(f"{p.name}: {p.failing}" for p in failing)
        return Condition(READY, status=False, reason=Reason.PEERS_FAILING, message=message[:_MESSAGE])
    if all(p.protected for p in peers):
        if node.state is NodeState.JOINING:
            return Condition(READY, status=False, reason=Reason.JOINING, message=f"waiting for both ends, {done}")
        return Condition(READY, status=True, reason=Reason.ALL_PEERS_PROTECTED, message=done)
    return Condition(READY, status=False, reason=Reason.JOINING, message=f"{done}, waiting for {_named(peers)}"[:_MESSAGE])


def _named(peers: Sequence[PeerReport]) -> str:
    """Return the names of the peers that are not protected, the first of them."""
    names = [p.name for p in peers if not p.protected]
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _cleaned(node: NodeReport) -> tuple[Condition, ...]:
    if not node.cleaned:
        return ()
    return (Condition(CLEANED, status=True, reason=Reason.LEFT, message="no kernel object of any pair is left"),)
