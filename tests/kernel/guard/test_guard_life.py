"""Loading, adopting, attaching and leaving: what is written, what is left, what of others is not touched."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from tests.kernel.guard import frames as f
from tests.kernel.guard.conftest import SETTINGS, entries
from tests.kernel.guard.wire import Wire, inside, run
from wirecrypt.agent.datapath.guard_attachment import GuardAttachment
from wirecrypt.errors import BpfError, LinkError
from wirecrypt.kernel.bpf import syscall, tc
from wirecrypt.kernel.bpf.guard import KernelGuard
from wirecrypt.kernel.bpf.pins import Pins
from wirecrypt.kernel.bpf.records import ENTRY_MAPS
from wirecrypt.kernel.bpf.syscall import TcxHook, tcx_supported
from wirecrypt.kernel.bpf.tcx import Tcx
from wirecrypt.kernel.net.links import KernelLinks
from wirecrypt.model.guard import Attachment, GuardAction, GuardEntry

CLEARTEXT = f.ether(f.ip("10.244.1.5", "10.244.2.7", f.UDP, f.udp(b"readable words of a pod")))


@pytest.fixture
def spare(wire: Wire) -> Iterator[str]:
    """Give a link of the node that nothing is attached to."""
    run(f"ip -n {wire.node} link add wcspare type veth peer name wcother")
    yield "wcspare"
    run(f"ip -n {wire.node} link del wcspare")


def listing(wire: Wire, link: str) -> list[str]:
    """Return qdiscs and filters of a link as tc shows them."""
    show = ("qdisc show", "filter show", "filter show")
    ends = ("", "ingress", "egress")
    return [run(f"ip netns exec {wire.node} tc {what} dev {link} {end}") for what, end in zip(show, ends, strict=True)]


def attach_foreign(guard: KernelGuard, bpffs: Path, link: str, *, prio: int, handle: int) -> None:
    """Attach a filter under a name that is not ours, as another product would."""
    assert guard.loaded()
    with syscall.opened(Pins(bpffs).program("wirecrypt_mark")) as fd:
        tc.attach(tc_index(link), direction="egress", fd=fd, name="foreign", prio=prio, handle=handle)


def make_older(pins: Pins, index: int) -> None:
    """Put another program into the place of guard-egress, as an older version would be."""
    with syscall.opened(pins.program("wirecrypt_mark")) as fd:
        if tcx_supported(index):
            assert Tcx(pins.attached).attach(index, TcxHook.EGRESS, "wirecrypt_guard_egress", fd)
        else:
            tc.attach(index, direction="egress", fd=fd, name="wirecrypt_guard_egress", prio=1, handle=0x5743)


def tc_index(link: str) -> int:
    return socket.if_nametoindex(link)


@pytest.mark.C2
def test_a_second_pass_writes_nothing(guard: KernelGuard, bpffs: Path, wire: Wire) -> None:
    """An adapter made anew adopts pins, settings, entries and filters, and writes nothing."""
    again = KernelGuard(bpffs)
    with inside(wire.node):
        again.load(SETTINGS)
        again.attach_guard("uplink")
        current = again.attachments()
    assert again.writes == 0
    assert current == [
        Attachment("uplink", "wirecrypt_guard_egress", current=True),
        Attachment("uplink", "wirecrypt_guard_ingress", current=True),
    ]


@pytest.mark.L1
def test_the_guard_drops_without_any_process_of_ours(guard: KernelGuard, wire: Wire) -> None:
    """Loader and adapter hold no descriptor open: what drops is in the kernel alone."""
    held = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert [target for target in held if target.startswith("anon_inode:bpf")] == []
    assert not wire.leaves(CLEARTEXT)


def test_entries_are_listed_as_they_were_written(guard: KernelGuard) -> None:
    """Entries come back equal, those written last win, and deleted ones are gone."""
    both = GuardEntry(ip_network("10.9.0.0/16"), GuardAction.PASS, GuardAction.DROP, 65535)
    guard.set_entries([replace(both, egress=GuardAction.UNKNOWN), both])
    guard.delete_entries([ip_network("10.244.0.0/16"), ip_network("10.244.0.0/16")])
    wanted = {e.prefix: e for e in [*entries(), both]}
    del wanted[ip_network("10.244.0.0/16")]
    assert {e.prefix: e for e in guard.entries()} == wanted


def test_thousands_of_entries_are_taken_in_one_go(guard: KernelGuard) -> None:
    """6,000 prefixes and addresses are written whole, though the kernel's stock of elements runs dry in between."""
    many = [
        GuardEntry(ip_network((0x0B000000 + n * 256, length)), GuardAction.DROP, GuardAction.DROP)
        for n in range(3000)
        for length in (24, 32)
    ]
    guard.set_entries(many)
    assert set(many) <= set(guard.entries())


@pytest.mark.C3
def test_foreign_filters_and_qdiscs_stay(guard: KernelGuard, bpffs: Path, wire: Wire, spare: str) -> None:
    """A clsact qdisc and a filter of somebody else are the same before we attach and after we detached."""
    with inside(wire.node):
        tc.ensure_clsact(tc_index(spare))
        attach_foreign(guard, bpffs, spare, prio=7, handle=1)
        before = listing(wire, spare)
        guard.attach_guard(spare)
        guard.attach_mark(spare)
        assert [a.link for a in guard.attachments()].count(spare) == 3
        guard.detach(spare)
    assert listing(wire, spare) == before


@pytest.mark.C3
def test_a_foreign_filter_at_our_place_is_not_replaced(guard: KernelGuard, bpffs: Path, wire: Wire, spare: str) -> None:
    """Where somebody else's filter has our priority and handle, attaching fails (tcx has no such places); it stays as it is."""
    with inside(wire.node):
        tc.ensure_clsact(tc_index(spare))
        attach_foreign(guard, bpffs, spare, prio=1, handle=0x5743)
        before = listing(wire, spare)
        if tcx_supported(tc_index(spare)):
            guard.attach_guard(spare)
        else:
            with pytest.raises(LinkError, match="foreign") as refused:
                guard.attach_guard(spare)
            assert refused.value.errno == errno.EEXIST
        guard.detach(spare)
    assert listing(wire, spare) == before


def test_a_qdisc_of_ours_goes_with_our_last_filter(guard: KernelGuard, wire: Wire, spare: str) -> None:
    """Where we made the clsact qdisc ourselves, detaching leaves the link as it was."""
    before = listing(wire, spare)
    with inside(wire.node):
        guard.attach_guard(spare)
        guard.detach(spare)
        guard.detach(spare)
    assert listing(wire, spare) == before


def test_a_missing_link_is_named(guard: KernelGuard) -> None:
    """Attaching to a link that is not there says which; detaching from it is no failure."""
    with pytest.raises(LinkError, match="wcnone"):
        guard.attach_mark("wcnone")
    guard.detach("wcnone")


@pytest.mark.L1
def test_an_upgrade_replaces_programs_and_keeps_maps(guard: KernelGuard, bpffs: Path, wire: Wire) -> None:
    """Programs of an older version are told from current ones, replaced one by one, and entries stay; none leaks."""
    pins = Pins(bpffs)
    for program in ("wirecrypt_mark", "wirecrypt_guard_egress", "wirecrypt_guard_ingress"):
        pins.program(program).rename(pins.folder / f"{program}-000000000000")
    assert not guard.loaded()
    assert not wire.leaves(CLEARTEXT)
    guard.load(SETTINGS)
    with inside(wire.node):
        assert [a.current for a in guard.attachments()] == [False, False]
        assert not wire.leaves(CLEARTEXT)
        guard.attach_guard("uplink")
        assert [a.current for a in guard.attachments()] == [True, True]
    assert not wire.leaves(CLEARTEXT)
    assert {e.prefix for e in guard.entries()} == {e.prefix for e in entries()}
    assert not [path for path in pins.present() if path.name.endswith("-000000000000")]


def test_an_older_guard_is_not_replaced_by_an_empty_one(guard: KernelGuard, bpffs: Path, wire: Wire) -> None:
    """As long as the maps are empty, a guard of an older version is left in place, and replaced once there are entries."""
    with inside(wire.node):
        make_older(Pins(bpffs), tc_index("uplink"))
        guard.delete_entries([e.prefix for e in guard.entries()])
        guard.attach_guard("uplink")
        assert [a.current for a in guard.attachments()] == [False, True]
        guard.set_entries(entries())
        guard.attach_guard("uplink")
    assert not wire.leaves(CLEARTEXT)


@pytest.mark.L1
def test_another_layout_of_entries_begins_empty_behind_the_older_guard(guard: KernelGuard, bpffs: Path, wire: Wire) -> None:
    """Where an upgrade changed what entries are made of, the older guard drops by its own maps until there are new entries."""
    pins = Pins(bpffs)
    older = [*(pins.map(name) for name in ENTRY_MAPS), pins.program("wirecrypt_guard_egress")]
    for path in older:
        path.rename(pins.folder / f"{path.name.split('-')[0]}-00000000")
    with inside(wire.node):
        guard.load(SETTINGS)
        assert guard.entries() == []
        guard.attach_guard("uplink")
        assert not all(a.current for a in guard.attachments())
        assert not wire.leaves(CLEARTEXT)
        guard.set_entries(entries())
        guard.attach_guard("uplink")
        assert all(a.current for a in guard.attachments())
    assert not wire.leaves(CLEARTEXT)
    assert pins.present() == pins.wanted()


def test_unload_leaves_nothing(guard: KernelGuard, bpffs: Path, wire: Wire, spare: str) -> None:
    """A second set of pins is removed whole, filters included, and the first one goes on."""
    before = listing(wire, spare)
    elsewhere = bpffs / "second"
    elsewhere.mkdir()
    second = KernelGuard(elsewhere)
    second.load(SETTINGS)
    run(f"ip netns add {wire.node}second")
    try:
        run(f"ip -n {wire.node} link set dev {spare} netns {wire.node}second")
        with inside(f"{wire.node}second"):
            second.attach_guard(spare)
            second.attach_mark(spare)
            second.unload()
            assert second.attachments() == []
            assert not second.loaded()
        run(f"ip -n {wire.node}second link set dev {spare} netns {wire.node}")
    finally:
        run(f"ip netns del {wire.node}second")
    elsewhere.rmdir()
    assert listing(wire, spare) == before
    assert not wire.leaves(CLEARTEXT)


def test_unload_takes_another_versions_pins_off(guard: KernelGuard, bpffs: Path, wire: Wire, spare: str) -> None:
    """What an older version loaded and attached goes too, half of its pins missing; a second time there is nothing to do."""
    before = listing(wire, spare)
    elsewhere = bpffs / "older"
    elsewhere.mkdir()
    older = KernelGuard(elsewhere)
    older.load(SETTINGS)
    with inside(wire.node):
        older.attach_guard(spare)
        pins = Pins(elsewhere)
        for path in (*(pins.map(name) for name in ENTRY_MAPS), pins.program("wirecrypt_guard_egress")):
            path.rename(pins.folder / f"{path.name.split('-')[0]}-00000000")
        pins.map("settings").unlink()
        later = KernelGuard(elsewhere)
        assert not later.loaded()
        GuardAttachment(later, KernelLinks()).remove()
        gone = KernelGuard(elsewhere)
        gone.unload()
        assert (later.attachments(), gone.writes) == ([], 0)
    elsewhere.rmdir()
    assert listing(wire, spare) == before


def test_a_folder_outside_a_bpf_file_system_is_refused(tmp_path: Path) -> None:
    """Pins can only live on a bpf file system: the error names the path and the mount that is missing."""
    with pytest.raises(BpfError, match="mount") as refused:
        KernelGuard(tmp_path).load(SETTINGS)
    assert str(tmp_path) in str(refused.value)
