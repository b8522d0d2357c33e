"""Read the kernel into a snapshot and write a plan into it, step by step.

A peer for which something could not be added or set is left out of all later steps: nothing of it is removed, nothing is
opened. Its next pass starts from what the kernel really has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from wirecrypt.errors import BpfError, KernelError
from wirecrypt.model.guard import GuardEntry
from wirecrypt.model.xfrm import NO_LIMIT, Failure, SaEntry
from wirecrypt.plan.diff import Action, Step
from wirecrypt.plan.snapshot import KernelSnapshot
from wirecrypt.ports import Guard, Xfrm


class Datapath:
    """XFRM and the guard's maps as one thing that a plan is made for.

    What was read stands while nothing is written and nobody else changes anything: *changes* counts what others did, as the
    kernel tells; None: nobody counts, so each look reads. *fresh*: it was read in this pass; *read_at*: when that was.
    """

    def __init__(self, xfrm: Xfrm, guard: Guard, changes: Callable[[], int] | None = None) -> None:
        self._xfrm = xfrm
        self._guard = guard
        self._changes = changes
        self._kept: KernelSnapshot | None = None
        self._counted: int | None = None
        self.fresh = False
        self._now, self.read_at = 0.0, float("-inf")

    def begin(self, now: float, oldest: float) -> None:
        """Begin a pass: what was read *oldest* seconds ago, or before, stands no more."""
        self._now, self.fresh = now, False
        if now - self.read_at >= oldest:
            self.forget()

    def forget(self) -> None:
        """Have the next look read: what was read may not be so any more."""
        self._kept = None

    def stands(self) -> bool:
        """Return whether what was read is so still, as far as the kernel has told until this moment."""
        return self._kept is not None and self._changes is not None and self._changes() == self._counted

    def stale(self) -> bool:
        """Return whether the kernel was not read in this pass, and have the next look read it then.

        To be asked before anything is written, or made for it: counters and what nobody told of are as old as what was read.
        """
        if not self.fresh:
            self.forget()
        return not self.fresh

    def snapshot(self) -> KernelSnapshot:
        """Return what the kernel has, or had when it was read."""
        if self._kept is None or not self.stands():
            self._kept, self._counted = None, self._changes() if self._changes else None  # what comes while it is read counts
            self._kept = self._read()
            self.fresh, self.read_at = True, self._now
        return self._kept

    def _read(self) -> KernelSnapshot:
        entries = self._guard.entries() if self._guard.loaded() else ()
        listed = self._xfrm.list_sas()
        packets = {e.sa.name: e.usage.packets for e in listed}
        used_up = [e.sa.name for e in listed if _used_up(e)]
        policies, foreign = self._xfrm.list_all_policies()
        sas = [e.sa for e in listed]
        left = headroom(listed)
        return KernelSnapshot.of(sas, policies, entries, packets=packets, used_up=used_up, foreign=foreign, headroom=left)

    def has_guard(self) -> bool:
        """Return whether the guard's maps are there."""
        return self._guard.loaded()

    def exempt(self) -> Mapping[int, int]:
        """Return packets in clear with exempt peers, both ways, by nodeID; nothing while there is no guard."""
        return self._guard.exempt() if self._guard.loaded() else {}

    def apply(self, actions: Sequence[Action]) -> dict[str, KernelError]:
        """Do *actions* in their order; return the first error of each peer that had one ("" for the guard)."""
        self.forget()
        failed: dict[str, KernelError] = {}
        for step, group in groupby(actions, key=lambda a: a.step):
            todo = [a for a in group if a.peer not in failed and not (step.removes and "" in failed)]
            if todo:
                self._step(step, todo, failed)
        return failed

    def _step(self, step: Step, actions: list[Action], failed: dict[str, KernelError]) -> None:
        objects: list[Any] = [a.object for a in actions]
        if step in (Step.SET_GUARD, Step.DELETE_GUARD):
            self._guard_step(step, objects, failed)
            return
        peers = {_name(a.object): a.peer for a in actions}
        for failure in self._call(step)(objects):
            failed.setdefault(peers.get(_name(failure.what), ""), failure.error)

    def _guard_step(self, step: Step, objects: list[Any], failed: dict[str, KernelError]) -> None:
        try:
            if step is Step.SET_GUARD:
                entries: list[GuardEntry] = objects
                self._guard.set_entries(entries)
            else:
                self._guard.delete_entries(objects)
        except BpfError as error:
            failed.setdefault("", error)

    def _call(self, step: Step) -> Callable[[Sequence[Any]], Sequence[Failure]]:
        if step in (Step.ADD_RECEIVING, Step.ADD_SENDING):
            return self._xfrm.add_sas
        if step in (Step.SET_RECEIVING_POLICY, Step.SET_SENDING_POLICY):
            return self._xfrm.set_policies
        if step in (Step.DELETE_SENDING_POLICY, Step.DELETE_RECEIVING_POLICY):
            return self._xfrm.delete_policies
        return self._xfrm.delete_sas


def headroom(entries: Iterable[SaEntry]) -> int:
    """Return how much of its soft limits the busiest SA has left, in percent."""
    left = 100
    for entry in entries:
        limits, use = entry.sa.limits, entry.usage
        for used, limit in ((use.bytes, limits.soft_bytes), (use.packets, limits.soft_packets)):
            if limit != NO_LIMIT and limit > 0:
                left = min(left, max(0, 100 - used * 100 // limit))
    return left


def _used_up(entry: SaEntry) -> bool:
    """Return whether an SA reached a soft limit, as net/xfrm/xfrm_state.c, xfrm_state_check_expire, does."""
    limits, use = entry.sa.limits, entry.usage
    return use.bytes >= limits.soft_bytes or use.packets >= limits.soft_packets


def _name(thing: Any) -> Any:  # noqa: ANN401 - an Sa, a Policy, or the key of one
    return getattr(thing, "name", thing)
