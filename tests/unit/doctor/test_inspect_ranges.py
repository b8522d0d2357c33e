"""The configuration's ranges against each other and against what Nodes have."""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network

from tests.unit.cli.fake_cli_client import NOW
from wirecrypt.doctor.finding import Finding, Severity
from wirecrypt.doctor.inspect_ranges import inspect_ranges
from wirecrypt.model.objects import Node
from wirecrypt.settings import Settings, parse

GOOD = parse(
    "{clusterCIDRs: [10.0.0.0/13, fd00::/16], nodeCIDRs: [10.0.0.0/24, 192.0.2.0/24], serviceCIDRs: [10.96.0.0/12],"
    " apiServers: [192.0.2.1]}"
)


def node(name: str, address: str, *cidrs: str) -> Node:
    return Node(name, f"uid-{name}", None, (ip_address(address),), tuple(map(ip_network, cidrs)), NOW)


NODES = (node("a", "10.0.0.1", "10.1.0.0/24", "fd00:1::/64"), node("b", "10.0.0.2", "10.1.1.0/24"))


def bad(settings: Settings = GOOD, nodes: Sequence[Node] | None = NODES) -> list[Finding]:
    return [f for f in inspect_ranges(settings, nodes, {}) if f.severity is not Severity.OK]


def one(found: list[Finding]) -> str:
    (finding,) = found
    assert (finding.check, finding.severity) == ("ranges", Severity.WARNING)
    assert finding.next_step
    return finding.sentence


def test_ranges_that_fit_are_well() -> None:
    """Every prefix and address inside, nothing overlaps: one line that says so."""
    assert [f.severity for f in inspect_ranges(GOOD, NODES, {})] == [Severity.OK]


def test_pods_outside_the_ranges_are_named() -> None:
    """A prefix of pods that no range holds whole, of either family: the Node and the prefix, and what becomes of it."""
    nodes = (*NODES, node("c", "10.0.0.3", "10.8.0.0/24", "fd01::/64"), node("d", "10.0.0.4", "10.0.0.0/12"))
    sentence = one(bad(nodes=nodes))
    assert "c 10.8.0.0/24, c fd01::/64, d 10.0.0.0/12" in sentence
    assert "they are refused" in sentence


def test_prefixes_over_addresses_of_nodes_are_named() -> None:
    """Where the narrower range is for nodes."""
    assert "c 10.0.0.128/25" in one(bad(nodes=(*NODES, node("c", "10.0.0.3", "10.0.0.128/25"))))


def test_addresses_that_are_not_nodes_are_named() -> None:
    """One that no range of nodes holds, one in a narrower range of pods; they would be refused, API servers' or not."""
    nodes = (*NODES, node("c", "10.1.0.7"), node("d", "10.0.0.9"))
    assert "nodes' by the ranges: c 10.1.0.7; they are refused" in one(bad(nodes=nodes))
    narrow = parse("{clusterCIDRs: [10.0.0.0/13, 10.0.0.8/30, fd00::/16], nodeCIDRs: [10.0.0.0/24]}")
    assert "d 10.0.0.9" in one(bad(narrow, (*NODES, node("d", "10.0.0.9"))))
    only = parse("nodeCIDRs: [10.0.0.0/24]")
    assert "c 192.0.2.1" in one(bad(only, (*NODES, node("c", "192.0.2.1"))))


def test_ranges_that_meet_hold_what_lies_across() -> None:
    """A prefix is inside when two ranges side by side hold it together."""
    settings = parse("clusterCIDRs: [10.0.0.0/16, 10.1.0.0/16]")
    assert bad(settings, [node("a", "10.0.0.1", "10.0.0.0/15")]) == []


def test_addresses_outside_the_ranges_are_named() -> None:
    """An InternalIP that no range of pods holds is a warning, which says when it is meant; API servers' are exempt anyway."""
    nodes = (*NODES, node("c", "192.0.2.7"), node("api", "192.0.2.1"))
    sentence = one(bad(nodes=nodes))
    assert "c 192.0.2.7" in sentence
    assert "192.0.2.1" not in sentence
    assert "fine if" in bad(nodes=nodes)[0].next_step


def test_many_are_counted() -> None:
    """Of a large cluster five are named, and the others counted."""
    sentence = one(bad(nodes=[node(f"n{i:03}", "10.0.0.1", f"10.200.{i}.0/24") for i in range(200)]))
    assert "n004 10.200.4.0/24 and 195 more" in sentence
    assert "n005" not in sentence


def test_services_inside_the_ranges() -> None:
    """Nobody can claim a Service's address: ranges that hold some are too wide."""
    sentence = one(bad(replace(GOOD, cluster_cidrs=(ip_network("10.0.0.0/8"), ip_network("fd00::/16")))))
    assert "10.0.0.0/8" in sentence
    assert "10.96.0.0/12" in sentence


def test_an_api_server_that_is_a_service() -> None:
    """The Service's address is none that packets on the wire have: the address behind it is meant."""
    assert "10.96.0.1" in one(bad(replace(GOOD, api_servers=(ip_address("10.96.0.1"), ip_address("192.0.2.1")))))


def test_without_ranges_nodes_are_not_judged() -> None:
    """Empty clusterCIDRs are a finding of the configuration, and Services are compared all the same."""
    assert bad(Settings(), [node("c", "192.0.2.7", "10.8.0.0/24")]) == []
    assert bad(Settings(), None) == []
    assert "10.96.0.1" in one(bad(replace(GOOD, cluster_cidrs=(), api_servers=(ip_address("10.96.0.1"),))))


def test_nodes_that_could_not_be_read_are_told() -> None:
    """No right to list Nodes, or a Node with a malformed claim: a warning, and never an ok."""
    found = inspect_ranges(GOOD, None, {"nodes": "403 no"})
    assert [(f.severity, f.seen, "403 no" in f.sentence) for f in found] == [(Severity.WARNING, False, True)]
    found = inspect_ranges(GOOD, NODES, {"claims c": "podCIDRs: bad"})
    assert [(f.severity, f.sentence) for f in found] == [(Severity.WARNING, "could not be looked at: Node c: podCIDRs: bad")]
