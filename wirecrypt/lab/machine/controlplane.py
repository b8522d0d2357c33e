"""A real etcd and kube-apiserver: their keys, tokens and command lines.

They run on the host side of the lab, next to the wire, with Node and RBAC authorization, bound service-account tokens,
NodeRestriction and the admission policies that are on by default. One default plugin is off: ServiceAccount. It refuses every
pod until the controller manager, which a lab does not have, has made the namespace's default account; what it would add to a
pod, the volume with the account's token, the lab's kubelet adds itself.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wirecrypt.errors import LabError
from wirecrypt.lab import addresses
from wirecrypt.lab.machine.kernels import cache

if TYPE_CHECKING:
    from pathlib import Path

TLS_NAME = "kubernetes.default.svc"
ETCD_PORT = 2379
MAX_NODES = 99
AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "None", "users": ["system:apiserver"]}, {"level": "Metadata"}],
}


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """The files and tokens of one control plane in *folder*; *port* is its relay on the host's 127.0.0.1."""

    folder: Path
    port: int
    admin_token: str
    node_secret: str

    @classmethod
    def prepare(cls, folder: Path, port: int) -> ControlPlane:
        """Write what etcd and the API server read at their start."""
        plane = cls(folder, port, secrets.token_hex(16), secrets.token_hex(16))
        folder.mkdir(mode=0o700, exist_ok=True)
        _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(folder / "accounts.key"))
        _openssl("ec", "-in", str(folder / "accounts.key"), "-pubout", "-out", str(folder / "accounts.pub"))
        users = [f'{plane.admin_token},admin,admin,"system:masters"']
        for number in range(1, MAX_NODES + 1):
            name = addresses.NodeAddresses(number).name
            users.append(f'{plane.node_token(name)},system:node:{name},{name},"system:nodes"')
        _private(folder / "tokens.csv", "\n".join(users) + "\n")
        _private(folder / "audit-policy.json", json.dumps(AUDIT))
        _private(folder / "kubeconfig", plane.kubeconfig_text(f"https://127.0.0.1:{port}"))
        inside = f"https://{addresses.API_HOST4.ip}:{addresses.API_PORT}"
        _private(folder / "kubeconfig-inside", plane.kubeconfig_text(inside))
        return plane

    @property
    def certificate(self) -> Path:
        """The API server's certificate, which it makes and signs itself: clients take it as their authority."""
        return self.folder / "pki/apiserver.crt"

    @property
    def kubeconfig(self) -> Path:
        """Configuration of an administrator outside the lab's network."""
        return self.folder / "kubeconfig"

    @property
    def kubeconfig_inside(self) -> Path:
        """The same for programs in the guest."""
        return self.folder / "kubeconfig-inside"

    @property
    def audit_log(self) -> Path:
        """Every request with its user and verb, a line of JSON each."""
        return self.folder / "audit.jsonl"

    def node_token(self, name: str) -> str:
        """Token of `system:node:NAME`, as its kubelet has one."""
        return f"{self.node_secret}-{name}"

    def kubeconfig_text(self, server: str) -> str:
        """Return an administrator's kubeconfig for *server* (JSON is YAML too)."""
        cluster = {"server": server, "tls-server-name": TLS_NAME, "certificate-authority": str(self.certificate)}
        document = {
            "apiVersion": "v1", "kind": "Config", "current-context": "lab",
            "clusters": [{"name": "lab", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": self.admin_token}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "admin"}}],
        }  # fmt: skip
        return json.dumps(document, indent=1) + "\n"

    def programs(self) -> dict[str, list[str]]:
        """Return the command lines of etcd and the API server."""
        etcd = [
            str(program("etcd")), f"--data-dir={self.folder}/etcd", "--unsafe-no-fsync", "--log-level=warn",
            f"--listen-client-urls=http://127.0.0.1:{ETCD_PORT}", f"--advertise-client-urls=http://127.0.0.1:{ETCD_PORT}",
            "--listen-peer-urls=http://127.0.0.1:2380",
        ]  # fmt: skip
        api = [
            str(program("kube-apiserver")), f"--etcd-servers=http://127.0.0.1:{ETCD_PORT}", f"--cert-dir={self.folder}/pki",
            "--bind-address=0.0.0.0", f"--secure-port={addresses.API_PORT}", f"--advertise-address={addresses.API_HOST4.ip}",
            "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
            "--disable-admission-plugins=ServiceAccount", f"--token-auth-file={self.folder}/tokens.csv",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.folder}/accounts.pub",
            f"--service-account-signing-key-file={self.folder}/accounts.key",
            f"--service-cluster-ip-range={addresses.SERVICES4},{addresses.SERVICES6}", "--allow-privileged=true",
            f"--audit-policy-file={self.folder}/audit-policy.json", f"--audit-log-path={self.audit_log}",
        ]  # fmt: skip
        return {"etcd": etcd, "kube-apiserver": api}


def program(name: str) -> Path:
    """Return the path of one of the control plane's programs; LabError when it was not built."""
    path = cache() / "kube/bin" / name
    if not os.access(path, os.X_OK):
        raise LabError("program is missing", what=name, hint="run scripts/build-kube")
    return path


def _private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _openssl(*words: str) -> None:
    try:
        subprocess.run(["openssl", *words], check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise LabError("openssl is missing", hint="run scripts/setup") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip() or f"status {error.returncode}"
        raise LabError("openssl failed", what=" ".join(words), answer=said, hint="see that there is room") from error
