"""Attachments by tcx (kernel >= 6.6): no qdisc, first in the chain, pinned, and others' left alone."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.guard.conftest import SETTINGS, entries
from tests.kernel.guard.test_guard_life import listing, spare, tc_index
from tests.kernel.guard.wire import Wire, inside, run
from wirecrypt.kernel.bpf import records, syscall, tc
from wirecrypt.kernel.bpf.guard import KernelGuard
from wirecrypt.kernel.bpf.pins import Pins
from wirecrypt.kernel.bpf.syscall import TcxHook
from wirecrypt.lab.waiting import DEADLINE, until
from wirecrypt.model.guard import Attachment

__all__ = ["spare"]  # a fixture

BOTH = ["wirecrypt_guard_egress", "wirecrypt_guard_ingress"]
ALL = [*BOTH, "wirecrypt_mark"]
pytestmark = pytest.mark.usefixtures("tcx")


@pytest.fixture
def foreign(guard: KernelGuard, bpffs: Path, wire: Wire, spare: str) -> Iterator[int]:
    """Attach somebody else's program first at the ingress of the spare link, and give its number."""
    with inside(wire.node), syscall.opened(Pins(bpffs).program("wirecrypt_guard_egress")) as program:
        attached = syscall.create_tcx_link(program, tc_index(spare), TcxHook.INGRESS)
        number = syscall.program_id(program)
    yield number
    os.close(attached)


def chain(link: str, hook: TcxHook) -> list[int]:
    """Return the numbers of the programs at a hook in the order in which they run (BPF_PROG_QUERY)."""
    found = (ctypes.c_uint32 * 16)()
    attr = struct.pack("=4IQI36x", tc_index(link), hook, 0, 0, ctypes.addressof(found), len(found))
    buffer = ctypes.create_string_buffer(attr, len(attr))
    number = {"x86_64": 321, "aarch64": 280}[platform.machine()]
    assert ctypes.CDLL(None, use_errno=True).syscall(number, 16, buffer, len(attr)) == 0, os.strerror(ctypes.get_errno())
    return list(found)[: struct.unpack_from("=I", buffer.raw, 24)[0]]


def program_ids(bpffs: Path) -> dict[str, int]:
    ids = {}
    for name in ALL:
        with syscall.opened(Pins(bpffs).program(name)) as fd:
            ids[name] = syscall.program_id(fd)
    return ids


def pins(bpffs: Path) -> list[str]:
    return sorted(path.name.split("-", 1)[1] for path in Pins(bpffs).attached.iterdir())


def test_no_qdisc_is_added(guard: KernelGuard, wire: Wire, spare: str) -> None:
    """Attaching leaves qdiscs and filters of a link as they are."""
    before = listing(wire, spare)
    with inside(wire.node):
        guard.attach_guard(spare)
        guard.attach_mark(spare)
        assert [a.program for a in guard.attachments() if a.link == spare] == ALL
    assert listing(wire, spare) == before


@pytest.mark.parametrize("order", ["guard first", "mark first"])
def test_guard_then_mark_then_others(  # noqa: PLR0913 - fixtures
    guard: KernelGuard, bpffs: Path, wire: Wire, spare: str, foreign: int, *, order: str
) -> None:
    """Ours run before a program that was there already, the guard before the mark, whichever of them came first."""
    steps = [guard.attach_guard, guard.attach_mark]
    ids = program_ids(bpffs)
    with inside(wire.node):
        for step in steps if order == "guard first" else reversed(steps):
            step(spare)
        assert chain(spare, TcxHook.INGRESS) == [ids["wirecrypt_guard_ingress"], ids["wirecrypt_mark"], foreign]
        assert chain(spare, TcxHook.EGRESS) == [ids["wirecrypt_guard_egress"]]


@pytest.mark.C3
def test_foreign_attachments_stay(guard: KernelGuard, wire: Wire, spare: str, foreign: int) -> None:
    """Somebody else's program is at its place after we have detached, and is not taken for ours."""
    with inside(wire.node):
        guard.attach_mark(spare)
        guard.detach(spare)
        assert chain(spare, TcxHook.INGRESS) == [foreign]
        assert [a for a in guard.attachments() if a.link == spare] == []


def test_each_attachment_has_its_pin(guard: KernelGuard, bpffs: Path, wire: Wire, spare: str) -> None:
    """Each attachment has one pin that names link and program, which is gone after it was detached."""
    with inside(wire.node):
        guard.attach_guard(spare)
        index = tc_index(spare)
        assert {f"{index}-{name}" for name in BOTH} <= set(pins(bpffs))
        guard.detach(spare)
    assert [pin for pin in pins(bpffs) if pin.startswith(f"{index}-")] == []


def test_pins_of_links_that_are_gone_are_removed(guard: KernelGuard, bpffs: Path, wire: Wire, spare: str) -> None:
    """The pin of a link that was deleted goes with the next link that is attached to, or the next load."""
    with inside(wire.node):
        run(f"ip -n {wire.node} link add wcgone type dummy")
        guard.attach_mark("wcgone")
        gone = f"{tc_index('wcgone')}-wirecrypt_mark"
        assert gone in pins(bpffs)
        run(f"ip -n {wire.node} link del wcgone")
        assert "wcgone" not in [a.link for a in guard.attachments()]
        guard.attach_mark(spare)
    assert gone not in pins(bpffs)


def test_a_link_that_moves_away_is_freed_of_ours(guard: KernelGuard, bpffs: Path, wire: Wire, spare: str) -> None:
    """A link that went into another namespace is no longer listed, and the next attachment ends ours on it."""
    with inside(wire.node):
        run(f"ip -n {wire.node} link add wcmoves type dummy")
        guard.attach_mark("wcmoves")
        run(f"ip -n {wire.node} link set dev wcmoves netns {wire.sink}")
        assert "wcmoves" not in [a.link for a in guard.attachments()]
        guard.attach_mark(spare)
    with inside(wire.sink):
        assert chain("wcmoves", TcxHook.INGRESS) == []
    run(f"ip -n {wire.sink} link del wcmoves")


@pytest.mark.L1
def test_filters_of_an_older_version_give_way(guard: KernelGuard, bpffs: Path, wire: Wire, spare: str) -> None:
    """Filters that an older version left are listed, replaced by attachments, and the qdisc it made goes when we leave."""
    before = listing(wire, spare)
    with inside(wire.node):
        index = tc_index(spare)
        leave_filters(bpffs, index)
        assert [a for a in guard.attachments() if a.link == spare] == [Attachment(spare, name, current=True) for name in BOTH]
        guard.attach_guard(spare)
        assert [a for a in guard.attachments() if a.link == spare] == [Attachment(spare, name, current=True) for name in BOTH]
        assert tc.filters(index) == []
        assert [len(chain(spare, hook)) for hook in TcxHook] == [1, 1]
        guard.detach(spare)
    assert listing(wire, spare) == before


def leave_filters(bpffs: Path, index: int) -> None:
    """Attach and note the guard as on a kernel without tcx."""
    with syscall.opened_map(Pins(bpffs).map("links")) as links:
        links.set(index.to_bytes(4, "little"), records.pack("wc_link", header=14, clsact_made=True))
    tc.ensure_clsact(index)
    for direction, name in (("egress", BOTH[0]), ("ingress", BOTH[1])):
        with syscall.opened(Pins(bpffs).program(name)) as fd:
            tc.attach(index, direction=direction, fd=fd, name=name, prio=1, handle=0x5743)


def test_who_removes_the_pins_takes_no_held_program_away(bpffs: Path, wire: Wire, spare: str) -> None:
    """It runs on and is pinned again, and its successor takes its place once that has entries; never two, never none."""
    elsewhere = bpffs / "removed"
    elsewhere.mkdir()
    held = KernelGuard(elsewhere)
    held.load(SETTINGS)
    with inside(wire.node):
        held.attach_guard(spare)
        before, first = pins(elsewhere), chain(spare, TcxHook.EGRESS)
        held.hold()
        shutil.rmtree(Pins(elsewhere).folder)
        assert chain(spare, TcxHook.EGRESS) == first
        held.hold()
        assert pins(elsewhere) == before
        held.load(SETTINGS)
        held.attach_guard(spare)
        assert chain(spare, TcxHook.EGRESS) == first
        held.set_entries(entries())
        held.attach_guard(spare)
        assert chain(spare, TcxHook.EGRESS) == [program_ids(elsewhere)[BOTH[0]]] != first
        held.detach(spare)
        held.hold()
        assert (chain(spare, TcxHook.EGRESS), pins(elsewhere)) == ([], [])
        held.unload()
    elsewhere.rmdir()


def test_what_is_not_held_goes_with_its_pin(guard: KernelGuard, bpffs: Path, wire: Wire, spare: str) -> None:
    """The detector of the test above: the kernel detaches what nobody holds."""
    with inside(wire.node):
        guard.attach_guard(spare)
        for pin in Pins(bpffs).attached.glob(f"*-{tc_index(spare)}-*"):
            pin.unlink()
        until(lambda: not chain(spare, TcxHook.EGRESS), what="the kernel keeps a program that nobody holds", seconds=DEADLINE)
