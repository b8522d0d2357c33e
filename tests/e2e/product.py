"""What end-to-end tests say about the product: states of the cluster, and independent looks at kernels and wire."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from wirecrypt.lab.capture import Capture
from wirecrypt.lab.demo import cluster
from wirecrypt.lab.demo.record import Record
from wirecrypt.lab.demo.traffic import Load
from wirecrypt.lab.judge import Cleartext
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.waiting import until

PAIR = ("node-1", "node-2")
SECONDS = 120.0  # a loaded machine: the deadline of every wait here
_STATE = re.compile(
    r"src (?P<src>\S+) dst (?P<dst>\S+)\n\s+proto esp spi (?P<spi>0x\w+)\S* reqid.*?aead \S+ (?P<key>0x\w+)", re.DOTALL
)


@dataclass(frozen=True)
class State:
    """One SA as `ip xfrm state` shows it."""

    src: str
    dst: str
    spi: str
    key: str


def states(lab: Lab, node: str) -> list[State]:
    """Return the SAs of *node*, by iproute2 and not by our own code."""
    text = lab.exec(node, ["ip", "xfrm", "state"]).stdout
    return [State(m["src"], m["dst"], m["spi"], m["key"]) for m in _STATE.finditer(text)]


def policies(lab: Lab, node: str) -> str:
    """Return the policies of *node*, by iproute2."""
    return lab.exec(node, ["ip", "xfrm", "policy"]).stdout.strip()


def protect(lab: Lab, *nodes: str) -> None:
    """Label *nodes* and no other, and wait until they are protected from each other."""
    others = [n for n in lab.nodes if n not in nodes and cluster.encrypted_node(lab, n)]
    if others:
        cluster.unlabel(lab, *others)
        cluster.wait_removed(lab, others, SECONDS)
    cluster.label(lab, *nodes)
    cluster.wait_protected(lab, nodes, SECONDS)


def has_tcx(lab: Lab) -> bool:
    """Say whether the lab's kernel attaches programs without a qdisc (6.6 and newer)."""
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
    nodes = [n for n in lab.nodes if cluster.encrypted_node(lab, n)]
    if nodes:
        cluster.unlabel(lab, *nodes)
        cluster.wait_removed(lab, nodes, SECONDS)
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


def leaks(lab: Lab, wire: Capture, one: str = "node-1", other: str = "node-2") -> list[Cleartext]:
    """Return what an observer on the wire could read between two nodes' pods since the capture began."""
    return wire.observe().cleartext(prefixes(lab, one), prefixes(lab, other))


def load(lab: Lab, folder: Path, name: str) -> Load:
    """Return the demo's load: numbered UDP at 1,000 packets/s and TCP streams, both ways.

    On 6.1, which has one CPU and slow system calls in user mode, a quarter of it: more would measure the guest.
    """
    return Load(lab, Record(folder), name, part=1.0 if has_tcx(lab) else 0.25)


def wait_clock(lab: Lab, seconds: float) -> None:
    """Wait until the guest's clock is *seconds* further: traffic goes on meanwhile."""
    end = lab.time() + seconds
    until(lambda: lab.time() >= end, what="the guest's clock moves", seconds=seconds * 10 + 60, every=0.1)


def guard_counters(lab: Lab, node: str) -> dict[str, int]:
    """Return the guard's packets by reason, from the agent's metrics."""
    text = lab.exec(node, ["python3", "-c", _FETCH]).stdout
    found = re.findall(r'^wirecrypt_guard_packets_total\{reason="(\w+)"\} (\S+)$', text, re.MULTILINE)
    return {reason: int(float(value)) for reason, value in found}


_FETCH = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:14580/metrics', timeout=10).read().decode())"
