"""Network namespaces of a real kernel for these tests; all are called wc… and are gone afterwards.

The tests run as root inside a guest (tests/conftest.py).
"""

import ctypes
import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from wirecrypt.kernel.probe import ProbeResult, probe
from wirecrypt.kernel.xfrm.adapter import KernelXfrm
from wirecrypt.model.xfrm import Address, Network

CLONE_NEWNET = 0x40000000
NUMBERS = itertools.count(1)


def run(*words: str) -> str:
    """Run a command that must succeed and return its output."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr or done.stdout}"
    return done.stdout


@dataclass(frozen=True)
class Netns:
    """One network namespace."""

    name: str

    def run(self, *words: str) -> str:
        """Run a command inside (without the fresh /sys of `ip netns exec`, so bpffs stays) and return its output."""
        return run("nsenter", f"--net=/run/netns/{self.name}", *words)

    def ip(self, line: str) -> str:
        """Run one `ip` command inside."""
        return run("ip", "-n", self.name, *line.split())

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Move this thread inside: sockets made in the block belong to the namespace, also afterwards."""
        with Path("/proc/thread-self/ns/net").open("rb") as home:
            try:
                with Path("/run/netns", self.name).open("rb") as there:
                    _enter(there.fileno())
                yield
            finally:
                _enter(home.fileno())


@dataclass(frozen=True)
class Host:
    """One of two nodes on a wire: its namespace, outer addresses and pod prefixes with one address each."""

    netns: Netns
    outer: dict[int, Address]
    pods: dict[int, Network]
    pod: dict[int, Address]


def _enter(descriptor: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@pytest.fixture(scope="session")
def esp() -> None:
    """Fail with the kernel's own reasons where it cannot do IPsec: these tests run on kernels that are known to."""
    missing = [f"{f.name} {f.verdict.value}: {f.reason}" for f in probe() if f.verdict is not ProbeResult.YES]
    assert not missing, "; ".join(missing)


@pytest.fixture
def make_netns() -> Iterator[Callable[[], Netns]]:
    """Return a maker of network namespaces with the loopback link up."""
    made: list[Netns] = []

    def make() -> Netns:
        netns = Netns(f"wc{os.getpid()}x{next(NUMBERS)}")
        run("ip", "netns", "add", netns.name)
        made.append(netns)
        netns.ip("link set lo up")
        return netns

    yield make
    for netns in made:
        run("ip", "netns", "del", netns.name)


@pytest.fixture
def netns(make_netns: Callable[[], Netns]) -> Netns:
    """Return one network namespace."""
    return make_netns()


@pytest.fixture
def xfrm(esp: None, netns: Netns) -> Iterator[KernelXfrm]:
    """Return the adapter of that one namespace, with this thread inside it."""
    with netns.entered(), KernelXfrm() as adapter:
        yield adapter


@pytest.fixture
def hosts(esp: None, make_netns: Callable[[], Netns]) -> tuple[Host, Host]:
    """Return two nodes on a wire, each with a pod address of each family that the other has a route to."""
    first, second = _host(make_netns(), 1), _host(make_netns(), 2)
    first.netns.ip(f"link add wire type veth peer name wire netns {second.netns.name}")
    for here, there in ((first, second), (second, first)):
        _plug(here, there)
    return first, second


def _host(netns: Netns, number: int) -> Host:
    return Host(
        netns,
        outer={4: ip_address(f"192.0.2.{number}"), 6: ip_address(f"fd00:2::{number}")},
        pods={4: ip_network(f"10.{number}.0.0/24"), 6: ip_network(f"fd00:1{number}::/64")},
        pod={4: ip_address(f"10.{number}.0.1"), 6: ip_address(f"fd00:1{number}::1")},
    )


def _plug(here: Host, there: Host) -> None:
    """Give one end its addresses and routes. Without `nodad` an address is tentative for a moment, and no route's source."""
    here.netns.ip(f"addr add {here.outer[4]}/24 dev wire")
    here.netns.ip(f"addr add {here.outer[6]}/64 dev wire nodad")
    here.netns.ip("link set wire up")
    for version in (4, 6):
        here.netns.ip(f"addr add {here.pod[version]} dev lo{' nodad' if version == 6 else ''}")
        here.netns.ip(f"-{version} route add {there.pods[version]} via {there.outer[version]} src {here.pod[version]}")
