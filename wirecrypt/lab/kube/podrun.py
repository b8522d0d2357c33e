"""One pod of a workload, as its node's kubelet runs it: volumes, init containers, containers, status."""

from __future__ import annotations

import signal
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from wirecrypt.errors import LabError
from wirecrypt.lab.addresses import API_HOST4, API_PORT
from wirecrypt.lab.guest.sandbox import Container
from wirecrypt.lab.kube import podspec
from wirecrypt.lab.machine.channel import DEFAULT_TIMEOUT, Command, Completed, Process
from wirecrypt.lab.waiting import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from wirecrypt.lab.kube.api_client import LabApi
    from wirecrypt.lab.kube.volumes import Volumes
    from wirecrypt.lab.machine.channel import Channel


class PodRun:
    """A running Pod: *document* is its object, *where* the namespaces of its node or, without host network, its own."""

    def __init__(self, document: dict[str, Any], where: str, volumes: Volumes, channel: Channel, api: LabApi) -> None:
        self.document = document
        self.where = where
        self.volumes = volumes
        self.processes: dict[str, Process] = {}
        self.restarts: dict[str, int] = {}
        self.renewed = time.monotonic()
        self._channel = channel
        self._api = api

    @property
    def name(self) -> str:
        """Name of the Pod object."""
        return str(self.document["metadata"]["name"])

    @property
    def node(self) -> str:
        """Name of the node it is bound to."""
        return str(self.document["spec"]["nodeName"])

    @property
    def path(self) -> str:
        """Path of the Pod object in the API."""
        return f"/api/v1/namespaces/{self.document['metadata']['namespace']}/pods/{self.name}"

    @property
    def process(self) -> Process:
        """The process of its first container."""
        return self.processes[self.document["spec"]["containers"][0]["name"]]

    @property
    def running(self) -> bool:
        """Return whether all its containers run."""
        return bool(self.processes) and all(process.running for process in self.processes.values())

    def start(self) -> None:
        """Run the init containers one after another, start the containers, report the pod as running; its volumes are there."""
        for container in self.document["spec"].get("initContainers", []):
            self._run_init(container)
        for container in self.document["spec"]["containers"]:
            self._spawn(container)
        self.report()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to every container's process; after SIGKILL wait until they are gone. Nothing starts them again."""
        for process in self.processes.values():
            process.kill(number)
        if number == signal.SIGKILL:
            for process in self.processes.values():
                process.wait()

    def restart(self) -> None:
        """Start the containers that have ended, in the same pod: same volumes, token, name."""
        for container in self.document["spec"]["containers"]:
            if not self.processes[container["name"]].running:
                self.restarts[container["name"]] = self.restarts.get(container["name"], 0) + 1
                self._spawn(container)
        self.report()

    def stop(self) -> None:
        """SIGTERM, the template's grace period, SIGKILL; then the Pod object and its volumes are removed."""
        grace = float(self.document["spec"].get("terminationGracePeriodSeconds", 30))
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.stop(grace)
        self.volumes.remove()
        self._api.delete(self.path)

    def renew(self) -> None:
        """Write new tokens and the present content of ConfigMaps and Secrets."""
        self.volumes.prepare()
        self.renewed = time.monotonic()

    def exec(self, argv: Sequence[str], *, check: bool = True, timeout: float = DEFAULT_TIMEOUT, stdin: str = "") -> Completed:
        """Run *argv* in the first container's namespaces, with its environment and privileges, as `kubectl exec` does."""
        container = self.document["spec"]["containers"][0]
        view = replace(self._view(container, []), own_disk=False)
        command = Command(argv, env=self._environment(container), stdin=stdin, container=view)
        return self._channel.run(str(self.process.pid), command, check=check, timeout=timeout)

    def log(self, container: str = "") -> str:
        """Return what a container (default: the first) has written since the pod began."""
        return self._log_path(container or self.document["spec"]["containers"][0]["name"]).read_text(errors="replace")

    def report(self) -> None:
        """Write the pod's status."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        statuses = [
            {"name": container["name"], "image": container.get("image", ""), "imageID": "", "ready": True, "started": True,
             "restartCount": self.restarts.get(container["name"], 0), "state": {"running": {"startedAt": now}}}
            for container in self.document["spec"]["containers"]
        ]  # fmt: skip
        conditions = [
            {"type": kind, "status": "True", "lastTransitionTime": now}
            for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
        ]
        status = {**self.document["status"], "phase": "Running", "conditions": conditions, "containerStatuses": statuses}
        self._api.patch(self.path + "/status", {"status": {"startTime": now, **status}})

    def _run_init(self, container: dict[str, Any]) -> None:
        process = self._spawn(container)
        del self.processes[container["name"]]
        if status := process.wait(DEADLINE):
            raise LabError(
                "an init container failed",
                what=f"{self.name}/{container['name']}",
                answer=f"status {status}: {process.tail(20)}",
            )

    def _spawn(self, container: dict[str, Any]) -> Process:
        values = self._environment(container)
        view = self._view(container, self.volumes.mounts(container))
        name = f"container/{self.name}/{container['name']}"
        folder = container.get("workingDir", "/")
        command = Command(podspec.argv(container, values), env=values, cwd=folder, container=view, name=name)
        process = self._channel.spawn(self.where, command, self._log_path(container["name"]))
        self.processes[container["name"]] = process
        return process

    def _view(self, container: dict[str, Any], mounts: list[tuple[str, str, bool]]) -> Container:
        uid, gid, groups = podspec.user(self.document, container)
        return Container(
            mounts=mounts, uid=uid, gid=gid, groups=groups, capabilities=podspec.capabilities(container),
            new_privileges=podspec.may_gain_privileges(container),
            read_only_root=bool(container.get("securityContext", {}).get("readOnlyRootFilesystem")),
        )  # fmt: skip

    def _environment(self, container: dict[str, Any]) -> dict[str, str]:
        service = {"HOME": "/" if podspec.user(self.document, container)[0] else "/root",
                   "KUBERNETES_SERVICE_HOST": str(API_HOST4.ip), "KUBERNETES_SERVICE_PORT": str(API_PORT)}  # fmt: skip
        return {**service, **podspec.environment(self.document, container, self.volumes.lookup)}

    def _log_path(self, container: str) -> Path:
        return self._channel.logs / f"{self.name}-{container}.log"
