"""Conditions of our objects, by the Kubernetes API conventions: their types, and every reason with its words.

A reason stands in conditions, in Events, in `wirecrypt status` and in logs. What it means and what to do next is said here
alone: docs/reference/reasons.md and `wirecrypt explain` come from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from wirecrypt.errors import APPLY_AGAIN

READY: Final = "Ready"  # of an EncryptedNode: all its peers are protected
CLEANED: Final = "Cleaned"  # of an EncryptedNode: its agent has left nothing of its pairs in the kernel
COMPLETE: Final = "Complete"  # of a KeyRotation


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a reason or a counter says happened, and what to do next."""

    sentence: str
    next_step: str


_FINE: Final = "nothing to do"
_WAIT: Final = "wait; if it lasts, `wirecrypt status` and `wirecrypt verify NODE` say for whom it waits"
_NODE_SIDE: Final = "the message has the kernel's words; `wirecrypt doctor --only node` there"
_CORRECT: Final = "correct the Node, or the configuration; the older holder keeps it"


class Reason(StrEnum):
    """Every reason that a status, an Event or `wirecrypt status` gives, with what it means."""

    meaning: Meaning

    def __new__(cls, reason: str, sentence: str, next_step: str) -> Self:
        """Return the member of this *reason*."""
        made = str.__new__(cls, reason)
        made._value_, made.meaning = reason, Meaning(sentence, next_step)
        return made

    # of EncryptedNodes, by their agents
    ALL_PEERS_PROTECTED = "AllPeersProtected", "Everything between the node and its peers is encrypted, both ways.", _FINE
    JOINING = "Joining", "The node joins: not every pair is proved and reported by both ends.", _WAIT
    LEAVING = "Leaving", "The node's label is off, and its pairs go back to plaintext one by one.", _WAIT
    LEFT = "Left", "A node that leaves has nothing of its pairs in its kernel any more.", _FINE
    EXCLUDED = (
        "Excluded",
        "A person had a rotation go on without the node: it is blocked towards all enabled nodes, and has no keys.",
        "take its label off, wait until its objects are gone, and set it again",
    )
    NO_SESSION = (
        "NoSession",
        "The agent has no key of the epoch, so it has published nothing.",
        (
            "is a KeyRotation `Complete`? Are Secret, ServiceAccount, Role and RoleBinding `wirecrypt-node-NODE` in "
            "`wirecrypt-keys` (the controller makes them)?"
        ),
    )
    PEERS_FAILING = (
        "PeersFailing",
        "Probes to the named peers are not answered, or something stands in their way.",
        "no answer: a firewall without protocol 50, or a host's without UDP 14500; a dead agent. Else the message says it",
    )
    ADMISSION_POLICY_MISSING = (
        "AdmissionPolicyMissing",
        "A request was admitted that the named policy must refuse: it is missing, or not bound with Deny.",
        f"{APPLY_AGAIN}; it is tried again every 30 s, and no new peer key is accepted meanwhile",
    )
    API_SERVER = (
        "APIServer",
        "The API server refused a write of the agent.",
        "rights or conflicts: `wirecrypt doctor --only cluster`",
    )
    CLAIM_NOT_GRANTED = (
        "ClaimNotGranted",
        "The Node has a prefix or an address that was not granted to it: nobody else sends there by ESP.",
        "`kubectl get en NODE -o yaml` says why under `problems`",
    )
    CONFIG_INVALID = (
        "ConfigInvalid",
        "The configuration has a bad field. The one before is in force; without one nothing is decided.",
        "the message has path, value and what is allowed",
    )
    CONFIG_MISSING = "ConfigMissing", "The ConfigMap wirecrypt-config is gone; what was in force stays in force.", APPLY_AGAIN
    CONTROL_CHANNEL = (
        "ControlChannel",
        "The control port cannot be listened on: another program has it, or an address is not the node's.",
        "`ss -ulpn` says who has the port; it is tried again in each pass",
    )
    CONTROL_UNFILTERED = (
        "ControlUnfiltered",
        "The kernel did not take the filter of the control port: all works, but who floods it can keep probes out.",
        f"{_NODE_SIDE}; it is tried again in each pass",
    )
    COPIES_STALE = (
        "CopiesStale",
        "Some kinds of objects cannot be read any more though others can: what is decided from may be out of date.",
        f"the agent's log says what was answered; most of the time a right is missing: {APPLY_AGAIN}",
    )
    DUPLICATE_NODE_ID = (
        "DuplicateNodeID",
        "Another node has held the same node ID longer, as after a restore: this one keeps what it has.",
        "take its label off, `kubectl annotate en NODE wirecrypt.io/confirm-removal=true`; set it again when that is gone",
    )
    GUARD_REFUSED = (
        "GuardRefused",
        "The guard's programs could not be loaded or attached. Policies are in place; a node that joins stays Joining.",
        _NODE_SIDE,
    )
    KERNEL_REFUSED = "KernelRefused", "The kernel did not take an SA, a policy or an entry.", _NODE_SIDE
    NODE_REPLACED = (
        "NodeReplaced",
        "The Node was deleted and made anew under its name while the machine ran on. Pairs of the one before stay.",
        "its agent deletes its own pod, and the next has a token of the new Node; if it stays, its log says who refused",
    )
    NO_POD_PREFIXES = (
        "NoPodPrefixes",
        "The node was granted no pod prefix: its pods are nobody's, so they are cut off, or in clear outside `clusterCIDRs`.",
        (
            "does `kubectl get node NODE -o jsonpath={.spec.podCIDRs}` show one? A CNI that gives pods addresses from "
            "elsewhere is not supported in this version: `wirecrypt disable NODE`"
        ),
    )
    PAIRS_NOT_WRITTEN = (
        "PairsNotWritten",
        "A pair could not be put on disk, so the node is not ready for it: a reboot would not block it.",
        "the message has the system's words: is the disk full or read-only?",
    )
    PAIRS_UNREADABLE = (
        "PairsUnreadable",
        "/var/lib/wirecrypt/pairs.json was damaged or not the agent's own: the last boot may have blocked too few pairs.",
        "look at `pairs.json.unreadable` next to it (who wrote it? is the disk sound?), then remove it",
    )
    PASS_FAILED = (
        "PassFailed",
        "The agent's last look at cluster and kernel ended in an error; the kernel keeps what it has.",
        "the message says what was refused; it is tried again all the while",
    )
    RANGES_TAKEN_BACK = (
        "RangesTakenBack",
        "For a minute after `clusterCIDRs` changed no API server answered: the ranges before are in force on this node.",
        (
            "list what agents reach the API server by (`kubectl get endpointslices -n default -l "
            "kubernetes.io/service-name=kubernetes`) in `apiServers`, or narrow the ranges; any change tries it again"
        ),
    )
    ROLLBACK_SEEN = (
        "RollbackSeen",
        "The API server has no NodePeer of this node and never said that it leaves, as after a restore: all stays.",
        "label the node again; if it is to leave, take the label off after that",
    )
    # of `wirecrypt status`
    NO_CONTROLLER = "NoController", "The node is labelled, and nobody took it up.", "look at the controller's pods"
    NO_STATUS = "NoStatus", "The node's agent has reported nothing yet.", "look at the agent's pod on the node"
    REFUSED = "Refused", "Addresses or prefixes of the Node were refused, as the message says.", _CORRECT
    # of Events on Nodes, by the controller
    ACTIVE = "Active", "Every pair of the node is proved and required by both ends.", _FINE
    BAD_LABEL = "BadLabel", "The label's value is not `enabled`; nothing was changed.", "correct it, or `wirecrypt enable NODE`"
    CLAIM_KEPT = (
        "ClaimKept",
        "The configuration now speaks against an address or prefix that the node has already; it keeps it.",
        "correct the configuration; if the Node is wrong: `wirecrypt disable NODE --wait`, correct it, enable it again",
    )
    CLAIM_REFUSED = (
        "ClaimRefused",
        "An address or prefix overlaps another's, a Service range or an API server, or lies outside the configured ranges.",
        _CORRECT,
    )
    CLAIM_WAITS = (
        "ClaimWaits",
        "An Active node has an address of a subnet in which it has none: it is not granted, and nobody sends there by ESP.",
        "is it really that node's? If it is meant, run the command that stands in the Event",
    )
    MADE_AGAIN = (
        "MadeAgain",
        "A NodePeer was deleted under its label, and is made again.",
        "to have the node leave take its label off",
    )
    NODE_GONE = (
        "NodeGone",
        "The Node that the objects were made for is gone, and its removal waits for a person's word.",
        "if it is really gone: `kubectl annotate np NODE wirecrypt.io/confirm-removal=true`",
    )
    JOIN_WAITS = "JoinWaits", "Many nodes are to join, some at a time, and its turn comes: it is in clear.", _WAIT
    NO_NODE_ID = "NoNodeID", "No node ID is free, so the node cannot join.", "the message says until when they rest"
    RANGES_UNSET = (
        "RangesUnset",
        "`clusterCIDRs` or `nodeCIDRs` is not set: no node joins, and nobody is granted anything new.",
        "list the ranges of pods and the subnets of nodes in the configuration",
    )
    REMOVAL_HELD_BACK = (
        "RemovalHeldBack",
        "Many Nodes vanished at once, so none of them is removed.",
        "if they are really gone: `kubectl annotate np NODE wirecrypt.io/confirm-removal=true`",
    )
    REMOVED = "Removed", "The node is not encrypted any more.", _FINE
    SESSION_IGNORED = (
        "SessionIgnored",
        "The node published a number that never was, so nobody follows it.",
        "look at that node: no agent of ours does this",
    )
    # of KeyRotations
    KEY_SECRET_FAILED = (
        "KeySecretFailed",
        "The Secret `wirecrypt-node-NODE` in `wirecrypt-keys`, or its access, cannot be read or written.",
        "see who made it; `kubectl -n wirecrypt-keys delete secret wirecrypt-node-NODE`: the controller makes it anew",
    )
    PENDING = "Pending", "The rotation has not begun.", _WAIT
    QUEUED = "Queued", "Another rotation is under way; one goes at a time.", _WAIT
    DISTRIBUTING = "Distributing", "Nodes get their keys of the new epoch; until all have them it can be aborted.", _WAIT
    SWITCHING = "Switching", "Nodes prove and use the new keys; from here on it is finished forward.", _WAIT
    RETIRING = "Retiring", "Nodes let go of the old keys.", _WAIT
    WAITING_FOR_LAGGARDS = (
        "WaitingForLaggards",
        "Nodes that are down still hold the rotation up; later ones go on beside it.",
        "bring them back, remove them, or after `rotation.patience` cut them off: `wirecrypt rotate --without NODE`",
    )
    COMPLETE = "Complete", "All nodes use the new keys, and nobody has the old ones.", _FINE
    ABORTED = "Aborted", "The rotation was aborted before anybody used its keys.", _FINE


ON_THE_WAY: Final = frozenset({Reason.JOINING, Reason.LEAVING, Reason.NO_SESSION})  # why a node is not Ready, and that passes


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition by the Kubernetes API conventions; *changed* is lastTransitionTime."""

    type: str
    status: bool | None
    reason: str
    message: str
    changed: datetime | None = None


def find(conditions: Iterable[Condition], kind: str) -> Condition | None:
    """Return the condition of type *kind*, None when there is none."""
    return next((condition for condition in conditions if condition.type == kind), None)
