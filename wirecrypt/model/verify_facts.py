"""What an agent says about its node when it is asked to verify: facts only, no judgement and no secret.

Agents answer with these as JSON, `wirecrypt.verify` judges both ends of a pair by them. A reader ignores fields that it does
not know, so that agents of two versions can be asked; a field that is missing or of another type is refused.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from typing import Any, Final, NoReturn, TypeVar, get_args, get_origin, get_type_hints

from wirecrypt.errors import ObjectError
from wirecrypt.model.xfrm import Address

FORMAT: Final = 1
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class SaFact:
    """One SA of a pair at the moment of the request.

    *right_key* is false when the agent knows that the key is another one than it derived. *packets* is the counter then;
    *grown* and *errors* are packets and integrity errors since, None and 0 when the SA was gone at the end.
    """

    spi: int
    sending: bool
    lane: int
    generation: str
    fingerprint: str
    right_key: bool
    packets: int
    grown: int | None = None
    errors: int = 0


@dataclass(frozen=True, slots=True)
class Deviation:
    """An object that is not as the agent's last pass decided: "missing", "different" or "not wanted"."""

    object: str
    problem: str

    def __str__(self) -> str:
        return f"{self.object} is {self.problem}"


@dataclass(frozen=True, slots=True)
class LaneProbe:
    """Probes sent on one lane of the generation in use: *refused* by the kernel, *answered*; *seconds* of the fastest."""

    spi: int
    lane: int
    sent: int
    refused: int
    answered: int
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class EspSeen:
    """ESP packets that left towards a peer with one SPI."""

    spi: int
    packets: int


@dataclass(frozen=True, slots=True)
class Clear:
    """Readable packets that left towards a peer: five-tuple; *inside* names the tunnel that they were in, or is empty."""

    src: str
    dst: str
    proto: int
    sport: int
    dport: int
    inside: str
    packets: int

    def __str__(self) -> str:
        inside = f" inside {self.inside}" if self.inside else ""
        return f"{self.packets} packets {self.src} → {self.dst} proto {self.proto} {self.sport} → {self.dport}{inside}"


@dataclass(frozen=True, slots=True)
class CapturedPackets:
    """What left: ESP packets by (outer target, SPI), readable flows, packets read, and packets lost unread."""

    esp: Mapping[tuple[Address, int], int]
    clear: Sequence[Clear]
    packets: int
    lost: int


@dataclass(frozen=True, slots=True)
class PeerEvidence:
    """One peer as this node's kernel, probes and uplinks show it.

    *out*: plain, block or esp; *receive*: none, optional or required; *in_use*: the generation that traffic takes; *uses*: the
    SPIs that its policies point at. *sending_missing* and *receiving_missing* are SPIs that should be there. Deviations are of
    policies and guard entries, split by the direction of the packets that they are about. *refused*: what the kernel
    refused in the last pass; *failing*: why the agent reports the pair as failing. *later*: the SPIs that were there at the
    end; an SPI that comes later is a new generation, for no SA is ever made again. *nodes*: traffic between the nodes' own
    addresses is sealed, exempt by an end's wish, or open though it should be sealed; *exempt_packets* of it were in clear,
    as the guard of this node counts since it was loaded.
    """

    node: str
    node_id: int
    state: str
    out: str
    receive: str
    in_use: str
    why: str
    failing: str
    refused: str
    uses: tuple[int, ...] = ()
    sas: tuple[SaFact, ...] = ()
    sending_missing: tuple[int, ...] = ()
    receiving_missing: tuple[int, ...] = ()
    policies_out: tuple[Deviation, ...] = ()
    policies_in: tuple[Deviation, ...] = ()
    guard_out: tuple[Deviation, ...] = ()
    guard_in: tuple[Deviation, ...] = ()
    probes: tuple[LaneProbe, ...] = ()
    esp: tuple[EspSeen, ...] = ()
    clear: tuple[Clear, ...] = ()
    later: tuple[int, ...] = ()
    nodes: str = "sealed"
    exempt_packets: int = 0


@dataclass(frozen=True, slots=True)
class CaptureSummary:
    """The capture: on which links, for how long, packets read, *lost* before they were read; *problem*: why there is none."""

    links: tuple[str, ...]
    seconds: float
    packets: int = 0
    lost: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class NodeEvidence:
    """One node. *state* is empty while it is not enabled.

    *settled* is false when the kernel was read while the agent was in the middle of a pass: differences to its decisions then
    prove nothing. *guard_out* and *guard_in* are deviations that concern all peers; *pass_age*: seconds since the last pass.
    *ungranted*: prefixes and addresses that the Node has and its NodePeer has not.
    """

    format: int
    node: str
    node_id: int
    state: str
    settled: bool
    pass_age: float
    watched: CaptureSummary
    guard_out: tuple[Deviation, ...] = ()
    guard_in: tuple[Deviation, ...] = ()
    peers: tuple[PeerEvidence, ...] = ()
    ungranted: tuple[str, ...] = ()

    def peer(self, name: str) -> PeerEvidence | None:
        """Return what is known of the peer called *name*."""
        return next((p for p in self.peers if p.node == name), None)


@dataclass(frozen=True, slots=True)
class Change:
    """One write that an agent would make: the step, its object, the peer ("" for all), the reason."""

    step: str
    object: str
    peer: str
    why: str


@dataclass(frozen=True, slots=True)
class NodePlan:
    """What one agent would change now."""

    format: int
    node: str
    settled: bool
    changes: tuple[Change, ...] = ()


def encode(facts: NodeEvidence | NodePlan) -> dict[str, Any]:
    """Return *facts* as values that JSON can express."""
    return asdict(facts)


def decode(cls: type[Made], raw: object, place: str) -> Made:
    """Return the *cls* that *raw* describes; raises `ObjectError` that names the *place* and the field."""
    if not isinstance(raw, dict):
        _refuse(place, "not an object")
    if "format" in _hints(cls) and raw.get("format") != FORMAT:
        _refuse(f"{place}.format", f"{raw.get('format')!r}, not {FORMAT}")
    found = {}
    for name, kind in _hints(cls).items():
        if name in raw:
            found[name] = _value(kind, raw[name], f"{place}.{name}")
        elif name in _required(cls):
            _refuse(f"{place}.{name}", "missing")
    return cls(**found)


def _value(kind: Any, raw: object, place: str) -> Any:  # noqa: ANN401 - of the type that the hint names
    if get_origin(kind) is tuple:
        if not isinstance(raw, list | tuple):
            _refuse(place, "not a list")
        return tuple(_value(get_args(kind)[0], each, f"{place}[{n}]") for n, each in enumerate(raw))
    if get_origin(kind) is types.UnionType:
        return None if raw is None else _value(next(k for k in get_args(kind) if k is not type(None)), raw, place)
    if is_dataclass(kind):
        return decode(kind, raw, place)  # type: ignore[arg-type]  # a type hint, so the class and no instance
    if kind is float and type(raw) is int:
        return float(raw)
    if type(raw) is not kind:
        _refuse(place, f"not {kind.__name__}")
    return raw


def _hints(cls: type) -> dict[str, Any]:
    if cls not in _HINTS:
        _HINTS[cls] = get_type_hints(cls)
    return _HINTS[cls]


_HINTS: Final[dict[type, dict[str, Any]]] = {}


def _required(cls: Any) -> frozenset[str]:  # noqa: ANN401 - a dataclass
    return frozenset(f.name for f in fields(cls) if f.default is MISSING)


def _refuse(place: str, problem: str) -> NoReturn:
    hint = "are the agents and this command of the same version?"
    raise ObjectError("read an agent's answer", what=place, answer=problem, hint=hint)
