"""Numbered traffic between two places of a lab, started and counted from outside: the programs are in `load`."""

from __future__ import annotations

import itertools
import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from wirecrypt.errors import LabError
from wirecrypt.lab import load
from wirecrypt.lab.machine import GUEST_PYTHON
from wirecrypt.lab.waiting import until

if TYPE_CHECKING:
    from wirecrypt.lab.channel import Process
    from wirecrypt.lab.lab import Lab

START_DEADLINE = 20.0  # seconds until the first packet has arrived
END_DEADLINE = 40.0  # seconds for a stream to be confirmed after its end
_ports = itertools.count(20000)


@dataclass(frozen=True, slots=True)
class Result:
    """What a flow came to: numbers of packets (UDP) or bytes (TCP); *details* is all that both programs said."""

    sent: int
    received: int
    duplicates: int
    reordered: int
    retransmissions: int
    longest_gap: float  # seconds without anything arriving
    details: dict[str, Any]

    @property
    def lost(self) -> int:
        """What was sent and did not arrive."""
        return self.sent - self.received


class _Flow:
    """A sender in one place and a receiver in another."""

    kind: ClassVar[str]

    def __init__(self, source: str, target: str, marker: str, sender: Process, receiver: Process) -> None:
        self.source = source
        self.target = target
        self.marker = marker
        self._sender = sender
        self._receiver = receiver

    @classmethod
    def start(  # noqa: PLR0913  # keywords with defaults: a call names what it cares for
        cls, lab: Lab, source: str, target: str, *, family: int = 4, rate: int = 1000, size: int = 200, seconds: float = 600,
        wait: bool = True,
    ) -> Self:  # fmt: skip
        """Start traffic from *source* to *target* (names as for `Lab.exec`), with *wait* until the first packet has arrived.

        *rate*: packets of *size* bytes a second, for TCP bytes a second. It ends by itself after *seconds*.
        """
        marker = f"wirecrypt-marker-{secrets.token_hex(8)}"
        document = {
            "address": address(lab, target, family), "port": next(_ports), "rate": rate, "size": size, "seconds": seconds,
            "marker": marker,
        }  # fmt: skip
        receiver = _program(lab, target, {**document, "do": f"{cls.kind}-receive"})
        until(lambda: "ready" in _lines(receiver), what=f"the receiver in {target} is ready", seconds=START_DEADLINE)
        sender = _program(lab, source, {**document, "do": f"{cls.kind}-send"})
        if wait:
            until(
                lambda: "flowing" in _lines(receiver), what=f"traffic arrives in {target} from {source}", seconds=START_DEADLINE
            )
        return cls(source, target, marker, sender, receiver)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self._sender, self._receiver):
            if process.running:
                process.kill(9)

    def stop(self) -> Result:
        """End the sender, then the receiver, and return what arrived; LabError when one of the programs failed."""
        sent = _result(self._sender, "sender")
        received = _result(self._receiver, "receiver")
        if received.get("dropped_by_receiver"):
            raise LabError("the receiving program was too slow: this run says nothing", what=self.target, answer=str(received))
        return Result(
            sent["sent"], received["received"], received.get("duplicates", 0), received.get("reordered", 0),
            sent.get("retransmissions", 0), received["longest_gap"], {"sender": sent, "receiver": received},
        )  # fmt: skip


class Udp(_Flow):
    """Numbered packets."""

    kind = "udp"


class Tcp(_Flow):
    """One connection whose every byte is checked; give a *rate* in bytes a second, e.g. 200,000."""

    kind = "tcp"

    def stop(self) -> Result:
        """End the stream and return what arrived; LabError when a byte was wrong."""
        result = super().stop()
        if not result.details["receiver"]["intact"]:
            raise LabError("the stream arrived damaged", what=f"{self.source} to {self.target}", answer=str(result))
        return result


def address(lab: Lab, where: str, family: int = 4) -> str:
    """Return the address of a pod or node, IPv4 or (*family* 6) IPv6."""
    if pod := lab.pods.get(where):
        return pod.ip4 if family == 4 else pod.ip6  # noqa: PLR2004  # the family's number
    node = lab.nodes[where].addresses
    return str(node.wire4.ip if family == 4 else node.wire6.ip)  # noqa: PLR2004  # the family's number


def _program(lab: Lab, where: str, document: dict[str, Any]) -> Process:
    path = str(Path(load.__file__).resolve())
    return lab.spawn(where, [GUEST_PYTHON, "-SE", path, json.dumps(document)])


def _lines(process: Process) -> dict[str, Any]:
    """Return what the program has said, lines merged; LabError when it has ended with an error."""
    text = process.output()
    if not process.running and process.wait():
        raise LabError("a load program failed", answer=text[-1000:])
    merged: dict[str, Any] = {}
    for line in text.splitlines():
        if line.startswith("{") and line.endswith("}"):
            merged |= json.loads(line)
    return merged


def _result(process: Process, role: str) -> dict[str, Any]:
    process.kill()
    if process.wait(END_DEADLINE):
        raise LabError(f"the {role} failed", answer=process.output()[-1000:])
    return _lines(process)
