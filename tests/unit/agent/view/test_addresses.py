"""Of an address that several NodePeers list a pass sees one holder, also of those that the API does not show any more."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import cast

import pytest

from tests.fakes.builders import START
from tests.unit.agent.node import OWN, peer
from wirecrypt.agent.store.blocklist import Blocklist
from wirecrypt.agent.view.cluster_view import ClusterView, ObjectCache
from wirecrypt.agent.view.peers import known_peers
from wirecrypt.model.objects import Node, NodePeer
from wirecrypt.model.xfrm import Address

VIP = ip_address("198.51.100.7")


@dataclass
class Shown:
    """The copies of a cluster; *down*: Nodes that are not Ready."""

    those: tuple[NodePeer, ...]
    down: frozenset[str] = frozenset()

    def nodes(self) -> list[Node]:
        """Return the Nodes of the NodePeers."""
        return [
            Node(p.name, p.node_uid, "enabled", p.endpoints, p.pod_cidrs, START, ready=p.name not in self.down)
            for p in self.those
        ]

    def peers(self) -> list[NodePeer]:
        """Return the NodePeers."""
        return list(self.those)

    def rotations(self) -> list[object]:
        """Return none."""
        return []


def view(*those: NodePeer, down: str = "") -> ClusterView:
    return ClusterView.of("a", cast("ObjectCache", Shown(those, frozenset(down.split()))))


def holding(of: NodePeer, *said: Address) -> NodePeer:
    return replace(of, addresses=(VIP,), proposed=said)


def test_an_end_has_the_granted_addresses_next_to_its_endpoints() -> None:
    """Never among those that a tunnel may join."""
    end = holding(OWN).end
    assert (end.addresses, end.hosts) == ((VIP,), (*OWN.endpoints, VIP))
    assert VIP not in end.endpoints


@pytest.mark.parametrize(("down", "expected"), [("", "c"), ("c", "c"), ("b", "c")])
def test_an_address_on_its_way_is_the_one_peers_that_still_says_so(down: str, expected: str) -> None:
    """◆R20 The old one withdrew it; whether a Node is Ready counts only between those that say the same."""
    old, new = holding(peer("b", 17)), holding(peer("c", 18), VIP)
    found = view(OWN, old, new, down=down)
    assert {p.name for p in found.peers if p.addresses} == {expected}


def test_an_address_that_left_the_own_node_is_its_own_no_more() -> None:
    """Once the other was granted it, it is reached there."""
    found = view(holding(OWN), holding(peer("b", 17), VIP))
    assert found.own is not None
    assert (found.own.addresses, [p.addresses for p in found.peers]) == ((), [(VIP,)])


def test_an_address_of_a_peer_that_is_not_shown_stays_its_own_until_another_is_shown_with_it() -> None:
    """Known from before, or from disk alone: absence removes nothing, but an address has one holder."""
    gone, new = holding(peer("b", 17), VIP), peer("c", 18)
    disk = Blocklist(OWN.end, (gone.end,))
    for before, listed in (({gone.node_uid: gone}, None), ({}, disk)):
        for shown, expected in ((new, (VIP,)), (holding(new, VIP), ())):
            found = known_peers(view(OWN, shown), before, listed)
            assert found.peers[gone.node_uid].addresses == expected
            assert found.vanished == {gone.node_uid}
