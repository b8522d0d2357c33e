"""Whom the control port hears: a peer's agent, by the peer's SA; what all others send takes no place in its queue."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.kernel.conftest import Host
from tests.kernel.guard.conftest import SETTINGS
from wirecrypt.agent.control.protocol import BURST, REFILL
from wirecrypt.kernel.bpf.guard import KernelGuard
from wirecrypt.kernel.bpf.header import header
from wirecrypt.kernel.bpf.pins import Pins, remove
from wirecrypt.kernel.bpf.sockets.control_filter import ControlFilter
from wirecrypt.kernel.net.control_socket import KernelControlChannel
from wirecrypt.keys.control import MIN_SIZE
from wirecrypt.model.mark import MarkLayout
from wirecrypt.model.xfrm import Address

PORT: Final = 14500
LAYOUT = MarkLayout(SETTINGS.mark_shift)
SIZE = MIN_SIZE
PATIENCE = 60.0  # seconds
FLOOD = 3000  # datagrams: more than any queue here takes
MOST = header().numbers["WC_DATAGRAMS_PER_SECOND"]
versions = pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])


def secure(sender: Host, receiver: Host, *, mark: int = LAYOUT.decrypted(1, 2).value) -> None:
    """Have all that *sender* says to *receiver* go by SAs, one a version of IP, which mark it where they end."""
    for version, spi in ((4, 0x1004), (6, 0x1006)):
        src, dst = sender.outer[version], receiver.outer[version]
        sa = f"src {src} dst {dst} proto esp spi {spi:#x} mode tunnel"
        cipher = f"aead rfc4106(gcm(aes)) 0x{'5a' * 36} 128"
        everything, here = ("::/0", f"{dst}/128") if version == 6 else ("0.0.0.0/0", f"{dst}/32")
        policy = f"xfrm policy add src {everything} dst {here} proto udp dport {PORT}"
        tunnel = f"tmpl src {src} dst {dst} proto esp mode tunnel"
        receiver.netns.ip(f"xfrm state add {sa} {cipher} output-mark {mark:#x} mask 0xffffffff")
        receiver.netns.ip(f"{policy} dir in {tunnel}")
        sender.netns.ip(f"xfrm state add {sa} {cipher}")
        sender.netns.ip(f"{policy} dir out {tunnel}")


def say(sender: Host, source: Address, to: Address, data: bytes, *, times: int = 1) -> None:
    """Send a datagram from *source*, an address of *sender*."""
    with sender.netns.entered(), socket.socket(socket.AF_INET6 if to.version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind((str(source), 0))
        for _ in range(times):
            s.sendto(data, (str(to), PORT))


def word(number: int = 0) -> bytes:
    """Return a datagram of a control datagram's size."""
    return number.to_bytes(4, "big") + bytes(SIZE - 4)


def arrived(channel: KernelControlChannel, number: int = 0) -> list[bytes]:
    """Wait until *number* datagrams have come and return the beginning of all that have, in order."""
    found: list[bytes] = []
    while select.select(channel.files(), [], [], PATIENCE if len(found) < number else 0)[0]:
        found += [each.data[:4] for each in channel.receive()]
    return found


@contextmanager
def agent(host: Host, bpffs: Path, senders: Iterable[Address]) -> Iterator[KernelControlChannel]:
    """Have an agent of *host* listen that hears *senders*."""
    with host.netns.entered(), closing(KernelControlChannel(only=ControlFilter(bpffs))) as channel:
        assert channel.listen(host.outer.values(), PORT) == {}
        channel.admit(senders, LAYOUT)
        assert channel.unfiltered() == ""
        yield channel


@contextmanager
def refusals(guard: KernelGuard, number: int = 0) -> Iterator[dict[str, int]]:
    """Give a dictionary that holds, after the block, what was refused in it: *number* of datagrams, which are waited for."""
    before, found, end = guard.refused(), dict[str, int](), time.monotonic() + PATIENCE
    yield found
    while sum(changed(before, guard.refused()).values()) < number and time.monotonic() < end:
        os.sched_yield()
    found |= changed(before, guard.refused())


def changed(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    return {reason: number - before[reason] for reason, number in after.items() if number != before[reason]}


@versions
def test_a_peers_agent_is_heard(guard: KernelGuard, bpffs: Path, hosts: tuple[Host, Host], version: int) -> None:
    """What comes from a peer's address by its SA arrives, of the least size or more, and is not counted."""
    here, there = hosts
    secure(there, here)
    with agent(here, bpffs, there.outer.values()) as channel, refusals(guard) as refused:
        for data in (word(1), word(2) + bytes(1000)):
            say(there, there.outer[version], here.outer[version], data)
        assert arrived(channel, 2) == [word(1)[:4], word(2)[:4]]
    assert refused == {}


@pytest.mark.L7
@versions
def test_nobody_else_is_heard(guard: KernelGuard, bpffs: Path, hosts: tuple[Host, Host], version: int) -> None:
    """A pod's datagram in the peer's SA, cleartext under the peer's address, this node's own: none arrives, all count."""
    here, there = hosts
    near, far = here.outer[version], there.outer[version]
    with agent(here, bpffs, there.outer.values()) as channel:
        with refusals(guard, 1) as in_clear:
            say(there, far, near, word())
        with refusals(guard, 1) as own:
            say(here, near, near, word())
        secure(there, here)
        with refusals(guard, 1) as of_pod:
            say(there, there.pod[version], near, word())
        with refusals(guard, 1) as short:
            say(there, far, near, word()[:-1])
        assert arrived(channel) == []
    assert (in_clear, own, of_pod) == ({"not decrypted": 1}, {"unknown sender": 1}, {"unknown sender": 1})
    assert short == {"too short": 1}


@pytest.mark.parametrize("kind", ["ENCRYPT", "CONTROL", "beside"])
def test_only_the_mark_of_decryption_is_believed(guard: KernelGuard, bpffs: Path, hosts: tuple[Host, Host], kind: str) -> None:
    """A datagram that its SA gave another mark of ours, or one at another place, is not heard."""
    marks = {"ENCRYPT": LAYOUT.encrypt(1), "CONTROL": LAYOUT.control(0, 1), "beside": MarkLayout(8).decrypted(0, 0)}
    here, there = hosts
    secure(there, here, mark=marks[kind].value)
    with agent(here, bpffs, there.outer.values()) as channel:
        with refusals(guard, 1) as refused:
            say(there, there.outer[4], here.outer[4], word())
        assert arrived(channel) == []
    assert refused == {"not decrypted": 1}


WORDS = [word(100 + number)[:4] for number in range(20)]


def flood(here: Host, there: Host) -> None:
    """Have a pod of the peer's send more than a queue takes, and then its agent a few words."""
    say(there, there.pod[4], here.outer[4], word(7), times=FLOOD)
    for each in WORDS:
        say(there, there.outer[4], here.outer[4], each + bytes(SIZE - 4))


def test_a_flood_of_strangers_keeps_no_genuine_datagram_out(guard: KernelGuard, bpffs: Path, hosts: tuple[Host, Host]) -> None:
    """More than the queue takes is refused before it is queued: every word of the peer's agent arrives."""
    here, there = hosts
    secure(there, here)
    with agent(here, bpffs, there.outer.values()) as channel:
        with refusals(guard, FLOOD // 2) as refused:  # some are lost on their way
            flood(here, there)
        assert arrived(channel, len(WORDS)) == WORDS
    assert refused.keys() == {"unknown sender"}


def test_without_the_filter_a_flood_does_keep_them_out(hosts: tuple[Host, Host]) -> None:
    """The same flood at a port without a filter fills the queue: that is what the test above would see."""
    here, there = hosts
    secure(there, here)
    with here.netns.entered(), closing(KernelControlChannel()) as channel:
        assert channel.listen(here.outer.values(), PORT) == {}
        flood(here, there)
        assert WORDS[0] not in arrived(channel, 1)


def test_a_peer_is_not_heard_more_than_an_agent_takes(guard: KernelGuard, bpffs: Path, hosts: tuple[Host, Host]) -> None:
    """What one peer sends beyond that within a second is refused; another address has its own measure."""
    here, there = hosts
    secure(there, here)
    with agent(here, bpffs, there.outer.values()) as channel:
        with refusals(guard, MOST) as refused:
            say(there, there.outer[4], here.outer[4], word(1), times=10 * MOST)
        found = arrived(channel)
        say(there, there.outer[6], here.outer[6], word(2))
        assert arrived(channel, 1) == [word(2)[:4]]
    assert found.count(word(1)[:4]) == len(found) >= MOST // 2
    assert refused.keys() == {"too many"}


def test_who_is_heard_changes_at_once(guard: KernelGuard, bpffs: Path, hosts: tuple[Host, Host]) -> None:
    """A peer that came is heard, one that went is not, and a mark that moved is looked for where it is."""
    here, there = hosts
    secure(there, here)
    with agent(here, bpffs, []) as channel:

        def refused() -> dict[str, int]:
            with refusals(guard, 1) as found:
                say(there, there.outer[4], here.outer[4], word())
            return found

        def heard() -> bool:
            say(there, there.outer[4], here.outer[4], word())
            return bool(arrived(channel, 1))

        assert refused() == {"unknown sender": 1}
        channel.admit(there.outer.values(), LAYOUT)
        assert heard()
        channel.admit(there.outer.values(), MarkLayout(0))
        assert refused() == {"not decrypted": 1}
        channel.admit([there.outer[4]], LAYOUT)
        assert heard()
        channel.admit([there.outer[6]], LAYOUT)
        assert refused() == {"unknown sender": 1}


def test_the_next_agent_hears_whom_it_says(guard: KernelGuard, bpffs: Path, hosts: tuple[Host, Host]) -> None:
    """Whom the agent before admitted is not heard by one that does not say so."""
    here, there = hosts
    secure(there, here)
    with agent(here, bpffs, there.outer.values()) as channel:
        say(there, there.outer[4], here.outer[4], word())
        assert len(arrived(channel, 1)) == 1
    with agent(here, bpffs, [there.outer[6]]), refusals(guard, 1) as refused:
        say(there, there.outer[4], here.outer[4], word())
    assert refused == {"unknown sender": 1}


@pytest.fixture
def elsewhere(bpffs: Path) -> Iterator[Path]:
    folder = bpffs / "control"
    folder.mkdir()
    yield folder
    KernelGuard(folder).unload()
    folder.rmdir()


def test_a_filter_that_cannot_be_had_is_told_and_tried_again(elsewhere: Path, hosts: tuple[Host, Host]) -> None:
    """Until there is one everybody is heard; a port without an answer would stop what it is there for."""
    here, there = hosts
    with here.netns.entered(), closing(KernelControlChannel(only=ControlFilter(elsewhere))) as channel:
        assert channel.listen(here.outer.values(), PORT) == {}
        assert "No such file or directory" in channel.unfiltered()
        channel.admit([], LAYOUT)
        say(there, there.outer[4], here.outer[4], word())
        assert len(arrived(channel, 1)) == 1
        guard = KernelGuard(elsewhere)
        guard.load(SETTINGS)
        assert channel.listen(here.outer.values(), PORT) == {}
        channel.admit([], LAYOUT)
        assert channel.unfiltered() == ""
        with refusals(guard, 1) as refused:
            say(there, there.outer[4], here.outer[4], word())
    assert refused == {"unknown sender": 1}


def test_a_guard_that_is_loaded_anew_changes_the_filter_with_its_map(elsewhere: Path, hosts: tuple[Host, Host]) -> None:
    """Removed pins take no filter away; made again, with an empty map, they are changed to, and the peer is heard on."""
    here, there = hosts
    secure(there, here)
    guard = KernelGuard(elsewhere)
    guard.load(SETTINGS)
    with agent(here, elsewhere, there.outer.values()) as channel:
        for path in Pins(elsewhere).present():
            remove(path)
        channel.listen(here.outer.values(), PORT)
        say(there, there.outer[4], here.outer[4], word(1))
        say(there, there.pod[4], here.outer[4], word(3))
        guard.load(SETTINGS)
        channel.listen(here.outer.values(), PORT)
        channel.admit(there.outer.values(), LAYOUT)
        with refusals(guard, 1) as refused:
            say(there, there.pod[4], here.outer[4], word(4))
        say(there, there.outer[4], here.outer[4], word(2))
        assert arrived(channel, 2) == [word(1)[:4], word(2)[:4]]
    assert refused == {"unknown sender": 1}


def test_the_filter_refuses_nothing_that_the_agent_would_take() -> None:
    """It knows a control datagram's least size, and lets through as many in a second as an agent answers."""
    assert header().numbers["WC_DATAGRAM_MIN"] == MIN_SIZE
    assert MOST >= BURST + REFILL
