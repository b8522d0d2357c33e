"""The roles that a cluster has next to its control plane, played just so far as wirecrypt needs them.

Controllers of DaemonSets and Deployments: pods are made from the templates and bound to nodes, one per node or as many as
asked. Kubelets: each registers its Node, asks **as its node** for tokens bound to its pods, starts their containers and reports
their status.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from wirecrypt.errors import Conflict, Forbidden, LabError
from wirecrypt.lab.kube.podrun import PodRun
from wirecrypt.lab.kube.volumes import Volumes, with_account
from wirecrypt.lab.waiting import until

if TYPE_CHECKING:
    from wirecrypt.lab.kube.api_client import LabApi
    from wirecrypt.lab.machine.channel import Channel
    from wirecrypt.lab.machine.controlplane import ControlPlane
    from wirecrypt.lab.wire.network import LabNode, Network

TEMPLATE = "lab.wirecrypt.io/template"  # annotation: which template a pod was made from
RENEW = 1800.0  # seconds after which tokens are asked for anew; they live for an hour
COUNTS = {
    "DaemonSet": (
        "currentNumberScheduled",
        "desiredNumberScheduled",
        "updatedNumberScheduled",
        "numberReady",
        "numberAvailable",
    ),
    "Deployment": ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"),
}  # fmt: skip  # fields of the status that count pods: here all of them are always ready
STEP = 10.0  # seconds in which the API server's node authorizer has learned of a new pod


class Kubelet:
    """All kubelets of one lab, and the controllers of its workloads."""

    def __init__(self, channel: Channel, network: Network, plane: ControlPlane, api: LabApi) -> None:
        self._channel = channel
        self._network = network
        self._plane = plane
        self._api = api
        self._nodes: dict[str, LabNode] = {}
        self._runs: dict[str, PodRun] = {}

    def register(self, node: LabNode, **labels: str) -> None:
        """Create the Node object, with *labels*, or update the status of the one that is there.

        A kubelet does so at its start.
        """
        self._nodes[node.name] = node
        status = _node_status(node, str(self._channel.hello()["kernel"]))
        document = {
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": node.name, "labels": {
                "kubernetes.io/hostname": node.name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
                **labels,
            }},
            "spec": {"podCIDR": str(node.addresses.pods4), "podCIDRs": [str(node.addresses.pods4), str(node.addresses.pods6)]},
            "status": status,
        }  # fmt: skip
        try:
            self._api.post("/api/v1/nodes", document)
        except Conflict:
            self._api.patch(f"/api/v1/nodes/{node.name}/status", {"status": status})

    def forget(self, node: str) -> None:
        """Drop the pods of a node that is powered off, with their objects, as a controller would."""
        self._nodes.pop(node, None)
        for run in [run for run in self._runs.values() if run.node == node]:
            del self._runs[run.path]
            self._api.delete(run.path)

    def pods(self, workload: str = "", node: str = "") -> list[PodRun]:
        """Return the running pods of a DaemonSet or Deployment, of a node, or all, by node and name."""
        return sorted(
            (run for run in self._runs.values() if _owner(run) == (workload or _owner(run)) and run.node == (node or run.node)),
            key=lambda run: (run.node, run.name),
        )

    def pod(self, workload: str, node: str = "") -> PodRun:
        """Return the one pod of *workload* (on *node*); LabError when there is none or several."""
        found = self.pods(workload, node)
        if len(found) != 1:
            raise LabError("expected one pod", what=f"{workload} {node}".strip(), answer=f"found {len(found)}")
        return found[0]

    def sync(self, *, restart: bool = False) -> list[PodRun]:
        """Make pods as the DaemonSets and Deployments ask, end those they do not, and return what was started.

        A pod that somebody deleted ends, and its workload gets another.
        *restart*: also start containers again that have ended, as `restartPolicy: Always` says.
        """
        self._end_deleted()
        wanted = [*self._wanted_by("daemonsets", "DaemonSet"), *self._wanted_by("deployments", "Deployment")]
        missing, kept = [], set()
        for owner, node in wanted:
            run = next((run for run in self._runs.values() if run.path not in kept and _fits(run, owner, node)), None)
            if run is None:
                missing.append((owner, node))
            else:
                kept.add(run.path)
        started = self._create_all(missing)
        kept |= {run.path for run in started}
        for run in [run for run in self._runs.values() if run.path not in kept]:
            del self._runs[run.path]
            run.stop()
        for run in self._runs.values():
            if time.monotonic() - run.renewed > RENEW:
                run.renew()
            if restart and not run.running:
                run.restart()
        self._report(wanted)
        return started

    def replace(self, run: PodRun) -> PodRun:
        """End a pod and start another one from the present template, as an upgrade does."""
        del self._runs[run.path]
        run.stop()
        return next(new for new in self.sync() if new.node == run.node and _owner(new) == _owner(run))

    def _end_deleted(self) -> None:
        """End the pods that are deleted in the API, or are there no more."""
        pods = self._api.items("/api/v1/pods")
        kept = {pod["metadata"]["uid"] for pod in pods if "deletionTimestamp" not in pod["metadata"]}
        for run in [run for run in self._runs.values() if run.document["metadata"]["uid"] not in kept]:
            del self._runs[run.path]
            run.stop()

    def _wanted_by(self, plural: str, kind: str) -> list[tuple[dict[str, Any], str]]:
        """Return (workload, node name) for every pod that workloads of this kind ask for."""
        wanted = []
        for owner in self._api.items(f"/apis/apps/v1/{plural}"):
            owner["kind"] = kind
            selector = owner["spec"]["template"]["spec"].get("nodeSelector", {})
            nodes = [name for name, labels in self._labels().items() if selector.items() <= labels.items()]
            if kind == "Deployment" and nodes:
                nodes = [nodes[index % len(nodes)] for index in range(owner["spec"].get("replicas", 1))]
            wanted += [(owner, node) for node in nodes]
        return wanted

    def _labels(self) -> dict[str, dict[str, str]]:
        """Labels of the Node objects whose nodes are powered on."""
        nodes = self._api.items("/api/v1/nodes")
        labels = {node["metadata"]["name"]: node["metadata"].get("labels", {}) for node in nodes}
        return {name: labels[name] for name in self._nodes if name in labels}

    def _create_all(self, missing: list[tuple[dict[str, Any], str]]) -> list[PodRun]:
        """Start pods side by side, as kubelets do; the error of one is raised once the others are up.

        Who is interrupted waits for none of them: they end with the guest.
        """
        pool = ThreadPoolExecutor()
        try:
            created = [pool.submit(self._create, owner, node) for owner, node in missing]
            wait(created)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return [each.result() for each in created]

    def _create(self, owner: dict[str, Any], node: str) -> PodRun:
        """Create the Pod object, then run it."""
        api, namespace, template = self._api, owner["metadata"]["namespace"], owner["spec"]["template"]
        reference = {"apiVersion": "apps/v1", "kind": owner["kind"], "controller": True,
                     "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}  # fmt: skip
        metadata = template.get("metadata", {})
        pod = api.post(f"/api/v1/namespaces/{namespace}/pods", {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": f"{owner['metadata']['name']}-{secrets.token_hex(3)}", "labels": metadata.get("labels", {}),
                "annotations": {**metadata.get("annotations", {}), TEMPLATE: _digest(template)}, "ownerReferences": [reference],
            },
            "spec": {**with_account(template["spec"]), "nodeName": node},
        })  # fmt: skip
        return self._run(pod, self._nodes[node])

    def _run(self, pod: dict[str, Any], node: LabNode) -> PodRun:
        name, channel = pod["metadata"]["name"], self._channel
        where = node.name
        addresses = [str(node.addresses.wire4.ip), str(node.addresses.wire6.ip)]
        pod["status"]["hostIP"], pod["status"]["hostIPs"] = addresses[0], [{"ip": address} for address in addresses]
        if not pod["spec"].get("hostNetwork"):
            plugged = self._network.add_pod(node.addresses, name)
            where, addresses = plugged.where, [plugged.ip4, plugged.ip6]
        pod["status"]["podIP"], pod["status"]["podIPs"] = addresses[0], [{"ip": address} for address in addresses]
        api = self._api.as_user(self._plane.node_token(node.name))
        run = PodRun(pod, where, Volumes(pod, channel, api, self._plane.certificate.read_bytes()), channel, api)
        until(run.volumes.prepare, what=f"volumes of {name}", seconds=STEP, ignore=Forbidden)
        run.start()
        self._runs[run.path] = run
        return run

    def _report(self, wanted: list[tuple[dict[str, Any], str]]) -> None:
        """Write the status of the workloads, so that `kubectl rollout status` works."""
        for owner in {owner["metadata"]["uid"]: owner for owner, _ in wanted}.values():
            count = sum(other["metadata"]["uid"] == owner["metadata"]["uid"] for other, _ in wanted)
            seen = {"observedGeneration": owner["metadata"]["generation"]}
            plural = owner["kind"].lower() + "s"
            status = {**seen, **dict.fromkeys(COUNTS[owner["kind"]], count)}
            if owner["kind"] == "DaemonSet":
                status["numberMisscheduled"] = 0
            if {key: owner["status"].get(key) for key in status} != status:
                path = f"/apis/apps/v1/namespaces/{owner['metadata']['namespace']}/{plural}/{owner['metadata']['name']}/status"
                self._api.patch(path, {"status": status})


def _node_status(node: LabNode, kernel: str) -> dict[str, Any]:
    addresses = [node.addresses.wire4.ip, node.addresses.wire6.ip]
    information = {
        "bootID": node.boot_id, "machineID": node.name, "systemUUID": node.name, "kernelVersion": kernel, "osImage": "lab",
        "containerRuntimeVersion": "lab://1", "kubeletVersion": "v1.36.3", "kubeProxyVersion": "", "operatingSystem": "linux",
        "architecture": "amd64",
    }  # fmt: skip
    return {
        "addresses": [*({"type": "InternalIP", "address": str(address)} for address in addresses),
                      {"type": "Hostname", "address": node.name}],
        "nodeInfo": information,
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting"}],
    }  # fmt: skip


def _digest(template: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:16]


def _owner(run: PodRun) -> str:
    return str(run.document["metadata"]["ownerReferences"][0]["name"])


def _fits(run: PodRun, owner: dict[str, Any], node: str) -> bool:
    metadata = run.document["metadata"]
    same = metadata["ownerReferences"][0]["uid"] == owner["metadata"]["uid"]
    return same and run.node == node and metadata["annotations"][TEMPLATE] == _digest(owner["spec"]["template"])
