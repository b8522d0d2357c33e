"""Read the kernel into a snapshot and write a plan into it, step by step.

A peer for which something could not be added or set is left out of all later steps: nothing of it is removed, nothing is
opened. Its next pass starts from what the kernel really has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from wirecrypt.errors import BpfError, KernelError
from wirecrypt.model.guard import GuardEntry
from wirecrypt.model.xfrm import SaEntry
from wirecrypt.plan.diff import Action, Step
from wirecrypt.plan.snapshot import KernelSnapshot
from wirecrypt.ports import Failure, Guard, Xfrm


class Datapath:
    """XFRM and the guard's maps as one thing that a plan is made for."""

    def __init__(self, xfrm: Xfrm, guard: Guard) -> None:
        self._xfrm = xfrm
        self._guard = guard

    def snapshot(self) -> KernelSnapshot:
        """Return what the kernel has."""
        entries = self._guard.entries() if self._guard.loaded() else ()
        listed = self._xfrm.list_sas()
        silent = [e.sa.name for e in listed if not e.usage.packets]
        used_up = [e.sa.name for e in listed if _used_up(e)]
        policies, foreign = self._xfrm.list_all_policies()
        sas = [e.sa for e in listed]
        return KernelSnapshot.of(sas, policies, entries, silent, used_up=used_up, foreign=foreign)

    def has_guard(self) -> bool:
        """Return whether the guard's maps are there."""
        return self._guard.loaded()

    def exempt(self) -> Mapping[int, int]:
        """Return packets in clear with exempt peers, both ways, by nodeID; nothing while there is no guard."""
        return self._guard.exempt() if self._guard.loaded() else {}

    def apply(self, actions: Sequence[Action]) -> dict[str, KernelError]:
        """Do *actions* in their order; return the first error of each peer that had one ("" for the guard)."""
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


def _used_up(entry: SaEntry) -> bool:
    """Return whether an SA reached a soft limit, as net/xfrm/xfrm_state.c, xfrm_state_check_expire, does."""
    limits, use = entry.sa.limits, entry.usage
    return use.bytes >= limits.soft_bytes or use.packets >= limits.soft_packets


def _name(thing: Any) -> Any:  # noqa: ANN401 - an Sa, a Policy, or the key of one
    return getattr(thing, "name", thing)
