"""Where claims may lie: two lists, of which the narrower range that holds an address says what it is for."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirecrypt.model.ranges import ClaimRanges, PrefixMap, PrefixSet, overlap


def ranges(pods: str, nodes: str) -> ClaimRanges:
    """Return the ranges in two texts."""
    return ClaimRanges(tuple(map(ip_network, pods.split())), tuple(map(ip_network, nodes.split())))


APART = ranges("10.244.0.0/16 fd00:1::/48", "192.0.2.0/24 198.51.100.0/24 fd00:2::/64")


@pytest.mark.parametrize(
    ("given", "prefix", "why"),
    [
        (APART, "10.244.7.0/24", ""),
        (APART, "fd00:1:0:7::/64", ""),
        (APART, "10.0.0.0/8", "outside clusterCIDRs"),
        (APART, "203.0.113.0/24", "outside clusterCIDRs"),
        (APART, "192.0.2.0/28", "outside clusterCIDRs"),
        (APART, "fd00:2::/80", "outside clusterCIDRs"),
        (ranges("10.0.0.0/16 10.1.0.0/16", ""), "10.0.0.0/15", ""),
        (ranges("", "10.0.0.0/8"), "10.1.0.0/24", "clusterCIDRs of the configuration is empty"),
        (ranges("10.0.0.0/8", "10.128.0.0/16"), "10.1.0.0/24", ""),
        (ranges("10.0.0.0/8", "10.128.0.0/16"), "10.128.7.0/24", "overlaps 10.128.0.0/16 of nodeCIDRs"),
        (ranges("10.0.0.0/8", "10.128.0.0/24"), "10.128.0.0/16", "overlaps 10.128.0.0/24 of nodeCIDRs"),
        (ranges("10.244.0.0/16", "10.0.0.0/8"), "10.244.7.0/24", ""),
        (ranges("10.0.0.0/8", "10.0.0.0/8"), "10.244.7.0/24", ""),
        (ranges("10.0.0.0/8 10.128.0.0/16", "10.128.0.0/16"), "10.128.7.0/24", ""),
    ],
)
def test_a_prefix_lies_in_a_range_of_pods(given: ClaimRanges, prefix: str, why: str) -> None:
    """Of its own family, as a whole, and not where a narrower range is for nodes."""
    found = given.against_prefix(ip_network(prefix))
    assert found.startswith(why)
    assert bool(found) is bool(why)


@pytest.mark.parametrize(
    ("given", "address", "why"),
    [
        (APART, "192.0.2.7", ""),
        (APART, "fd00:2::7", ""),
        (APART, "203.0.113.7", "outside nodeCIDRs"),
        (APART, "10.244.7.7", "outside nodeCIDRs"),
        (ranges("10.0.0.0/8", ""), "10.1.0.7", "nodeCIDRs of the configuration is empty"),
        (ranges("10.244.0.0/16", "10.0.0.0/8"), "10.244.7.7", "in 10.244.0.0/16 of clusterCIDRs, which is for pods"),
        (ranges("10.244.0.0/16", "10.0.0.0/8"), "10.128.0.7", ""),
        (ranges("10.0.0.0/8", "10.128.0.0/16"), "10.128.0.7", ""),
        (ranges("192.0.2.0/24", "192.0.2.0/24"), "192.0.2.7", ""),
    ],
)
def test_an_address_lies_in_a_range_of_nodes(given: ClaimRanges, address: str, why: str) -> None:
    """And not where a narrower range is for pods."""
    assert given.against_address(ip_address(address)) == why


def test_a_subnet_is_a_range_of_nodes_that_holds_both() -> None:
    """An address of another range, or of none, is not near."""
    own = [ip_address("192.0.2.1")]
    assert APART.near(ip_address("192.0.2.9"), own)
    assert not APART.near(ip_address("198.51.100.9"), own)
    assert not APART.near(ip_address("203.0.113.9"), [*own, ip_address("203.0.113.1")])
    assert str(APART.subnet(ip_address("198.51.100.9"))) == "198.51.100.0/24"
    assert str(APART.subnet(ip_address("203.0.113.9"))) == "203.0.113.9/32"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (APART, ""),
        (ranges("10.0.0.0/8", ""), "nodeCIDRs of the configuration is empty"),
        (ranges("", "10.0.0.0/8"), "clusterCIDRs of the configuration is empty"),
        (ranges("", ""), "clusterCIDRs and nodeCIDRs of the configuration are empty"),
    ],
)
def test_what_is_not_set_is_named(given: ClaimRanges, words: str) -> None:
    """Both are needed."""
    assert given.unset == words


prefixes = st.builds(
    lambda bits, length: IPv4Network((bits << 24, length), strict=False), st.integers(0, 255), st.integers(4, 8)
)


@given(st.lists(prefixes, min_size=1, max_size=3), st.lists(prefixes, min_size=1, max_size=3), prefixes)
def test_a_prefix_that_is_allowed_holds_no_address_that_is_a_nodes_alone(
    pods: list[IPv4Network], nodes: list[IPv4Network], claim: IPv4Network
) -> None:
    """Whatever the lists: no address of an allowed prefix is held by a range of nodes that is narrower than all of pods'."""
    given = ClaimRanges(tuple(pods), tuple(nodes))
    if given.against_prefix(claim):
        return
    for high in range(int(claim.network_address) >> 24, (int(claim.broadcast_address) >> 24) + 1):
        address = ip_address(high << 24)
        of_pods = max(r.prefixlen for r in pods if address in r)
        assert all(r.prefixlen <= of_pods for r in nodes if address in r)


sixes = st.builds(lambda bits, length: IPv6Network((bits << 120, length), strict=False), st.integers(0, 255), st.integers(4, 8))


@given(st.lists(prefixes | sixes, max_size=6), prefixes | sixes)
def test_a_set_of_prefixes_meets_what_any_of_them_overlaps(several: list[IPv4Network | IPv6Network], one: IPv4Network) -> None:
    """As a look at each of them says; never across families."""
    assert PrefixSet(several).meets(one) == any(overlap(one, other) for other in several)


@pytest.mark.parametrize("text", ["10.0.0.0/8", "10.1.2.3/32", "0.0.0.0/0", "fd00::/8", "::/0"])
def test_a_set_meets_what_it_has(text: str) -> None:
    """The prefix itself, one in it, and one that holds it."""
    prefix = ip_network(text)
    narrow = next(iter(prefix.subnets(new_prefix=prefix.max_prefixlen)))
    assert all(PrefixSet([prefix]).meets(each) for each in (prefix, narrow))
    assert PrefixSet([narrow]).meets(prefix)
    assert not PrefixSet([]).meets(prefix)


@given(st.lists(prefixes | sixes, max_size=6), prefixes | sixes)
def test_a_map_of_prefixes_finds_what_meets_one(several: list[IPv4Network | IPv6Network], one: IPv4Network) -> None:
    """As a look at each of them says, and of those that hold an address the widest first."""
    known = PrefixMap((each, each) for each in several)
    assert {*known.meeting(one)} == {each for each in several if overlap(one, each)}
    holding = [each for each in {*several} if one.network_address in each]
    assert [*known.holding(one.network_address)] == sorted(holding, key=lambda each: each.prefixlen)
