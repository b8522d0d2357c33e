"""Which ESP passes between the addresses of two enabled nodes: that whose SPI names the node that owns the source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.kernel.guard import frames as f
from tests.kernel.guard.conftest import EXEMPT, HERE, SEALED, SETTINGS
from tests.kernel.guard.counting import counted
from tests.kernel.guard.ways import AT, DATA, Way, rows, ways
from tests.kernel.guard.wire import Wire
from wirecrypt.kernel.bpf.guard import KernelGuard
from wirecrypt.model.xfrm import Address

ESP: dict[str, Callable[[str, str, int], bytes]] = {
    "whole": lambda s, d, sender: f.ip(s, d, f.ESP, f.esp(sender, DATA)),
    "first fragment": lambda s, d, sender: f.fragment(s, d, f.ESP, f.esp(sender, DATA), offset=0, more=True),
    "later fragment": lambda s, d, _: f.fragment(s, d, f.ESP, DATA),
}
OWN = {"own address configured": SETTINGS.own, "own address looked up": ()}
enabled = pytest.mark.parametrize("peer", [SEALED, EXEMPT], ids=["sealed", "exempt"])


@ways
@enabled
@rows("part", ESP)
@rows("own", OWN)
def test_esp_of_the_pair_passes(  # noqa: PLR0913 - the cases
    guard: KernelGuard, wire: Wire, way: Way, peer: int, part: Callable[[str, str, int], bytes], own: tuple[Address, ...]
) -> None:
    """ESP whose SPI names the source's node passes between enabled nodes, and so does each fragment of it."""
    guard.configure(replace(SETTINGS, own=own))
    before = dict(guard.counters())
    assert way.crosses(wire, part(*way.ends(peer), way.source(peer)))
    assert counted(guard, before) == {"passed_esp": 1}


def of_another(way: Way, peer: int, sender: str) -> bytes:
    """Return ESP whose SPI does not name the source's node."""
    other = peer if way.out else HERE
    named = {"nobody": 0, "a third node": 0x1099, "the other end": other}[sender]
    return f.ip(*way.ends(peer), f.ESP, f.esp(named, DATA))


foreign = pytest.mark.parametrize("sender", ["nobody", "a third node", "the other end"])


@pytest.mark.L1
@pytest.mark.L7
@ways
@foreign
@rows("own", OWN)
def test_esp_of_another_sender_does_not_pass_between_sealed_nodes(
    guard: KernelGuard, wire: Wire, way: Way, sender: str, own: tuple[Address, ...]
) -> None:
    """ESP whose SPI names another node than the source's, or none, does not pass to or from a sealed peer."""
    guard.configure(replace(SETTINGS, own=own))
    before = dict(guard.counters())
    assert not way.crosses(wire, of_another(way, SEALED, sender))
    assert counted(guard, before) == {way.reason("node_cleartext"): 1}


@ways
@foreign
def test_esp_of_another_sender_is_cleartext_between_exempt_nodes(guard: KernelGuard, wire: Wire, way: Way, sender: str) -> None:
    """ESP whose SPI names another node than the source's, or none, passes between exempt nodes and counts as cleartext."""
    before = dict(guard.counters())
    assert way.crosses(wire, of_another(way, EXEMPT, sender))
    assert counted(guard, before) == {"node_to_node": 1}


@pytest.mark.L1
@pytest.mark.L7
@ways
def test_a_source_without_an_owner_sends_no_esp(guard: KernelGuard, wire: Wire, way: Way) -> None:
    """Where no entry says whose the source is, ESP whose SPI names nobody does not pass."""
    src, dst = way.ends(SEALED)
    guard.configure(replace(SETTINGS, own=()))
    guard.set_entries([replace(e, node_id=0) for e in guard.entries() if str(e.prefix.network_address) == src])
    before = dict(guard.counters())
    assert not way.crosses(wire, f.ip(src, dst, f.ESP, f.esp(0, DATA)))
    assert counted(guard, before) == {way.reason("node_cleartext"): 1}


def chain(count: int, proto: int, payload: bytes) -> bytes:
    """Return *count* extension headers, then the payload."""
    return payload if not count else f.extension(proto if count == 1 else f.OPTIONS, chain(count - 1, proto, payload))


@pytest.mark.L1
@pytest.mark.L7
@ways
def test_esp_behind_more_headers_than_are_read_does_not_pass(guard: KernelGuard, wire: Wire, way: Way) -> None:
    """ESP of the pair behind nine extension headers, which are not read to their end, does not pass between sealed nodes."""
    payload = chain(9, f.ESP, f.esp(way.source(SEALED), DATA))
    before = dict(guard.counters())
    assert not way.crosses(wire, f.ip(*way.ends(SEALED), f.OPTIONS, payload))
    assert counted(guard, before) == {way.reason("node_cleartext"): 1}


@ways
def test_esp_of_two_other_nodes_passes_through(guard: KernelGuard, wire: Wire, way: Way) -> None:
    """ESP from one peer to another passes this node, by the SPI of the one that sends."""
    src, dst = AT[EXEMPT][way.family], AT[SEALED][way.family]
    before = dict(guard.counters())
    assert way.crosses(wire, f.ip(src, dst, f.ESP, f.esp(EXEMPT, DATA)))
    assert counted(guard, before) == {"passed_esp": 1}
