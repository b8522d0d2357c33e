"""What is left of a peer that goes for an address that this node has no more, and what of it is another peer's."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from tests.unit.agent.node import OWN, PEER, STEADY, complete, pass_state
from wirecrypt.agent.steps.left_behind import of_removed
from wirecrypt.agent.view.pass_state import PassState, Undecided
from wirecrypt.model.xfrm import Template

BEFORE = ip_address("192.0.2.99")


def after_boot() -> PassState:
    """Return a pass in which the peer is to be removed, and all policies are for an address of before."""
    kernel = complete()
    moved = {OWN.endpoints[0]: BEFORE}

    def of_before(template: Template) -> Template:
        return replace(template, src=moved.get(template.src, template.src), dst=moved.get(template.dst, template.dst))

    policies = [replace(p, templates=tuple(map(of_before, p.templates))) for p in kernel.policies.values()]
    return pass_state(replace(kernel, policies={p.name: p for p in policies}), replace(STEADY, remove_all=True))


def test_policies_for_an_address_of_before_go_with_the_peer() -> None:
    """Those with its tunnel's address; what is of the pair as it is now goes with the pair."""
    found = after_boot()
    (left,) = of_removed(found)
    assert {p.name for p in left.policies} == {p.name for p in found.kernel.policies.values() if p.templates}
    (none,) = of_removed(pass_state(complete(), replace(STEADY, remove_all=True)))
    assert (none.policies, none.sas) == ((), ())


@pytest.mark.L1
def test_an_address_that_is_another_peers_as_well_says_nothing() -> None:
    """About which nothing could be decided: what it has stays."""
    found = after_boot()
    other = replace(PEER.end, name="x", node_uid="uid-x", node_id=20)
    found.undecided["uid-x"] = Undecided("x", (other,), ended=True)
    assert [left.policies for left in of_removed(found)] == [()]
    assert of_removed(pass_state(complete())) == []
