"""A kernel in memory: states, policies and guard entries, changed by one action of a plan at a time.

Lookups answer as the real ones: the policy with the lowest priority number that fits selector and mark; a packet that a
required template does not find decrypted is dropped. A state that exists is never changed by adding it (EEXIST).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from wirecrypt.model.guard import GuardAction, GuardEntry
from wirecrypt.model.xfrm import Address, Direction, Network, Policy, PolicyAction, PolicyKey, Sa, SaKey
from wirecrypt.plan.diff import Action, Step
from wirecrypt.plan.snapshot import KernelSnapshot

PLAIN = "plaintext"
BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class Flow:
    """A packet's inner addresses, the mark it carries, and for UDP its destination port."""

    src: Address
    dst: Address
    mark: int = 0
    proto: int = 6
    dport: int = 80


class Kernel:
    """States, policies and guard entries of one node; *version* counts the changes."""

    def __init__(self, added: Callable[[Sa], None]) -> None:
        self.sas: dict[SaKey, Sa] = {}
        self.policies: dict[PolicyKey, Policy] = {}
        self.guard: dict[Network, GuardEntry] = {}
        self.foreign: set[object] = set()
        self.touched: set[SaKey] = set()
        self.version = 0
        self._sorted: tuple[int, list[Policy]] = (-1, [])
        self._added = added

    def snapshot(self) -> KernelSnapshot:
        """Return what is there now."""
        packets = {name: int(name in self.touched) for name in self.sas}
        return KernelSnapshot(dict(self.sas), dict(self.policies), dict(self.guard), packets)

    def clear(self) -> None:
        """Lose everything, as in a reboot; what is foreign comes back."""
        self.sas = {k: v for k, v in self.sas.items() if k in self.foreign}
        self.policies = {k: v for k, v in self.policies.items() if k in self.foreign}
        self.guard = {}
        self.version += 1

    def bring_foreign(self, sas: list[Sa], policies: list[Policy]) -> None:
        """Put objects of somebody else into the kernel: no action may ever name one."""
        self.sas |= {sa.name: sa for sa in sas}
        self.policies |= {p.name: p for p in policies}
        self.foreign |= {sa.name for sa in sas} | {p.name for p in policies}

    def apply(self, action: Action) -> None:
        """Do one action."""
        thing = action.object
        name = getattr(thing, "name", thing)
        assert name not in self.foreign, f"a foreign object is touched: {action}"
        self.version += 1
        if isinstance(thing, Sa):
            if thing.name not in self.sas:
                self._added(thing)
                self.sas[thing.name] = thing
                self.touched.discard(thing.name)
        elif isinstance(thing, Policy):
            self.policies[thing.name] = thing
        elif isinstance(thing, GuardEntry):
            self.guard[thing.prefix] = thing
        elif isinstance(thing, SaKey):
            self.sas.pop(thing, None)
        elif isinstance(thing, PolicyKey):
            self.policies.pop(thing, None)
        else:
            assert action.step is Step.DELETE_GUARD
            self.guard.pop(thing, None)

    def route(self, flow: Flow) -> str | SaKey:
        """Return what a packet that leaves takes: PLAIN, BLOCKED, or the name of a sending SA (there or not)."""
        policy = self._lookup(Direction.OUT, flow)
        if policy is None:
            return BLOCKED if self._guarded(flow.dst, flow.src, "egress") else PLAIN
        if policy.verdict is PolicyAction.BLOCK:
            return BLOCKED
        template = policy.templates[0]
        return SaKey(template.dst, template.spi)

    def takes_plain(self, flow: Flow) -> bool:
        """Return whether a packet of *flow* that arrives in cleartext gets through."""
        if self._guarded(flow.src, flow.dst, "ingress"):
            return False
        for direction in (Direction.FWD, Direction.IN):
            policy = self._lookup(direction, flow)
            if policy is not None and any(not t.optional for t in policy.templates):
                return False
        return True

    def _lookup(self, direction: Direction, flow: Flow) -> Policy | None:
        if self._sorted[0] != self.version:
            self._sorted = (self.version, sorted(self.policies.values(), key=lambda p: p.priority))
        return next((p for p in self._sorted[1] if p.direction is direction and _fits(p, flow)), None)

    def _guarded(self, remote: Address, local: Address, way: str) -> bool:
        """Return whether the guard drops cleartext; a peer's own address is only guarded where the other end is a pod."""
        there, here = self._guard_entry(remote), self._guard_entry(local)
        action = getattr(there, way, GuardAction.PASS)
        own_pod = here is not None and here.egress is GuardAction.OWN
        return action is GuardAction.DROP or (action is GuardAction.NODE and own_pod)

    def _guard_entry(self, address: Address) -> GuardEntry | None:
        fits = [e for prefix, e in self.guard.items() if _holds(prefix, address)]
        return max(fits, key=lambda e: e.prefix.prefixlen, default=None)


def _fits(policy: Policy, flow: Flow) -> bool:
    selector, mark = policy.selector, policy.mark
    if mark is not None and flow.mark & mark.mask != mark.value:
        return False
    if selector.proto and (selector.proto, selector.dport) != (flow.proto, flow.dport):
        return False
    return _holds(selector.src, flow.src) and _holds(selector.dst, flow.dst)


@cache
def _holds(prefix: Network, address: Address) -> bool:
    return prefix.version == address.version and address in prefix
