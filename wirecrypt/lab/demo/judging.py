"""What the capture must show: nothing readable between the two nodes while they are protected, everything to the third.

Pure: a capture and what was going on in, claims out.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from wirecrypt.lab.demo.record import Record
from wirecrypt.lab.wire.observer import Cleartext, Observation

Sas = dict[tuple[str, str, int], int]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two nodes: its addresses on the wire, its pod prefixes."""

    addresses: Collection[str]
    pods: Collection[str]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a capture: from *start* to *end*, between two sides.

    *hidden* are the markers of all flows between them, pods and hosts, *readable* those of all flows to and from a third node.
    """

    start: float
    end: float
    sides: tuple[Side, Side]
    hidden: Collection[bytes]
    readable: Collection[bytes]


def judge(record: Record, seen: Observation, question: Question) -> None:
    """Claim what the capture shows, with figures."""
    window = seen.between(question.start, question.end)
    one, other = question.sides
    clear = window.cleartext((*one.pods, *one.addresses), (*other.pods, *other.addresses))
    marked = sum(sum(window.marked(marker).values()) for marker in question.hidden)
    there, back = _esp(window, one, other), _esp(window, other, one)
    record.figures |= _figures(window, {**there, **back}, clear)
    packets = sum(there.values()) + sum(back.values())
    record.claim(
        "on the wire: no cleartext between the two nodes, pods and hosts, while protected",
        f"{len(clear)} cleartext packets, {marked} markers, {packets} ESP packets by {len(there) + len(back)} SAs",
        held=not clear and not marked and bool(there) and bool(back),
    )
    readable = sum(1 for marker in question.readable if window.marked(marker))
    record.claim(
        "the third node's traffic stayed readable, to and from it",
        f"{readable} of {len(question.readable)} flows are readable",
        held=readable == len(question.readable) > 0,
    )


def _esp(window: Observation, source: Side, target: Side) -> Sas:
    """Return the ESP packets from one side to the other, by SA."""
    found = window.esp().items()
    return {sa: count for sa, count in found if sa[0] in source.addresses and sa[1] in target.addresses}


def _figures(window: Observation, esp: Sas, clear: list[Cleartext]) -> dict[str, Any]:
    return {
        "wire_frames_judged": len(window.frames),
        "wire_esp_packets": sum(esp.values()),
        "wire_sas": len(esp),
        "wire_cleartext_packets": len(clear),
    }
