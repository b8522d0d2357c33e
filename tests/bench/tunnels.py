"""Ways from a pod of one node to a pod of another, side by side in one kernel: in clear, the product's, by hand, WireGuard.

::

    namespace pod-a          node-a               node-b          pod-b
    10.64.0.2  eth0 ── pod  upl  ─── wire ───  upl  pod ── eth0   10.64.1.2

What a real wire does not carry is taken off: the hash by which the sender's kernel knew the flow (a veth hands it on, and
receive packet steering would spread the packets of one SA by it).
"""

from __future__ import annotations

import base64
import os
import shutil
import socket
import struct
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final

from pyroute2 import WireGuard

from tests.bench.compared import BY_HAND, PLAIN, PRODUCT, WIREGUARD
from tests.kernel.conftest import Netns, run
from tests.unit.agent.node import GENERATION, STEADY
from wirecrypt import keys
from wirecrypt.agent.datapath.guard_attachment import guard_settings
from wirecrypt.kernel.bpf import syscall, tc
from wirecrypt.kernel.bpf.guard import KernelGuard
from wirecrypt.kernel.xfrm.adapter import KernelXfrm
from wirecrypt.model.pair import End, Pair
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.xfrm import REPLAY_WINDOW, Algorithm, Sa, SaLimits
from wirecrypt.plan import guard_entries
from wirecrypt.plan.policies import Layout, Senders, wanted
from wirecrypt.plan.shared import shared
from wirecrypt.plan.states import states
from wirecrypt.settings import Settings

SETTINGS: Final = Settings()
MARKS: Final = SETTINGS.mark.layout
RANGES: Final = (ip_network("10.64.0.0/10"),)
PORT: Final = 51820
WG_MTU: Final = 1420
STEERING: Final = "/sys/class/net/upl/queues/rx-*/rps_cpus"
# r1 is the packet: call bpf_set_hash_invalid; return TC_ACT_UNSPEC
FORGET: Final = (
    struct.pack("=BBhi", 0x85, 0, 0, 41) + struct.pack("=BBhi", 0xB7, 0, 0, -1) + struct.pack("=BBhi", 0x95, 0, 0, 0)
)


class Node:
    """One node with a pod: its namespaces, its end of the pair, and the adapters of its kernel objects."""

    def __init__(self, number: int, folder: Path) -> None:
        self.netns, self.pod = Netns(f"node-{number}"), Netns(f"pod-{number}")
        pods = ip_network(f"10.64.{number}.0/24")
        self.end = End(f"n{number}", 16 + number, f"uid-{number}", (ip_address(f"198.18.0.{1 + number}"),), (pods,))
        self.address, self.pods, self.inner = self.end.endpoints[0], pods, pods[2]
        self._folder = folder

    def make(self) -> None:
        """Make the namespaces, and the pod's link."""
        for netns in (self.netns, self.pod):
            run("ip", "netns", "add", netns.name)
            netns.ip("link set lo up")
        self.pod.ip(f"link add eth0 type veth peer name pod netns {self.netns.name}")
        self.pod.ip(f"addr add {self.inner}/24 dev eth0")
        self.netns.ip(f"addr add {self.pods[1]}/24 dev pod")
        self.pod.ip("link set eth0 up")
        self.netns.ip("link set pod up")
        self.pod.ip(f"route add default via {self.pods[1]}")
        self.netns.run("sysctl", "-qw", "net.ipv4.ip_forward=1")

    def join(self, other: Node) -> None:
        """Take the link to the other node, which is there, and the route to its pod."""
        self.netns.ip(f"addr add {self.address}/24 dev upl")
        self.netns.ip("link set upl up")
        self.route(other)
        with self.netns.entered():
            index = socket.if_nametoindex("upl")
            tc.ensure_clsact(index)
            program = syscall.load_program("forget_hash", FORGET)
            try:
                tc.attach(index, direction="egress", fd=program, name="forget_hash", prio=9, handle=1)
            finally:
                os.close(program)

    def route(self, other: Node) -> None:
        """Send what is for the other's pod over the wire."""
        self.netns.ip(f"route replace {other.pods} via {other.address}")

    @cached_property
    def xfrm(self) -> KernelXfrm:
        """Return the adapter of the node's IPsec."""
        with self.netns.entered():
            return KernelXfrm()

    @cached_property
    def guard(self) -> KernelGuard:
        """Return the guard, loaded."""
        folder = self._folder / self.netns.name
        folder.mkdir()
        with self.netns.entered():
            guard = KernelGuard(folder, programs_dir=Path("/run/bench-programs"))
            guard.load(guard_settings(self.end, SETTINGS, marks=MARKS, esp_keeps_mark=False))
            return guard

    def steer(self, *, on: bool) -> None:
        """Spread what the uplink receives over all processors, or do not."""
        mask = f"{(1 << (os.cpu_count() or 1)) - 1:x}" if on else "0"
        run("ip", "netns", "exec", self.netns.name, "sh", "-c", f"for each in {STEERING}; do echo {mask} > $each; done")


class Tunnel(ABC):
    """How packets between two nodes are protected."""

    def __init__(self, nodes: tuple[Node, Node], algorithm: Algorithm) -> None:
        self.nodes, self.algorithm = nodes, algorithm

    @property
    def ends(self) -> Iterator[tuple[Node, Node]]:
        """Yield each node with the other one."""
        yield from (self.nodes, self.nodes[::-1])  # type: ignore[misc]  # a slice of a pair is a pair

    def missing(self) -> str:
        """Say what this kernel or machine lacks for it; empty: nothing."""
        return ""

    @abstractmethod
    def up(self, lanes: int) -> None:
        """Protect, with so many SAs each way."""

    @abstractmethod
    def down(self) -> None:
        """Take away what `up` made."""


class Clear(Tunnel):
    """Nothing protects."""

    def up(self, lanes: int) -> None:
        """Do nothing."""

    def down(self) -> None:
        """Do nothing."""


class Product(Tunnel):
    """What an agent writes for a pair in its steady state: SAs, policies, thresholds, guard and mark."""

    def up(self, lanes: int) -> None:
        """Write it on both nodes."""
        for node, other in self.ends:
            pair = Pair(node.end, other.end)
            policies = [*wanted(pair, STEADY, Senders({GENERATION: lanes}, {GENERATION: 0}), _LAYOUT), *shared(MARKS)]
            failed = [*node.xfrm.add_sas(list(self._sas(pair, lanes))), *node.xfrm.set_policies(policies)]
            assert not failed, failed
            node.guard.set_entries(guard_entries.wanted(node.end, [(pair, STEADY)], [], RANGES).values())
            with node.netns.entered():
                node.guard.attach_guard("upl")
                node.guard.attach_mark("pod")

    def down(self) -> None:
        """Take it off both nodes."""
        for node in self.nodes:
            with node.netns.entered():
                node.guard.detach("upl")
                node.guard.detach("pod")
            flush(node)

    def _sas(self, pair: Pair, lanes: int) -> Iterator[Sa]:
        def key(*, sending: bool, lane: int) -> SecretBytes:
            return SecretBytes(key_of(sending == pair.own_is_lo, lane))

        yield from states(
            pair,
            GENERATION,
            lanes=lanes,
            slot=0,
            algorithm=self.algorithm,
            keys=key,
            marks=MARKS,
            limits=SaLimits(2**42, 2**43),
        )


_LAYOUT: Final = Layout(MARKS, SETTINGS.control_port)


class ByHand(Tunnel):
    """What a person writes with `ip xfrm`; for several SAs nftables marks flows by their ports."""

    def missing(self) -> str:
        """Say that nftables cannot mark flows, where it is so."""
        words = ["nft", "--check", f"{_MARKING} jhash ip saddr . tcp sport mod 2; }}; }}"]
        return subprocess.run(words, capture_output=True, text=True, check=False).stderr.partition("\n")[0]

    def up(self, lanes: int) -> None:
        """Write SAs and policies on both nodes, and the marks of flows where there are several."""
        for node, other in self.ends:
            for lane in range(lanes):
                for src, dst in ((node, other), (other, node)):
                    self._sa(node, src, dst, lane)
                self._policy(node, other, lane)
            for direction in ("in", "fwd"):
                template = f"tmpl src {other.address} dst {node.address} proto esp mode tunnel"
                node.netns.ip(f"xfrm policy add src {other.pods} dst 0.0.0.0/0 dir {direction} {template}")
            if lanes > 1:
                node.netns.run("nft", f"{_MARKING} jhash ip saddr . ip daddr . tcp sport . tcp dport mod {lanes}; }}; }}")

    def down(self) -> None:
        """Take it off both nodes."""
        for node in self.nodes:
            flush(node)
            subprocess.run(["nsenter", f"--net=/run/netns/{node.netns.name}", "nft", "flush", "ruleset"], check=False)

    def _sa(self, node: Node, src: Node, dst: Node, lane: int) -> None:
        words = f"xfrm state add src {src.address} dst {dst.address} proto esp spi {spi(src, lane)} reqid {spi(src, lane)}"
        cipher, key = self.algorithm.cipher, key_of(src is self.nodes[0], lane).hex()
        words += f" mode tunnel flag af-unspec esn replay-window {REPLAY_WINDOW}"
        node.netns.ip(f"{words} aead {cipher.kernel_name} 0x{key} {cipher.icv_bits}")

    def _policy(self, node: Node, other: Node, lane: int) -> None:
        at = f"priority 1 mark {lane} mask 0xff" if lane else "priority 2"
        template = (
            f"tmpl src {node.address} dst {other.address} proto esp spi {spi(node, lane)} reqid {spi(node, lane)} mode tunnel"
        )
        node.netns.ip(f"xfrm policy add src 0.0.0.0/0 dst {other.pods} dir out {at} {template}")


_MARKING: Final = "table ip bench { chain flows { type filter hook prerouting priority mangle; iifname pod meta mark set"


class ByWireGuard(Tunnel):
    """What a mesh of WireGuard has between two nodes."""

    def missing(self) -> str:
        """Say that the kernel has none, where it is so."""
        words = ["ip", "link", "add", "wg-try", "type", "wireguard"]
        made = subprocess.run(words, capture_output=True, text=True, check=False)
        if not made.returncode:
            run("ip", "link", "del", "wg-try")
        return made.stderr.strip()

    def up(self, lanes: int) -> None:  # noqa: ARG002 - it has one way only
        """Make a link with a peer on both nodes, and the route to the other's pod."""
        own = {node: keys.new_session_key() for node in self.nodes}
        for node, other in self.ends:
            node.netns.ip("link add wg0 type wireguard")
            peer = {
                "public_key": base64.b64encode(own[other].public), "endpoint_addr": str(other.address), "endpoint_port": PORT,
                "allowed_ips": [str(other.pods)],
            }  # fmt: skip
            with node.netns.entered(), WireGuard() as netlink:
                private = base64.b64encode(own[node].store().reveal())
                netlink.set("wg0", private_key=private, listen_port=PORT, peer=peer)
            node.netns.ip(f"link set wg0 up mtu {WG_MTU}")
            node.netns.ip(f"route replace {other.pods} dev wg0")

    def down(self) -> None:
        """Remove links and routes."""
        for node, other in self.ends:
            node.netns.ip("link del wg0")
            node.route(other)


TUNNELS: Final[Mapping[str, type[Tunnel]]] = {PLAIN: Clear, PRODUCT: Product, BY_HAND: ByHand, WIREGUARD: ByWireGuard}


def flush(node: Node) -> None:
    """Remove all IPsec of a node."""
    node.netns.ip("xfrm policy flush")
    node.netns.ip("xfrm state flush")


def spi(src: Node, lane: int) -> int:
    """Return the SPI of an SA by which a node sends."""
    return GENERATION.spi(src.end.node_id, lane)


def key_of(first: bool, lane: int) -> bytes:  # noqa: FBT001 - which of both sends
    """Return a key of a direction and lane, the same for both ends."""
    return bytes([1 + first, lane + 1, 7, 9]) * 9


@contextmanager
def nodes() -> Iterator[tuple[Node, Node]]:
    """Make two nodes with a pod each on a wire, and remove all of them."""
    folder = Path("/sys/fs/bpf/bench")
    folder.mkdir()
    pair = Node(0, folder), Node(1, folder)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        for node in pair:
            node.make()
            stack.callback(_remove, node)
        run(*f"ip link add upl netns {pair[0].netns.name} type veth peer name upl netns {pair[1].netns.name}".split())
        for node, other in (pair, pair[::-1]):
            node.join(other)
        yield pair


def _remove(node: Node) -> None:
    with node.netns.entered():
        node.guard.unload()
    for netns in (node.netns, node.pod):
        run("ip", "netns", "del", netns.name)
