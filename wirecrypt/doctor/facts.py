"""What doctor looks at, as values. `None` means: could not be read; `unseen` then says why, by the name of the field."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeVar

from wirecrypt.cluster.cli_client import NodeLabel
from wirecrypt.doctor.mark_users import MarkUse
from wirecrypt.doctor.needs import RequiredAccess
from wirecrypt.errors import WirecryptError
from wirecrypt.kernel.probe import Feature
from wirecrypt.model.objects import ConfigDocument, EncryptedNode, KeyRotation, Lease, Node, NodePeer
from wirecrypt.model.xfrm import Address

T = TypeVar("T")
CLAIMS_OF: Final = "claims "  # and a Node's name: under this `unseen` says why the Node's claims could not be read


@dataclass(frozen=True, slots=True)
class CrdFacts:
    """A CRD as the API server has it: versions served, the one stored, whether it is established."""

    served: tuple[str, ...]
    stored: str
    established: bool


@dataclass(frozen=True, slots=True)
class PodFacts:
    """A pod of ours: its account says what it is. *trouble*: why it is not ready, in the kubelet's words."""

    name: str
    account: str
    node: str
    ready: bool
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What the API server shows. *skew*: how far its clock is ahead of ours, in seconds; *now* is its time.

    *nodes*: those whose claims can be read; `unseen` has the others as `claims NAME`.
    *access*: what an account needs and whether it may. *bindings*: the actions of each admission policy that is bound.
    """

    now: datetime
    unreachable: str = ""
    version: str = ""
    skew: float | None = None
    kinds: Mapping[str, CrdFacts] | None = None
    policies: frozenset[str] | None = None
    bindings: Mapping[str, frozenset[str]] | None = None
    access: Sequence[tuple[RequiredAccess, bool]] | None = None
    pods: Sequence[PodFacts] | None = None
    node_labels: Sequence[NodeLabel] | None = None
    nodes: Sequence[Node] | None = None
    encrypted: Sequence[EncryptedNode] | None = None
    peers: Sequence[NodePeer] | None = None
    rotations: Sequence[KeyRotation] | None = None
    config: ConfigDocument | None = None
    lease: Lease | None = None
    malformed: Mapping[str, str] = field(default_factory=dict)
    unseen: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LocalMachine:
    """By what a Node of this machine would be known: its *names*, its *addresses* (None: they could not be read)."""

    names: frozenset[str]
    addresses: frozenset[Address] | None


@dataclass(frozen=True, slots=True)
class NodeInspection:
    """What this machine shows. *mask*: the bits of packet marks that the configuration gives us.

    *mark_uses*: rules of others that read or write marks. *foreign*: IPsec objects of others, in words. *sysctls*: by
    name, those that exist. *stats*: counters of /proc/net/xfrm_stat. *counters*: of the guard, None when it is not loaded.
    """

    mask: int
    root: bool
    release: str
    features: Sequence[Feature] = ()
    mark_uses: Sequence[MarkUse] = ()
    links: frozenset[str] = frozenset()
    unguarded: Sequence[str] | None = None
    foreign: Sequence[str] | None = None
    sysctls: Mapping[str, int] = field(default_factory=dict)
    stats: Mapping[str, int] | None = None
    counters: Mapping[str, int] | None = None
    unseen: Mapping[str, str] = field(default_factory=dict)


def seen(unseen: dict[str, str], name: str, look: Callable[[], T]) -> T | None:
    """Return what *look* sees, None where it is refused; *unseen* then says why."""
    try:
        return look()
    except WirecryptError as error:
        unseen[name] = error.answer or str(error)
        return None
