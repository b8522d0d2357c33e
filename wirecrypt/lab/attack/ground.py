"""What attackers and judge share: places and their addresses, ways to send, ears where something might arrive, the wire.

Every packet of an attack has a marker of its own. Frames that an attack itself puts on the wire have `INJECTOR` as source, so
that they are not taken for what a node let out.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from wirecrypt.errors import LabError, TimedOut
from wirecrypt.lab import operations
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.machine.channel import Completed, Process
from wirecrypt.lab.machine.machine import GUEST_PYTHON
from wirecrypt.lab.waiting import DEADLINE, until
from wirecrypt.lab.wire.capture import Capture
from wirecrypt.lab.wire.observer import Frame, Observation

OWN, PEER, THIRD = "node-1", "node-2", "node-3"
INJECTOR: Final = bytes.fromhex("0277630000ee")
FAMILIES: Final = (4, 6)
UNKNOWN: Final = {4: "10.5.0.9", 6: "fd00:15::9"}  # inside the cluster's ranges, nobody's
FREE: Final = "192.0.2.77"  # nobody's in the nodes' subnet, so a node may have it: what is said of it is no change
OUTSIDE: Final = {4: "198.18.0.9", 6: "2001:db8::9"}
PATIENCE = 60.0  # seconds for a control to be seen, on a loaded machine
NOBODY: Final = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", "--bounding-set=-all")
_MARKER = re.compile(rb"attack-[0-9a-f]{16}")
_STATE = re.compile(r"^src (\S+) dst (\S+)\n\s+proto esp spi (0x\w+)(?:.*\n)*?\s+aead \S+ (0x\w+)", re.MULTILINE)
_KERNEL = "ip xfrm state; echo ==; ip xfrm policy"


@dataclass(frozen=True, slots=True)
class Aim:
    """A node and its first pod, by their addresses of each family."""

    node: str
    pods: dict[int, str]
    nodes: dict[int, str]


@dataclass(slots=True)
class Markers:
    """Makes a new marker for each packet, and remembers them."""

    made: list[bytes] = field(default_factory=list)

    def __call__(self) -> bytes:
        """Return a marker that no packet has yet."""
        self.made.append(f"attack-{secrets.token_hex(8)}".encode())
        return self.made[-1]


@dataclass(frozen=True, slots=True)
class Sas:
    """The IPsec of one node by iproute2: (source, target, SPI) with their keys, and the policies as text."""

    keys: dict[tuple[str, str, int], str]
    policies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ears:
    """A program that tells which markers it has heard."""

    process: Process

    def heard(self, markers: Iterable[bytes]) -> list[bytes]:
        """Return which of *markers* have arrived, each as often as it did."""
        counted = Counter(_MARKER.findall(self.process.output().encode()))
        return [marker for marker in markers for _ in range(counted[marker])]

    def wait(self, markers: Sequence[bytes]) -> int:
        """Wait until all *markers* have arrived, or for `PATIENCE`; return how many have."""
        return _count(markers, lambda: self.heard(markers))


class Ground:
    """A lab with node-1 and node-2 protected from each other, and a recording of its wire."""

    def __init__(self, lab: Lab, capture: Capture) -> None:
        self.lab = lab
        self.capture = capture
        self._ears: dict[str, Ears] = {}
        self._macs: dict[tuple[str, str], bytes] = {}
        self._hidden: list[Markers] = []
        self._reported: set[bytes] = set()
        self._seen: list[Frame] = []

    def close(self) -> None:
        """End all ears."""
        for ears in self._ears.values():
            ears.process.kill(9)
            ears.process.wait()
        self._ears.clear()

    # Places ---------------------------------------------------------------------------------------------------------------

    def aim(self, node: str) -> Aim:
        """Return the addresses of a node and of its pod a."""
        pod, place = self.lab.pods[f"pod/{node}/a"], self.lab.nodes[node].addresses
        return Aim(node, {4: pod.ip4, 6: pod.ip6}, {4: str(place.wire4.ip), 6: str(place.wire6.ip)})

    def foreign(self, family: int) -> list[str]:
        """Return sources that are no pod's of node-1: outside, unknown, the third node's and its pod's, its own node's."""
        third, own = self.aim(THIRD), self.aim(OWN)
        return [OUTSIDE[family], UNKNOWN[family], third.pods[family], third.nodes[family], own.nodes[family]]

    def mac(self, where: str, link: str) -> bytes:
        """Return the address of a link."""
        if (where, link) not in self._macs:
            text = self.lab.exec(where, ["cat", f"/sys/class/net/{link}/address"]).stdout
            self._macs[where, link] = bytes.fromhex(text.strip().replace(":", ""))
        return self._macs[where, link]

    def sas(self, node: str) -> Sas:
        """Return the IPsec of a node, by iproute2 and not by our own code; not what it says of the free address."""
        states, _, policies = self.lab.exec(node, ["sh", "-c", _KERNEL]).stdout.partition("==\n")
        keys = {(src, dst, int(spi, 16)): key for src, dst, spi, key in _STATE.findall(states)}
        parts = (part.strip() for part in re.split(r"(?m)^(?=src )", policies))
        return Sas(keys, tuple(sorted(part for part in parts if part and f"{FREE}/" not in part)))

    def spi(self, source: str, target: str) -> int:
        """Return the SPI of the SA from one node to another."""
        ends = self.aim(source).nodes[4], self.aim(target).nodes[4]
        found = [spi for src, dst, spi in self.sas(target).keys if (src, dst) == ends]
        if not found:
            raise LabError("there is no SA", what=f"from {source} to {target}")
        return found[0]

    # Sending --------------------------------------------------------------------------------------------------------------

    def from_pod(self, *packets: bytes) -> None:
        """Send packets from node-1's hostile pod through its own link to its node."""
        to, of = self.mac(OWN, "cni0"), self.mac("pod/node-1/a", "eth0")
        self.pod_frames(*(to + of + (b"\x08\0" if packet[0] >> 4 == 4 else b"\x86\xdd") + packet for packet in packets))  # noqa: PLR2004

    def pod_frames(self, *frames: bytes) -> None:
        """Send whole frames from node-1's hostile pod."""
        self.lab.channel.frame("pod/node-1/a", "eth0", *frames)

    def inject(self, node: str, *packets: bytes, tag: bytes = b"") -> None:
        """Put packets on the wire towards a node's card, as somebody who has the wire; with a *tag* of a VLAN."""
        head = self.mac(node, "upl") + INJECTOR
        frames = (head + tag + (b"\x08\0" if packet[0] >> 4 == 4 else b"\x86\xdd") + packet for packet in packets)  # noqa: PLR2004
        self.lab.channel.frame("guest", "wire", *frames)

    def python(
        self, where: str, script: str, *words: str, rights: bool = True, timeout: float = DEADLINE, stdin: str = ""
    ) -> Completed:
        """Run a script where it says, as root or, without *rights*, as nobody; its end is not judged."""
        argv = [*(() if rights else NOBODY), GUEST_PYTHON, "-SE", "-c", script, *words]
        return self.lab.exec(where, argv, check=False, timeout=timeout, stdin=stdin)

    # Judging --------------------------------------------------------------------------------------------------------------

    def hidden(self) -> Markers:
        """Return a maker of markers that nobody may read, now or later."""
        self._hidden.append(Markers())
        return self._hidden[-1]

    def frames(self) -> list[Frame]:
        """Return what nodes have put on the wire until now."""
        self._seen = [f for f in self.capture.observe().frames if f.content[6:12] != INJECTOR]
        return self._seen

    def readable(self, markers: Sequence[bytes], *, again: bool = False) -> list[bytes]:
        """Return which of *markers* somebody on the wire could read; *again*: in what was looked at last."""
        frames = self._seen if again else self.frames()
        seen = {marker for frame in frames for marker in _MARKER.findall(frame.content)}
        return [marker for marker in markers if marker in seen]

    def leaked(self, tried: Markers, *, again: bool = False) -> list[bytes]:
        """Return which markers of an attack are readable; `late` does not tell of them any more."""
        found = self.readable(tried.made, again=again)
        self._reported.update(found)
        return found

    def late(self) -> list[bytes]:
        """Return which hidden markers are readable by now and were not when their attack ended."""
        made = [marker for markers in self._hidden for marker in markers.made]
        return [marker for marker in self.readable(made) if marker not in self._reported]

    def wait_readable(self, markers: Sequence[bytes]) -> int:
        """Wait until all *markers* are readable on the wire, or for `PATIENCE`; return how many are."""
        return _count(markers, lambda: self.readable(markers))

    def esp_to(self, node: str, since: float) -> list[bytes]:
        """Return the ESP packets to a node since a time of the guest's clock, as they were on the wire."""
        target = self.aim(node).nodes[4]
        found = Observation(self.frames()).between(since).frames
        return [f.content[14:] for f in found if f.headers and str(f.headers[0].target) == target and f.headers[0].spi]

    def ears(self, where: str) -> Ears:
        """Return ears: in a pod they hear every packet that comes in, on a node what a socket gets on `packets.PORT`."""
        if where not in self._ears:
            script = _POD_EARS if where.startswith("pod/") else _NODE_EARS
            process = self.lab.spawn(where, [GUEST_PYTHON, "-SE", "-c", script])
            until(lambda: "ready" in process.output(), what=f"ears in {where}", seconds=DEADLINE)
            self._ears[where] = Ears(process)
        return self._ears[where]

    def stat(self, node: str, *names: str) -> int:
        """Return the sum of counters of a node's xfrm_stat."""
        counted = dict(line.split() for line in self.lab.exec(node, ["cat", operations.XFRM_STAT]).stdout.splitlines())
        return sum(int(counted[name]) for name in names)

    def guard(self, node: str, prefix: str) -> int:
        """Return how many packets a node's guard has judged for reasons that begin with *prefix*."""
        return self.metric(node, rf'wirecrypt_guard_packets_total\{{reason="{prefix}\w*"\}}')

    def metric(self, node: str, pattern: str) -> int:
        """Return the sum of the agent's figures that fit a pattern."""
        text = operations.metrics(self.lab, node)
        return int(sum(float(value) for value in re.findall(rf"^{pattern} (\S+)$", text, re.MULTILINE)))


def moved(count: Callable[[], int], before: int, least: int) -> int:
    """Wait until a counter has moved by *least*, or for `PATIENCE`; return by how much it has."""
    with contextlib.suppress(TimedOut):
        until(lambda: count() >= before + least, what="a counter moves", seconds=PATIENCE, every=0.3)
    return count() - before


def _count(markers: Sequence[bytes], look: Callable[[], list[bytes]]) -> int:
    """Look until all *markers* are found, or for `PATIENCE`; return how many were at the last look."""
    found: set[bytes] = set()

    def all_found() -> bool:
        found.update(look())
        return found >= set(markers)

    with contextlib.suppress(TimedOut):
        until(all_found, what="all markers", seconds=PATIENCE, every=0.1)
    return len(found)


FETCH = """
import sys, urllib.error, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=60).read().decode())
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
"""
_POD_EARS = r"""
import re, socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3))
print("ready", flush=True)
while True:
    data, (_, _, way, *_) = s.recvfrom(65535)
    for marker in re.findall(rb"attack-[0-9a-f]{16}", data) if way != socket.PACKET_OUTGOING else ():
        print(marker.decode(), flush=True)
"""
_NODE_EARS = """
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(("::", 21998))
print("ready", flush=True)
while True:
    print(s.recv(65535).decode(errors="replace"), flush=True)
"""
