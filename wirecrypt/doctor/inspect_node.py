"""From what this machine shows to findings. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from wirecrypt.doctor.counters import COUNTERS
from wirecrypt.doctor.facts import CLAIMS_OF, ClusterFacts, LocalMachine, NodeInspection
from wirecrypt.doctor.finding import Check, Finding
from wirecrypt.doctor.mark_users import collisions
from wirecrypt.kernel.bpf.reasons import REASONS
from wirecrypt.kernel.probe import Feature, ProbeResult
from wirecrypt.model.xfrm import Algorithm

MACHINE: Final = Check("node", "machine")
ROOT: Final = Check("node", "privileges")
KERNEL: Final = Check("node", "kernel")
MARKS: Final = Check("node", "marks")
FOREIGN: Final = Check("node", "foreign-ipsec")
UNPRIVILEGED: Final = Check("node", "unprivileged-bpf")
FORWARDING: Final = Check("node", "forwarding")
STATS: Final = Check("node", "xfrm-counters")
GUARD: Final = Check("node", "guard-counters")
LINKS: Final = Check("node", "guard-links")
CHECKS: Final = (MACHINE, ROOT, KERNEL, MARKS, FOREIGN, UNPRIVILEGED, FORWARDING, STATS, GUARD, LINKS)
UNPRIVILEGED_BPF: Final = "kernel.unprivileged_bpf_disabled"
FORWARD: Final = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")
_CIPHERS: Final = frozenset(algorithm.value for algorithm in Algorithm)
_IPSEC: Final = frozenset({"esp-ipv4", "esp-ipv6", "esn"}) | _CIPHERS
_KERNEL_STEP: Final = "install the kernel's modules package, or a kernel of 5.19 or newer with ESP, clsact and BPF"
_DROPS: Final = ("egress_", "ingress_", "events_lost")
_SHOWN: Final = 5


def no_node(machine: LocalMachine, cluster: ClusterFacts) -> list[Finding]:
    """Return the one finding for a *machine* that is no Node of the *cluster*; none where it is one, or nobody can tell.

    What such a machine's kernel can do, drops or forwards says nothing of the cluster.
    """
    unread = any(name.startswith(CLAIMS_OF) for name in cluster.unseen)
    if cluster.node_labels is None or cluster.nodes is None or machine.addresses is None or unread:
        return []
    known = {node_label.name for node_label in cluster.node_labels}
    held = {address for node in cluster.nodes for address in node.endpoints}
    if machine.names & known or machine.addresses & held:
        return []
    named = ", ".join(sorted(machine.names))
    step = "run it on a node, as root, or in the agent's pod there; `--only node` looks at this machine all the same"
    return [MACHINE.unseen(f"this machine, {named}, is no Node of the cluster, by name and by address", step)]


def inspect_node(facts: NodeInspection) -> list[Finding]:
    """Return the findings, in the order of the checks."""
    if not facts.root:
        return [ROOT.unseen("not root", "run `wirecrypt doctor` as root on a node, or inside the agent's pod")]
    parts = (_kernel, _marks, _foreign, _unprivileged, _forwarding, _stats, _guard, _links)
    return [finding for part in parts for finding in part(facts)]


def _kernel(facts: NodeInspection) -> Iterator[Finding]:
    """Yield one finding for all of IPsec that is missing, one for each other feature, one for each reason of not knowing."""
    lacking = [f for f in facts.features if f.verdict is ProbeResult.NO]
    one_cipher = {f.name for f in facts.features if f.verdict is ProbeResult.YES} & _CIPHERS
    enough = [f for f in lacking if f.name in _CIPHERS and one_cipher]
    for feature in enough:
        yield KERNEL.warning(f"{_lacks(facts, [feature])}; set `algorithm` to the other", _KERNEL_STEP)
    untried = [f.name for f in facts.features if set(f.without) & {each.name for each in lacking}]
    ipsec = [f for f in lacking if f.name in _IPSEC and f not in enough]
    if ipsec:
        more = f"; {', '.join(untried)} could not be tried without" if untried else ""
        yield KERNEL.error(_lacks(facts, ipsec) + more, _KERNEL_STEP)
    for feature in (f for f in lacking if f.name not in _IPSEC):
        yield KERNEL.error(_lacks(facts, [feature]), _KERNEL_STEP)
    unknown = {f.name: f.reason for f in facts.features if f.verdict is ProbeResult.UNKNOWN and f.name not in untried}
    yield from (KERNEL.unseen(f"{names}: {why}") for names, why in _by_reason(unknown))
    if facts.features and all(f.verdict is ProbeResult.YES for f in facts.features):
        yield KERNEL.ok(f"Linux {facts.release} has {', '.join(f.name for f in facts.features)}")


def _lacks(facts: NodeInspection, features: Sequence[Feature]) -> str:
    return f"Linux {facts.release} lacks {' and '.join(f'{f.name} ({f.reason})' for f in features)}"


def _by_reason(unknown: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return what could not be looked at, as names with the reason that they share: one cause is one finding."""
    reasons = dict.fromkeys(unknown.values())
    return [(", ".join(name for name, why in unknown.items() if why == reason), reason) for reason in reasons]


def _marks(facts: NodeInspection) -> Iterator[Finding]:
    found = list(collisions(facts.mark_uses, facts.mask))
    step = "set `mark.shift` in the configuration to 8 bits that nobody uses, or tell the other program to leave these alone"
    for use, means_them in found[:_SHOWN]:
        owner = f", probably of {use.owner}" if use.owner else ""
        verb = "writes" if use.written & facts.mask else "compares"
        sentence = f"a rule of {use.source}{owner} {verb} bits of our mark field 0x{facts.mask:08x}: {use.text}"
        yield MARKS.error(sentence, step) if means_them else MARKS.warning(f"{sentence} (the whole mark)", step)
    if len(found) > _SHOWN:
        yield MARKS.warning(f"{len(found) - _SHOWN} more rules use bits of our mark field", step)
    if "cilium_host" in facts.links:
        sentence = "Cilium is here: its programs keep an identity in the upper 16 bits of marks, which no rule shows"
        yield MARKS.warning(sentence, "check with `wirecrypt verify` that probes and pods get through; see the reference")
    unseen = {s.removeprefix("marks "): why for s, why in sorted(facts.unseen.items()) if s.startswith("marks ")}
    for sources, why in _by_reason(unseen):
        yield MARKS.unseen(f"{sources}: {why}", "install the tool, or look there yourself")
    if not found:
        yield MARKS.ok(f"{len(facts.mark_uses)} rules use packet marks, none our field 0x{facts.mask:08x}")


def _foreign(facts: NodeInspection) -> Iterator[Finding]:
    if facts.foreign is None:
        yield FOREIGN.unseen(facts.unseen.get("foreign", "unknown"))
    elif facts.foreign:
        shown = "; ".join(facts.foreign[:_SHOWN]) + (" …" if len(facts.foreign) > _SHOWN else "")
        step = "fine if it is meant; its policies must not speak of pod prefixes or node addresses of the cluster"
        yield FOREIGN.warning(f"{len(facts.foreign)} IPsec objects are not ours and stay untouched: {shown}", step)
    else:
        yield FOREIGN.ok("every IPsec state and policy here is ours")


def _unprivileged(facts: NodeInspection) -> Iterator[Finding]:
    value = facts.sysctls.get(UNPRIVILEGED_BPF)
    if value is None:
        yield UNPRIVILEGED.unseen(facts.unseen.get(UNPRIVILEGED_BPF, "unknown"))
    elif value == 0:
        step = f"`sysctl -w {UNPRIVILEGED_BPF}=1`"
        yield UNPRIVILEGED.warning("any user may load eBPF programs, which makes attacks on the kernel's memory easier", step)
    else:
        yield UNPRIVILEGED.ok("only privileged users may load eBPF programs")


def _forwarding(facts: NodeInspection) -> Iterator[Finding]:
    off = [name for name in FORWARD if facts.sysctls.get(name) == 0]
    for name in off:
        step = f"`sysctl -w {name}=1`, unless the cluster has no pods of this family"
        yield FORWARDING.warning(f"{name} is 0: packets to pods of this family are not forwarded", step)
    unknown = [name for name in FORWARD if name not in facts.sysctls]
    for name in unknown:
        yield FORWARDING.unseen(facts.unseen.get(name, "unknown"))
    if not off and not unknown:
        yield FORWARDING.ok("packets to pods are forwarded")


def _stats(facts: NodeInspection) -> Iterator[Finding]:
    if facts.stats is None:
        yield STATS.unseen(facts.unseen.get("stats", "unknown"))
        return
    counted = {name: value for name, value in facts.stats.items() if value}
    for name, value in sorted(counted.items()):
        meaning = COUNTERS.get(name)
        sentence = meaning.sentence if meaning else "This version does not know the counter."
        step = meaning.next_step if meaning else "look it up in the kernel's xfrm_proc documentation"
        yield STATS.warning(f"{name} {value}: {sentence}", step)
    if not counted:
        yield STATS.ok("no packet was dropped by IPsec")


def _guard(facts: NodeInspection) -> Iterator[Finding]:
    if facts.counters is None:
        why = facts.unseen.get("counters")
        yield GUARD.unseen(why) if why else GUARD.ok("the guard is not loaded: this node is not enabled, or not yet")
        return
    dropped = {name: value for name, value in facts.counters.items() if value and name.startswith(_DROPS)}
    for name, value in sorted(dropped.items()):
        yield GUARD.warning(f"{name} {value}: {REASONS[name].sentence}", REASONS[name].next_step)
    in_clear = facts.counters.get("node_to_node", 0)
    if in_clear:
        yield GUARD.ok(f"node_to_node {in_clear}: {REASONS['node_to_node'].sentence}")
    if not dropped:
        yield GUARD.ok("the guard is loaded and has dropped nothing")


def _links(facts: NodeInspection) -> Iterator[Finding]:
    if facts.unguarded is None:
        yield LINKS.unseen(facts.unseen.get("unguarded", "unknown"))
    elif facts.unguarded:
        sentence = f"links that lead off the node have no guard: {', '.join(facts.unguarded)}"
        yield LINKS.error(sentence, "take them into `uplinks` of the configuration, or leave it out: then all are guarded")
    else:
        yield LINKS.ok("no link that leads off the node is without the guard")
