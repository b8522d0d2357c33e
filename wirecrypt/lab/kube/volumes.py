"""A pod's volumes on the disk of its node: what a kubelet prepares before it starts containers."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from wirecrypt.errors import LabError, NotFound
from wirecrypt.lab.kube.podspec import field
from wirecrypt.lab.machine.channel import Command

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wirecrypt.lab.kube.api_client import LabApi
    from wirecrypt.lab.machine.channel import Channel

ACCOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
ACCOUNT_VOLUME = "kube-api-access"
ACCOUNT = {
    "name": ACCOUNT_VOLUME,
    "projected": {
        "sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
        ]
    },
}


def with_account(spec: dict[str, Any]) -> dict[str, Any]:
    """Return a pod's *spec* with the volume of its account's token added and mounted, as the ServiceAccount plugin does it."""
    if not spec.get("automountServiceAccountToken", True):
        return spec
    mount = {"name": ACCOUNT_VOLUME, "mountPath": ACCOUNT_PATH, "readOnly": True}

    def mounted(container: dict[str, Any]) -> dict[str, Any]:
        own = container.get("volumeMounts", [])
        if any(other["mountPath"] == ACCOUNT_PATH for other in own):
            return container
        return {**container, "volumeMounts": [*own, mount]}

    kinds = [kind for kind in ("initContainers", "containers") if kind in spec]
    containers: dict[str, Any] = {kind: [mounted(container) for container in spec[kind]] for kind in kinds}
    return {**spec, **containers, "volumes": [*spec.get("volumes", []), ACCOUNT]}


class Volumes:
    """The volumes of one Pod object, read with its node's own rights (*api*) and kept on its node through *channel*."""

    def __init__(self, pod: Mapping[str, Any], channel: Channel, api: LabApi, authority: bytes) -> None:
        self.pod = pod
        self._channel = channel
        self._api = api
        self._authority = authority
        self._node = pod["spec"]["nodeName"]
        self._folder = f"pods/{pod['metadata']['uid']}/volumes"
        self._volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}

    def prepare(self) -> bool:
        """Make every volume, or write anew what the API server gives: tokens, ConfigMaps, Secrets. Always true."""
        for name, volume in self._volumes.items():
            path = self._path(name)
            if "hostPath" in volume:
                if volume["hostPath"].get("type", "") == "DirectoryOrCreate":
                    self._shell(f"mkdir -p '{path}'")
            elif "emptyDir" in volume:
                self._shell(f"mkdir -p '{path}' && chmod 777 '{path}'")
            else:
                files = self._files(volume)
                self._channel.write(self._node, {f"{path}/{file}": content for file, content in files.items()})
        return True

    def mounts(self, container: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
        """Return (source on the node, target, read-only) for each of the container's mounts."""
        result = []
        for mount in container.get("volumeMounts", []):
            source = self._path(mount["name"])
            if mount.get("subPath"):
                source += "/" + mount["subPath"]
            result.append((source, mount["mountPath"], bool(mount.get("readOnly"))))
        return result

    def remove(self) -> None:
        """Remove the pod's volumes from the node's disk."""
        self._shell(f"rm -rf '/run/kubelet/{self._folder}' '/var/lib/kubelet/{self._folder}'")

    def lookup(self, kind: str, name: str) -> dict[str, str] | None:
        """Read the data of a `configMap` or `secret` of the pod's namespace; None when there is none."""
        if (kind, name) == ("configMap", "kube-root-ca.crt"):
            return {"ca.crt": self._authority.decode()}
        namespace = self.pod["metadata"]["namespace"]
        plural = {"configMap": "configmaps", "secret": "secrets"}[kind]
        try:
            document = self._api.get(f"/api/v1/namespaces/{namespace}/{plural}/{name}")
        except NotFound:
            return None
        data: dict[str, str] = document.get("data", {})
        if kind == "secret":
            return {key: base64.b64decode(value).decode(errors="replace") for key, value in data.items()}
        return data

    def _path(self, name: str) -> str:
        """Return where the volume is: a host's path as it is; in memory, or on the node's disk for a plain emptyDir."""
        try:
            volume = self._volumes[name]
        except KeyError:
            raise LabError("the pod mounts a volume that it does not declare", what=name) from None
        if "hostPath" in volume:
            return str(volume["hostPath"]["path"])
        on_disk = "emptyDir" in volume and (volume["emptyDir"] or {}).get("medium") != "Memory"
        return f"{'/var/lib' if on_disk else '/run'}/kubelet/{self._folder}/{name}"

    def _files(self, volume: Mapping[str, Any]) -> dict[str, bytes]:
        if "projected" in volume:
            parts = [self._source(kind, body) for source in volume["projected"]["sources"] for kind, body in source.items()]
            return {path: content for part in parts for path, content in part.items()}
        kinds: dict[str, Callable[[Mapping[str, Any]], dict[str, bytes]]] = {
            "configMap": lambda body: self._source("configMap", body),
            "secret": lambda body: self._source("secret", {**body, "name": body["secretName"]}),
            "downwardAPI": lambda body: self._source("downwardAPI", body),
        }
        for kind, read in kinds.items():
            if kind in volume:
                return read(volume[kind])
        raise LabError("the lab does not know this kind of volume", what=volume["name"], answer=", ".join(volume))

    def _source(self, kind: str, body: Mapping[str, Any]) -> dict[str, bytes]:
        if kind == "serviceAccountToken":
            return {body["path"]: self._token(body).encode()}
        if kind == "downwardAPI":
            return {item["path"]: field(self.pod, item["fieldRef"]["fieldPath"]).encode() for item in body["items"]}
        data = self.lookup(kind, body["name"])
        if data is None:
            if body.get("optional"):
                return {}
            raise LabError("the pod mounts an object that is missing", what=f"{kind} {body['name']}")
        items = body.get("items") or [{"key": key, "path": key} for key in data]
        return {item["path"]: data[item["key"]].encode() for item in items}

    def _token(self, source: Mapping[str, Any]) -> str:
        """Ask, as the node, for a token that is bound to the pod."""
        metadata, spec = self.pod["metadata"], self.pod["spec"]
        account = spec.get("serviceAccountName", "default")
        bound = {"kind": "Pod", "apiVersion": "v1", "name": metadata["name"], "uid": metadata["uid"]}
        wanted = {"expirationSeconds": source.get("expirationSeconds", 3607), "boundObjectRef": bound}
        if source.get("audience"):
            wanted["audiences"] = [source["audience"]]
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": wanted}
        path = f"/api/v1/namespaces/{metadata['namespace']}/serviceaccounts/{account}/token"
        return str(self._api.post(path, request)["status"]["token"])

    def _shell(self, script: str) -> None:
        self._channel.run(self._node, Command(["sh", "-ec", script]))
