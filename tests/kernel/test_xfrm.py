"""States and policies on the real kernel: what is listed is what was written, and nothing else is touched."""

import errno
import itertools
import socket
import threading
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from wirecrypt.errors import XfrmError
from wirecrypt.kernel.xfrm.adapter import KernelXfrm
from wirecrypt.kernel.xfrm.netlink import CHUNK
from wirecrypt.model.mark import Mark, MarkLayout
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.xfrm import (
    Algorithm,
    Direction,
    Policy,
    PolicyAction,
    PolicyKey,
    Sa,
    SaKey,
    SaLimits,
    Selector,
    Template,
)

MARKS = MarkLayout()
ENDS = {4: ("192.0.2.1", "192.0.2.2"), 6: ("fd00:2::1", "fd00:2::2")}
PODS = {4: ("10.1.0.0/24", "10.2.0.0/24"), 6: ("fd00:11::/64", "fd00:12::/64")}
KEY = bytes(range(100, 136))


def state(spi: int, version: int = 4, algorithm: Algorithm = Algorithm.AES_256_GCM, **more: object) -> Sa:
    src, dst = map(ip_address, ENDS[version])
    return Sa(src=src, dst=dst, spi=spi, reqid=spi, algorithm=algorithm, key=SecretBytes(KEY), **more)


def policy(number: int, version: int = 4, *templates: Template, **more: object) -> Policy:
    prefix = ip_network((0x0A020000 + number * 256, 24)) if version == 4 else ip_network(PODS[6][1])
    anywhere = ip_network("0.0.0.0/0" if version == 4 else "::/0")
    return Policy(Direction.OUT, Selector(anywhere, prefix), 0x5710, templates=templates, **more)


def pinned(spi: int, version: int = 4) -> Template:
    src, dst = map(ip_address, ENDS[version])
    return Template(src, dst, spi=spi, reqid=spi)


def in_order(policies: list[Policy]) -> list[Policy]:
    return sorted(policies, key=lambda p: p.name.order)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("algorithm", list(Algorithm))
@pytest.mark.parametrize("set_mark", [None, MARKS.unmarked(), MARKS.decrypted(2, 15)], ids=["none", "sending", "receiving"])
@pytest.mark.parametrize("limits", [SaLimits(), SaLimits(10**12, 2**64 - 2, 2**33, 2**63)], ids=["unlimited", "limited"])
def test_state_is_listed_as_written(
    xfrm: KernelXfrm, version: int, algorithm: Algorithm, set_mark: Mark | None, limits: SaLimits
) -> None:
    """Listing and looking up a state give back a value equal to the one written, unused so far."""
    wanted = state(0x04100010, version, algorithm, set_mark=set_mark, limits=limits)
    assert xfrm.add_sas([wanted]) == []
    (entry,) = xfrm.list_sas()
    assert entry.sa == wanted
    assert (entry.usage.packets, entry.usage.bytes, entry.usage.sequence) == (0, 0, 0)
    assert xfrm.sa(wanted.name) == entry
    assert xfrm.foreign_sas() == []


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("versions", [*itertools.product((4, 6), repeat=2)], ids=lambda v: f"{v[0]}in{v[1]}")
@pytest.mark.parametrize("verdict", list(PolicyAction))
@pytest.mark.parametrize("mark", [None, MARKS.encrypt(3)], ids=["unmarked", "marked"])
def test_policy_is_listed_as_written(
    xfrm: KernelXfrm, direction: Direction, versions: tuple[int, int], verdict: PolicyAction, mark: Mark | None
) -> None:
    """Policies with a pinned, a loose and no template, over either family, come back equal to those written."""
    inner, outer = versions
    src, dst = map(ip_network, PODS[inner])
    loose = Template(*map(ip_address, ENDS[outer]), optional=direction is not Direction.OUT)
    more = {"verdict": verdict, "mark": mark}
    wanted = [
        Policy(direction, Selector(src, dst), 0x5700, templates=(pinned(7, outer),), **more),
        Policy(direction, Selector(dst, src), 0x57FF, templates=(loose,), **more),
        Policy(direction, Selector(src, src), 0x5701, **more),
        Policy(direction, Selector(src, dst, proto=17, sport=53, dport=4790), 0x5702, **more),
    ]
    assert xfrm.set_policies(wanted) == []
    assert in_order(xfrm.list_policies()) == in_order(wanted)
    assert [xfrm.policy(one.name) for one in wanted] == wanted
    assert xfrm.foreign_policies() == []


def test_optional_template_needs_an_inward_policy(xfrm: KernelXfrm) -> None:
    """The kernel refuses an optional tunnel in an OUT policy, and its own words are in the error."""
    loose = Template(*map(ip_address, ENDS[4]), optional=True)
    (failure,) = xfrm.set_policies([policy(1, 4, loose)])
    assert failure.error.errno == errno.EINVAL
    assert "optional template not allowed in outbound policy" in failure.error.answer


def test_state_that_exists_is_never_changed(xfrm: KernelXfrm) -> None:
    """Adding an SPI again fails for that state and leaves the first one as it was: no key is replaced."""
    first, again = state(1), state(1, algorithm=Algorithm.CHACHA20_POLY1305)
    assert xfrm.add_sas([first]) == []
    (failure,) = xfrm.add_sas([again])
    assert failure.what is again
    assert failure.error.errno == errno.EEXIST
    assert [entry.sa for entry in xfrm.list_sas()] == [first]


def test_errors_show_no_key(xfrm: KernelXfrm) -> None:
    """An error says what, why and what next, and holds no byte of the key that the request carried."""
    xfrm.add_sas([state(1)])
    (failure,) = xfrm.add_sas([state(1)])
    text = f"{failure} {failure.error!r} {failure.error.__cause__!r}"
    assert "install an IPsec state (192.0.2.2 spi 0x00000001): File exists" in str(failure.error)
    assert "Next: " in str(failure.error)
    assert KEY.hex() not in text
    assert repr(KEY)[2:20] not in text


def test_failure_names_the_one_bad_state_among_thousands(xfrm: KernelXfrm) -> None:
    """Of 2,000 states in one batch exactly the bad one is reported, and all others are installed."""
    sas = [state(number) for number in range(1, 2001)]
    bad = state(1300)
    assert [f.what for f in xfrm.add_sas([*sas[:1700], bad, *sas[1700:]])] == [bad]
    assert sorted(entry.sa.spi for entry in xfrm.list_sas()) == list(range(1, 2001))
    assert xfrm.delete_sas([sa.name for sa in sas]) == []
    assert xfrm.list_sas() == []


def test_failure_names_the_one_bad_policy_among_thousands(xfrm: KernelXfrm) -> None:
    """Of 2,000 policies in one batch exactly the bad one (more templates than XFRM knows) is reported."""
    policies = [policy(number, 4, pinned(7)) for number in range(2000)]
    bad = policy(2000, 4, *[pinned(7)] * 7)
    (failure,) = xfrm.set_policies([*policies[:900], bad, *policies[900:]])
    assert failure.what is bad
    assert failure.error.errno == errno.EINVAL
    assert in_order(xfrm.list_policies()) == in_order(policies)
    assert xfrm.delete_policies([one.name for one in policies]) == []
    assert xfrm.list_policies() == []


@pytest.mark.C2
def test_second_pass_writes_nothing(xfrm: KernelXfrm) -> None:
    """What is wanted and was written leaves no difference to the kernel, so a second pass sends no write."""
    sas = [state(1, 4), state(2, 6, set_mark=MARKS.decrypted(0, 1))]
    policies = [policy(1, 4, pinned(1), mark=MARKS.encrypt(0)), policy(1, 6, pinned(2, 6)), policy(2)]

    def reconcile() -> int:
        before = xfrm.writes
        present = {entry.sa for entry in xfrm.list_sas()}
        xfrm.add_sas([sa for sa in sas if sa not in present])
        listed = set(xfrm.list_policies())
        xfrm.set_policies([one for one in policies if one not in listed])
        xfrm.set_thresholds(0, 24, 0, 64)
        return xfrm.writes - before

    assert [reconcile(), reconcile()] == [6, 0]


def test_deleting_what_is_gone_is_no_failure(xfrm: KernelXfrm) -> None:
    """Deletes are by exact name, and one that finds nothing is no failure."""
    xfrm.add_sas([state(1), state(2)])
    xfrm.set_policies([policy(1), policy(1, mark=MARKS.encrypt(1))])
    gone = [state(1).name, SaKey(ip_address("fd00::9"), 77)]
    assert xfrm.delete_sas(gone) == xfrm.delete_sas(gone) == []
    unmarked = [policy(1).name, PolicyKey(Direction.IN, policy(1).selector)]
    assert xfrm.delete_policies(unmarked) == xfrm.delete_policies(unmarked) == []
    assert [entry.sa.spi for entry in xfrm.list_sas()] == [2]
    assert xfrm.list_policies() == [policy(1, mark=MARKS.encrypt(1))]


def test_absent_objects_are_none(xfrm: KernelXfrm) -> None:
    """Looking up a state or a policy that is not there gives None."""
    assert xfrm.sa(state(1).name) is None
    assert xfrm.policy(policy(1).name) is None


def test_policy_is_replaced_in_place(xfrm: KernelXfrm) -> None:
    """Setting a policy again with another verdict, priority or template replaces it: there is never a second one."""
    for wanted in (policy(1), policy(1, 4, pinned(5)), policy(1, verdict=PolicyAction.BLOCK)):
        assert xfrm.set_policies([wanted]) == []
        assert xfrm.list_policies() == [wanted]


def test_thresholds_are_set_once(xfrm: KernelXfrm) -> None:
    """Hash thresholds are written when they differ and read back."""
    assert xfrm.thresholds() == (32, 32, 128, 128)
    assert xfrm.set_thresholds(0, 24, 0, 64) is True
    assert xfrm.set_thresholds(0, 24, 0, 64) is False
    assert xfrm.thresholds() == (0, 24, 0, 64)


def test_our_policies_are_found_by_hash(xfrm: KernelXfrm) -> None:
    """Thresholds follow the prefixes of our policies, both ways, and are the kernel's own again when the last has gone."""
    wide = replace(policy(1), selector=Selector(ip_network("0.0.0.0/0"), ip_network("10.2.0.0/16")))
    seen = []
    for written in ([policy(1), policy(2)], [policy(1, verdict=PolicyAction.BLOCK)], [policy(3, 6)], [wide]):
        xfrm.set_policies(written)
        seen.append(xfrm.thresholds())
    for gone in ([wide.name], [policy(3, 6).name, policy(1).name], [policy(2).name]):
        xfrm.delete_policies(gone)
        seen.append(xfrm.thresholds())
    remote = policy(3, 6).selector.dst.prefixlen
    expected = [(0, 24, 128, 128)] * 2 + [(0, 24, 0, remote), (0, 16, 0, remote)]
    assert seen == [*expected, (0, 24, 0, remote), (0, 24, 128, 128), (32, 32, 128, 128)]


@pytest.mark.C3
def test_thresholds_of_somebody_else_stay(xfrm: KernelXfrm) -> None:
    """A value that our policies do not explain is left as it is; policies of others never change any."""
    xfrm.set_policies([replace(policy(1), priority=7)])
    assert xfrm.thresholds() == (32, 32, 128, 128)
    xfrm.set_thresholds(8, 28, 128, 128)
    xfrm.set_policies([policy(2), policy(3, 6)])
    xfrm.delete_policies([policy(2).name])
    assert xfrm.thresholds() == (8, 28, 0, policy(3, 6).selector.dst.prefixlen)


@pytest.mark.C2
def test_thresholds_that_fit_are_not_written(xfrm: KernelXfrm) -> None:
    """Replacing a policy counts one write: that of the policy."""
    xfrm.set_policies([policy(1)])
    before = xfrm.writes
    xfrm.set_policies([policy(1, verdict=PolicyAction.BLOCK)])
    assert xfrm.writes - before == 1


def test_stats_have_the_kernels_names(xfrm: KernelXfrm) -> None:
    """The counters of this network namespace are read by name."""
    stats = xfrm.stats()
    assert {"XfrmInTmplMismatch", "XfrmOutPolBlock", "XfrmInStateProtoError", "XfrmInNoStates"} <= stats.keys()
    assert set(stats.values()) == {0}


def test_lost_answers_are_failures(xfrm: KernelXfrm) -> None:
    """When answers overflow the socket, all that shared the datagram count as failed, not as done; the rest goes on."""
    xfrm._channel._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # noqa: SLF001 - no other way to lose one
    policies = [policy(number) for number in range(200)]
    failed = xfrm.set_policies(policies)
    assert [failure.what for failure in failed] == policies[:CHUNK]
    assert {failure.error.errno for failure in failed} == {errno.ENOBUFS}
    assert in_order(xfrm.list_policies()) == in_order(policies)


def test_another_thread_is_refused(xfrm: KernelXfrm) -> None:
    """Use from a thread that did not open the adapter is an error, not a second socket in silence."""
    seen: list[BaseException] = []

    def use() -> None:
        try:
            xfrm.list_sas()
        except XfrmError as e:
            seen.append(e)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert "belongs to another thread" in str(seen[0])
