"""Packets between two nodes really go through what we wrote."""

import re
import select
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from tests.kernel.conftest import Host
from wirecrypt.kernel.xfrm.adapter import KernelXfrm
from wirecrypt.kernel.xfrm.notifications import Expired, ExpireEvents
from wirecrypt.model.mark import MarkLayout
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.xfrm import Algorithm, Direction, Policy, Sa, SaLimits, Selector, Template
from wirecrypt.plan.policies import spread

MARKS = MarkLayout()
PRIORITY = 0x5710
WAIT_MS = 10_000

Pair = tuple[KernelXfrm, KernelXfrm]


@pytest.fixture
def pair(hosts: tuple[Host, Host]) -> Iterator[Pair]:
    """Return the adapters of both nodes."""
    with ExitStack() as stack:
        adapters = []
        for host in hosts:
            with host.netns.entered():
                adapters.append(stack.enter_context(KernelXfrm()))
        yield adapters[0], adapters[1]


def make_sas(
    sender: Host, receiver: Host, spi: int, *, outer: int = 4, algorithm: Algorithm = Algorithm.AES_256_GCM, **more: object
) -> tuple[Sa, Sa]:
    """Return the sending and the receiving state of one direction."""
    base = {
        "src": sender.outer[outer],
        "dst": receiver.outer[outer],
        "spi": spi,
        "reqid": spi,
        "algorithm": algorithm,
        "key": SecretBytes(spi.to_bytes(36)),
    }
    return Sa(**base, **more), Sa(**base, set_mark=MARKS.decrypted(0, 0))


def to_peer(sender: Host, receiver: Host, spi: int, *, inner: int = 4, outer: int = 4) -> Policy:
    template = Template(sender.outer[outer], receiver.outer[outer], spi=spi, reqid=spi)
    selector = Selector(sender.pods[inner].supernet(new_prefix=0), receiver.pods[inner])
    return Policy(Direction.OUT, selector, PRIORITY, templates=(template,))


def from_peer(sender: Host, receiver: Host, *, inner: int = 4, outer: int = 4) -> Policy:
    selector = Selector(sender.pods[inner], receiver.pods[inner])
    template = Template(sender.outer[outer], receiver.outer[outer])
    return Policy(Direction.IN, selector, PRIORITY, templates=(template,))


def connect(hosts: tuple[Host, Host], pair: Pair, *, inner: int = 4, outer: int = 4, **more: object) -> None:
    """Encrypt both directions between the pods of both nodes: SPI 0x101 from the first, 0x102 from the second."""
    for spi, (sender, receiver), (here, there) in (
        (0x101, hosts, pair),
        (0x102, hosts[::-1], pair[::-1]),
    ):
        sending, receiving = make_sas(sender, receiver, spi, outer=outer, **more)
        assert [*there.add_sas([receiving]), *here.add_sas([sending])] == []
        assert here.set_policies([to_peer(sender, receiver, spi, inner=inner, outer=outer)]) == []
        assert there.set_policies([from_peer(sender, receiver, inner=inner, outer=outer)]) == []


def ping(hosts: tuple[Host, Host], *, inner: int = 4, count: int = 3, mark: int = 0) -> int:
    """Ping from pod to pod, with a mark as another program would set it; return how many answers came."""
    words = ["ping", "-n", "-i", "0.01", "-W", "2", "-c", str(count), "-m", str(mark), "-I", str(hosts[0].pod[inner])]
    words.append(str(hosts[1].pod[inner]))
    done = subprocess.run(
        ["nsenter", f"--net=/run/netns/{hosts[0].netns.name}", *words], capture_output=True, text=True, check=False
    )
    found = re.search(r"(\d+) received", done.stdout)
    assert found, done.stderr
    return int(found[1])


def errors(xfrm: KernelXfrm, host: Host) -> dict[str, int]:
    with host.netns.entered():
        return {name: value for name, value in xfrm.stats().items() if value}


@pytest.mark.parametrize("inner", [4, 6])
@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_traffic_flows(hosts: tuple[Host, Host], pair: Pair, inner: int, outer: int, algorithm: Algorithm) -> None:
    """Pings of either family are answered inside tunnels of either family; both ends count them, nothing else."""
    connect(hosts, pair, inner=inner, outer=outer, algorithm=algorithm)
    assert ping(hosts, inner=inner, count=5) == 5
    for xfrm in pair:
        usage = {entry.sa.spi: entry.usage for entry in xfrm.list_sas()}
        assert [(usage[spi].packets, usage[spi].sequence) for spi in (0x101, 0x102)] == [(5, 5), (5, 5)]
        assert all(u.integrity_errors == u.replay_errors == u.window_errors == 0 for u in usage.values())
    assert [errors(xfrm, host) for xfrm, host in zip(pair, hosts, strict=True)] == [{}, {}]


@pytest.mark.parametrize("lanes", [1, 2, 3, 16])
def test_each_flow_takes_a_lane_of_the_pair_by_its_number(hosts: tuple[Host, Host], pair: Pair, lanes: int) -> None:
    """The kernel finds the policy that looks at the bits that the pair needs; lane 0 has the rest, and what has no mark."""
    connect(hosts, pair)
    spis = [0x101, *range(0x111, 0x110 + lanes)]
    for spi in spis[1:]:
        sending, receiving = make_sas(*hosts, spi)
        assert [*pair[1].add_sas([receiving]), *pair[0].add_sas([sending])] == []
    for mark, lane in spread(lanes, MARKS):
        policy = replace(to_peer(*hosts, spis[lane]), priority=PRIORITY - 1, mark=mark)
        assert pair[0].set_policies([policy]) == []
    assert ping(hosts, count=1) == 1
    assert [ping(hosts, count=1, mark=MARKS.encrypt(number).value) for number in range(16)] == [1] * 16
    usage = {entry.sa.spi: entry.usage.packets for entry in pair[0].list_sas()}
    taken = Counter(number % (1 << (lanes - 1).bit_length()) % lanes for number in range(16))
    assert [usage[spi] for spi in spis] == [taken[lane] + (lane == 0) for lane in range(lanes)]


def test_wrong_key_is_counted(hosts: tuple[Host, Host], pair: Pair) -> None:
    """Packets under another key are dropped by the receiver and counted at its state."""
    connect(hosts, pair)
    (sending, receiving) = make_sas(*hosts, 0x103)
    other = Sa(
        src=sending.src,
        dst=sending.dst,
        spi=sending.spi,
        reqid=sending.reqid,
        algorithm=sending.algorithm,
        key=SecretBytes(bytes(36)),
    )
    assert [*pair[1].add_sas([receiving]), *pair[0].add_sas([other])] == []
    assert pair[0].set_policies([to_peer(*hosts, 0x103)]) == []
    assert ping(hosts, count=2) == 0
    found = pair[1].sa(receiving.name)
    assert found is not None
    assert (found.usage.packets, found.usage.integrity_errors) == (0, 2)
    assert errors(pair[1], hosts[1]) == {"XfrmInStateProtoError": 2}


def test_soft_limit_is_told(hosts: tuple[Host, Host], pair: Pair) -> None:
    """Passing the soft limit of packets gives one event that names the state, and traffic goes on."""
    with hosts[0].netns.entered(), ExpireEvents() as events:
        connect(hosts, pair, limits=SaLimits(soft_packets=2))
        assert events.read() == []
        assert ping(hosts, count=6) == 6
        assert _readable(events)
        (sending, _) = make_sas(*hosts, 0x101)
        assert events.read() == [Expired(sending.name, hard=False)]
        assert events.read() == []
        assert events.lost == 0


def test_hard_limit_ends_the_state(hosts: tuple[Host, Host], pair: Pair) -> None:
    """Passing the hard limit is told as such, the state is gone, and its packets are dropped, not sent in clear."""
    with hosts[0].netns.entered(), ExpireEvents() as events:
        connect(hosts, pair, limits=SaLimits(hard_packets=3))
        assert ping(hosts, count=6) == 3
        assert _readable(events)
        assert Expired(make_sas(*hosts, 0x101)[0].name, hard=True) in events.read()
    assert [entry.sa.spi for entry in pair[0].list_sas()] == [0x102]


def test_missing_state_leaves_room_for_the_real_one(hosts: tuple[Host, Host], pair: Pair) -> None:
    """Next to the expire source a packet without state makes no larval state, so installing the state still works."""
    with hosts[0].netns.entered(), ExpireEvents():
        pair[0].set_policies([to_peer(*hosts, 0x101)])
        assert ping(hosts, count=1) == 0
        assert pair[0].add_sas([make_sas(*hosts, 0x101)[0]]) == []


@pytest.mark.R1
def test_policy_update_is_atomic(hosts: tuple[Host, Host], pair: Pair) -> None:
    """While a policy is moved between two states hundreds of times, a flood of pings loses nothing."""
    connect(hosts, pair)
    sending, receiving = make_sas(*hosts, 0x103)
    assert [*pair[1].add_sas([receiving]), *pair[0].add_sas([sending])] == []
    count, floods, switches = 2000, 0, 0
    words = ["ping", "-q", "-f", "-c", str(count), "-W", "2", "-I", str(hosts[0].pod[4]), str(hosts[1].pod[4])]
    while switches <= 100:  # however many floods that takes
        flood = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{hosts[0].netns.name}", *words], stdout=subprocess.PIPE, text=True
        )
        floods += 1
        while flood.poll() is None:
            assert pair[0].set_policies([to_peer(*hosts, (0x103, 0x101)[switches % 2])]) == []
            switches += 1
        output, _ = flood.communicate()
        assert f"{count} packets transmitted, {count} received" in output
    used = {entry.sa.spi: entry.usage.packets for entry in pair[1].list_sas()}
    assert used[0x101] > 0
    assert used[0x103] > 0
    assert used[0x101] + used[0x103] >= floods * count
    assert [errors(xfrm, host) for xfrm, host in zip(pair, hosts, strict=True)] == [{}, {}]


def _readable(events: ExpireEvents) -> bool:
    poll = select.poll()
    poll.register(events, select.POLLIN)
    return bool(poll.poll(WAIT_MS))
