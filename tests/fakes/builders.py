"""Objects of the API as many tests need them, each by a number or a name."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from ipaddress import ip_address, ip_network

from wirecrypt import keys
from wirecrypt.model.conditions import Condition
from wirecrypt.model.objects import ConfigDocument, Node, NodeKey, NodePeer, NodeState, NodeStatus
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Epoch

START = datetime(2024, 1, 1, tzinfo=UTC)  # when the first object is made
EPOCH = Epoch(1, "ab" * 16)
RANGES = "serviceCIDRs: [10.96.0.0/16]\nclusterCIDRs: [10.0.0.0/12]\nnodeCIDRs: [192.0.2.0/24]"
FAST = "lanes: 1\nalgorithm: aes-256-gcm\ndrain: 1s\n"  # of agents, so that little time need pass
SILENT = NodeStatus("boot", 0, (), 0, 0, 0, (), (), 0, 100, (), ())
CLEANED = Condition("Cleaned", status=True, reason="Left", message="")


def document(text: str = RANGES, version: int = 1) -> ConfigDocument:
    """Return a configuration document."""
    return ConfigDocument({"config.yaml": text}, str(version))


def node(number: int, *, label: str | None = "enabled", **more: object) -> Node:
    """Return the Node n*number* with an address and a prefix of its own."""
    claims = (ip_address(f"192.0.2.{number}"),), (ip_network(f"10.1.{number}.0/24"),)
    return replace(Node(f"n{number}", f"uid-{number}", label, *claims, START), **more)


def peer_of(of: Node, node_id: int, **more: object) -> NodePeer:
    """Return a NodePeer, Joining, with all that *of* claims."""
    made = NodePeer(of.name, f"np-{of.name}", node_id, of.uid, of.endpoints, of.pod_cidrs, NodeState.JOINING, of.created)
    return replace(made, **more)


@cache
def node_key(epoch: Epoch, node_uid: str) -> NodeKey:
    """Return the key of a node for an epoch, whose seed is the same each time."""
    seed = hashlib.sha256(f"{epoch.number} {epoch.id}".encode()).digest()
    return NodeKey(epoch, keys.share(SecretBytes(seed), node_uid))
