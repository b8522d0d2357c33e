"""From what was seen to facts: the kernel at one moment next to the decisions of the last pass, probes, and the capture. Pure.

What the last round itself found still to do is no deviation: it was under way. What differs beyond that, somebody else did.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from ipaddress import ip_address

from wirecrypt.agent.last_pass import PassSnapshot
from wirecrypt.agent.serve.prefixes import Prefixes
from wirecrypt.agent.steps.guarding import GuardEntries
from wirecrypt.agent.steps.installing import desired_pairs, nothing_new
from wirecrypt.agent.view.pair_view import PairView
from wirecrypt.model.guard import Attachment, GuardAction, GuardEntry
from wirecrypt.model.mark import MarkLayout
from wirecrypt.model.pair import End, Pair
from wirecrypt.model.spi import Spi
from wirecrypt.model.verify_facts import (
    FORMAT,
    CaptureSummary,
    Clear,
    Deviation,
    EspSeen,
    LaneProbe,
    NodeEvidence,
    PeerEvidence,
    SaFact,
)
from wirecrypt.model.xfrm import Address, Direction, Network, PolicyAction, PolicyKey, SaKey, SaUsage
from wirecrypt.pairs.node_traffic import SEALED
from wirecrypt.plan.diff import DesiredPair
from wirecrypt.plan.observe import observe
from wirecrypt.plan.policies import UDP
from wirecrypt.plan.shared import shared
from wirecrypt.plan.snapshot import KernelSnapshot, policies_of, sas_of
from wirecrypt.settings import Settings

EGRESS = "wirecrypt_guard_egress"
INGRESS = "wirecrypt_guard_ingress"

Usages = Mapping[SaKey, SaUsage]
Deviations = tuple[Deviation, ...]


@dataclass(frozen=True, slots=True)
class EvidenceSnapshot:
    """The kernel of one moment and what the agent had decided by then.

    *exempt*: packets in clear by an exempt peer's nodeID; *settled*: no pass was running.
    """

    snapshot: PassSnapshot
    kernel: KernelSnapshot
    usages: Usages
    attachments: Sequence[Attachment]
    exempt: Mapping[int, int]
    settled: bool
    pass_age: float


@dataclass(frozen=True, slots=True)
class Afterwards:
    """What came after: usages at the end, probes by peer's node UID, ESP by (target, SPI), readable flows."""

    usages: Usages
    probes: Mapping[str, tuple[LaneProbe, ...]]
    esp: Mapping[tuple[Address, int], int]
    clear: Sequence[Clear]


@dataclass(frozen=True, slots=True)
class _Sources:
    """All that facts are taken from: names of all wanted policies, guard deviations by prefix, flows by peer's node UID."""

    seen: EvidenceSnapshot
    after: Afterwards
    marks: MarkLayout
    names: AbstractSet[PolicyKey]
    guard: Mapping[Network, tuple[Deviations, Deviations]]
    clear: Mapping[str, tuple[Clear, ...]]


def facts(seen: EvidenceSnapshot, after: Afterwards, settings: Settings, node: str, watched: CaptureSummary) -> NodeEvidence:
    """Return the facts of the node called *node*, its peers in the order of names."""
    pass_state = seen.snapshot.pass_state
    wanted = desired_pairs(pass_state, settings, nothing_new)
    names = frozenset(p.name for desired in wanted for p in desired.policies)
    clear = _by_peer(pass_state.pair_views.values(), after.clear)
    sources = _Sources(seen, after, pass_state.marks, names, _guard(seen, settings), clear)
    pairs = [(s, w) for (s, d), w in zip(pass_state.pairs(), wanted, strict=True) if not (s.inputs.peer_gone or d.remove_all)]
    others = _elsewhere(sources.guard, [pair_view.pair.peer for pair_view, _ in pairs])
    common = _shared(seen.kernel, sources.marks) if pairs else ((), ())
    return NodeEvidence(
        format=FORMAT,
        node=node,
        node_id=pass_state.own.node_id,
        state=pass_state.own.state.value,
        settled=seen.settled,
        pass_age=seen.pass_age,
        watched=watched,
        guard_out=(*_attached(seen, EGRESS), *others[0], *common[0]),
        guard_in=(*_attached(seen, INGRESS), *others[1], *common[1]),
        peers=tuple(_peer(sources, pair_view, desired) for pair_view, desired in pairs),
        ungranted=pass_state.ungranted(),
    )


def _peer(sources: _Sources, pair_view: PairView, desired: DesiredPair) -> PeerEvidence:
    uid, pair, seen = pair_view.peer.node_uid, pair_view.pair, sources.seen
    pass_state = seen.snapshot.pass_state
    now = observe(pair, seen.kernel, desired.known, sources.marks, lambda *_: True)
    before = set(_policies(desired, pass_state.kernel, sources.names))
    policies = [each for each in _policies(desired, seen.kernel, sources.names) if each not in before]
    sas = tuple(_sas(seen, sources.after.usages, pair_view, desired))
    missing = _missing(pair_view, desired, {sa.spi for sa in sas})
    guard = [sources.guard[p] for p in pair.peer.claims if p in sources.guard]
    return PeerEvidence(
        node=pair.peer.name,
        node_id=pair.peer.node_id,
        state=pair_view.peer.state.value,
        out=now.out.value,
        receive=now.receive.value,
        in_use="" if now.in_use is None else str(now.in_use),
        why=desired.decision.why,
        failing=pass_state.failing.get(uid, ""),
        refused=pass_state.failed.get(uid, ""),
        uses=_uses(pair, seen.kernel),
        sas=sas,
        sending_missing=tuple(n for n in missing if _sender(n) == pair.own.node_id),
        receiving_missing=tuple(n for n in missing if _sender(n) != pair.own.node_id),
        policies_out=tuple(d for d, direction in policies if direction is Direction.OUT),
        policies_in=tuple(d for d, direction in policies if direction is not Direction.OUT),
        guard_out=tuple(d for out, _ in guard for d in out),
        guard_in=tuple(d for _, inbound in guard for d in inbound),
        probes=sources.after.probes.get(uid, ()),
        esp=_esp(pair, sources.after.esp),
        clear=sources.clear.get(uid, ()),
        later=tuple(sorted(key.spi for key in sources.after.usages if key.dst in pair.outer())),
        nodes="exempt" if pair_view.inputs.exempt else "sealed" if now.nodes == SEALED else "open",
        exempt_packets=seen.exempt.get(pair.peer.node_id, 0),
    )


def _uses(pair: Pair, kernel: KernelSnapshot) -> tuple[int, ...]:
    data = (p for p in policies_of(pair, kernel) if p.direction is Direction.OUT and p.selector.proto != UDP)
    spis = {t.spi for p in data if p.verdict is PolicyAction.ALLOW for t in p.templates if t.spi}
    return tuple(sorted(spis))


def _sas(seen: EvidenceSnapshot, after: Usages, pair_view: PairView, desired: DesiredPair) -> Iterator[SaFact]:
    pair = pair_view.pair
    for sa, spi in sas_of(pair, seen.kernel):
        generation = desired.known.generation(spi, own_is_lo=pair.own_is_lo)
        before, end = seen.usages[sa.name], after.get(sa.name)
        yield SaFact(
            spi=sa.spi,
            sending=spi.sender == pair.own.node_id,
            lane=spi.lane,
            generation=str(generation),
            fingerprint=sa.key.fingerprint,
            right_key=seen.snapshot.ring.right_key(pair.peer.node_uid, generation, spi.lane, sa),
            packets=before.packets,
            grown=None if end is None else max(0, end.packets - before.packets),
            errors=0 if end is None else max(0, end.integrity_errors - before.integrity_errors),
        )


def _missing(pair_view: PairView, desired: DesiredPair, present: AbstractSet[int]) -> list[int]:
    """Return the SPIs of installed generations that the last pass kept and that are not there."""
    pair, installed = pair_view.pair, pair_view.inputs.observed.installed
    found = []
    for generation, (receive, send) in sorted(desired.decision.keep.items()):
        if generation not in installed:
            continue
        for lane in range(installed[generation].lanes):
            ends = [(receive, pair.peer.node_id), (send, pair.own.node_id)]
            found += [spi for wanted, sender in ends if wanted and (spi := generation.spi(sender, lane)) not in present]
    return found


def _sender(spi: int) -> int:
    components = Spi.decode(spi)
    return components.sender if components else 0


def _policies(desired: DesiredPair, kernel: KernelSnapshot, names: AbstractSet[PolicyKey]) -> list[tuple[Deviation, Direction]]:
    found = []
    for policy in desired.policies:
        present = kernel.policies.get(policy.name)
        if present != policy:
            problem = "missing" if present is None else "different"
            found.append((Deviation(f"policy {policy.name}", problem), policy.direction))
    extra = [p for p in policies_of(desired.pair, kernel) if p.name not in names]
    return found + [(Deviation(f"policy {p.name}", "not wanted"), p.direction) for p in extra]


def _shared(kernel: KernelSnapshot, marks: MarkLayout) -> tuple[Deviations, Deviations]:
    """Return which of the policies that belong to no pair are missing, out and in."""
    lost = [p for p in shared(marks) if kernel.policies.get(p.name) != p]
    out, inward = (
        tuple(Deviation(f"policy {p.name}", "missing") for p in lost if (p.direction is Direction.OUT) is leaving)
        for leaving in (True, False)
    )
    return out, inward


def _guard(seen: EvidenceSnapshot, settings: Settings) -> dict[Network, tuple[Deviations, Deviations]]:
    """Return (egress, ingress) deviations of the guard's entries by prefix."""
    wanted = GuardEntries().wanted(seen.snapshot.pass_state, settings)
    found: dict[Network, tuple[Deviations, Deviations]] = {}
    before = seen.snapshot.pass_state.kernel.guard
    for prefix in sorted({*wanted, *seen.kernel.guard}, key=lambda p: (p.version, p)):
        now, then = (_entry(wanted.get(prefix), kernel.get(prefix), prefix) for kernel in (seen.kernel.guard, before))
        fresh = tuple(() if n == t else n for n, t in zip(now, then, strict=True))
        if any(fresh):
            found[prefix] = (fresh[0], fresh[1])
    return found


def _entry(wanted: GuardEntry | None, present: GuardEntry | None, prefix: Network) -> tuple[Deviations, Deviations]:
    sides: list[tuple[GuardAction | None, GuardAction | None]] = [
        (wanted.egress if wanted else None, present.egress if present else None),
        (wanted.ingress if wanted else None, present.ingress if present else None),
    ]
    egress, ingress = (
        () if want is have else (Deviation(f"guard entry {prefix}", _problem(want, have)),) for want, have in sides
    )
    return egress, ingress


def _problem(wanted: object, present: object) -> str:
    if present is None:
        return "missing"
    return "not wanted" if wanted is None else "different"


def _attached(seen: EvidenceSnapshot, program: str) -> Deviations:
    """Return on which uplinks *program* is not attached; that there is no uplink is a deviation, too."""
    current = {a.link for a in seen.attachments if a.program == program and a.current}
    if not seen.snapshot.uplinks:
        return (Deviation(f"{program} on any uplink", "missing"),)
    return tuple(Deviation(f"{program} on {link}", "missing") for link in seen.snapshot.uplinks if link not in current)


def _elsewhere(
    deviations: Mapping[Network, tuple[Deviations, Deviations]], ends: Iterable[End]
) -> tuple[Deviations, Deviations]:
    """Return the guard's deviations that are about none of the peers *ends*: own prefixes, plain nodes, cluster ranges."""
    theirs = {prefix for end in ends for prefix in end.claims}
    rest = [found for prefix, found in deviations.items() if prefix not in theirs]
    return tuple(d for out, _ in rest for d in out), tuple(d for _, inbound in rest for d in inbound)


def _esp(pair: Pair, esp: Mapping[tuple[Address, int], int]) -> tuple[EspSeen, ...]:
    _, peer = pair.outer()
    mine = sorted((spi, n) for (target, spi), n in esp.items() if target == peer and _sender(spi) == pair.own.node_id)
    return tuple(EspSeen(spi, n) for spi, n in mine)


def _by_peer(pairs: Iterable[PairView], clear: Sequence[Clear]) -> dict[str, tuple[Clear, ...]]:
    prefixes = Prefixes(pairs)
    found: dict[str, list[Clear]] = {}
    for flow in clear:
        uid = prefixes.peer(ip_address(flow.src), ip_address(flow.dst))
        if uid is not None:
            found.setdefault(uid, []).append(flow)
    return {uid: tuple(flows) for uid, flows in found.items()}
