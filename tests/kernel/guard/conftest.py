"""One load of the programs per session, one wire with the guard on it, cleaned before each test."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from tests.kernel.guard.wire import Wire, inside
from wirecrypt.kernel.bpf import syscall
from wirecrypt.kernel.bpf.guard import KernelGuard
from wirecrypt.kernel.bpf.pins import Pins
from wirecrypt.kernel.bpf.syscall import tcx_supported
from wirecrypt.model.guard import GuardAction, GuardEntry, GuardSettings

_ENTRIES = {
    "10.244.1.0/24": GuardAction.OWN,
    "fd00:11::/64": GuardAction.OWN,
    "10.244.2.0/24": GuardAction.DROP,
    "fd00:12::/64": GuardAction.DROP,
    "10.244.3.0/24": GuardAction.PASS,
    "fd00:13::/64": GuardAction.PASS,
    "10.244.0.0/16": GuardAction.UNKNOWN,
    "fd00:10::/28": GuardAction.UNKNOWN,
}
HERE, EXEMPT, SEALED = 0x1011, 0x1012, 0x1013
SETTINGS = GuardSettings(
    mark_shift=20, strict=True, vxlan_ports=(4789, 8472), geneve_ports=(6081,), control_port=7700, node_id=HERE,
    own=(ip_address("192.0.2.11"), ip_address("fd00:99::11")),
)  # fmt: skip
_NODES = {
    "192.0.2.11/32": (GuardAction.PASS, HERE),
    "fd00:99::11/128": (GuardAction.PASS, HERE),
    "192.0.2.12/32": (GuardAction.NODE, EXEMPT),
    "fd00:99::12/128": (GuardAction.NODE, EXEMPT),
    "192.0.2.13/32": (GuardAction.SEALED, SEALED),
    "fd00:99::13/128": (GuardAction.SEALED, SEALED),
}


def entries() -> list[GuardEntry]:
    pods = [GuardEntry(ip_network(prefix), action, action) for prefix, action in _ENTRIES.items()]
    return pods + [GuardEntry(ip_network(address), action, action, node) for address, (action, node) in _NODES.items()]


@pytest.fixture(scope="session")
def tcx() -> None:
    """Go on only where programs are attached without a qdisc."""
    if not tcx_supported(socket.if_nametoindex("lo")):
        major, minor = (int(part) for part in platform.release().split(".")[:2])
        assert (major, minor) < (6, 6), "a kernel that should have tcx answers as if it had not"
        pytest.skip("tcx needs kernel >= 6.6")


@pytest.fixture(scope="session")
def bpffs() -> Iterator[Path]:
    folder = Path("/sys/fs/bpf") / f"wc-test-{os.getpid()}"
    folder.mkdir()
    yield folder
    folder.rmdir()


@pytest.fixture(scope="session")
def loaded(bpffs: Path) -> Iterator[KernelGuard]:
    guard = KernelGuard(bpffs)
    guard.load(SETTINGS)
    yield guard
    guard.unload()


@pytest.fixture(scope="session")
def _shared_wire(loaded: KernelGuard) -> Iterator[Wire]:
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(everywhere)})  # one CPU: frames keep their order up to the sentinel
    with Wire(f"wc{os.getpid()}") as wire:
        yield wire
        with inside(wire.node):
            loaded.detach("uplink")
    os.sched_setaffinity(0, everywhere)


@pytest.fixture
def guard(loaded: KernelGuard, bpffs: Path) -> KernelGuard:
    """Give an adapter as a restarted agent would make it: strict, the usual entries, no events waiting."""
    fresh = KernelGuard(bpffs)
    fresh.load(SETTINGS)
    fresh.delete_entries([entry.prefix for entry in fresh.entries()])
    fresh.set_entries(entries())
    while fresh.drops():
        pass
    let_events_through(bpffs)
    return fresh


@pytest.fixture
def wire(_shared_wire: Wire, guard: KernelGuard) -> Wire:
    """Give the wire with the guard attached to the uplink."""
    with inside(_shared_wire.node):
        guard.attach_guard("uplink")
    return _shared_wire


def let_events_through(bpffs: Path) -> None:
    """Begin a new second of the events' limit, or a test would depend on how many drops the one before it made."""
    with syscall.opened_map(Pins(bpffs).map("pace")) as pace:
        pace.set(bytes(4), bytes(pace.value_bytes))
