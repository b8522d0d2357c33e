"""From what the API server shows to findings. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Final

from wirecrypt.cluster.cli_client import NodeLabel
from wirecrypt.doctor.facts import ClusterFacts
from wirecrypt.doctor.finding import Check, Finding
from wirecrypt.doctor.inspect_ranges import RANGES, inspect_ranges
from wirecrypt.doctor.needs import AGENT, CONTROLLER
from wirecrypt.errors import APPLY_AGAIN, INSTALL, ConfigError
from wirecrypt.model import admission
from wirecrypt.model.conditions import ON_THE_WAY, READY, find
from wirecrypt.model.objects import LABEL, LABEL_ENABLED, EncryptedNode, NodeState, Phase
from wirecrypt.settings import Mode, NodeToNode, from_document

SERVER: Final = Check("cluster", "api-server")
CLOCK: Final = Check("cluster", "clock")
KINDS: Final = Check("cluster", "kinds")
POLICIES: Final = Check("cluster", "admission-policies")
ACCESS: Final = Check("cluster", "access")
PODS: Final = Check("cluster", "pods")
CONFIG: Final = Check("cluster", "configuration")
NODES: Final = Check("cluster", "nodes")
CLAIMS: Final = Check("cluster", "claims")
ROTATIONS: Final = Check("cluster", "rotations")
REACH: Final = frozenset({SERVER.name, CLOCK.name})  # told by any answer, a refusal too: nothing of wirecrypt was seen yet
CHECKS: Final = (SERVER, CLOCK, KINDS, POLICIES, ACCESS, PODS, CONFIG, RANGES, NODES, CLAIMS, ROTATIONS)

EXPECTED_KINDS: Final = tuple(f"{kind}.wirecrypt.io" for kind in ("encryptednodes", "keyrotations", "nodepeers"))
VERSION: Final = "v1alpha1"
MOST_SKEW: Final = 5.0
LONG: Final = timedelta(hours=1)
_SHOWN: Final = 5


def inspect_cluster(facts: ClusterFacts) -> list[Finding]:
    """Return the findings, in the order of the checks."""
    if facts.unreachable:
        step = "check the kubeconfig (--kubeconfig, --context), the address, the network and the certificate"
        return [SERVER.error(f"the API server does not answer: {facts.unreachable}", step)]
    if facts.kinds is not None and not facts.kinds:
        return [_server(facts), KINDS.error("wirecrypt is not installed: its kinds are missing", INSTALL)]
    parts = (_clock, _kinds, _policies, _access, _pods, _config, _ranges, _nodes, _claims, _rotations)
    return [_server(facts), *(finding for part in parts for finding in part(facts))]


def _server(facts: ClusterFacts) -> Finding:
    return SERVER.ok(f"the API server answers, {facts.version or 'version unknown'}")


def _clock(facts: ClusterFacts) -> Iterator[Finding]:
    if facts.skew is None:
        yield CLOCK.unseen("the answer had no date")
    elif abs(facts.skew) > MOST_SKEW:
        sentence = f"the API server's clock is {abs(facts.skew):.0f} s {'ahead of' if facts.skew > 0 else 'behind'} ours"
        yield CLOCK.warning(sentence, "synchronize both clocks: tokens and certificates depend on them; keys do not")
    else:
        yield CLOCK.ok("the API server's clock agrees with ours")


def _kinds(facts: ClusterFacts) -> Iterator[Finding]:
    if facts.kinds is None:
        yield KINDS.unseen(facts.unseen.get("kinds", "unknown"))
        return
    bad = 0
    for name in EXPECTED_KINDS:
        kind = facts.kinds.get(name)
        why = ""
        if kind is None:
            why = "is missing"
        elif VERSION not in kind.served or kind.stored != VERSION:
            why = f"serves {', '.join(kind.served)} and stores {kind.stored}; this program speaks {VERSION}"
        elif not kind.established:
            why = "is not established"
        if why:
            bad += 1
            yield KINDS.error(f"the kind {name} {why}", APPLY_AGAIN)
    if not bad:
        yield KINDS.ok(f"all kinds are served in {VERSION}")


def _policies(facts: ClusterFacts) -> Iterator[Finding]:
    if facts.policies is None or facts.bindings is None:
        yield POLICIES.unseen(facts.unseen.get("policies", "unknown"))
        return
    bad = 0
    for name in admission.POLICIES:
        actions = facts.bindings.get(name)
        why = ""
        if name not in facts.policies:
            why = "is missing"
        elif actions is None:
            why = "has no binding, so it does nothing"
        elif "Deny" not in actions:
            why = f"is bound without Deny ({', '.join(sorted(actions))}), so it refuses nothing"
        if why:
            bad += 1
            yield POLICIES.error(
                f"the admission policy {name} {why}: a node could speak for another, or read its keys", APPLY_AGAIN
            )
    if not bad:
        yield POLICIES.ok("all admission policies are there and bound")


def _access(facts: ClusterFacts) -> Iterator[Finding]:
    if facts.access is None:
        yield ACCESS.unseen(facts.unseen.get("access", "unknown"))
        return
    for account in (AGENT, CONTROLLER):
        asked = [(need, allowed) for need, allowed in facts.access if need.account == account]
        missing = [str(need) for need, allowed in asked if not allowed]
        if missing:
            more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
            yield ACCESS.error(f"not allowed, and needed: {'; '.join(missing[:_SHOWN])}{more}", APPLY_AGAIN)
        elif asked:
            yield ACCESS.ok(f"{account} may do all {len(asked)} things that it needs")


def _pods(facts: ClusterFacts) -> Iterator[Finding]:
    if facts.pods is None:
        yield PODS.unseen(facts.unseen.get("pods", "unknown"))
        return
    for pod in facts.pods:
        if not pod.ready:
            why = f": {pod.trouble}" if pod.trouble else ""
            yield PODS.error(f"the pod {pod.name} on {pod.node or 'no node'} is not ready{why}", _LOGS % pod.name)
    agents = {pod.node for pod in facts.pods if pod.account == AGENT and pod.ready}
    without = sorted(w.name for w in facts.node_labels or () if w.label == LABEL_ENABLED and w.name not in agents)
    if without:
        step = "see `kubectl -n wirecrypt-system get pods -o wide` and the events of the DaemonSet"
        yield PODS.error(f"enabled nodes without a ready agent: {', '.join(without[:_SHOWN])}", step)
    yield from _controllers(facts)
    if not without and all(pod.ready for pod in facts.pods) and agents:
        yield PODS.ok(f"agents are ready on {len(agents)} nodes")


_LOGS: Final = "`kubectl -n wirecrypt-system describe pod %s`, then its logs"


def _controllers(facts: ClusterFacts) -> Iterator[Finding]:
    ready = sum(pod.account == CONTROLLER and pod.ready for pod in facts.pods or ())
    if ready == 0:
        yield PODS.error("no controller is ready: labels and rotations wait, traffic goes on", "see its pods' events and logs")
    elif ready == 1:
        yield PODS.warning("one controller is ready; a second one takes over when it fails", "scale the Deployment to 2")
    else:
        yield PODS.ok(f"{ready} controllers are ready")
    lease = facts.lease
    if lease is None:
        if "lease" in facts.unseen:
            yield PODS.unseen(facts.unseen["lease"])
        elif ready:
            yield PODS.error("no controller has ever led: there is no Lease", "see the controllers' logs")
    elif not lease.holder or facts.now - lease.renewed > timedelta(seconds=2 * lease.seconds):
        since = f"{(facts.now - lease.renewed).total_seconds():.0f} s"
        yield PODS.error(f"no controller leads: the Lease was renewed {since} ago", "see the controllers' logs")


def _config(facts: ClusterFacts) -> Iterator[Finding]:
    if facts.config is None and "config" in facts.unseen:
        yield CONFIG.unseen(facts.unseen["config"])
        return
    try:
        settings = from_document(facts.config)
    except ConfigError as error:
        kept = "programs keep the last good one, and do nothing without"
        yield CONFIG.error(f"{error.what}: {error.answer}; {kept}", error.hint)
        return
    if settings.mode is Mode.PERMISSIVE:
        yield CONFIG.warning("mode is permissive: cleartext passes and is counted", "set `mode: strict` once the counters stay")
    if unset := settings.claim_ranges.unset:
        clear = "" if settings.cluster_cidrs else "; packets to addresses that nobody claims pass in clear"
        step = "list the ranges that pods get their prefixes from in clusterCIDRs, the subnets of the nodes in nodeCIDRs"
        yield CONFIG.error(f"{unset}: no node joins, and those that have get nothing new{clear}", step)
    if settings.node_to_node is NodeToNode.OFF:
        sentence = "nodeToNode is off: all traffic between the nodes' own addresses is in clear"
        yield CONFIG.warning(sentence, "set `nodeToNode: workers`: moving loses no packet")
    yield CONFIG.ok("the configuration is valid")


def _ranges(facts: ClusterFacts) -> Iterator[Finding]:
    """Yield what does not fit the ranges of a document that is there and valid; else the configuration's finding says all."""
    with suppress(ConfigError):
        yield from inspect_ranges(from_document(facts.config), facts.nodes, facts.unseen)


def _labels(node_label: NodeLabel) -> Iterator[Finding]:
    """Yield what a Node's labels say and nobody can do: values and keys that mean nothing, a node that no agent can run on."""
    name, enabled = node_label.name, node_label.label == LABEL_ENABLED
    if not enabled and node_label.label is not None:
        step = f"`wirecrypt enable {name}` or `wirecrypt disable {name}`"
        yield NODES.error(f"{name}: the label {LABEL} is {node_label.label!r}, which means nothing", step)
    for strange in node_label.strange:
        kind, _, key = strange.partition("=")[0].partition(" ")
        off = f"take it off: `kubectl {'label' if kind == 'label' else 'annotate'} node {name} {key}-`"
        sentence, meant = f"{name} has the {strange}, which means nothing", f"`wirecrypt enable {name}` if that is meant; {off}"
        yield NODES.warning(sentence, off) if enabled else NODES.error(f"{sentence}: the node is not enabled", meant)
    if enabled and node_label.unfit:
        yield NODES.error(f"{name} is labelled and {node_label.unfit}", f"`wirecrypt disable {name}`")


def _nodes(facts: ClusterFacts) -> Iterator[Finding]:
    for node_label in facts.node_labels or ():
        yield from _labels(node_label)
    for name, why in sorted(facts.malformed.items()):
        yield NODES.error(f"{name} is malformed and ignored: {why}", "correct or delete the object")
    if facts.encrypted is None:
        yield NODES.unseen(facts.unseen.get("encrypted", "unknown"))
        return
    yield from _removals(facts)
    objects = {e.name for e in facts.encrypted}
    for node_label in facts.node_labels or ():
        if node_label.label == LABEL_ENABLED and node_label.name not in objects:
            yield NODES.error(f"{node_label.name} is labelled and has no EncryptedNode", "see the controller's logs")
    unready = [finding for e in facts.encrypted for finding in _unready(e)]
    yield from unready
    if facts.encrypted and not unready:
        yield NODES.ok(f"all {len(facts.encrypted)} enabled nodes are Ready")


def _removals(facts: ClusterFacts) -> Iterator[Finding]:
    """Yield the nodes whose removal waits: their Node is gone or another has their name, and their pairs stay."""
    if facts.peers is None or facts.node_labels is None:
        return
    uids = {node_label.name: node_label.uid for node_label in facts.node_labels}
    for peer in facts.peers:
        if uids.get(peer.name) != peer.node_uid:
            sentence = f"{peer.name}: its Node is gone, or another has its name, and its pairs stay as they are or block"
            confirm = f"kubectl annotate np {peer.name} wirecrypt.io/confirm-removal=true"
            step = f"wait a minute; then, if it is really gone, `{confirm}`"
            yield NODES.warning(sentence, step)


def _unready(encrypted: EncryptedNode) -> Iterator[Finding]:
    ready = find(encrypted.conditions, READY)
    step = f"`wirecrypt status {encrypted.name}`, then `wirecrypt verify`"
    if ready is None:
        yield NODES.error(f"{encrypted.name}: its agent has reported nothing yet", "see the agent's logs on that node")
    elif ready.status is not True:
        sentence = f"{encrypted.name} is not Ready, {ready.reason}: {ready.message}"
        moving = encrypted.state is not NodeState.ACTIVE and ready.reason in ON_THE_WAY
        yield NODES.warning(sentence, "wait; if it stays, " + step) if moving else NODES.error(sentence, step)


def _claims(facts: ClusterFacts) -> Iterator[Finding]:
    refused = [(e.name, problem) for e in facts.encrypted or () for problem in e.problems]
    for name, problem in refused:
        yield CLAIMS.error(f"{name}: {problem}", "change the Node's addresses or prefixes; what is refused is not encrypted")
    if facts.encrypted is not None and not refused:
        yield CLAIMS.ok("no claim of a node was refused")


def _rotations(facts: ClusterFacts) -> Iterator[Finding]:
    if facts.rotations is None:
        yield ROTATIONS.unseen(facts.unseen.get("rotations", "unknown"))
        return
    unfinished = [r for r in facts.rotations if r.phase not in (Phase.COMPLETE, Phase.ABORTED)]
    for rotation in unfinished:
        phase = rotation.phase.value if rotation.phase else "new"
        if rotation.laggards:
            step = "bring these nodes back, or delete their Nodes: the old keys stay until then"
            yield ROTATIONS.warning(f"{rotation.name} ({phase}) waits for {', '.join(rotation.laggards[:_SHOWN])}", step)
        elif facts.now - rotation.created > LONG:
            yield ROTATIONS.warning(
                f"{rotation.name} has been {phase} since {rotation.created:%Y-%m-%d %H:%M} UTC", "`wirecrypt status`"
            )
    if not unfinished:
        yield ROTATIONS.ok("no rotation is in progress")
