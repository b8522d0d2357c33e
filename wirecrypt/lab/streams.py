"""Numbered traffic between two places of a lab, started and counted from outside: the programs are in `load`."""

from __future__ import annotations

import itertools
import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from wirecrypt.errors import LabError, TooSlow
from wirecrypt.lab.machine.machine import GUEST_PYTHON
from wirecrypt.lab.waiting import DEADLINE, until
from wirecrypt.lab.wire import load_generator
from wirecrypt.plan.flows import FlowClass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wirecrypt.lab.lab import Lab
    from wirecrypt.lab.machine.channel import Process

STARVED = 5.0  # seconds that a packet waited for its receiver to run; a missing policy drops at the socket, too, and none waits
_ports = itertools.count(20000)


def ends(of: FlowClass, one: str, other: str, pod: str = "a", *, other_pod: str = "") -> tuple[str, str]:
    """Return the places, names as for `Lab.exec`, between which traffic of a class goes from node *one* to node *other*.

    *pod*: the name of the pod on either node; *other_pod*: of that on the other, if it has another one.
    """
    source = f"pod/{one}/{pod}" if of.from_pod else one
    return source, f"pod/{other}/{other_pod or pod}" if of.to_pod else other


@dataclass(frozen=True, slots=True)
class Result:
    """What a flow came to: numbers of packets (UDP) or bytes (TCP); *details* is all that both programs said."""

    sent: int
    received: int
    duplicates: int
    reordered: int
    retransmissions: int
    unneeded: int  # retransmissions of what had arrived, as the receiver reported by DSACK (RFC 2883): late, not lost
    longest_gap: float  # seconds without anything arriving
    details: dict[str, Any]

    @property
    def lost(self) -> int:
        """What was sent and did not arrive."""
        return self.sent - self.received


class _Flow:
    """A sender in one place and a receiver in another."""

    kind: ClassVar[str]

    def __init__(self, lab: Lab, source: str, target: str, document: dict[str, Any], receiver: Process) -> None:
        self.source = source
        self.target = target
        self.marker: str = document["marker"]
        self._lab = lab
        self._document = document
        self._receiver = receiver
        self._sender: Process | None = None

    @classmethod
    def start(cls, lab: Lab, source: str, target: str, *, wait: bool = True, **options: Any) -> Self:  # noqa: ANN401 - as `prepare`
        """Start traffic as `prepare` says, with *wait* until the first packet has arrived."""
        flow = cls.prepare(lab, source, target, **options)
        flow.send()
        if wait:
            flow.wait_flowing()
        return flow

    @classmethod
    def prepare(  # noqa: PLR0913  # keywords with defaults: a call names what it cares for
        cls, lab: Lab, source: str, target: str, *, family: int = 4, rate: int = 1000, size: int = 200, seconds: float = 600,
        extended: bool = False,
    ) -> Self:  # fmt: skip
        """Start the receiver of traffic from *source* to *target* (names as for `Lab.exec`); `send` starts the sender.

        *rate*: packets of *size* bytes a second, for TCP bytes a second. It ends by itself after *seconds*. *extended*: with
        options of IPv4, or extension headers of IPv6 (hop by hop, for the destination), before the payload.
        """
        marker = f"wirecrypt-marker-{secrets.token_hex(8)}"
        document = {
            "address": address(lab, target, family), "port": next(_ports), "rate": rate, "size": size, "seconds": seconds,
            "marker": marker, "extended": extended,
        }  # fmt: skip
        return cls(lab, source, target, document, _program(lab, target, {**document, "do": f"{cls.kind}-receive"}))

    @property
    def bytes_a_second(self) -> int:
        """What the sender offers."""
        rate: int = self._document["rate"]
        return rate

    def send(self) -> None:
        """Start the sender as soon as the receiver is ready."""
        what = f"the receiver in {self.target} is ready"
        until(lambda: "ready" in _lines(self._receiver), what=what, seconds=DEADLINE)
        self._sender = _program(self._lab, self.source, {**self._document, "do": f"{self.kind}-send"})

    def wait_flowing(self) -> None:
        """Wait until the first packet has arrived."""
        what = f"traffic arrives in {self.target} from {self.source}"
        until(lambda: "flowing" in _lines(self._receiver), what=lambda: f"{what}: {self._said()}", seconds=DEADLINE)

    def _said(self) -> str:
        return f"the sender said {self._sender and _lines(self._sender)}, the receiver {_lines(self._receiver)}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self._sender, self._receiver):
            if process and process.running:
                process.kill(9)

    def end(self) -> None:
        """Tell the sender to end; `stop` waits for it."""
        if self._sender:
            self._sender.kill()

    def end_receiving(self) -> None:
        """Wait for the sender's end, then tell the receiver to end; `stop` waits for it."""
        if self._sender:
            self._sender.wait(DEADLINE)
        self._receiver.kill()

    def stop(self) -> Result:
        """End the sender, then the receiver, and return what arrived; LabError when one of the programs failed."""
        if self._sender is None:
            raise LabError("nothing was sent yet", what=f"{self.source} to {self.target}")
        sent = _result(self._sender, "sender")
        received = _result(self._receiver, "receiver")
        if received.get("dropped_by_receiver"):
            starved = received.get("longest_delay", 0.0) > STARVED
            kind, why = (TooSlow, "did not get to run") if starved else (LabError, "lost packets of its own")
            raise kind(f"the receiving program {why}: this run says nothing", what=self.target, answer=str(received))
        return Result(
            sent["sent"], received["received"], received.get("duplicates", 0), received.get("reordered", 0),
            sent.get("retransmissions", 0), sent.get("unneeded", 0), received["longest_gap"],
            {"sender": sent, "receiver": received},
        )  # fmt: skip


class Udp(_Flow):
    """Numbered packets."""

    kind = "udp"

    @property
    def bytes_a_second(self) -> int:
        """What the sender offers."""
        return super().bytes_a_second * int(self._document["size"])


class Tcp(_Flow):
    """One connection whose every byte is checked; give a *rate* in bytes a second, e.g. 200,000."""

    kind = "tcp"

    @classmethod
    def prepare(cls, lab: Lab, source: str, target: str, **options: Any) -> Self:  # noqa: ANN401 - as that of all flows
        """Do as for all flows, and let the source's network send nothing again that may only be late.

        Tail loss probes (RFC 8985, section 7) resend the last segment after twice the round trip: on a busy guest that counts
        the scheduler's delays, not losses.
        """
        lab.exec(source, ["sysctl", "-qw", "net.ipv4.tcp_early_retrans=0"])
        return super().prepare(lab, source, target, **options)

    def stop(self) -> Result:
        """End the stream and return what arrived; LabError when a byte was wrong."""
        result = super().stop()
        if not result.details["receiver"]["intact"]:
            raise LabError("the stream arrived damaged", what=f"{self.source} to {self.target}", answer=str(result))
        return result


def start_all(flows: Sequence[_Flow]) -> None:
    """Start the senders of prepared *flows* together, and wait until the first packet of each has arrived.

    Those that send least come first: on a guest with one slow CPU no program starts well beside a fast stream.
    """
    for flow in sorted(flows, key=lambda flow: flow.bytes_a_second):
        flow.send()
    for flow in flows:
        flow.wait_flowing()


def stop_all(flows: Sequence[_Flow]) -> list[Result]:
    """End *flows* together, all senders before the first receiver, and return what each came to."""
    for flow in flows:
        flow.end()
    for flow in flows:
        flow.end_receiving()
    return [flow.stop() for flow in flows]


def address(lab: Lab, where: str, family: int = 4) -> str:
    """Return the address of a pod or node, IPv4 or (*family* 6) IPv6."""
    if pod := lab.pods.get(where):
        return pod.ip4 if family == 4 else pod.ip6  # noqa: PLR2004  # the family's number
    node = lab.nodes[where].addresses
    return str(node.wire4.ip if family == 4 else node.wire6.ip)  # noqa: PLR2004  # the family's number


def _program(lab: Lab, where: str, document: dict[str, Any]) -> Process:
    path = str(Path(load_generator.__file__).resolve())
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
    if process.wait(DEADLINE):
        raise LabError(f"the {role} failed", answer=process.output()[-1000:])
    return _lines(process)
