"""What a port promises, as checks that the real thing and the one in memory both pass."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Final

from wirecrypt.agent.store.session_keeper import StateStore
from wirecrypt.agent.store.state import State
from wirecrypt.model.guard import GuardAction, GuardEntry, GuardSettings
from wirecrypt.model.mark import MarkLayout
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.xfrm import Address, Algorithm, Direction, Policy, PolicyAction, Sa, SaKey, Selector, Template
from wirecrypt.ports import ControlChannel, Guard, Xfrm

SRC, DST = ip_address("192.0.2.1"), ip_address("192.0.2.2")
ANYWHERE, PODS = ip_network("0.0.0.0/0"), ip_network("10.2.0.0/24")


def sa(number: int) -> Sa:
    spi = 0x00100100 + number
    return Sa(src=SRC, dst=DST, spi=spi, reqid=spi, algorithm=Algorithm.AES_256_GCM, key=SecretBytes(bytes(range(36))))


def policy(spi: int) -> Policy:
    return Policy(Direction.OUT, Selector(ANYWHERE, PODS), 0x5710, templates=(Template(SRC, DST, spi=spi, reqid=spi),))


def what_is_written_is_listed(xfrm: Xfrm) -> None:
    """SAs and policies, as they were given, and nothing of a use that was not."""
    assert list(xfrm.add_sas([sa(1), sa(2)])) == []
    assert list(xfrm.set_policies([policy(sa(1).spi)])) == []
    assert {entry.sa.name: entry.sa for entry in xfrm.list_sas()} == {each.name: each for each in (sa(1), sa(2))}
    assert {(entry.usage.bytes, entry.usage.packets) for entry in xfrm.list_sas()} == {(0, 0)}
    assert list(xfrm.list_policies()) == [policy(sa(1).spi)] == list(xfrm.list_all_policies()[0])


def an_sa_that_is_there_is_a_failure_and_stays(xfrm: Xfrm) -> None:
    """Nothing of it is changed, and the rest of the batch is done."""
    xfrm.add_sas([sa(1)])
    other = replace(sa(1), key=SecretBytes(bytes(36)))
    (failure,) = xfrm.add_sas([other, sa(2)])
    assert (failure.what, failure.error.errno) == (other, errno.EEXIST)
    assert {entry.sa.name: entry.sa.key for entry in xfrm.list_sas()} == {each.name: each.key for each in (sa(1), sa(2))}


def a_policy_takes_the_place_of_the_one_of_its_name(xfrm: Xfrm) -> None:
    """There is one of each selector, mark and direction."""
    block = Policy(Direction.OUT, Selector(ANYWHERE, PODS), 0x5710, verdict=PolicyAction.BLOCK)
    for each in (policy(sa(1).spi), policy(sa(2).spi), block):
        xfrm.set_policies([each])
        assert list(xfrm.list_policies()) == [each]


def what_is_gone_is_no_failure_to_delete(xfrm: Xfrm) -> None:
    """And exactly what is named goes."""
    xfrm.add_sas([sa(1), sa(2)])
    xfrm.set_policies([policy(sa(1).spi)])
    for _ in range(2):
        assert list(xfrm.delete_sas([sa(1).name, SaKey(DST, 0x00100199)])) == []
        assert list(xfrm.delete_policies([policy(0).name])) == []
        assert [entry.sa.name for entry in xfrm.list_sas()] == [sa(2).name]
        assert list(xfrm.list_policies()) == []


def a_guard_is_loaded_configured_and_unloaded(guard: Guard, settings: GuardSettings) -> None:
    """Nothing but what differs is written, and after the end nothing is there."""
    guard.unload()
    assert not guard.loaded()
    guard.load(settings)
    assert guard.loaded()
    other = replace(settings, strict=not settings.strict)
    assert [guard.configure(each) for each in (settings, other, other)] == [False, True, False]
    guard.unload()
    assert not guard.loaded()


def entries_are_replaced_by_their_prefix(guard: Guard, settings: GuardSettings) -> None:
    """And exactly what is named goes; what is gone is no failure."""
    guard.load(settings)
    guard.delete_entries([entry.prefix for entry in guard.entries()])
    first = GuardEntry(PODS, GuardAction.DROP, GuardAction.DROP, 17)
    second = GuardEntry(ip_network("fd00:12::/64"), GuardAction.PASS, GuardAction.PASS)
    for each in (first, replace(first, ingress=GuardAction.PASS)):
        guard.set_entries([each, second])
        assert {entry.prefix: entry for entry in guard.entries()} == {each.prefix: each, second.prefix: second}
    for _ in range(2):
        guard.delete_entries([PODS])
        assert list(guard.entries()) == [second]


def a_state_is_kept_until_it_is_removed(store: StateStore, one: State, other: State) -> None:
    """As it was saved last; to remove what is gone is no failure."""
    assert store.load() is None
    for state in (one, other, one):
        store.save(state)
        assert store.load() == state
    for _ in range(2):
        store.remove()
        assert store.load() is None
    store.save(other)
    assert store.load() == other


def a_channel_has_nothing_once_it_is_closed(channel: ControlChannel, addresses: Sequence[Address], port: int) -> None:
    """And it can listen as often as it is told, and again after its end."""
    for _ in range(2):
        for _ in range(2):
            assert (channel.listen(addresses, port), channel.failed()) == ({}, {})
        channel.admit([], MarkLayout())
        assert list(channel.receive()) == []
        channel.close()
        assert (list(channel.receive()), list(channel.files())) == ([], [])


XFRM: Final[tuple[Callable[[Xfrm], None], ...]] = (
    what_is_written_is_listed,
    an_sa_that_is_there_is_a_failure_and_stays,
    a_policy_takes_the_place_of_the_one_of_its_name,
    what_is_gone_is_no_failure_to_delete,
)
GUARD: Final[tuple[Callable[[Guard, GuardSettings], None], ...]] = (
    a_guard_is_loaded_configured_and_unloaded,
    entries_are_replaced_by_their_prefix,
)
