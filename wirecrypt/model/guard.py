"""What the guard on the links is told and tells: actions by prefix, settings, drops, attachments."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from wirecrypt.model.xfrm import Address, Network


class GuardAction(Enum):
    """What the guard does with cleartext to or from a prefix."""

    DROP = 1  # pods of an encrypted peer: cleartext is a leak
    PASS = 2  # explicitly in clear: plain node, own node's addresses, joining peer
    UNKNOWN = 3  # inside the cluster's ranges, nobody's claim
    NODE = (
        4  # an encrypted peer's own address, exempt: cleartext passes only where the other end is no pod (OWN, DROP, UNKNOWN)
    )
    OWN = 5  # pods of this node: makes NODE drop; such an address as the remote end of an uplink is a leak or a spoof
    SEALED = 6  # an encrypted peer's own address: nothing but ESP of the pair passes, whoever speaks


@dataclass(frozen=True, slots=True)
class GuardEntry:
    """One prefix of a guard map: *egress* judges packets to it, *ingress* packets that claim to come from it.

    *node_id*: the node that owns the prefix, whose SAs alone may carry packets from it, and whose ESP alone may have it as its
    source; 0: anyone's.
    """

    prefix: Network
    egress: GuardAction
    ingress: GuardAction
    node_id: int = 0


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """What the eBPF programs are configured with.

    The mark field's shift, strict or permissive, UDP ports of VXLAN, Geneve and the control
    protocol. *node_id* and *own*: this node, and where its tunnels begin, the first of each family; entries say so as well, but
    need not be looked up then. *esp_keeps_mark*: there are sending SAs that do not take a pod's mark off what they encrypt.
    """

    mark_shift: int
    strict: bool
    vxlan_ports: tuple[int, ...]
    geneve_ports: tuple[int, ...]
    control_port: int
    node_id: int = 0
    own: tuple[Address, ...] = ()
    esp_keeps_mark: bool = False


@dataclass(frozen=True, slots=True)
class Drop:
    """One packet that the guard dropped (or, permissive, would have): direction, reason, five-tuple, link index."""

    egress: bool
    reason: str
    src: Address
    dst: Address
    proto: int
    sport: int
    dport: int
    ifindex: int


@dataclass(frozen=True, slots=True)
class Attachment:
    """A filter of ours on a link: its name and whether it is the one that the current object files would make."""

    link: str
    program: str
    current: bool
