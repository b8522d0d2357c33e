"""Asking agents through the API server: its proxy to pods reaches the port that the agents serve their metrics on.

Whoever asks needs the rights of the roles wirecrypt-verify-user (manifests/rbac-verify.yaml), and nothing on the nodes. Root of
a node asks by the agent's local socket.
"""

from __future__ import annotations

import json
import socket
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from wirecrypt.cluster import paths
from wirecrypt.cluster.access.tokens import token_for
from wirecrypt.cluster.answer import refusal
from wirecrypt.cluster.api import AGENT_SECONDS
from wirecrypt.cluster.cli_client import CliClient
from wirecrypt.errors import ClusterError, ConfigError, Unreachable
from wirecrypt.http_server import TOKEN_HEADER
from wirecrypt.model.secret import SecretBytes
from wirecrypt.settings import Settings, from_document


class Agents(CliClient):
    """The agents of a cluster as a person asks them; raises `ClusterError`. Threads may share one."""

    def malformed_peers(self) -> dict[str, str]:
        """Return what is wrong with NodePeers that the last `node_peers` left out, by name."""
        return {name: str(error) for (path, name), error in self._reader.malformed.items() if path == paths.NODE_PEERS}

    def labels(self) -> dict[str, str]:
        """Return the label's value by Node, of those that have it."""
        return {node.name: node.label for node in self.node_labels() if node.label is not None}

    def pods(self) -> dict[str, str]:
        """Return the name of the agent's pod by node: that of the DaemonSet, a running one before others."""
        items, _ = self._api.items(paths.PODS)
        found: dict[str, tuple[bool, str]] = {}
        for pod in items:
            meta, node = pod["metadata"], pod.get("spec", {}).get("nodeName", "")
            owned = any(o.get("kind") == "DaemonSet" for o in meta.get("ownerReferences") or ())
            if not owned or not node or meta.get("deletionTimestamp"):
                continue
            better = pod.get("status", {}).get("phase") == "Running", meta["name"]
            found[node] = max(better, found.get(node, (False, "")))
        return {node: name for node, (_, name) in found.items()}

    def port(self) -> int:
        """Return the agents' TCP port as configured, the default where the configuration cannot be read; 0: none."""
        try:
            return from_document(self.config()).metrics.port
        except ConfigError:
            return Settings().metrics.port

    def token(self, node: str) -> SecretBytes:
        """Return a token by which the agent of *node* answers."""
        return token_for(self._api, node)

    def ask(self, pod: str, port: int, asked: str, token: SecretBytes) -> Any:  # noqa: ANN401 - JSON
        """Return the answer of an agent's page; *asked*: its name and query."""
        headers = {TOKEN_HEADER: token.reveal().decode()}
        return self._api.proxied(f"{paths.PODS}/http:{pod}:{port}/proxy/{asked}", headers)


class _LocalConnection(HTTPConnection):
    """A connection to a socket in the file system."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=AGENT_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.sock.settimeout(AGENT_SECONDS)
        self.sock.connect(str(self._path))


def ask_local(path: Path, asked: str) -> Any:  # noqa: ANN401 - JSON
    """Return the answer of this node's own agent, by its socket; raises `Unreachable`, or `ClusterError` with what it said."""
    tried, what = f"ask this node's agent for {asked.partition('?')[0]}", str(path)
    connection = _LocalConnection(path)
    try:
        connection.request("GET", f"/{asked}")
        answer = connection.getresponse()
        status, body = answer.status, answer.read()
    except (OSError, HTTPException) as error:
        hint = "is the agent running on this node? Only root, or the agent's own container, may ask here"
        raise Unreachable(tried, what=what, answer=f"{type(error).__name__}: {error}", hint=hint) from error
    finally:
        connection.close()
    try:
        if status == 200:  # noqa: PLR2004 - OK
            return json.loads(body)
    except ValueError as error:
        raise ClusterError(tried, what=what, answer="not JSON", hint="does another program have this socket?") from error
    raise refusal(tried, status, body.decode(errors="replace"), {})
