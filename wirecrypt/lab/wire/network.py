"""Nodes on the wire and pods in nodes, made by the commands that an administrator would use and by the real CNI plugins."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wirecrypt.errors import LabError
from wirecrypt.lab.addresses import API_HOST4, API_HOST6, NodeAddresses
from wirecrypt.lab.guest.sandbox import PATH_MTU_KNOWN
from wirecrypt.lab.machine.channel import Command

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wirecrypt.lab.machine.channel import Channel

CNIS = ("bridge", "ptp")
PLUGINS = "/usr/lib/cni"
SYSCTLS = (
    "net.ipv4.ip_forward=1",
    "net.ipv6.conf.all.forwarding=1",
    "net.ipv6.conf.default.accept_dad=0",
    "net.ipv6.conf.all.accept_dad=0",
    *(f"net.{family}.route.mtu_expires={PATH_MTU_KNOWN}" for family in ("ipv4", "ipv6")),
)


@dataclass(frozen=True, slots=True)
class LabNode:
    """A node of the lab: its addresses and the boot id that its programs read."""

    addresses: NodeAddresses
    boot_id: str

    @property
    def name(self) -> str:
        """Name of the node and of its Node object."""
        return self.addresses.name


@dataclass(frozen=True, slots=True)
class LabPod:
    """A pod of the lab: its node, its letter, its addresses."""

    node: str
    name: str
    ip4: str
    ip6: str

    @property
    def where(self) -> str:
        """What to give to `Lab.exec`."""
        return f"pod/{self.node}/{self.name}"


class Network:
    """The wire and what hangs on it."""

    def __init__(self, channel: Channel, cni: str) -> None:
        if cni not in CNIS:
            raise LabError("no such CNI plugin in the lab", what=cni, hint="one of " + ", ".join(CNIS))
        self._channel = channel
        self._cni = cni

    def add_node(self, number: int, others: Iterable[NodeAddresses]) -> LabNode:
        """Make node *number* and the routes between it and *others*."""
        node = LabNode(NodeAddresses(number), str(uuid.uuid4()))
        holder = self._channel.make_node(node.name, node.boot_id)
        mac = f"02:77:63:00:00:{number:02x}"
        self._batch("guest", [
            f"link add wire-{number} type veth peer name upl address {mac} netns {holder}",
            f"link set wire-{number} master wire up",
        ])  # fmt: skip
        self._channel.run(node.name, Command(["sysctl", "-qw", *SYSCTLS]))
        addresses, others = node.addresses, list(others)
        self._batch(node.name, [
            f"address add {addresses.wire4} dev upl", f"address add {addresses.wire6} dev upl nodad", "link set upl up",
            f"route add default via {API_HOST4.ip}", f"route add default via {API_HOST6.ip}",
            *(route for other in others for route in _routes(other)),
        ])  # fmt: skip
        for other in others:
            self._batch(other.name, _routes(addresses))
        return node

    def remove_node(self, node: LabNode) -> None:
        """Kill everything on the node, with its pods, and take it off the wire; its disk stays."""
        number = node.addresses.number
        for name in self._channel.hello()["names"]:
            if name == node.name or name.startswith(f"pod/{node.name}/"):
                self._channel.end(name)
        self._channel.run("guest", Command(["ip", "link", "delete", f"wire-{number}"]), check=False)

    def add_pod(self, node: NodeAddresses, name: str) -> LabPod:
        """Make pod *name* on *node* and plug it in with the CNI plugin."""
        where = f"pod/{node.name}/{name}"
        holder = self._channel.make_pod(node.name, where)
        result = json.loads(self._plug("ADD", node, where, holder))
        addresses = [entry["address"].partition("/")[0] for entry in result["ips"]]
        ip4, ip6 = sorted(addresses, key=lambda address: ":" in address)
        return LabPod(node.name, name, ip4, ip6)

    def remove_pod(self, node: NodeAddresses, name: str) -> None:
        """Unplug the pod with the CNI plugin and end its processes."""
        where = f"pod/{node.name}/{name}"
        self._plug("DEL", node, where, 0)
        self._channel.end(where)

    def _plug(self, verb: str, node: NodeAddresses, where: str, holder: int) -> str:
        environment = {
            "CNI_COMMAND": verb, "CNI_CONTAINERID": where.replace("/", "-"), "CNI_IFNAME": "eth0", "CNI_PATH": PLUGINS,
            "CNI_NETNS": f"/proc/{holder}/ns/net" if holder else "",
        }  # fmt: skip
        command = Command([f"{PLUGINS}/{self._cni}"], env=environment, stdin=json.dumps(self._config(node)))
        done = self._channel.run(node.name, command, check=False)
        if done.status:
            raise LabError("the CNI plugin failed", what=f"{verb} {where}", answer=done.stdout or done.stderr)
        return done.stdout

    def _config(self, node: NodeAddresses) -> dict[str, object]:
        kind = {"type": "bridge", "bridge": "cni0", "isGateway": True} if self._cni == "bridge" else {"type": self._cni}
        ranges = [[{"subnet": str(prefix)}] for prefix in (node.pods4, node.pods6)]
        routes = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
        ipam = {"type": "host-local", "dataDir": "/run/cni", "ranges": ranges, "routes": routes}
        return {"cniVersion": "1.0.0", "name": "lab", **kind, "ipMasq": False, "ipam": ipam}

    def _batch(self, where: str, commands: list[str]) -> None:
        self._channel.run(where, Command(["ip", "-batch", "-"], stdin="\n".join(commands) + "\n"))


def _routes(node: NodeAddresses) -> list[str]:
    """Routes to the pods of *node*, for the other nodes."""
    return [f"route replace {node.pods4} via {node.wire4.ip}", f"route replace {node.pods6} via {node.wire6.ip}"]
