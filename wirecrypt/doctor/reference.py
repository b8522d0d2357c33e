"""The reference page of doctor: each check with what it looks at, and each counter with its words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from wirecrypt.doctor import inspect_cluster, inspect_node
from wirecrypt.doctor.counters import COUNTERS
from wirecrypt.kernel.bpf.reasons import REASONS

ABOUT: Final = {
    "api-server": "The API server that the kubeconfig names answers. Without an answer nothing more is said.",
    "clock": (
        "The date of its answers, compared with this machine's clock. Tokens, certificates and the Lease depend on clocks; "
        "keys and rotations do not."
    ),
    "kinds": "The custom resource definitions are there, established, and serve and store this program's version.",
    "admission-policies": (
        "The ValidatingAdmissionPolicies are there and bound with Deny. They keep a node from speaking for another, from "
        "ending its agent and from reading its keys, and anybody but agents from publishing public keys. A missing policy or "
        "binding admits everything, "
        "so agents and controller try each of them every hour (condition, event and metric name the one that is open), and "
        "agents accept no new keys when a forbidden write is admitted."
    ),
    "access": (
        "Every right that the agent and the controller need, asked of the API server one by one: by themselves with a "
        "SelfSubjectAccessReview when doctor runs with their account, else about them with a SubjectAccessReview."
    ),
    "pods": (
        "An agent is ready on every enabled node, two controllers are ready, and one of them leads (it renews its Lease). "
        "A pod is told by its service account. Traffic goes on without any of them."
    ),
    "configuration": (
        "The document in the ConfigMap is valid, and protects: strict mode, the cluster's ranges listed, node to node not off. "
        "Without the ranges of pods and of nodes no node joins: any address could be said to be its own. "
        "Agents and controllers keep the last good document when a bad one is written or the ConfigMap is gone; one that has "
        "read none since its start does nothing."
    ),
    "ranges": (
        "The prefixes of Nodes lie inside `clusterCIDRs`, their addresses inside `nodeCIDRs`, else they are refused once the "
        "node is enabled; no range of Services overlaps `clusterCIDRs`, and no address of `apiServers` is a Service's. Strict "
        "mode drops packets to an address inside `clusterCIDRs` that nobody claims; outside them such a packet passes in "
        "clear. The addresses of Nodes may be outside `clusterCIDRs` where other machines share their range."
    ),
    "nodes": (
        "Labels have a value that means something, labelled Nodes have their objects, objects are well-formed, and every "
        "enabled node is Ready. A node on its way in or out is a warning."
    ),
    "claims": (
        "Addresses and prefixes of Nodes are claims. One that lies outside the ranges of the configuration, or overlaps "
        "another node's, the Service range or an API server, is refused, and the older holder keeps it. A new address of an "
        "Active node in a subnet in which it has none waits for an annotation of its NodePeer."
    ),
    "rotations": "No rotation waits for nodes that are away, and none has been in progress for more than an hour.",
    "machine": (
        "This machine is a Node of the cluster: a Node has its name, or one of its addresses. One that is none, as an "
        "administrator's own, is not looked at, unless `--only node` asks for it. Where Nodes cannot be read it is looked at."
    ),
    "privileges": "The node's side needs root: on the node, or inside the agent's pod. Everything is only read.",
    "kernel": (
        "What the kernel can do is tried in a network namespace that vanishes: ESP of both families, both ciphers, extended "
        "sequence numbers with a replay window of 4,096, SO_RCVMARK (kernel 5.19), clsact, eBPF. One of the two ciphers is "
        "enough. All of IPsec that is missing is one finding, with what could not be tried without. UNKNOWN is never taken for "
        "yes."
    ),
    "marks": (
        "Rules of `ip rule`, nftables and iptables that write or compare the eight bits of packet marks that are ours "
        "(`mark.shift` in the configuration). kube-proxy uses 0x4000 and 0x8000, Calico bits of 0xffff0000, Istio 0x539, "
        "Cilium 0x0f00 and, in its eBPF programs where no rule shows it, the upper 16 bits. A rule for some of our bits is "
        "an error; one that writes or compares the whole mark is a warning: marks choose a lane, never whether a packet is "
        "encrypted, but a control datagram that loses its mark is blocked."
    ),
    "foreign-ipsec": (
        "IPsec states and policies that are not ours, such as those of another IPsec program. They are never changed. Ours are "
        "states whose reqid is their SPI, and policies in our priorities."
    ),
    "unprivileged-bpf": "Whether users without privileges may load eBPF programs. wirecrypt does not need it.",
    "forwarding": "Whether the kernel forwards packets to pods, per address family.",
    "xfrm-counters": (
        "The counters of /proc/net/xfrm_stat: packets that the kernel's IPsec dropped since the boot. They count all IPsec of "
        "the node. What matters is whether one grows: run doctor twice."
    ),
    "guard-links": (
        "Links that are up, can carry a packet off the node, are no pod's, and have no program of ours: there are none unless "
        "`uplinks` of the configuration leaves them out."
    ),
    "guard-counters": "What the guard on the uplinks dropped, or in permissive mode would have, and what passed in clear.",
}


def page() -> Iterator[str]:
    """Yield the lines of docs/reference/doctor.md."""
    yield from ("# What doctor looks at", "")
    yield "`wirecrypt doctor` looks at the cluster, and as root on a node at this node, and changes nothing. A finding is"
    yield "`ok`, `warning` (also: it could not be looked at) or `error`; any error ends in exit status 1. Where nothing could"
    yield "be looked at, for want of rights (401, 403) or of root, the exit status is 4, and `-o json` has `seen: false`."
    for title, checks in (("In the cluster", inspect_cluster.CHECKS), ("On a node", inspect_node.CHECKS)):
        yield from ("", f"## {title}")
        for check in checks:
            yield from ("", f"### {check.name}", "", ABOUT[check.name])
            yield from _counters(check.name)


def _counters(check: str) -> Iterator[str]:
    """Yield the table of counters that belongs to a check, if one does."""
    if meanings := {"xfrm-counters": COUNTERS, "guard-counters": REASONS}.get(check):
        yield from ("", "| counter | what happened | next step |", "| --- | --- | --- |")
        yield from (f"| `{name}` | {m.sentence} | {m.next_step} |" for name, m in meanings.items())
