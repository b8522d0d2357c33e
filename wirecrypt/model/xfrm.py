"""IPsec states and policies as values: what is wanted and what the kernel has are compared as these.

An `Sa` is an ESP tunnel state with an AEAD (RFC 4303, 4106, 7634); a `Policy` is an entry of the SPD (RFC 4301, 4.4.1).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final, NamedTuple

from wirecrypt.errors import KernelError
from wirecrypt.model.mark import Mark
from wirecrypt.model.secret import SecretBytes

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NO_LIMIT: Final = 2**64 - 1
REPLAY_WINDOW: Final = 4096
PRIORITY_BAND: Final = range(0x5700, 0x5800)  # ours: a policy outside it is foreign


@lru_cache(maxsize=2**16)
def host(address: Address) -> Network:
    """Return the prefix that holds just *address*."""
    return ip_network(f"{address}/{address.max_prefixlen}")


class Cipher(NamedTuple):
    """Facts of a cipher: the AEAD's name in the kernel, lengths of key (with salt) and tag, the flag of a CPU that is quick."""

    kernel_name: str
    key_bytes: int
    icv_bits: int
    cpu_flag: str  # in /proc/cpuinfo; empty where every CPU is quick


class Algorithm(Enum):
    """Ciphers, by the name that objects of the API use; the first are preferred, and who names one has all after it."""

    AES_256_GCM = "aes-256-gcm"
    CHACHA20_POLY1305 = "chacha20-poly1305"

    @property
    def cipher(self) -> Cipher:
        """Return its facts."""
        return _CIPHERS[self]


_CIPHERS: Final = {
    Algorithm.AES_256_GCM: Cipher("rfc4106(gcm(aes))", 36, 128, "aes"),  # RFC 4106: 32 bytes of key, 4 of salt
    Algorithm.CHACHA20_POLY1305: Cipher("rfc7539esp(chacha20,poly1305)", 36, 128, ""),  # RFC 7634: the same
}


def strongest_common(own: Algorithm, peer: Algorithm) -> Algorithm:
    """Return the cipher of a pair whose ends name these: the first that both have."""
    order = list(Algorithm)
    return max(own, peer, key=order.index)


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
    _hash: int = field(init=False, repr=False, compare=False)  # SAs are looked up by it again and again

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.dst, self.spi)))

    def __hash__(self) -> int:
        return self._hash

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
    name: SaKey = field(init=False, repr=False, compare=False)  # what names it in the kernel

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", SaKey(self.dst, self.spi))

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
    _hash: int = field(init=False, repr=False, compare=False)  # policies are looked up by it again and again

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.src, self.dst, self.proto, self.sport, self.dport)))

    def __hash__(self) -> int:
        return self._hash

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
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.direction, self.selector, self.mark)))

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        mark = f" mark 0x{self.mark.value:x}/0x{self.mark.mask:x}" if self.mark else ""
        return f"{self.direction.value} {self.selector}{mark}"

    @property
    def order(self) -> tuple[str, tuple[int, ...]]:
        """Return a sort key that is total also over both address families."""
        mark = (self.mark.value, self.mark.mask) if self.mark else (0, 0)
        s = self.selector
        prefixes = (int(s.dst.network_address), s.dst.prefixlen, int(s.src.network_address), s.src.prefixlen)
        return (self.direction.value, (s.dst.version, *prefixes, s.proto, s.dport, s.sport, *mark))


@dataclass(frozen=True, slots=True)
class Policy:
    """One entry of the SPD; a lower *priority* number wins."""

    direction: Direction
    selector: Selector
    priority: int
    verdict: PolicyAction = PolicyAction.ALLOW
    templates: tuple[Template, ...] = ()
    mark: Mark | None = None
    name: PolicyKey = field(init=False, repr=False, compare=False)  # what names it in the kernel

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", PolicyKey(self.direction, self.selector, self.mark))

    @property
    def ours(self) -> bool:
        """Return whether the policy stands in our priority band."""
        return self.priority in PRIORITY_BAND


@dataclass(frozen=True, slots=True)
class Failure:
    """One object of a batch that the kernel refused."""

    what: Sa | Policy | SaKey | PolicyKey
    error: KernelError
