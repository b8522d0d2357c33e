"""The agent tells which addresses its node holds: at once, once, and whatever the API server does."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.unit.agent import node
from tests.unit.agent.cloud import active
from wirecrypt.agent.components import Components
from wirecrypt.agent.steps.proposing import Proposer
from wirecrypt.agent.steps.publishing import AGAIN
from wirecrypt.agent.view.pass_state import PassState
from wirecrypt.errors import ClusterError, Conflict, Forbidden, NotFound
from wirecrypt.model.link import Link
from wirecrypt.model.objects import NodePeer
from wirecrypt.model.xfrm import Address
from wirecrypt.settings import Settings

VIP, OTHER = ip_address("198.51.100.7"), ip_address("198.51.100.8")
OWN = node.OWN.endpoints  # are proposed as well: that the node has them still is news when its Node stops to mention one


@dataclass
class Outside:
    """A card with the node's endpoints and *held*, and an API server that notes what is written; *own*: what copies show."""

    held: tuple[Address, ...] = ()
    own: NodePeer = field(default_factory=lambda: replace(node.OWN, resource_version="1"))
    written: list[tuple[Address, ...]] = field(default_factory=list)
    error: ClusterError | None = None
    listed: bool = True
    gone: tuple[Address, ...] = ()  # endpoints that are on no link any more

    def propose_addresses(self, name: str, addresses: tuple[Address, ...]) -> None:
        """Note the list, or fail."""
        assert name == self.own.name
        if self.error:
            raise self.error
        self.written.append(tuple(addresses))

    def made(self) -> Proposer:
        """Return the step over this outside."""
        return Proposer(cast("Components", SimpleNamespace(api=self, guard_attachment=self)))

    def shows(self, version: str, proposed: tuple[Address, ...] | None) -> None:
        """Have the copies show another version of the own NodePeer."""
        self.own = replace(self.own, resource_version=version, proposed=proposed)

    @property
    def links(self) -> list[Link] | None:
        """Return the card with all addresses, as the kernel lists it."""
        there = tuple(a for a in (*self.own.endpoints, *self.held) if a not in self.gone)
        card = Link(2, "eth0", "", 1500, up=True, master=None, foreign_peer=False, addresses=there)
        return [card] if self.listed else None


def step(outside: Outside, proposer: Proposer, now: float = 0.0) -> list[tuple[str, str]]:
    """Do the step of one pass and return what is wrong by it."""
    pass_state = cast("PassState", SimpleNamespace(own=outside.own, trouble=[]))
    proposer.propose(pass_state, Settings(), now)
    return pass_state.trouble


def test_what_the_node_holds_is_written_once_and_again_when_it_changes() -> None:
    """Copies that are not up to date yet are no reason to write it a second time."""
    outside = Outside((VIP,))
    proposer = outside.made()
    step(outside, proposer)
    step(outside, proposer)
    assert outside.written == [(*OWN, VIP)]
    outside.shows("2", (*OWN, VIP))
    step(outside, proposer)
    outside.held = (VIP, OTHER)
    step(outside, proposer)
    assert outside.written == [(*OWN, VIP), (*OWN, VIP, OTHER)]
    outside.shows("3", (*OWN, VIP, OTHER))
    outside.held = ()
    step(outside, proposer)
    assert outside.written[2:] == [OWN]


def test_a_change_is_written_though_the_copies_show_neither_it_nor_the_one_before() -> None:
    """Two changes within a moment."""
    outside = Outside((VIP,))
    proposer = outside.made()
    step(outside, proposer)
    outside.held = (OTHER,)
    step(outside, proposer)
    assert outside.written == [(*OWN, VIP), (*OWN, OTHER)]


def test_an_api_server_that_went_back_is_told_again() -> None:
    """What it shows is another version than those from before the write, or was seen with the proposal in between."""
    outside = Outside((VIP,))
    proposer = outside.made()
    step(outside, proposer)
    outside.shows("2", (*OWN, VIP))
    step(outside, proposer)
    outside.shows("1", None)
    step(outside, proposer)
    assert outside.written == [(*OWN, VIP), (*OWN, VIP)]


def test_a_node_says_that_it_has_its_endpoints_and_withdraws_what_it_does_not_have() -> None:
    """An endpoint that is on no link is not told, and what was granted to a node without it neither."""
    outside = Outside()
    outside.own = replace(outside.own, addresses=(VIP,))
    proposer = outside.made()
    step(outside, proposer)
    assert outside.written == [OWN]
    outside.gone = OWN[:1]
    step(outside, proposer)
    assert outside.written[1:] == [OWN[1:]]


def test_nothing_is_said_before_links_were_listed() -> None:
    """A kernel that did not answer is no node without addresses."""
    outside = Outside(own=replace(node.OWN, addresses=(VIP,)), listed=False)
    assert step(outside, outside.made()) == []
    assert outside.written == []


def test_a_refusal_is_told_in_each_pass_and_tried_again_with_growing_waits() -> None:
    """Until it is written, or there is nothing to say any more."""
    outside = Outside((VIP,), error=Forbidden("PATCH", answer="no"))
    proposer = outside.made()
    first = step(outside, proposer)
    assert [reason for reason, _ in first] == ["APIServer"]
    assert step(outside, proposer, AGAIN.first / 2) == first
    step(outside, proposer, AGAIN.first)
    outside.error = None
    assert step(outside, proposer, AGAIN.first * 2) == first
    assert outside.written == []
    assert step(outside, proposer, AGAIN.first * 3) == []
    assert outside.written == [(*OWN, VIP)]


def test_an_address_that_goes_before_it_could_be_told_leaves_no_trouble() -> None:
    """There is nothing to say any more."""
    outside = Outside((VIP,), error=Forbidden("PATCH", answer="no"))
    proposer = outside.made()
    assert step(outside, proposer)
    outside.shows("2", OWN)
    outside.held = ()
    assert step(outside, proposer) == []


@pytest.mark.parametrize("error", [Conflict("PATCH", answer="409"), NotFound("PATCH", answer="404")])
def test_an_object_that_is_being_written_or_removed_is_waited_for_quietly(error: ClusterError) -> None:
    """The next look shows what became of it."""
    outside = Outside((VIP,), error=error)
    proposer = outside.made()
    assert step(outside, proposer) == []
    outside.error = None
    step(outside, proposer, AGAIN.first)
    assert outside.written == [(*OWN, VIP)]


def test_a_virtual_address_is_proposed_in_the_pass_after_its_event(tmp_path: Path) -> None:
    """Put on the card, taken off again: each is in the API one pass later, and a pass without a change writes nothing."""
    cloud = active(tmp_path, "a", "b")
    machine = cloud.machines["a"]
    endpoints = cloud.peer("a").endpoints
    assert cloud.peer("a").proposed == endpoints
    for held in ((VIP,), ()):
        machine.uplink.addresses = (*machine.addresses, *held)
        machine.agent.links_changed()
        machine.agent.step(cloud.now)
        assert cloud.peer("a").proposed == (*endpoints, *held)
    before = list(cloud.writes)
    machine.agent.links_changed()
    machine.agent.step(cloud.now)
    assert cloud.writes == before
