"""Fields of the configuration, each with its meaning, unit and why its default is what it is.

The paragraph of a field is the metadata that the reference page is generated from.
"""
# ruff: noqa: RUF009 - `option` and `section` return dataclasses.field

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from wirecrypt.model.mark import MarkLayout
from wirecrypt.model.ranges import ClaimRanges
from wirecrypt.model.xfrm import Address, Algorithm, Network
from wirecrypt.settings.kinds import (
    ADDRESS,
    LINK,
    PORT,
    RANGE,
    ValueKind,
    apart,
    choice,
    duration,
    integer,
    listing,
    optional,
    size,
)

DOCUMENT: Final = "config.yaml"  # the key in the ConfigMap
AGENT_HEALTH_PORT: Final = 14582  # TCP, on loopback; the manifests' probes ask there, so no configuration moves it
CONTROLLER_HEALTH_PORT: Final = 14583
HEALTH_PORTS: Final = (AGENT_HEALTH_PORT, CONTROLLER_HEALTH_PORT)
_MOST: Final = 2**62
TUNNEL_PORTS: Final = 4  # of each kind that the eBPF programs have room for: WC_PORTS in bpf/wirecrypt.h


class Mode(Enum):
    """What the guard does with cleartext that should have been encrypted."""

    STRICT = "strict"
    PERMISSIVE = "permissive"


class Joining(Enum):
    """What a joining node's traffic does until a pair is proved."""

    PLAIN = "plain"
    BLOCK = "block"


class LogFormat(Enum):
    """How log lines look."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


class LogLevel(Enum):
    """The least level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class NodeToNode(Enum):
    """Between which nodes' own addresses traffic is encrypted."""

    WORKERS = "workers"
    ALL = "all"
    OFF = "off"


def option(default: Any, kind: ValueKind, doc: str) -> Any:  # noqa: ANN401 - `field` has no narrower type either
    """Return a dataclass field with a *default*, the *kind* of its values and its paragraph *doc*."""
    return field(default=default, metadata={"kind": kind, "doc": doc})


def section(cls: type, doc: str) -> Any:  # noqa: ANN401 - `field` has no narrower type either
    """Return a dataclass field whose value is another group of fields, *cls*."""
    return field(default_factory=cls, metadata={"section": cls, "doc": doc})


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkField:
    """Where wirecrypt's eight bits stand in packet marks."""

    shift: int = option(
        20,
        integer(0, 24),
        "Bit number where the 8-bit field of packet marks begins. The default keeps clear of kube-proxy (bits 14 and "
        "15) and of the lower 16 bits, which most CNIs use; Calico can be told to leave these bits alone.",
    )

    @property
    def layout(self) -> MarkLayout:
        """Return the field as the layout that policies, sockets and eBPF use."""
        return MarkLayout(self.shift)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """When the controller asks for a rotation by itself, and how many it keeps."""

    interval: int = option(
        0,
        optional("off", 0, duration(60, 366 * 86400)),
        "Time from the end of a rotation to the next one that the controller asks for by itself. Off by default, so "
        "that a first installation changes keys only when told; 24h is a good value for operation.",
    )
    jitter: int = option(
        600,
        duration(0, 86400),
        "Up to this much is added to each interval, so that clusters that were installed together do not rotate together.",
    )
    patience: int = option(
        600,
        duration(0, 7 * 86400),
        "Time from the beginning of a rotation after which a node that still holds it up is cut off, if a person said so: "
        "`wirecrypt rotate --without NODE`.",
    )
    history: int = option(
        10,
        integer(1, 1000),
        "How many KeyRotations that have ended are kept, complete and aborted ones together; older ones are deleted. What is "
        "needed stays beyond that: the rotation whose epoch is in use, and the one with the highest number.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """How much one SA may carry before its session is renewed."""

    soft_bytes: int = option(
        2**42,
        size(2**20, _MOST),
        "Bytes on one sending SA at which its node makes a new session. At 4 TiB an attacker's advantage against "
        "AES-GCM stays below 2^-50, and at 10 Gbit/s a session lasts about an hour.",
    )
    hard_bytes: int = option(
        2**43,
        size(2**20, _MOST),
        "Bytes at which the kernel stops using an SA, proved successor or not: fail closed. Above softBytes.",
    )
    soft_packets: int = option(
        2**32,
        size(1000, _MOST),
        "Packets on one sending SA at which its node makes a new session. Sequence numbers have 64 bits, so this "
        "bounds the use of a key and not the counter.",
    )
    hard_packets: int = option(
        2**33,
        size(1000, _MOST),
        "Packets at which the kernel stops using an SA. Above softPackets.",
    )
    max_age: int = option(
        86400,
        duration(60, 366 * 86400),
        "Age of a session at which its node makes a new one, by the agent's monotonic clock; a clock that jumps "
        "expires nothing.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How often pairs are tried."""

    steady: float = option(
        4.0,
        duration(1, 3600),
        "Time between two probes of a pair whose traffic keys are proved, which its ends send in turn: a dead path is noticed "
        "after it and five seconds, in which the probe is repeated. A node sends fifty a second at most, so it is longer where "
        "there are more than fifty peers for each of its seconds.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Logs:
    """What is logged and how."""

    level: LogLevel = option(LogLevel.INFO, choice(LogLevel), "The least level that is logged.")
    format: LogFormat = option(
        LogFormat.AUTO,
        choice(LogFormat),
        "One JSON object a line, or coloured text for users. Auto is text on a terminal and JSON elsewhere.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Where metrics can be fetched."""

    port: int = option(
        14580,
        optional("off", 0, apart(integer(1, 65534), *(port - add for port in HEALTH_PORTS for add in (0, 1)))),
        "TCP port of the agent's /metrics, and of what `verify` and `plan` ask; the controller takes the next one, for both "
        "live in the host's network and may share a node. Off opens no port: then `verify` and `plan` work on the node alone, "
        "with --local. Probes have ports of their own, 14582 for agents and 14583 for controllers, whatever this is.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole configuration; every field has a default that protects."""

    mode: Mode = option(
        Mode.STRICT,
        choice(Mode),
        "Strict drops cleartext between encrypted nodes, and to addresses of the cluster's ranges that nobody claims. "
        "Permissive lets it pass and counts it, to see what strict would drop.",
    )
    joining: Joining = option(
        Joining.PLAIN,
        choice(Joining),
        "Traffic of a node that was just labelled: plain goes on in cleartext until each pair is proved, so that "
        "nothing is lost; block drops it until then, so that nothing is readable.",
    )
    algorithm: Algorithm | None = option(
        None,
        optional("auto", None, choice(Algorithm)),
        "The cipher of new sessions. Auto takes AES-GCM where both CPUs have AES instructions, else ChaCha20-Poly1305.",
    )
    lanes: int | None = option(
        None,
        optional("auto", None, integer(1, 16)),
        "SAs per pair and direction; flows are spread over them, so that more than one CPU encrypts. Auto is the "
        "number of CPUs as a power of two, at most 16, with more than 200 peers 4, with more than 1,000 peers 2. A pair uses "
        "the smaller of both ends' numbers.",
    )
    cluster_cidrs: tuple[Network, ...] = option(
        (),
        listing(RANGE, 16),
        "The ranges that pods get their prefixes from. A Node's prefix outside them is refused, and while there is none no "
        "node joins. Packets to an address in them that nobody claims are dropped in strict mode, but those of API servers "
        "pass; so the nodes' range belongs here, too, where all machines in it are Nodes. Empty means that unknown addresses "
        "pass, for then nobody can tell them from others. Where an agent hears nothing of the API server for a minute after a "
        "change, it goes back to the ranges before.",
    )
    node_cidrs: tuple[Network, ...] = option(
        (),
        listing(RANGE, 16),
        "The subnets that addresses of nodes are in: those of Nodes, of second cards, and virtual ones. An address outside "
        "them is refused, and while there is none no node joins: a node that was taken over could say that any address in "
        "the world is its own. An Active node gets a new address only in a subnet in which it has one; for one in another, a "
        "person annotates its NodePeer. So list them one by one. Where ranges of both lists hold an address, the narrower one "
        "says whether it is a node's or a pod's; one range in both is for either.",
    )
    service_cidrs: tuple[Network, ...] = option(
        (),
        listing(RANGE, 4),
        "The ranges of Service addresses. A node's claim that overlaps one is refused.",
    )
    api_servers: tuple[Address, ...] = option(
        (),
        listing(ADDRESS, 16),
        "Addresses of API servers. A node's claim that contains one is refused: no node may draw this traffic to itself. "
        "They pass the guard where nobody claims them, as do those that an agent is connected to and those behind the "
        "Service kubernetes.",
    )
    node_to_node: NodeToNode = option(
        NodeToNode.WORKERS,
        choice(NodeToNode),
        "Whether traffic between the addresses of enabled nodes is encrypted, too. Workers encrypts it but to and from "
        "Nodes with an API server (label node-role.kubernetes.io/control-plane, or an address listed in apiServers), "
        "because the key update must not cross the tunnel it repairs; all knows no exemption but the API server that an "
        "agent is connected to; off counts it and lets it pass.",
    )
    uplinks: tuple[str, ...] = option(
        (),
        optional("auto", (), listing(LINK, 32, least=1)),
        "Links that lead off the node; the guard sits there. Auto takes all that are up and can carry a packet off the "
        "node, whatever the routes say: not the loopback, not links to pods of this node, not dummies and their like. A "
        "list is taken as it stands; where this node has no link of it, it is refused, and the node is not Ready.",
    )
    mark: MarkField = section(MarkField, "Where wirecrypt's eight bits stand in packet marks.")
    control_port: int = option(
        14500,
        PORT,
        "UDP port of the control datagrams between agents. They travel inside ESP only; a firewall on the node itself "
        "sees them again after decryption and must let them in, one between nodes must not.",
    )
    vxlan_ports: tuple[int, ...] = option(
        (4789, 8472),
        listing(PORT, TUNNEL_PORTS),
        "UDP ports on which the guard looks for cleartext inside VXLAN: the registered one, and Linux' and flannel's.",
    )
    geneve_ports: tuple[int, ...] = option(
        (6081,), listing(PORT, TUNNEL_PORTS), "UDP ports on which the guard looks for cleartext inside Geneve."
    )
    rotation: Rotation = section(Rotation, "When the controller asks for a rotation by itself, and how many it keeps.")
    limits: SessionLimits = section(SessionLimits, "How much one SA may carry before its session is renewed.")
    drain: float = option(
        10.0,
        duration(1, 300),
        "How long packets may be on their way, at most: so long a receiving SA stays after the peer's word that it sends on "
        "it no more. Where answers and counters show that they are quicker, it is less, and never less than a second.",
    )
    linger: float = option(
        1.0,
        duration(0.1, 60),
        "How long a sending SA stays after the switch to another: packets between the policy lookup and the output.",
    )
    probe: Probe = section(Probe, "How often pairs are tried.")
    mtu: int = option(
        0,
        optional("auto", 0, integer(1280, 65535)),
        "Path MTU between nodes, as the status shows it. Auto leaves it to the kernel, which answers senders by itself.",
    )
    logs: Logs = section(Logs, "What is logged and how.")
    metrics: Metrics = section(Metrics, "Where metrics can be fetched.")

    @property
    def claim_ranges(self) -> ClaimRanges:
        """Return where claims of nodes may lie."""
        return ClaimRanges(self.cluster_cidrs, self.node_cidrs)
