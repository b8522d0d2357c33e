"""The mark of pod traffic, and the mark that decrypted packets carry through the guard."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.kernel.guard import frames as f
from tests.kernel.guard.conftest import SETTINGS
from tests.kernel.guard.wire import Wire, inside, run, sender
from wirecrypt.kernel.bpf.guard import KernelGuard
from wirecrypt.model.mark import MarkKind, MarkLayout

LAYOUT = MarkLayout(SETTINGS.mark_shift)
ENCRYPT = {LAYOUT.encrypt(lane).value for lane in range(16)}
DATA = b"readable words of a pod"


@pytest.fixture
def pod(guard: KernelGuard, wire: Wire) -> Iterator[socket.socket]:
    """Give a packet socket on a pod's end of a link whose other end is marked and bridged.

    Both ends are in one namespace, so that a mark the pod sets really arrives (between namespaces it is cleared).
    """
    run(f"ip -n {wire.node} link add wchost type veth peer name wcpod")
    for link in ("wchost", "wcpod"):
        run(f"ip -n {wire.node} link set dev {link} up")
    run(f"ip -n {wire.node} link set dev wchost master br0")
    with inside(wire.node):
        guard.attach_mark("wchost")
    with sender(wire.node, "wcpod") as s:
        yield s
    run(f"ip -n {wire.node} link del wchost")


def flows(count: int) -> list[bytes]:
    return [f.ether(f.ip("10.244.1.5", "10.244.2.7", f.UDP, f.udp(DATA, sport=port))) for port in range(1000, 1000 + count)]


@pytest.mark.parametrize("chosen", [0, LAYOUT.decrypted(1, 3).value, LAYOUT.control(2, 0).value, 0xFFFFFFFF, 0x4000])
def test_a_pod_cannot_choose_our_field_and_keeps_the_rest(wire: Wire, pod: socket.socket, chosen: int) -> None:
    """Whatever mark a packet comes with, our field says ENCRYPT and the flow's number; all other bits are as they were."""
    pod.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, struct.pack("=I", chosen))
    (mark,) = wire.marks(flows(1), pod)
    assert mark & ~LAYOUT.mask == chosen & ~LAYOUT.mask
    assert mark & LAYOUT.mask in ENCRYPT


@pytest.mark.parametrize(
    "frame",
    [
        f.ether(f.ip("fd00:11::5", "fd00:12::7", f.UDP, f.udp(DATA))),
        f.ether(f.ip("10.244.1.5", "10.244.2.7", f.UDP, f.udp(DATA)), tags=((0x8100, 5),)),
        f.ether(b"\0\1\x08\0\6\4\0\1" + DATA, kind=f.ARP),
    ],
    ids=["IPv6", "VLAN", "ARP"],
)
def test_every_kind_of_frame_is_marked(wire: Wire, pod: socket.socket, frame: bytes) -> None:
    """IPv6, tagged and other frames are marked too."""
    (mark,) = wire.marks([frame], pod)
    assert mark & LAYOUT.mask in ENCRYPT


def test_flows_have_every_number_and_each_keeps_its_own(wire: Wire, pod: socket.socket) -> None:
    """A hundred and sixty flows have every number, and a second packet of each has that of the first."""
    sent = flows(160)
    first, second = wire.marks(sent, pod), wire.marks(sent, pod)
    assert first == second
    assert set(first) == ENCRYPT


@pytest.mark.parametrize("shift", [0, 16, 24])
def test_the_field_is_where_the_settings_say(guard: KernelGuard, wire: Wire, pod: socket.socket, shift: int) -> None:
    """Another shift moves the field, at once and without loading anything."""
    guard.configure(replace(SETTINGS, mark_shift=shift))
    (mark,) = wire.marks(flows(1), pod)
    assert mark & ~(0xF << shift) == MarkLayout(shift).encrypt(0).value


@pytest.mark.L7
@pytest.mark.parametrize(
    ("mark", "passes"),
    [
        (LAYOUT.decrypted(0, 0).value, True),
        (LAYOUT.decrypted(2, 15).value, True),
        (LAYOUT.encrypt(0).value, False),
        (LAYOUT.control(0, 0).value, False),
        (MarkKind.DECRYPTED + 3 << LAYOUT.shift + 4, False),
        (0, False),
    ],
    ids=["slot 0", "slot 2", "ENCRYPT", "CONTROL", "slot 3", "none"],
)
def test_only_the_mark_of_decryption_enters(guard: KernelGuard, wire: Wire, *, mark: int, passes: bool) -> None:
    """A packet of a peer's pod passes guard-ingress with DECRYPTED and one of its slots, and with no other mark."""
    run(f"ip -n {wire.node} link add wcup type veth peer name wcfar")
    for link in ("wcup", "wcfar"):
        run(f"ip -n {wire.node} link set dev {link} up")
    run(f"ip -n {wire.node} link set dev wcup master br0")
    with inside(wire.node):
        guard.attach_guard("wcup")
    with sender(wire.node, "wcfar") as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        seen = wire.marks([f.ether(f.ip("10.244.2.7", "10.244.1.5", f.UDP, f.udp(DATA)))], s)
    run(f"ip -n {wire.node} link del wcup")
    assert seen == ([mark] if passes else [])
