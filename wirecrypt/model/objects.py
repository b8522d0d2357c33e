"""Objects of the API server as values: what wirecrypt reads and writes of them, and nothing else.

Field names of the API are camelCase; `wirecrypt.cluster` translates and refuses what is malformed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from functools import cached_property
from typing import Final

from wirecrypt.model.access import KeyAccess
from wirecrypt.model.conditions import Condition
from wirecrypt.model.pair import End
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Epoch, Session
from wirecrypt.model.xfrm import Address, Network, host

LABEL = "wirecrypt.io/encryption"
LABEL_ENABLED = "enabled"
MOST_JOINING: Final = 64  # nodes that begin to join together: the others wait for their turn
LABEL_CONTROL_PLANE = "node-role.kubernetes.io/control-plane"  # NodeRestriction keeps a kubelet from setting it
FINALIZER = "wirecrypt.io/cleanup"
SYSTEM_NAMESPACE = "wirecrypt-system"
KEYS_NAMESPACE = "wirecrypt-keys"
ALLOW_ADDRESSES = "wirecrypt.io/allow-addresses"  # annotation of a NodePeer: prefixes that an Active node may get addresses of
MOST_ADDRESSES = 32  # next to the endpoints of one node: proposed and granted
ARCHITECTURE: Final = "amd64"
OLDEST_KERNEL: Final = (5, 19)  # SO_RCVMARK, by which control datagrams are told from forged ones


class NodeState(Enum):
    """Where a node is on its way into and out of encryption.

    EXCLUDED: a person cut it off, and its pairs are blocked. REMOVED: it was encrypted, and is no more.
    """

    JOINING = "Joining"
    ACTIVE = "Active"
    LEAVING = "Leaving"
    EXCLUDED = "Excluded"
    REMOVED = "Removed"


class Phase(Enum):
    """Phases of a KeyRotation, in order; ABORTED only from the first two."""

    PENDING = "Pending"
    DISTRIBUTING = "Distributing"
    SWITCHING = "Switching"
    RETIRING = "Retiring"
    COMPLETE = "Complete"
    ABORTED = "Aborted"


@dataclass(frozen=True)
class Node:
    """A Kubernetes Node: name, UID, its wish (the label's value, None without label), claims.

    *control_plane*: an administrator labelled it as a node that API servers run on; a kubelet cannot.
    """

    name: str
    uid: str
    label: str | None
    endpoints: tuple[Address, ...]
    pod_cidrs: tuple[Network, ...]
    created: datetime
    ready: bool = True
    control_plane: bool = False

    @cached_property
    def claims(self) -> tuple[Network, ...]:
        """All prefixes that the Node mentions: its pods', then its own addresses."""
        return (*self.pod_cidrs, *map(host, self.endpoints))


@dataclass(frozen=True)
class NodePeer:
    """What every other node must know of this one (CRD NodePeer, named as the Node).

    *boot_session*: the first session number of the boot that published; generations with a lower number of this node
    are dead. *uid* is the NodePeer object's own; *node_uid* the Node's, which keys are bound to. *confirmed*: a person said
    that the node is really gone (annotation `wirecrypt.io/confirm-removal`), when many vanished at once. *addresses*: what
    else the node holds, as granted; *proposed*: what its agent found there, None while it has said nothing. *allowed*: where
    a person lets it have new addresses.
    """

    name: str
    uid: str
    node_id: int
    node_uid: str
    endpoints: tuple[Address, ...]
    pod_cidrs: tuple[Network, ...]
    state: NodeState
    created: datetime
    resource_version: str = ""
    boot_id: str = ""
    boot_session: int = 0
    last_session: int = 0
    sessions: tuple[Session, ...] = ()
    deleting: bool = False
    confirmed: bool = False
    addresses: tuple[Address, ...] = ()
    proposed: tuple[Address, ...] | None = None
    allowed: tuple[Network, ...] = ()

    @property
    def identity(self) -> tuple[str, int]:
        """Return what tells the node from all that had its name, UID or address before: a label set anew gives a new ID."""
        return self.node_uid, self.node_id

    @cached_property
    def end(self) -> End:
        """The node's identity and claims."""
        return End(self.name, self.node_id, self.node_uid, self.endpoints, self.pod_cidrs, self.addresses)

    def proposes(self, address: Address) -> bool:
        """Return whether its agent has the node hold *address*; one that has said nothing withdraws nothing."""
        return self.proposed is None or address in self.proposed


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """Status of an EncryptedNode, as its agent writes it (lists are sorted; *ready_for*: peers that a boot blocks)."""

    boot_id: str
    sending_epoch: int
    accepting_epochs: tuple[int, ...]
    peers_desired: int
    peers_protected: int
    peers_failing: int
    ready_for: tuple[str, ...]
    failing: tuple[str, ...]  # "peer: reason", at most 16
    mtu: int
    sequence_headroom: int  # percent of the soft limits left on the busiest SA
    versions: tuple[tuple[str, str], ...]
    conditions: tuple[Condition, ...]
    exempt_packets: tuple[tuple[str, int], ...] = ()  # in clear with exempt peers, both ways: the 16 with most, most first


@dataclass(frozen=True, slots=True)
class EncryptedNode:
    """What users look at for one node (CRD EncryptedNode, named as the Node).

    *problems*: what the controller refused of the node's claims or label, in words. *confirmed*: as in a NodePeer, which
    may outlive it.
    """

    name: str
    uid: str
    node_id: int
    node_uid: str
    state: NodeState
    created: datetime
    resource_version: str = ""
    status: NodeStatus | None = None
    deleting: bool = False
    problems: tuple[str, ...] = ()
    confirmed: bool = False

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Return the conditions of its status, none while its agent has reported nothing."""
        return self.status.conditions if self.status else ()


@dataclass(frozen=True, slots=True)
class KeyRotation:
    """A rotation of the cluster (CRD KeyRotation); *held*: it carries our finalizer and cannot vanish half done.

    *without*: nodes that a person wants cut off if they still hold it up when patience is over.
    """

    name: str
    uid: str
    reason: str
    created: datetime
    abort: bool = False
    without: tuple[str, ...] = ()
    resource_version: str = ""
    phase: Phase | None = None
    from_epoch: int = 0
    to_epoch: int = 0
    to_epoch_id: str = ""
    nodes_total: int = 0
    nodes_done: int = 0
    laggards: tuple[str, ...] = ()
    started: datetime | None = None
    completed: datetime | None = None
    conditions: tuple[Condition, ...] = ()
    held: bool = False
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class NodeKey:
    """One entry of a node-key Secret: the node's share for one epoch, 64 coefficients of 32 bytes, big-endian."""

    epoch: Epoch
    share: SecretBytes


@dataclass(frozen=True, slots=True)
class KeySecret:
    """The Secret with a node's keys: whose shares they are (*node_uid*), one entry per live epoch, sorted.

    *node_id*: the node's ID, 0 where it is not written; *active*: the node was Active once. For the day when nothing else
    says so any more.
    """

    node: str
    node_uid: str
    keys: tuple[NodeKey, ...]
    resource_version: str = ""
    node_id: int = 0
    active: bool = False


@dataclass(frozen=True, slots=True)
class SeedSecret:
    """The Secret of an epoch, for the controller alone: the seed, and node IDs that rest.

    *released*: IDs given up while this was the newest epoch; *carried*: those that the epoch before had as released.
    """

    epoch: Epoch
    seed: SecretBytes
    released: tuple[int, ...] = ()
    carried: tuple[int, ...] = ()
    resource_version: str = ""


@dataclass(frozen=True, slots=True)
class ConfigDocument:
    """The ConfigMap wirecrypt-config: its data, unparsed, and its resourceVersion."""

    data: dict[str, str]
    resource_version: str


def unfit(*, linux: bool, architecture: str, kernel: str) -> str:
    """Return why no agent can run on a machine, by what its kubelet says of it; empty when one can.

    What was not said is not taken for well.
    """
    if not linux:
        return "does not run Linux"
    if not architecture or not kernel:
        return "has not said what it runs on: its kubelet has never reported"
    if architecture != ARCHITECTURE:
        return f"is {architecture}, and the agent is for {ARCHITECTURE}"
    version = re.match(r"(\d+)\.(\d+)", kernel)
    if version is None or (int(version[1]), int(version[2])) < OLDEST_KERNEL:
        return f"runs Linux {kernel}, and the agent needs {'.'.join(map(str, OLDEST_KERNEL))} or newer"
    return ""


@dataclass(frozen=True, slots=True)
class Lease:
    """Who leads: *holder* ("" for nobody), since and until when by the writer's clock, for how many seconds it counts."""

    holder: str
    acquired: datetime
    renewed: datetime
    seconds: int
    transitions: int
    version: str = ""


@dataclass(frozen=True, slots=True)
class ControllerView:
    """All that the controller decides from, by name.

    *tombstones*: NodePeers that say of a node that it was removed (state Removed); *peers* has none of them.
    *unreadable*: names of Nodes, NodePeers and EncryptedNodes that are there and malformed; nothing about them is changed.
    *unusable_keys*: by node, why the Secret with its keys, which is there, cannot be read; it is not missing. *access*: by
    node, the objects by which its agent may read them.
    """

    nodes: Mapping[str, Node]
    peers: Mapping[str, NodePeer]
    encrypted: Mapping[str, EncryptedNode]
    keys: Mapping[str, KeySecret]
    seeds: tuple[SeedSecret, ...]
    rotations: tuple[KeyRotation, ...]
    config: ConfigDocument | None
    unreadable: frozenset[str] = frozenset()
    unusable_keys: Mapping[str, str] = field(default_factory=dict)
    tombstones: Mapping[str, NodePeer] = field(default_factory=dict)
    access: Mapping[str, tuple[KeyAccess, ...]] = field(default_factory=dict)
