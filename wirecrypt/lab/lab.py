"""The lab as its users see it: nodes, pods, an API server, and commands that run inside."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import signal
import socket
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from wirecrypt.errors import LabError
from wirecrypt.lab.addresses import NodeAddresses
from wirecrypt.lab.kube.api_client import LabApi
from wirecrypt.lab.kube.kubelet import Kubelet
from wirecrypt.lab.machine import controlplane, kernels, outside
from wirecrypt.lab.machine.channel import DEFAULT_TIMEOUT, Command, Completed, Process
from wirecrypt.lab.machine.machine import Build, Machine
from wirecrypt.lab.waiting import DEADLINE, until
from wirecrypt.lab.wire.network import LabNode, LabPod, Network

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from wirecrypt.lab.machine.channel import Channel
    from wirecrypt.lab.machine.kernels import Kernel

SPARE_NODES = 8  # nodes that may join later: the API server's side has routes to their pods
MEMORY = 1024, 256  # MB: base, and for each node


@dataclass(frozen=True, slots=True)
class Options:
    """What the lab shall be: number of nodes, pods on each, CNI plugin, kernel."""

    nodes: int = 3
    pods: int = 2
    cni: str = "bridge"
    kernel: Kernel | None = None
    name: str = ""


class Lab:
    """A running lab; see the package's docstring for examples."""

    def __init__(self, options: Options, machine: Machine) -> None:
        if machine.plane is None:
            raise LabError("this machine was started without a control plane")
        self.options = options
        self.machine = machine
        self.plane = machine.plane
        self.api = LabApi(self.plane.port, self.plane.certificate, self.plane.admin_token)
        self.network = Network(machine.channel, options.cni)
        self.nodes: dict[str, LabNode] = {}
        self.pods: dict[str, LabPod] = {}
        self.kubelet = Kubelet(machine.channel, self.network, self.plane, self.api)

    @classmethod
    def up(cls, nodes: int = 3, *, progress: Callable[[str], None] = lambda _: None, **options: Any) -> Self:  # noqa: ANN401
        """Start a lab (keywords: the fields of `Options`) and wait until its API server, nodes and pods are there.

        With 0 nodes there is no guest either: an API server alone.
        """
        wanted = Options(nodes=nodes, **options)
        kernel = (wanted.kernel or kernels.find()) if nodes else None
        routes: dict[str, str] = {}
        for number in range(1, nodes + SPARE_NODES + 1):
            node = NodeAddresses(number)
            routes |= {str(node.pods4): str(node.wire4.ip), str(node.pods6): str(node.wire6.ip)}
        memory = MEMORY[0] + MEMORY[1] * nodes
        progress((f"{kernel.vehicle}: Linux {kernel.version}, " if kernel else "") + "starting etcd and kube-apiserver")
        machine = Machine.boot(Build(kernel, memory=memory, control_plane=True, routes=routes), wanted.name)
        try:
            lab = cls(wanted, machine)
            progress("making nodes and pods")
            for number in range(1, nodes + 1):
                lab.plug_node(number)
            lab.wait_for_api()
            for plugged in lab.nodes.values():
                lab.kubelet.register(plugged)
        except BaseException:
            machine.down()
            raise
        return lab

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def down(self) -> None:
        """End everything; nothing is left."""
        self.machine.down()

    @property
    def folder(self) -> Path:
        """State folder: logs, files that host and guest share. It goes with the lab."""
        return self.machine.folder

    @property
    def channel(self) -> Channel:
        """The door into the guest."""
        return self.machine.channel

    @property
    def kubeconfig(self) -> Path:
        """An administrator's kubeconfig for use on this machine."""
        return self.plane.kubeconfig

    # Commands -------------------------------------------------------------------------------------------------------------

    def exec(
        self, where: str, argv: Sequence[str], *, check: bool = True, timeout: float = DEFAULT_TIMEOUT, **how: Any,  # noqa: ANN401
    ) -> Completed:  # fmt: skip
        """Run *argv* in `node-1`, `pod/node-1/a`, `guest` or a container's process (its id) and wait for its end.

        *how*: `env`, `cwd`, `stdin` as in `Command`. LabError when it fails (unless *check* is off) or takes longer than
        *timeout* seconds.
        """
        return self.channel.run(where, self._command(argv, how), check=check, timeout=timeout)

    def spawn(self, where: str, argv: Sequence[str], *, log: Path | None = None, **how: Any) -> Process:  # noqa: ANN401
        """Start *argv* in the background; the handle has `pid`, `kill(signal)`, `wait()`, `log`."""
        return self.channel.spawn(where, self._command(argv, how), log)

    def _command(self, argv: Sequence[str], how: dict[str, Any]) -> Command:
        """Programs outside containers are an administrator's: they get a kubeconfig."""
        env = {"KUBECONFIG": str(self.plane.kubeconfig_inside), **how.pop("env", {})}
        return Command(argv, env=env, **how)

    def time(self) -> float:
        """Return the guest's clock, the one that captures are stamped with, in UNIX seconds."""
        return float(self.channel.hello()["time"])

    def kubectl(self, *words: str, stdin: str = "", check: bool = True) -> str:
        """Run kubectl as the administrator and return what it printed.

        LabError when it fails and *check* is set, and when it takes too long.
        """
        argv = [str(controlplane.program("kubectl")), *words]
        done = outside.run(argv, environment={"KUBECONFIG": str(self.kubeconfig)}, stdin=stdin, seconds=DEADLINE)
        if check and done.returncode:
            raise LabError("kubectl failed", what=" ".join(words), answer=done.stderr.strip())
        return done.stdout

    def apply(self, folder: Path) -> None:
        """Apply a folder of manifests with kubectl, and start what they ask for."""
        self.kubectl("apply", "-k", str(folder))
        self.kubelet.sync()

    # Nodes and pods -------------------------------------------------------------------------------------------------------

    def add_node(self, number: int) -> LabNode:
        """Add node *number*, with its pods, and register it with the API server."""
        node = self.plug_node(number)
        self.kubelet.register(node)
        return node

    def plug_node(self, number: int) -> LabNode:
        """Add node *number* and its pods to the wire; the API server does not hear of it."""
        others = [node.addresses for node in self.nodes.values()]
        node = self.network.add_node(number, others)
        self.nodes[node.name] = node
        for letter in string.ascii_lowercase[: self.options.pods]:
            self.add_pod(node.name, letter)
        return node

    def remove_node(self, name: str) -> None:
        """Power node *name* off: its processes and kernel state are gone, its Node object stays."""
        node = self.nodes.pop(name)
        self.pods = {where: pod for where, pod in self.pods.items() if pod.node != name}
        self.kubelet.forget(name)
        self.network.remove_node(node)

    def reboot(self, name: str) -> LabNode:
        """Power node *name* off and on: new boot id, empty /run and kernel state, the same disk and Node object."""
        number = self.nodes[name].addresses.number
        self.remove_node(name)
        return self.add_node(number)

    def add_pod(self, node: str, name: str) -> LabPod:
        """Plug pod *name* in on *node*."""
        pod = self.network.add_pod(self.nodes[node].addresses, name)
        self.pods[pod.where] = pod
        return pod

    def remove_pod(self, node: str, name: str) -> None:
        """End pod *name* of *node*."""
        pod = self.pods.pop(f"pod/{node}/{name}")
        self.network.remove_pod(self.nodes[node].addresses, pod.name)

    # Control plane --------------------------------------------------------------------------------------------------------

    def stop_api(self) -> None:
        """Stop the API server; etcd stays."""
        self.machine.control("stop", "kube-apiserver", signal.SIGTERM)

    def start_api(self) -> None:
        """Start the API server again and wait until it is ready."""
        self.machine.control("start", "kube-apiserver")
        self.wait_for_api()

    def wait_for_api(self) -> None:
        """Wait until the API server is ready; LabError when it has ended, or is not ready in time."""

        def ready() -> bool:
            self.machine.check_alive()
            return self.api.ready()

        until(ready, what="the API server is ready", seconds=DEADLINE, every=0.1)

    def audit(self, *verbs: str) -> list[dict[str, Any]]:
        """Return the API server's audit events, oldest first; with *verbs* only those (`create`, `update`, `patch`, ...)."""
        with contextlib.suppress(FileNotFoundError), self.plane.audit_log.open() as lines:
            events = [json.loads(line) for line in lines if line.endswith("\n")]
            return [event for event in events if not verbs or event["verb"] in verbs]
        return []

    def etcd_dump(self) -> dict[bytes, bytes]:
        """Return every key of etcd with its value."""
        everything = json.dumps({"key": "AA==", "range_end": "AA=="})
        connection = http.client.HTTPConnection("127.0.0.1")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.folder / "etcd.sock"))
        try:
            connection.request("POST", "/v3/kv/range", everything, {"Content-Type": "application/json"})
            document = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return {base64.b64decode(entry["key"]): base64.b64decode(entry.get("value", "")) for entry in document["kvs"]}
