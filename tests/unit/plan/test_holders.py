"""Who has an address that several NodePeers list."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from tests.unit.agent.node import peer
from wirecrypt.model.objects import NodePeer
from wirecrypt.model.xfrm import Address
from wirecrypt.plan.holders import each_once, holders, holds, without

VIP, OTHER = ip_address("198.51.100.7"), ip_address("198.51.100.8")
READY = frozenset({"uid-a", "uid-b"})


def holding(name: str, number: int, *said: Address) -> NodePeer:
    """Return a NodePeer that lists VIP and OTHER and whose agent says that its node holds *said*."""
    return replace(peer(name, number), addresses=(VIP, OTHER), proposed=said)


def test_the_one_whose_agent_says_so_has_it() -> None:
    """Each address for itself; the order does not matter."""
    a, b = holding("a", 16, VIP), holding("b", 17, OTHER)
    for peers in ([a, b], [b, a]):
        assert holders(peers, READY) == {VIP: a, OTHER: b}
        assert {p.name: p.addresses for p in each_once(peers, READY)} == {"a": (VIP,), "b": (OTHER,)}


def test_a_node_that_is_not_ready_gives_way_and_of_equals_the_older_object_has_it() -> None:
    """Whatever is said, there is one and the same for everybody."""
    a, b = holding("a", 16, VIP, OTHER), holding("b", 17, VIP, OTHER)
    assert {p.name for p in holders([a, b], frozenset({"uid-b"})).values()} == {"b"}
    assert {p.name for p in holders([b, a], READY).values()} == {"a"}


def test_an_agent_that_said_nothing_stands_by_what_it_was_granted() -> None:
    """Silence withdraws nothing; a Node that is not Ready stands by nothing."""
    silent = replace(holding("a", 16), proposed=None)
    assert holds(silent, VIP, READY)
    assert not holds(silent, VIP, frozenset())
    assert not holds(holding("a", 16, OTHER), VIP, READY)


def test_nodepeers_that_share_no_address_stay_as_they_are() -> None:
    """The very same values."""
    a, b = holding("a", 16, VIP), replace(peer("b", 17), addresses=())
    assert all(one is other for one, other in zip(each_once([a, b], READY), (a, b), strict=True))
    assert without(a, (OTHER,)).addresses == (VIP,)
