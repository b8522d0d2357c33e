"""What was read of the kernel stands until it may be another: nothing rests on it that somebody may have changed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.fakes.kernel import Kernel
from tests.unit.agent import node
from wirecrypt.agent.datapath.writes import Datapath
from wirecrypt.errors import XfrmError
from wirecrypt.plan.diff import Action, Step

OLDEST = 70.0


class Counted(Kernel):
    """A kernel with the SAs of a pair that counts its *reads*; *refuses*: it cannot be; *meanwhile*: an SA goes then."""

    def __init__(self) -> None:
        super().__init__()
        self.add_sas(node.sas())
        self.reads, self.refuses, self.meanwhile = 0, False, False

    def list_sas(self):  # type: ignore[no-untyped-def]  # as the port has it  # noqa: ANN201
        """Count, and return what there is."""
        self.reads += 1
        if self.refuses:
            raise XfrmError("list IPsec states", answer="no")
        found = super().list_sas()
        if self.meanwhile:
            self.sas.pop(next(iter(self.sas)))
        return found


@pytest.fixture
def kernel() -> Counted:
    """Return a kernel that nobody has read."""
    return Counted()


@pytest.fixture
def datapath(kernel: Counted) -> Datapath:
    """Return it as agents have it, read once by the pass that has begun."""
    found = Datapath(kernel, kernel.guard, kernel.changes)
    found.begin(0.0, OLDEST)
    found.snapshot()
    return found


def test_what_nobody_changed_is_not_read_again(datapath: Datapath, kernel: Counted) -> None:
    """It is the very value that was read, in this pass and the next ones."""
    first = datapath.snapshot()
    datapath.begin(OLDEST - 1, OLDEST)
    assert datapath.snapshot() is first
    assert (kernel.reads, datapath.fresh, datapath.read_at) == (1, False, 0.0)


def test_what_was_read_long_ago_is_read_again(datapath: Datapath, kernel: Counted) -> None:
    """Whatever was told, or not: a notification may be lost."""
    datapath.begin(OLDEST, OLDEST)
    datapath.snapshot()
    assert (kernel.reads, datapath.fresh, datapath.read_at) == (2, True, OLDEST)


def test_what_somebody_else_changed_is_read_again(datapath: Datapath, kernel: Counted) -> None:
    """At once, also in the middle of a pass."""
    name = next(iter(kernel.sas))
    del kernel.sas[name]
    assert not datapath.stands()
    assert name not in datapath.snapshot().sas
    assert datapath.stands()


def test_what_is_changed_while_it_is_read_is_read_again(datapath: Datapath, kernel: Counted) -> None:
    """What was told before a list was complete may be missing in it."""
    datapath.forget()
    kernel.meanwhile = True
    datapath.snapshot()
    kernel.meanwhile = False
    assert set(datapath.snapshot().sas) == set(kernel.sas)


def test_a_list_that_fails_leaves_nothing_to_stand_on(datapath: Datapath, kernel: Counted) -> None:
    """What was read before it is not taken for what there is."""
    kernel.sas.clear()
    kernel.refuses = True
    with pytest.raises(XfrmError):
        datapath.snapshot()
    kernel.refuses = False
    assert datapath.snapshot().sas == {}


def test_what_was_written_is_read_again(datapath: Datapath, kernel: Counted) -> None:
    """Also where the kernel refused it."""
    sa = node.sas()[0]
    datapath.apply([Action(Step.ADD_RECEIVING, sa, "b", "it is there")])
    datapath.snapshot()
    assert kernel.reads == 2


def test_own_writes_hide_no_change_of_others(datapath: Datapath, kernel: Counted) -> None:
    """An SA that somebody else takes away before and after a write of the agent is gone in the next look."""
    first, second, *_ = kernel.sas
    del kernel.sas[first]
    datapath.apply([Action(Step.ADD_RECEIVING, replace(node.sas()[0], spi=77), "b", "another")])
    del kernel.sas[second]
    assert not {first, second} & datapath.snapshot().sas.keys()


def test_before_a_write_the_kernel_is_read_once_a_pass(datapath: Datapath, kernel: Counted) -> None:
    """What was read in an earlier pass is stale then, counters and all; what this one has read is not."""
    assert not datapath.stale()
    datapath.begin(1.0, OLDEST)
    datapath.snapshot()
    assert datapath.stale()
    datapath.snapshot()
    assert (kernel.reads, datapath.stale()) == (2, False)


def test_without_anybody_who_tells_each_look_reads(kernel: Counted) -> None:
    """As where a kernel's notifications cannot be had."""
    datapath = Datapath(kernel, kernel.guard)
    for _ in range(3):
        datapath.snapshot()
    assert (kernel.reads, datapath.fresh, datapath.stands()) == (3, True, False)
