"""What others do to IPsec objects is told at once, and what this process does is not."""

from __future__ import annotations

import select
from collections.abc import Iterator

import pytest

from tests.kernel.conftest import Host, Netns
from tests.kernel.test_xfrm_traffic import make_sas, to_peer
from wirecrypt.kernel.xfrm.adapter import KernelXfrm
from wirecrypt.kernel.xfrm.notifications import ChangeEvents

WAIT_MS = 10_000
KEY = "0x" + "11" * 20


@pytest.fixture
def events(hosts: tuple[Host, Host]) -> Iterator[ChangeEvents]:
    """Return the events of the first of two nodes, which has an SA and a policy of ours."""
    sa, policy = make_sas(*hosts, 0x101)[0], to_peer(*hosts, 0x101)
    with hosts[0].netns.entered(), KernelXfrm() as xfrm, ChangeEvents() as found:
        assert (xfrm.add_sas([sa]), xfrm.set_policies([policy])) == ([], [])
        assert _told(found)
        assert found.read() is False
        yield found


def _told(events: ChangeEvents) -> bool:
    """Wait until something can be read."""
    poll = select.poll()
    poll.register(events, select.POLLIN)
    return bool(poll.poll(WAIT_MS))


@pytest.mark.parametrize(
    "line",
    [
        "xfrm state flush",
        "xfrm policy flush",
        "xfrm state delete src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x101",
        "xfrm policy delete src 0.0.0.0/0 dst 10.2.0.0/24 dir out",
        "xfrm policy add src 10.8.0.0/24 dst 10.9.0.0/24 dir out action block",
        f"xfrm state add src 192.0.2.8 dst 192.0.2.9 proto esp spi 0x9 mode tunnel aead rfc4106(gcm(aes)) {KEY} 128",
    ],
)
def test_each_change_by_somebody_else_is_told_once(hosts: tuple[Host, Host], events: ChangeEvents, line: str) -> None:
    """A flush, a deletion, something new: read once, also when it was counted before, and then there is nothing more."""
    before = events.count()
    hosts[0].netns.ip(line)
    assert _told(events)
    after = events.count()
    assert after > before
    assert events.read() is True
    assert events.read() is False
    assert events.count() == after


def test_another_namespace_is_nobodys_business(hosts: tuple[Host, Host], events: ChangeEvents) -> None:
    """What happens on another node of the same kernel is not told here."""
    netns: Netns = hosts[1].netns
    netns.ip("xfrm policy add src 10.8.0.0/24 dst 10.9.0.0/24 dir out action block")
    netns.ip("xfrm policy flush")
    hosts[0].netns.ip("xfrm policy add src 10.8.0.0/24 dst 10.9.0.0/24 dir out action block")
    assert _told(events)
    assert events.read() is True
