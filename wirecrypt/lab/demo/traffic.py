"""The load under which everything happens: numbered UDP at 1,000 packets/s and TCP streams, both ways, IPv4 and IPv6.

Next to it every other flow class of the pair (`plan.flows`), slowly: from pods to the other node itself and back, and between
the nodes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from wirecrypt.lab.demo.record import Record
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.streams import Result, Tcp, Udp, ends, start_all, stop_all
from wirecrypt.plan.flows import FlowClass

RATE = 1000  # packets a second, each way
RATE6 = 100
STREAM = 100_000  # bytes a second of a TCP stream
SLOW = 50
LEAST = 0.25  # of the load
ANSWER = 2.0  # seconds in which an agent answers beside a load that leaves it its share of the processors


def fitting(seconds: float) -> float:
    """Return the part of the load that a machine carries on which, under all of it, an agent answered after *seconds*."""
    return max(LEAST, min(1.0, ANSWER / max(seconds, ANSWER)))


@dataclass(slots=True)
class Load:
    """Flows between the first two nodes' pods, and slow ones to and from the third."""

    lab: Lab
    record: Record
    name: str
    part: float = 1.0  # of the rates: a guest with one slow CPU carries less
    pair: list[Udp | Tcp] = field(default_factory=list)
    third: list[Udp] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.record.event(self.lab.time(), "load-start", load=self.name)
        try:
            self._prepare()
            start_all((*self.pair, *self.third))
        except BaseException:
            self.__exit__()
            raise
        return self

    def _prepare(self) -> None:
        for flow_class in FlowClass:
            self._add_class(flow_class)
        for source, target in (("pod/node-1/b", "pod/node-3/a"), ("pod/node-3/b", "pod/node-2/b")):
            self.third.append(Udp.prepare(self.lab, source, target, rate=SLOW))

    def _add_class(self, flow_class: FlowClass) -> None:
        """Add the flows of a class: fast both ways between pods a, slowly of pod b with node-2, of one family between nodes."""
        there, back = ends(flow_class, "node-1", "node-2", "b"), ends(flow_class, "node-2", "node-1", "b")
        if flow_class is FlowClass.POD_TO_POD:
            for one, other in (("node-1", "node-2"), ("node-2", "node-1")):
                source, target = ends(flow_class, one, other)
                self._add(Udp, source, target, rate=RATE)
                self._add(Udp, source, target, rate=RATE6, family=6)
                self._add(Tcp, source, target, rate=STREAM)
        elif flow_class is FlowClass.NODE_TO_NODE:
            self._add(Udp, *there, rate=SLOW)
            self._add(Udp, *back, rate=SLOW, family=6)
        else:
            for family in (4, 6):
                self._add(Udp, *(there if flow_class.from_pod else back), rate=SLOW, family=family)

    def _add(self, kind: type[Udp | Tcp], source: str, target: str, *, rate: int, family: int = 4) -> None:
        self.pair.append(kind.prepare(self.lab, source, target, rate=round(rate * self.part), family=family))

    def __exit__(self, *exc: object) -> None:
        for flow in (*self.pair, *self.third):
            flow.__exit__(*exc)

    def stop(self) -> LoadTotals:
        """End the load and return its totals."""
        totals = LoadTotals()
        flows = (*self.pair, *self.third)
        for flow, result in zip(flows, stop_all(flows), strict=True):
            totals.add(flow, result)
        self.record.event(
            self.lab.time(), "load-end", load=self.name, sent=totals.sent, received=totals.received, lost=totals.lost
        )
        self.record.figures[f"load {self.name}"] = totals.figures
        return totals

    @property
    def markers(self) -> list[bytes]:
        """What is readable on the wire of the pair's traffic while it is not encrypted."""
        return [flow.marker.encode() for flow in self.pair]

    @property
    def third_markers(self) -> list[bytes]:
        """The same of the third node's traffic."""
        return [flow.marker.encode() for flow in self.third]


@dataclass(slots=True)
class LoadTotals:
    """Sums over a load's flows: UDP packets, TCP bytes, retransmissions, the longest silence."""

    sent: int = 0
    received: int = 0
    stream_bytes: int = 0
    stream_missing: int = 0
    retransmissions: int = 0
    unneeded: int = 0
    longest_gap: float = 0.0

    def add(self, flow: Udp | Tcp, result: Result) -> None:
        """Add one flow."""
        self.longest_gap = max(self.longest_gap, result.longest_gap)
        if isinstance(flow, Tcp):
            self.stream_bytes += result.received
            self.stream_missing += result.lost
            self.retransmissions += result.retransmissions
            self.unneeded += result.unneeded
        else:
            self.sent += result.sent
            self.received += result.received

    @property
    def lost(self) -> int:
        """Packets that did not arrive."""
        return self.sent - self.received

    @property
    def repairs(self) -> int:
        """TCP retransmissions that were needed: the receiver did not report to have had the segment already."""
        return max(0, self.retransmissions - self.unneeded)

    @property
    def complete(self) -> bool:
        """Return whether nothing is missing."""
        return self.lost == 0 and self.stream_missing == 0 and self.received > 0 and self.stream_bytes > 0

    @property
    def text(self) -> str:
        """Return the totals in words."""
        return (
            f"{self.sent} UDP packets sent, {self.lost} lost; {self.stream_bytes / 1e6:.1f} MB of TCP, "
            f"{self.stream_missing} bytes missing, {self.repairs} repaired by retransmission"
        )

    @property
    def figures(self) -> dict[str, Any]:
        """Return the totals as JSON."""
        return {
            "sent": self.sent,
            "received": self.received,
            "lost": self.lost,
            "tcp_bytes": self.stream_bytes,
            "tcp_missing": self.stream_missing,
            "tcp_retransmissions": self.retransmissions,
            "tcp_retransmissions_needed": self.repairs,
            "longest_gap_seconds": round(self.longest_gap, 4),
        }
