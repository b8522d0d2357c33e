"""The policies that a pair should have, from a decision about it (docs/reference/kernel-objects.md).

Marks choose a lane or an exemption, never whether: lane 0 is the policy without a mark, so traffic that no program marked
is encrypted all the same; only where node→node is exempt does the mark of a pod's link tell a pod that took the node's
address. Selectors take any source (`flows`). IN and FWD templates pin both outer addresses, so no third node can speak for
the peer inside an SA of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from wirecrypt.model.mark import SLOTS, Mark, MarkLayout
from wirecrypt.model.pair import Pair
from wirecrypt.model.session import Generation
from wirecrypt.model.xfrm import PRIORITY_BAND, Direction, Network, Policy, PolicyAction, Selector, Template, host
from wirecrypt.pairs.decide import Decision
from wirecrypt.pairs.inputs import Out, Receive
from wirecrypt.plan.flows import OutFlow, flows_in, flows_out

UDP: Final = 17
PRIORITY_CONTROL: Final = PRIORITY_BAND.start + 0x10
PRIORITY_CONTROL_BLOCK: Final = PRIORITY_BAND.start + 0x20
PRIORITY_LANE: Final = PRIORITY_BAND.start + 0x30
PRIORITY_DATA: Final = PRIORITY_BAND.start + 0x40
PRIORITY_NODES: Final = PRIORITY_BAND.start + 0x50  # behind what is said of own pods


@dataclass(frozen=True, slots=True)
class Layout:
    """What all policies of a node share: where marks stand, and the UDP port of the control protocol."""

    marks: MarkLayout
    control_port: int


@dataclass(frozen=True, slots=True)
class Senders:
    """The pair's sending SAs by generation: how many lanes, and the slot by which control datagrams find them."""

    lanes: Mapping[Generation, int]
    slots: Mapping[Generation, int]


def wanted(pair: Pair, decision: Decision, senders: Senders, layout: Layout) -> list[Policy]:
    """Return every policy that the pair should have, receiving ones and control first, in a stable order."""
    if decision.remove_all:
        return []
    found = [*_receiving(pair, decision)]
    if decision.keep:
        found += _control(pair, decision, senders, layout)
    found += _sending(pair, decision, senders, layout)
    return found


def control_selector(src: Network, dst: Network, port: int) -> Selector:
    """Return the selector of control datagrams from *src* to *dst*."""
    return Selector(src=src, dst=dst, proto=UDP, dport=port)


def _receiving(pair: Pair, decision: Decision) -> Iterator[Policy]:
    if decision.receive is Receive.NONE:
        return
    own, peer = pair.outer()
    for flow in flows_in(pair, decision.nodes):
        optional = decision.receive is Receive.OPTIONAL or (flow.nodes and not decision.nodes.requires)
        template = Template(src=peer, dst=own, optional=optional)
        priority = PRIORITY_NODES if flow.nodes else PRIORITY_DATA
        yield Policy(flow.direction, flow.selector, priority, templates=(template,))


def _control(pair: Pair, decision: Decision, senders: Senders, layout: Layout) -> Iterator[Policy]:
    """Yield a way per slot and lane, each by its own mark, and a block for whatever else goes to the control port ◆R12."""
    own, peer = pair.outer()
    port = layout.control_port
    arriving = control_selector(host(peer), host(own), port)
    yield Policy(Direction.IN, arriving, PRIORITY_CONTROL, templates=(Template(src=peer, dst=own),))
    leaving = control_selector(host(own), host(peer), port)
    yield Policy(Direction.OUT, leaving, PRIORITY_CONTROL_BLOCK, verdict=PolicyAction.BLOCK)
    for generation, (_, send) in sorted(decision.keep.items()):
        slot = senders.slots.get(generation, -1)
        if not send or slot not in range(SLOTS):
            continue
        for lane in range(senders.lanes.get(generation, 0)):
            mark = layout.marks.control(slot, lane)
            template = _pinned(pair, generation, lane)
            yield Policy(Direction.OUT, leaving, PRIORITY_CONTROL, templates=(template,), mark=mark)


def _sending(pair: Pair, decision: Decision, senders: Senders, layout: Layout) -> Iterator[Policy]:
    if decision.out is Out.PLAIN:
        return
    for flow in flows_out(pair, decision.nodes):
        mark = base_mark(flow, layout.marks)
        if decision.out is Out.BLOCK or decision.in_use is None:
            yield Policy(Direction.OUT, flow.selector, PRIORITY_DATA, verdict=PolicyAction.BLOCK, mark=mark)
            continue
        for lane_mark, lane in spread(senders.lanes.get(decision.in_use, 1) if flow.spread else 1, layout.marks):
            template = _pinned(pair, decision.in_use, lane)
            yield Policy(Direction.OUT, flow.selector, PRIORITY_LANE, templates=(template,), mark=lane_mark)
        template = _pinned(pair, decision.in_use, 0)
        yield Policy(Direction.OUT, flow.selector, PRIORITY_DATA, templates=(template,), mark=mark)


def spread(lanes: int, marks: MarkLayout) -> Iterator[tuple[Mark, int]]:
    """Yield which flows take which lane but 0: those are told apart by as many bits of their numbers as it takes.

    So all lanes of the pair are used alike (where they are a power of two), however many either end would have offered.
    """
    bits = (lanes - 1).bit_length()
    yield from ((marks.encrypt(number, bits), number % lanes) for number in range(1, 1 << bits) if number % lanes)


def base_mark(flow: OutFlow, marks: MarkLayout) -> Mark | None:
    """Return the mark of a flow's policy of lane 0: none, or that of every lane where only a pod's packets are meant."""
    return marks.pods() if flow.stamped else None


def _pinned(pair: Pair, generation: Generation, lane: int) -> Template:
    own, peer = pair.outer()
    spi = generation.spi(pair.own.node_id, lane)
    return Template(src=own, dst=peer, spi=spi, reqid=spi)
