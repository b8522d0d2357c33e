"""What a verification says of one direction of a pair."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Standing(Enum):
    """How a direction stands, worst last: broken beats unknown beats what is on its way."""

    PROTECTED = "protected"
    JOINING = "joining"
    LEAVING = "leaving"
    UNKNOWN = "unknown"
    BROKEN = "broken"


class CauseKind(Enum):
    """Kinds of causes, in the order in which they are told: the earlier explains the later."""

    CLEARTEXT = "cleartext seen"
    SA_MISSING_AT_SENDER = "SA missing at the sender"
    SA_MISSING_AT_RECEIVER = "SA missing at the receiver"
    WRONG_KEY = "wrong key"
    POLICY = "policy missing or different"
    GUARD = "guard not attached or entry missing"
    UNGRANTED = "claim not granted"
    PLAINTEXT = "sends plaintext"
    BLOCKED = "blocked"
    ACCEPTS_CLEARTEXT = "accepts cleartext"
    KERNEL_REFUSED = "the kernel refused"
    NOT_SENT = "probe not sent"
    NOT_RECEIVED = "ESP does not arrive"
    NO_ANSWER = "no answer"
    ANSWERS_LOST = "answers lost"
    NOT_ON_UPLINK = "ESP not seen on the uplinks"
    AGENT_SILENT = "agent cannot be asked"
    PEER_UNKNOWN = "peer not known yet"
    NOT_WATCHED = "no capture"
    NOT_PROBED = "no probe"

    @property
    def proves_nothing(self) -> bool:
        """Return whether the cause is a lack of evidence and not evidence of a fault."""
        return self in _LACKS


_LACKS: Final = frozenset(
    {
        CauseKind.ANSWERS_LOST,
        CauseKind.AGENT_SILENT,
        CauseKind.PEER_UNKNOWN,
        CauseKind.NOT_WATCHED,
        CauseKind.NOT_PROBED,
    }
)


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a direction is not protected: the kind, the node where it is, and the object in words."""

    kind: CauseKind
    node: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind.value} ({self.node}): {self.detail}"


@dataclass(frozen=True, slots=True)
class Silent:
    """A node whose agent could not be asked, and why."""

    node: str
    why: str


@dataclass(frozen=True, slots=True)
class Unasked:
    """A node that was left out on purpose: a verdict rests on the other end alone."""

    node: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """One direction of a pair with its evidence.

    *spis*: what the sender's policies point at. *esp*: packets with these that the capture saw leave. *probes* (answered,
    sent); *seconds* of the fastest answer. *notes*: what is worth a word and no fault.
    """

    sender: str
    receiver: str
    standing: Standing
    causes: tuple[Cause, ...] = ()
    notes: tuple[str, ...] = ()
    generation: str = ""
    spis: tuple[int, ...] = ()
    esp: int = 0
    probes: tuple[int, int] = (0, 0)
    seconds: float | None = None
