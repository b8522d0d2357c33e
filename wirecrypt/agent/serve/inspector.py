"""One verification, and a plan for reading: what a person asks of a node, answered next to the loop and without a write.

The kernel is read at once, in the asking thread's own netlink socket, before the loop is woken: what is missing has not been
repaired yet. Then the loop is asked for probes, which are the traffic that the capture must see as ESP.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Final, Protocol

from wirecrypt.agent.last_pass import LastPass, PassSnapshot
from wirecrypt.agent.serve.evidence import Afterwards, EvidenceSnapshot, Usages, facts
from wirecrypt.agent.serve.prefixes import Prefixes
from wirecrypt.agent.steps.installing import preview
from wirecrypt.agent.view.configuration import timing
from wirecrypt.agent.view.pair_view import Flags, view_pair
from wirecrypt.agent.view.pass_state import PassState
from wirecrypt.errors import KernelError
from wirecrypt.model.verify_facts import FORMAT, CapturedPackets, CaptureSummary, Change, NodeEvidence, NodePlan
from wirecrypt.model.xfrm import Address, SaEntry
from wirecrypt.pairs import probing
from wirecrypt.pairs.decide import decide
from wirecrypt.plan.diff import Action
from wirecrypt.plan.snapshot import KernelSnapshot
from wirecrypt.ports import Guard, Xfrm
from wirecrypt.settings import Settings

REPEATS: Final = 3  # probes on each lane, spread over the capture: one lost packet is no verdict
PATIENCE: Final = 4.0  # seconds to wait for a pass to end: the loop may be waiting for the API server
ANSWERS: Final = 1.5  # seconds to wait for the answers to the last probes


class RunningCapture(Protocol):
    """A running capture."""

    def watch(self, until: float) -> None:
        """Read until monotonic time *until*."""

    def finish(self) -> CapturedPackets:
        """Stop, and return what was read."""

    def close(self) -> None:
        """End the capture."""


@dataclass(frozen=True, slots=True)
class Readers:
    """How requests look at the node: each opens sockets of its own thread.

    *wire* opens a capture of what leaves (links, settings, and of which (source, target) readable packets are told).
    """

    xfrm: Callable[[], AbstractContextManager[Xfrm]]
    guard: Guard
    wire: Callable[[Sequence[str], Settings, Callable[[Address, Address], bool]], RunningCapture]


class Inspector:
    """Answers for one node, in its pages' threads. *wake* has the loop do a pass now; *patience*: seconds to wait for it."""

    def __init__(
        self, node: str, last_pass: LastPass, readers: Readers, wake: Callable[[], None], *, patience: float = PATIENCE
    ) -> None:
        self._node = node
        self._patience = patience
        self._last_pass = last_pass
        self._readers = readers
        self._wake = wake
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End what runs soon."""
        self._stopped.set()

    def verify(self, seconds: int) -> NodeEvidence:
        """Return the facts of this node after a capture of *seconds*; raises `KernelError`. One at a time."""
        seen, settings = self._look(), self._last_pass.settings
        if seen is None or settings is None:
            return NodeEvidence(
                FORMAT, self._node, 0, "", settled=True, pass_age=self._pass_age(), watched=CaptureSummary((), 0.0)
            )
        watched, after = self._watch(seen, settings, seconds)
        return facts(seen, after, settings, self._node, watched)

    def plan(self) -> NodePlan:
        """Return what the agent would change now; nothing is changed and no key is derived. Raises `KernelError`."""
        seen = self._look()
        settings = self._last_pass.settings
        if seen is None or settings is None:
            return NodePlan(FORMAT, self._node, settled=True)
        pass_state = _again(seen.snapshot, seen.kernel, settings, time.monotonic())
        return NodePlan(FORMAT, self._node, seen.settled, tuple(map(_change, preview(pass_state, settings))))

    def _look(self) -> EvidenceSnapshot | None:
        """Read the kernel between two passes; None while the node is not enabled."""
        with self._last_pass.still(self._patience) as settled, self._readers.xfrm() as xfrm:
            snapshot = self._last_pass.snapshot
            if snapshot is None:
                return None
            entries, guard = xfrm.list_sas(), self._readers.guard
            loaded = guard.loaded()
            policies, foreign = xfrm.list_all_policies()
            known = guard.entries() if loaded else ()
            kernel = KernelSnapshot.of([e.sa for e in entries], policies, known, foreign=foreign)
            attachments = guard.attachments() if loaded else ()
            exempt = guard.exempt() if loaded else {}
            return EvidenceSnapshot(snapshot, kernel, _usages(entries), attachments, exempt, settled, self._pass_age())

    def _watch(self, seen: EvidenceSnapshot, settings: Settings, seconds: int) -> tuple[CaptureSummary, Afterwards]:
        """Have probes sent, and watch what leaves meanwhile."""
        pass_state, links, live = seen.snapshot.pass_state, seen.snapshot.uplinks, self._last_pass.live
        prefixes = Prefixes(pass_state.pair_views.values())
        began, problem, wire = time.monotonic(), "", None
        try:
            wire = self._readers.wire(links, settings, lambda source, target: prefixes.peer(source, target) is not None)
        except KernelError as error:
            problem = str(error)
        try:
            self._probe(wire, began, seconds)
            found = wire.finish() if wire is not None else None
        finally:
            if wire is not None:
                wire.close()
        with self._readers.xfrm() as xfrm:
            usages = _usages(xfrm.list_sas())
        probes = {uid: live.lanes(uid) for uid in pass_state.pair_views}
        took = time.monotonic() - began
        if found is None:
            return CaptureSummary(links, took, problem=problem), Afterwards(usages, probes, {}, ())
        return CaptureSummary(links, took, found.packets, found.lost), Afterwards(usages, probes, found.esp, found.clear)

    def _probe(self, wire: RunningCapture | None, began: float, seconds: int) -> None:
        live = self._last_pass.live
        live.start()
        for number in range(REPEATS):
            live.ask()
            self._wake()
            self._wait(wire, began + seconds * (number + 1) / REPEATS)
        self._until(wire, live.served, self._patience)
        self._until(wire, live.complete, min(ANSWERS, self._patience))

    def _until(self, wire: RunningCapture | None, done: Callable[[], bool], seconds: float) -> None:
        late = time.monotonic() + seconds
        while not done() and time.monotonic() < late and not self._stopped.is_set():
            self._wait(wire, time.monotonic() + 0.05)

    def _wait(self, wire: RunningCapture | None, until: float) -> None:
        while not self._stopped.is_set() and (left := until - time.monotonic()) > 0:
            if wire is None:
                self._stopped.wait(left)
            else:
                wire.watch(time.monotonic() + min(left, 0.5))

    def _pass_age(self) -> float:
        return time.monotonic() - self._last_pass.shown_at


def _usages(entries: Sequence[SaEntry]) -> Usages:
    return {e.sa.name: e.usage for e in entries}


def _again(snapshot: PassSnapshot, kernel: KernelSnapshot, settings: Settings, now: float) -> PassState:
    """Decide once more about what the kernel has now; the picture stays as it is."""
    old, times = snapshot.pass_state, timing(settings, len(snapshot.memories))
    pass_state = replace(old, kernel=kernel, now=now, pair_views={}, decisions={}, failing={}, failed={}, trouble=[])
    for uid, before in old.pair_views.items():
        inputs = before.inputs
        flags = Flags(
            gone=inputs.peer_gone,
            marked=inputs.marked,
            block_joining=inputs.block_joining,
            exempts=inputs.exempts,
            peer_exempts=inputs.peer_exempts,
            peer_down=inputs.peer_down,
        )
        found = view_pair(old.own, before.peer, old.state, kernel, marks=old.marks, ring=snapshot.ring, flags=flags)
        memory = probing.observe(snapshot.memories[uid], found.inputs, now, times)
        pass_state.pair_views[uid], pass_state.decisions[uid] = found, decide(found.inputs, memory, now, times)
    return pass_state


def _change(action: Action) -> Change:
    thing = action.object
    name = str(getattr(thing, "name", getattr(thing, "prefix", thing)))
    return Change(action.step.name.lower().replace("_", " "), name, action.peer, action.why)
