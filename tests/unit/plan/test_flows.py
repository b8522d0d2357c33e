"""The flow classes stand once: what policies, the guard and the page for readers say is of these classes and no others."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path

import pytest

from tests.unit.plan.made import AB, A, B, decision, g
from wirecrypt.model.guard import GuardAction
from wirecrypt.model.pair import Pair
from wirecrypt.model.xfrm import Direction, Network, Selector, host
from wirecrypt.pairs.node_traffic import SEALED
from wirecrypt.plan.flows import FlowClass, flows_in, flows_out
from wirecrypt.plan.guard_entries import wanted

PAGE = Path(__file__).parents[3] / "docs/explanation/which-traffic.md"
ROW = re.compile(
    r"^\| (pod|node)\b[^|]*\| (pod|any address) (?:on|of) the other node \| \*\*encrypted\*\*.*`tests/", re.MULTILINE
)
every_class = pytest.mark.parametrize("of", FlowClass)
both_families = pytest.mark.parametrize("version", [4, 6])
BACK = Pair(B, A)  # the same pair as the other end has it


def one_packet(of: FlowClass, version: int) -> tuple[Network, Network]:
    """Return source and destination of a packet of A to B."""
    sources = [prefix[5] for prefix in A.pod_cidrs] if of.from_pod else A.endpoints
    targets = [prefix[7] for prefix in B.pod_cidrs] if of.to_pod else B.endpoints
    pick = [next(ip_network(a) for a in addresses if a.version == version) for addresses in (sources, targets)]
    return pick[0], pick[1]


def matches(selector: Selector, source: Network, target: Network) -> bool:
    """Return whether a packet of no protocol in particular is one of *selector*'s."""
    return not selector.proto and selector.src.supernet_of(source) and selector.dst.supernet_of(target)


def of_family(selector: Selector, version: int) -> bool:
    return selector.src.version == selector.dst.version == version


@pytest.mark.L4
@every_class
@both_families
def test_every_class_leaves_by_esp_and_is_expected_so(of: FlowClass, version: int) -> None:
    """A packet of each class and family matches what one end sends out, and what the other takes in on its way."""
    source, target = one_packet(of, version)
    out = [f.selector for f in flows_out(AB, SEALED) if of_family(f.selector, version)]
    assert any(matches(selector, source, target) for selector in out)
    direction = Direction.FWD if of.to_pod else Direction.IN
    taken = [f.selector for f in flows_in(BACK, SEALED) if f.direction is direction and of_family(f.selector, version)]
    assert any(matches(selector, source, target) for selector in taken)


@pytest.mark.L4
@every_class
@both_families
def test_the_guard_lets_no_class_go_in_clear(of: FlowClass, version: int) -> None:
    """Where a packet of each class and family goes, and where it comes from, the guard has an entry that drops cleartext."""
    source, target = one_packet(of, version)
    sealed = {GuardAction.DROP, GuardAction.SEALED}
    here, there = (wanted(pair.own, [(pair, decision(in_use=g(1, 1)))], [], []) for pair in (AB, BACK))
    assert [e.egress for p, e in here.items() if p.version == version and p.supernet_of(target)][-1] in sealed
    assert [e.ingress for p, e in there.items() if p.version == version and p.supernet_of(source)][-1] in sealed


def test_the_page_has_a_row_for_each_class() -> None:
    """The table's rows of a pair are these classes, in this order, each encrypted and each with a test that shows it."""
    rows = ROW.findall(PAGE.read_text())
    assert [f"{source} to {'pod' if target == 'pod' else 'node'}" for source, target in rows] == [of.value for of in FlowClass]


def test_addresses_of_a_peer_are_claims_like_its_pods() -> None:
    """The two kinds of places of a class are all that a peer claims."""
    assert {*B.pod_cidrs, *map(host, B.endpoints)} == set(B.claims)
