"""A guard that the kernel refuses, and marks that may not move: what goes on, what does not, and what is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.agent.cloud import CONFIG, Cloud, active
from wirecrypt.model.objects import NodeState


@pytest.mark.L1
def test_a_guard_that_fails_keeps_no_pair_from_being_blocked(tmp_path: Path) -> None:
    """After a boot the policies are set all the same, and the refusal is reported; with the guard back all is well."""
    cloud = active(tmp_path, "a", "b")
    a = cloud.machines["a"]
    a.boot()
    a.filters.refusal = "the verifier said no"
    a.start()
    cloud.run(0.25, "a")
    assert a.kernel.out(cloud.peer("b")) == {"block"}
    cloud.run(10)
    assert a.kernel.out(cloud.peer("b")) == {"esp"}
    assert cloud.ready("a") == (False, "GuardRefused")
    a.filters.refusal = ""
    cloud.run(10)
    assert cloud.ready("a") == (True, "AllPeersProtected")


def test_a_node_that_joins_without_a_guard_is_not_ready(tmp_path: Path) -> None:
    """Its pairs are encrypted, and no pair is written down as one to block, so the node stays Joining until it is guarded."""
    cloud = Cloud(tmp_path)
    for number, name in enumerate(("a", "b"), 16):
        cloud.add(name, number)
        cloud.label(name)
    a = cloud.machines["a"]
    a.filters.refusal = "the verifier said no"
    cloud.run(10)
    assert a.kernel.out(cloud.peer("b")) == {"esp"}
    assert json.loads(a.pairs.read_bytes())["peers"] == []
    assert cloud.api.encrypted["a"].status is not None
    assert cloud.api.encrypted["a"].status.ready_for == ()
    a.filters.refusal = ""
    cloud.run(10)
    assert cloud.api.encrypted["a"].status.ready_for == ("b",)


def test_the_mark_field_moves_only_when_no_sa_carries_it(tmp_path: Path) -> None:
    """A new place is reported and waits; a node that left and joins again takes it."""
    cloud = active(tmp_path, "a", "b")
    a = cloud.machines["a"]
    before = dict(a.kernel.policies)
    cloud.api.configure(CONFIG + "mark: {shift: 16}\n")
    cloud.run(10)
    assert a.filters.settings is not None
    assert (a.filters.settings.mark_shift, a.kernel.policies) == (20, before)
    assert cloud.ready("a") == (False, "ConfigInvalid")
    for name in ("a", "b"):
        cloud.unlabel(name)
    cloud.run(20)
    for name in ("a", "b"):
        cloud.remove(name)
    cloud.run(6)
    for name in ("a", "b"):
        cloud.label(name)
    cloud.run(10)
    cloud.state(NodeState.ACTIVE, "a", "b")
    cloud.run(2)
    assert a.filters.settings.mark_shift == 16
    assert cloud.ready("a") == (True, "AllPeersProtected")
