"""Whether this end wishes traffic between its own and a peer's addresses in clear: by configuration, and by API servers."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from wirecrypt.model.objects import Node, NodePeer
from wirecrypt.model.xfrm import Address
from wirecrypt.settings import NodeToNode, Settings


def exempts(
    own: NodePeer, peer: NodePeer, nodes: Mapping[str, Node], settings: Settings, connected: Collection[Address]
) -> bool | None:
    """Return whether node→node with *peer* is to be in clear; None while a Node is not shown that would tell.

    *nodes*: by UID. *connected*: where this agent reaches the API server. That way is in clear under every setting but the
    peer's own word: the key update must not cross the tunnel that it repairs.
    """
    if settings.node_to_node is NodeToNode.OFF or _holds(peer, connected):
        return True
    if settings.node_to_node is NodeToNode.ALL:
        return False
    if _holds(own, connected) or any(_holds(end, settings.api_servers) for end in (own, peer)):
        return True
    both = [nodes.get(end.node_uid) for end in (own, peer)]
    if any(node is not None and node.control_plane for node in both):
        return True
    return None if None in both else False


def _holds(peer: NodePeer, addresses: Collection[Address]) -> bool:
    return any(address in addresses for address in (*peer.endpoints, *peer.addresses))
