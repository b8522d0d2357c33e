"""What end-to-end tests say about the product: states of the cluster, and independent looks at kernels and wire."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from wirecrypt.errors import LabError, TooSlow
from wirecrypt.lab import operations
from wirecrypt.lab.demo.record import Record
from wirecrypt.lab.demo.traffic import Load
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.streams import Tcp, Udp, ends, start_all, stop_all
from wirecrypt.lab.waiting import until
from wirecrypt.lab.wire.observer import Cleartext, Observation
from wirecrypt.plan.flows import FlowClass

PAIR = ("node-1", "node-2")
ALL = ("node-1", "node-2", "node-3")
SECONDS = 240.0  # a loaded machine: the deadline of every wait here
PARTS = (1.0, 0.5, 0.25)  # of a load
INJECTOR = bytes.fromhex("0277630000ee")  # source of frames that a test itself puts on the wire
T = TypeVar("T")
_BLOCK = re.compile(r"^src ", re.MULTILINE)
_STATE = re.compile(r"(?P<src>\S+) dst (?P<dst>\S+)\n\s+proto esp spi (?P<spi>0x\w+)")
_SPI = re.compile(r"spi (0x\w+)")
_KEY = re.compile(r"aead \S+ (0x\w+)")


@dataclass(frozen=True)
class State:
    """One SA as `ip xfrm state` shows it."""

    src: str
    dst: str
    spi: str
    key: str

    @property
    def direction(self) -> tuple[str, str, int]:
        """Return its ends and its SPI without the lane: the same for all lanes of one direction of a generation."""
        return self.src, self.dst, int(self.spi, 16) >> 4


def states(lab: Lab, node: str) -> list[State]:
    """Return the SAs of *node*, by iproute2 and not by our own code; one that is only asked for has no key."""
    found = []
    for block in _BLOCK.split(lab.exec(node, ["ip", "xfrm", "state"]).stdout):
        if head := _STATE.match(block):
            key = _KEY.search(block)
            found.append(State(head["src"], head["dst"], head["spi"], key[1] if key else ""))
    return found


def policies(lab: Lab, node: str) -> list[str]:
    """Return the policies of *node*, by iproute2, in an order that does not depend on when each was made."""
    parts = _BLOCK.split(lab.exec(node, ["ip", "xfrm", "policy"]).stdout)
    return sorted(part.strip() for part in parts if part.strip())


def protect(lab: Lab, *nodes: str) -> None:
    """Label *nodes* and no other, and wait until they are protected from each other and their kernels are at rest."""
    others = [n for n in lab.nodes if n not in nodes and operations.encrypted_node(lab, n)]
    if others:
        operations.unlabel(lab, *others)
        operations.wait_removed(lab, others, SECONDS)
    operations.label(lab, *nodes)
    operations.wait_protected(lab, nodes, SECONDS)
    settle(lab, *nodes)


def settle(lab: Lab, *nodes: str) -> None:
    """Wait until every pair of *nodes* has one generation, the same SAs at both ends, traffic on each, and nothing on its way.

    A status tells what was; this looks at the kernels themselves.
    """
    until(
        lambda: _at_rest(lab, nodes),
        what=f"one generation for each pair of {', '.join(nodes)}",
        seconds=SECONDS,
        every=0.5,
    )


def _at_rest(lab: Lab, nodes: tuple[str, ...]) -> bool:
    places = {str(lab.nodes[node].addresses.wire4.ip): node for node in nodes}
    found = {node: {s for s in states(lab, node) if {s.src, s.dst} <= places.keys()} for node in nodes}
    wanted = {(a, b) for a in places for b in places if a != b}
    everything = set().union(*found.values())
    ends = [{node for node in nodes if state in found[node]} for state in everything]
    directions = [(src, dst) for src, dst, _ in {state.direction for state in everything}]
    complete = all(end == {places.get(s.src), places.get(s.dst)} for end, s in zip(ends, everything, strict=True))
    return complete and sorted(directions) == sorted(wanted) and all(_sends(lab, places[s.src], s) for s in everything)


def _sends(lab: Lab, node: str, state: State) -> bool:
    """Return whether *node* has a policy for traffic to its peer's pods that points at *state*, and none to what is older."""
    peer = next(n for n in lab.nodes if str(lab.nodes[n].addresses.wire4.ip) == state.dst)
    target = f"dst {lab.nodes[peer].addresses.pods4}"
    blocks = [policy for policy in policies(lab, node) if target in policy and "dir out" in policy]
    taken = [int(spi, 16) for part in blocks for spi in _SPI.findall(part)]
    return (
        len(taken) == len(blocks) and int(state.spi, 16) in taken and {spi >> 4 for spi in taken} == {int(state.spi, 16) >> 4}
    )


def has_tcx(lab: Lab) -> bool:
    """Return whether the lab's kernel attaches programs without a qdisc (6.6 and newer)."""
    major, minor = lab.exec("guest", ["uname", "-r"]).stdout.split(".")[:2]
    return (int(major), int(minor)) >= (6, 6)


def put_qdiscs_in_place(lab: Lab) -> None:
    """On a kernel without tcx, give every link its clsact qdisc before there is load, as docs/how-to/install.md advises.

    Adding one takes a link's transmit queue away for a moment, whoever does it; the agent finds it and leaves it.
    """
    if has_tcx(lab):
        return
    script = "for d in $(ls /sys/class/net); do tc qdisc add dev $d clsact 2>/dev/null; done; true"
    for node in lab.nodes:
        lab.exec(node, ["sh", "-c", script])


def expose(lab: Lab) -> None:
    """Unlabel every node, and wait until nothing is left."""
    nodes = [n for n in lab.nodes if operations.encrypted_node(lab, n)]
    if nodes:
        operations.unlabel(lab, *nodes)
        operations.wait_removed(lab, nodes, SECONDS)
    until(
        lambda: not any(states(lab, n) or policies(lab, n) for n in lab.nodes),
        what="every node is without kernel objects",
        seconds=SECONDS,
        every=0.3,
    )


def prefixes(lab: Lab, node: str) -> tuple[str, str]:
    """Return the pod prefixes of *node*."""
    place = lab.nodes[node].addresses
    return str(place.pods4), str(place.pods6)


def leaks(lab: Lab, seen: Observation, *nodes: str, exempt: bool = False) -> list[Cleartext]:
    """Return what an observer on the wire could read of traffic between *nodes*, of any class but, if *exempt*, node→node.

    Frames that a test injected are no leak.
    """
    judged = Observation(f for f in seen.frames if f.content[6:12] != INJECTOR)
    found = []
    for one in nodes:
        for other in nodes:
            if one < other:
                found += judged.cleartext(prefixes(lab, one), prefixes(lab, other))
                found += [] if exempt else judged.cleartext(addresses(lab, one), addresses(lab, other))
            if one != other:
                found += judged.cleartext(prefixes(lab, one), addresses(lab, other))
    return found


def addresses(lab: Lab, node: str) -> tuple[str, str]:
    """Return the node's own addresses on the wire, as prefixes."""
    place = lab.nodes[node].addresses
    return f"{place.wire4.ip}/32", f"{place.wire6.ip}/128"


@contextmanager
def trickle(lab: Lab, *nodes: str, to_nodes: bool = True) -> Iterator[None]:
    """Keep slow traffic of every class between *nodes* going, so that something could leak; losses are allowed.

    Without traffic to nodes where policies go: a socket counts what lacks a policy as if its program had been too slow.
    """
    flows: list[Udp | Tcp] = []
    try:
        for one in nodes:
            for other in nodes:
                if one != other:
                    flows += [
                        Udp.prepare(lab, *ends(flow_class, one, other, "b"), rate=20)
                        for flow_class in FlowClass
                        if to_nodes or flow_class.to_pod
                    ]
                    flows.append(Udp.prepare(lab, f"pod/{one}/b", f"pod/{other}/b", rate=20, family=6))
        start_all(flows)
        yield
        assert all(result.received for result in stop_all(flows))
    finally:
        for flow in flows:
            flow.__exit__()


def load(lab: Lab, folder: Path, name: str, part: float = 1.0) -> Load:
    """Return the demo's load, or a part of it: numbered UDP at 1,000 packets/s and TCP streams, both ways.

    On 6.1, which has one CPU and slow system calls in user mode, a quarter of it: more would measure the guest.
    """
    return Load(lab, Record(folder), name, part=part if has_tcx(lab) else 0.25 * part)


def under_load(does: Callable[[float], T]) -> T:
    """Return what *does* gives under the whole load, or under as much of it as the guest's own programs keep up with.

    Where even a quarter of it starves a receiver for seconds nothing can be measured, and the test is skipped.
    """
    for part in PARTS:
        try:
            return does(part)
        except TooSlow as error:
            refused = str(error)
    pytest.skip(f"this machine is too slow: {refused}")


def wait_passes(lab: Lab, node: str, number: int) -> None:
    """Wait until the node's agent has made *number* more passes; one that is just starting begins at none."""

    def passes() -> int:
        try:
            return counted(lab, node, "wirecrypt_pass_seconds_count")
        except LabError:
            return 0

    before = passes()
    for done in range(1, number + 1):
        until(lambda n=done: passes() >= before + n, what=f"pass {done} of the agent of {node}", seconds=SECONDS, every=1.0)  # type: ignore[misc]


def wait_clock(lab: Lab, seconds: float) -> None:
    """Wait until the guest's clock is *seconds* further: traffic goes on meanwhile."""
    end = lab.time() + seconds
    until(lambda: lab.time() >= end, what="the guest's clock moves", seconds=seconds * 10 + 60, every=0.1)


def guard_counters(lab: Lab, node: str) -> dict[str, int]:
    """Return the guard's packets by reason, from the agent's metrics."""
    found = re.findall(r'^wirecrypt_guard_packets_total\{reason="(\w+)"\} (\S+)$', operations.metrics(lab, node), re.MULTILINE)
    return {reason: int(float(value)) for reason, value in found}


def counted(lab: Lab, node: str, name: str) -> int:
    """Return the sum of the agent's counter *name*, which it has, over its labels."""
    text = operations.metrics(lab, node)
    assert f"# TYPE {name.removesuffix('_count')}" in text, text
    found = re.findall(rf"^{name}(?:_total)?(?:\{{.*\}})? (\S+)$", text, re.MULTILINE)
    return int(sum(float(value) for value in found))
