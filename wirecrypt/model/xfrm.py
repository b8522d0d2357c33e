"""IPsec states and policies as values: what is wanted and what the kernel has are compared as these.

An `Sa` is an ESP tunnel state with an AEAD (RFC 4303, 4106, 7634); a `Policy` is an entry of the SPD (RFC 4301, 4.4.1).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from wirecrypt.model.mark import Mark
from wirecrypt.model.secret import SecretBytes

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NO_LIMIT: Final = 2**64 - 1
REPLAY_WINDOW: Final = 4096
PRIORITY_BAND: Final = range(0x5700, 0x5800)  # ours: a policy outside it is foreign


class Algorithm(Enum):
    """Ciphers, by the name that objects of the API use."""

    AES_256_GCM = "aes-256-gcm"
    CHACHA20_POLY1305 = "chacha20-poly1305"

    @property
    def kernel_name(self) -> str:
        """Return the kernel's name of the AEAD."""
        return _KERNEL_NAMES[self]


_KERNEL_NAMES: Final = {
    Algorithm.AES_256_GCM: "rfc4106(gcm(aes))",
    Algorithm.CHACHA20_POLY1305: "rfc7539esp(chacha20,poly1305)",
}


class Direction(Enum):
    """Where a policy is looked up."""

    IN = "in"
    OUT = "out"
    FWD = "fwd"


class PolicyAction(Enum):
    """What a policy does with a packet."""

    ALLOW = "allow"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class SaLimits:
    """Limits of one SA in bytes and packets; NO_LIMIT means none. There are no time limits (a clock jump would expire SAs)."""

    soft_bytes: int = NO_LIMIT
    hard_bytes: int = NO_LIMIT
    soft_packets: int = NO_LIMIT
    hard_packets: int = NO_LIMIT


@dataclass(frozen=True, slots=True, order=True)
class SaKey:
    """What names an SA in the kernel: destination and SPI (the protocol is always ESP)."""

    dst: Address
    spi: int

    def __str__(self) -> str:
        return f"{self.dst} spi 0x{self.spi:08x}"


@dataclass(frozen=True, slots=True)
class Sa:
    """One ESP tunnel state: ESN, AEAD with 128-bit ICV, anti-replay window in packets.

    *set_mark*: the mark that a receiving SA puts on what it has decrypted; a sending one takes ours off what it has encrypted
    (value 0; agents of before made it without). Every SA has the flag af-unspec, or packets of the other address family than
    the tunnel's would be lost in silence.
    """

    src: Address
    dst: Address
    spi: int
    reqid: int
    algorithm: Algorithm
    key: SecretBytes
    set_mark: Mark | None = None
    replay_window: int = REPLAY_WINDOW
    limits: SaLimits = field(default_factory=SaLimits)

    @property
    def name(self) -> SaKey:
        """Return what names this SA in the kernel."""
        return SaKey(self.dst, self.spi)

    @property
    def receives(self) -> bool:
        """Return whether it is a receiving SA of ours, by the mark that it puts on packets."""
        return self.set_mark is not None and self.set_mark.value != 0


@dataclass(frozen=True, slots=True)
class SaUsage:
    """Counters of one SA: payload bytes, packets, the last sequence number (64 bit), and what was refused."""

    bytes: int
    packets: int
    sequence: int
    replay_errors: int = 0
    window_errors: int = 0
    integrity_errors: int = 0


@dataclass(frozen=True, slots=True)
class SaEntry:
    """An SA as the kernel lists it: the state, its use, and the kernel's own words of what else it has."""

    sa: Sa
    usage: SaUsage


@dataclass(frozen=True, slots=True)
class Selector:
    """Which packets: prefixes, protocol, and exact ports (0: any); of ICMP *sport* is the type."""

    src: Network
    dst: Network
    proto: int = 0
    sport: int = 0
    dport: int = 0

    def __str__(self) -> str:
        ports = "".join(f" {name} {port}" for name, port in (("sport", self.sport), ("dport", self.dport)) if port)
        tail = f" proto {self.proto}{ports}" if self.proto else ""
        return f"{self.src} → {self.dst}{tail}"


@dataclass(frozen=True, slots=True)
class Template:
    """What IPsec processing a policy asks for: ESP in tunnel mode between *src* and *dst*.

    *spi* and *reqid* 0 mean any. *optional* is the kernel's level `use`: packets without ESP pass as well.
    """

    src: Address
    dst: Address
    spi: int = 0
    reqid: int = 0
    optional: bool = False


@dataclass(frozen=True, slots=True)
class PolicyKey:
    """What names a policy in the kernel: two with the same key cannot coexist."""

    direction: Direction
    selector: Selector
    mark: Mark | None = None

    def __str__(self) -> str:
        mark = f" mark 0x{self.mark.value:x}/0x{self.mark.mask:x}" if self.mark else ""
        return f"{self.direction.value} {self.selector}{mark}"

    @property
    def order(self) -> tuple[str, int, str, str, tuple[int, ...]]:
        """Return a sort key that is total also over both address families."""
        mark = (self.mark.value, self.mark.mask) if self.mark else (0, 0)
        s = self.selector
        return (self.direction.value, s.dst.version, str(s.dst), str(s.src), (s.proto, s.dport, s.sport, *mark))


@dataclass(frozen=True, slots=True)
class Policy:
    """One entry of the SPD; a lower *priority* number wins."""

    direction: Direction
    selector: Selector
    priority: int
    verdict: PolicyAction = PolicyAction.ALLOW
    templates: tuple[Template, ...] = ()
    mark: Mark | None = None

    @property
    def name(self) -> PolicyKey:
        """Return what names this policy in the kernel."""
        return PolicyKey(self.direction, self.selector, self.mark)

    @property
    def ours(self) -> bool:
        """Return whether the policy stands in our priority band."""
        return self.priority in PRIORITY_BAND
