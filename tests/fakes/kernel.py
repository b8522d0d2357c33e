"""A kernel with its guard in memory, written object by object, and what becomes of a packet that leaves or arrives.

Lookups answer as the real ones: the policy with the lowest priority number that fits selector and mark; a packet that no
policy speaks of is cleartext, and the guard on the uplink judges it; one that was decrypted needs a policy whose template is
the tunnel it came by. Whoever made the kernel hears of each write after it was done: it may look, or end the writer there.
"""

# ruff: noqa: D102 - the ports say what their methods do

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.fakes.guard import Filters
from tests.fakes.packet import Packet, Prefix, Sent, Way
from wirecrypt.errors import XfrmError
from wirecrypt.model.objects import NodePeer
from wirecrypt.model.xfrm import Algorithm, Direction, Failure, Policy, PolicyAction, PolicyKey, Sa, SaEntry, SaKey, SaUsage


@dataclass(frozen=True, slots=True)
class _Entry:
    """A policy that is to be looked up."""

    policy: Policy
    src: Prefix
    dst: Prefix

    @classmethod
    def of(cls, policy: Policy) -> _Entry:
        return cls(policy, Prefix(policy.selector.src), Prefix(policy.selector.dst))

    def fits(self, packet: Packet) -> bool:
        selector, mark = self.policy.selector, self.policy.mark
        if mark is not None and packet.mark & mark.mask != mark.value:
            return False
        if selector.proto and (selector.proto, selector.dport) != (packet.proto, packet.dport):
            return False
        return self.dst.holds(packet.dst) and self.src.holds(packet.src)


_PLAIN, _BLOCKED = Sent(Way.PLAIN), Sent(Way.BLOCKED)


class Kernel:
    """States and policies, and the guard's maps. *told* hears of each write after it was done, in words.

    *adds* and *deletes* hear of states before, *adds* also of what is refused. *version* counts the writes. *used*: states that
    carried a packet; *usage*: what some carried. *lacks*: ciphers that this kernel does not have.
    """

    def __init__(
        self,
        told: Callable[[str], object] = lambda _: None,
        *,
        adds: Callable[[Sa], object] = lambda _: None,
        deletes: Callable[[Sa], object] = lambda _: None,
    ) -> None:
        self.sas: dict[SaKey, Sa] = {}
        self.policies: dict[PolicyKey, Policy] = {}
        self.guard = Filters(self._changed)
        self.used: set[SaKey] = set()
        self.usage: dict[SaKey, SaUsage] = {}
        self.lacks: frozenset[Algorithm] = frozenset()
        self.version = 0
        self.told, self._adds, self._deletes = told, adds, deletes
        self._own: tuple[dict[SaKey, Sa], dict[PolicyKey, Policy]] = {}, {}
        self._others = 0
        self._entries: dict[int, _Entry] = {}
        self._sorted: tuple[int, dict[Direction, list[_Entry]]] = (-1, {})

    def changes(self) -> int:
        """Return how often somebody else was seen to have changed states or policies: whoever did it not by the port."""
        if (self.sas, self.policies) != self._own:
            self._own = dict(self.sas), dict(self.policies)
            self._others += 1
        return self._others

    # ---- the port

    def list_sas(self) -> Sequence[SaEntry]:
        return [SaEntry(sa, self.usage.get(name, SaUsage(0, int(name in self.used), 0))) for name, sa in self.sas.items()]

    def list_policies(self) -> Sequence[Policy]:
        return list(self.policies.values())

    def list_all_policies(self) -> tuple[Sequence[Policy], Mapping[PolicyKey, str]]:
        return self.list_policies(), {}

    def add_sas(self, sas: Sequence[Sa]) -> Sequence[Failure]:
        failed = []
        self.changes()
        for sa in sas:
            self._adds(sa)
            if sa.name in self.sas or sa.algorithm in self.lacks:
                number = errno.EEXIST if sa.name in self.sas else errno.ENOSYS
                failed.append(Failure(sa, XfrmError("add a state", answer=os.strerror(number), errno=number)))
                continue
            self.sas[sa.name] = self._own[0][sa.name] = sa
            self.used.discard(sa.name)
            self._changed(f"add {sa.name}")
        return failed

    def set_policies(self, policies: Sequence[Policy]) -> Sequence[Failure]:
        self.changes()
        for policy in policies:
            self.policies[policy.name] = self._own[1][policy.name] = policy
            self._changed(f"set {policy.name}")
        return ()

    def delete_sas(self, keys: Sequence[SaKey]) -> Sequence[Failure]:
        self.changes()
        for key in keys:
            if key in self.sas:
                self._deletes(self.sas[key])
                del self.sas[key], self._own[0][key]
                self._changed(f"delete {key}")
        return ()

    def delete_policies(self, keys: Sequence[PolicyKey]) -> Sequence[Failure]:
        self.changes()
        for key in keys:
            if self.policies.pop(key, None) and self._own[1].pop(key):
                self._changed(f"delete {key}")
        return ()

    def stats(self) -> Mapping[str, int]:
        return {}

    def out(self, peer: NodePeer) -> set[str]:
        """Return what traffic to the peer's pods meets: "esp", "block", or nothing."""
        policies = [p for p in self.policies.values() if p.direction is Direction.OUT and p.selector.dst in peer.pod_cidrs]
        return {"esp" if p.templates else "block" for p in policies}

    # ---- packets

    def leaves(self, packet: Packet) -> Sent:
        """Return how *packet* leaves this node."""
        policy = self._lookup(Direction.OUT, packet)
        if policy is None or (policy.verdict is PolicyAction.ALLOW and not policy.templates):
            return _BLOCKED if self.guard.refuses(packet, egress=True) else _PLAIN
        if policy.verdict is PolicyAction.BLOCK:
            return _BLOCKED
        template = policy.templates[0]
        name = SaKey(template.dst, template.spi)
        if not self.guard.passes_esp(template.dst, template.spi, egress=True):
            return _BLOCKED
        sa = self.sas.get(name)
        return Sent(Way.ESP, name, sa.key.fingerprint if sa else "", template.src)

    def takes(self, packet: Packet, sent: Sent) -> bool:
        """Return whether *packet*, as it was sent, gets through to its end at this node."""
        policy = self._lookup(Direction.FWD if packet.to_pod else Direction.IN, packet)
        if sent.name is None or sent.src is None:
            required = policy is not None and any(not t.optional for t in policy.templates)
            return not (required or self.guard.refuses(packet, egress=False))
        sa = self.sas.get(sent.name)
        if sa is None or sa.key.fingerprint != sent.key or not self.guard.passes_esp(sent.src, sa.spi, egress=False):
            return False
        self.used.add(sent.name)
        tunnel = policy is not None and any((t.src, t.dst) == (sa.src, sa.dst) for t in policy.templates)
        return tunnel and self.guard.owns(packet.src, sa.spi)

    def points_at(self, name: SaKey) -> bool:
        """Return whether a policy sends data by this SA."""
        policies = (p for p in self.policies.values() if p.direction is Direction.OUT and not p.selector.proto)
        return any(t.spi == name.spi and t.dst == name.dst for p in policies for t in p.templates)

    def _lookup(self, direction: Direction, packet: Packet) -> Policy | None:
        if self._sorted[0] != self.version:
            self._entries = {id(p): self._entries.get(id(p)) or _Entry.of(p) for p in self.policies.values()}
            ordered = sorted(self._entries.values(), key=lambda e: e.policy.priority)
            self._sorted = self.version, {way: [e for e in ordered if e.policy.direction is way] for way in Direction}
        return next((e.policy for e in self._sorted[1][direction] if e.fits(packet)), None)

    def _changed(self, what: str) -> None:
        self.version += 1
        self.told(what)
