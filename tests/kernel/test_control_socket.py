"""The agent's ports are its own: nobody else on the node binds one beside it, whatever address and options they ask for."""

from __future__ import annotations

import errno
import json
import select
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import count, product

import pytest

from tests.fakes.contracts import a_channel_has_nothing_once_it_is_closed
from tests.kernel.conftest import Host
from wirecrypt.http_server import dispatch, serve
from wirecrypt.kernel.net.control_socket import KernelControlChannel
from wirecrypt.model.xfrm import Address

PORT = 14500
NOBODY = 65534

# Run by the distribution's Python, which every user may read: binds what each line of its input asks for, and keeps it.
BIND = """
import json, socket, sys
kept = []
for line in sys.stdin:
    asked = json.loads(line)
    six = ":" in asked["address"]
    s = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_STREAM if asked["tcp"] else socket.SOCK_DGRAM)
    if six:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, asked["only_six"])
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, asked["reuse_address"])
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, asked["reuse_port"])
    if asked["link"]:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, asked["link"].encode())
    try:
        s.bind((asked["address"], asked["port"]))
        if asked["tcp"]:
            s.listen()
    except OSError as error:
        s.close()
        print(error.errno, flush=True)
    else:
        kept.append(s)
        print(0, flush=True)
"""
LISTEN = """
import sys
from ipaddress import ip_address
from wirecrypt.kernel.net.control_socket import KernelControlChannel
channel = KernelControlChannel()
assert channel.listen([ip_address(each) for each in sys.argv[2:]], int(sys.argv[1])) == {}
print("listens", flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Asked:
    """A socket as somebody asks for it."""

    address: str
    only_six: bool = False
    link: str = ""
    reuse_address: bool = False
    reuse_port: bool = False
    tcp: bool = False
    port: int = PORT


class Nobody:
    """A process of a user without rights, which keeps what it could bind."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def bind(self, asked: Asked) -> int:
        """Return the kernel's errno, 0 when it agreed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(asdict(asked)), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())


@contextmanager
def nobody(host: Host) -> Iterator[Nobody]:
    """Start such a process on *host*; it ends with the block."""
    argv = ["/usr/bin/python3", "-I", "-S", "-c", BIND]
    pipe = subprocess.PIPE
    with (
        host.netns.entered(),
        subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, user=NOBODY, group=NOBODY, extra_groups=()) as process,
    ):
        yield Nobody(process)


@contextmanager
def agents(host: Host) -> Iterator[KernelControlChannel]:
    """Enter the node and make what its agent listens by."""
    with host.netns.entered(), closing(KernelControlChannel()) as channel:
        yield channel


def beside(host: Host) -> list[Asked]:
    """Return every way to ask for what comes to *host*'s addresses: each itself, wildcards, by link, with each option."""
    four, six = (str(host.outer[version]) for version in (4, 6))
    bound = [Asked(address) for address in (four, six, f"::ffff:{four}", "0.0.0.0", "::")]  # noqa: S104 - that is the try
    bound.append(Asked("::", only_six=True))
    flags = (False, True)
    return [
        replace(asked, link=link, reuse_address=address, reuse_port=port)
        for asked, link, address, port in product(bound, ("", "wire"), flags, flags)
    ]


def probe(sender: Host, addresses: Iterable[Address]) -> None:
    """Send a datagram to each of *addresses*."""
    with sender.netns.entered():
        for address in addresses:
            with socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.sendto(b"probe", (str(address), PORT))


def has_come(channel: KernelControlChannel) -> bool:
    """Wait until something is there to be read, for 10 s at most; return whether it is."""
    poll = select.poll()
    for file in channel.files():
        poll.register(file, select.POLLIN)
    return bool(poll.poll(10_000))


def sources(channel: KernelControlChannel, number: int) -> set[Address]:
    """Return who sent what arrives, until that are *number* or nothing comes any more."""
    found: set[Address] = set()
    while len(found) < number and has_come(channel):
        found |= {arrived.src for arrived in channel.receive()}
    return found


def test_no_other_user_takes_the_agents_datagrams(hosts: tuple[Host, Host]) -> None:
    """Whoever tries to bind the control port beside the agent is refused, though another can be had in each of these ways."""
    here, there = hosts
    with agents(here) as channel, nobody(here) as other:
        assert channel.listen(here.outer.values(), PORT) == {}
        free = count(PORT + 1)
        assert {asked: other.bind(replace(asked, port=next(free))) for asked in beside(here)} == dict.fromkeys(beside(here), 0)
        refused = dict.fromkeys(beside(here), errno.EADDRINUSE)
        assert {asked: other.bind(asked) for asked in beside(here)} == refused
        probe(there, here.outer.values())
        assert sources(channel, 2) == set(there.outer.values())


def test_a_control_port_of_the_kernel(hosts: tuple[Host, Host]) -> None:
    """As the one in memory (tests/unit/fakes)."""
    here, _ = hosts
    with agents(here) as channel:
        a_channel_has_nothing_once_it_is_closed(channel, list(here.outer.values()), PORT)


FOOTHOLDS = ["127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1", "224.0.0.1"]


@pytest.mark.parametrize("versions", [(4,), (6,), (4, 6)], ids=["IPv4", "IPv6", "both"])
def test_no_other_user_creeps_from_another_address_to_the_agents(hosts: tuple[Host, Host], versions: tuple[int, ...]) -> None:
    """Who has one address of the port gets the others from the kernel, so nobody has one: also of the version not in use."""
    here, there = hosts
    outer = {version: here.outer[version] for version in versions}
    with agents(here) as channel, nobody(here) as other:
        assert channel.listen(outer.values(), PORT) == {}
        steps = [*FOOTHOLDS, "0.0.0.0", "::", *map(str, outer.values())]  # noqa: S104 - that is the try
        asked = [Asked(address, reuse_port=True) for address in steps]
        refused = {each: other.bind(each) for each in asked}
        probe(there, outer.values())
        assert sources(channel, len(outer)) == {there.outer[version] for version in versions}
    assert refused == dict.fromkeys(asked, errno.EADDRINUSE)


@pytest.mark.parametrize("taken", ["192.0.2.1", "fd00:2::1", "::", "127.0.0.2"])
def test_a_taken_port_is_told_and_tried_again(hosts: tuple[Host, Host], taken: str) -> None:
    """Who was there before the agent is not joined: the error has address, port, the kernel's words and the next step."""
    here, there = hosts
    with agents(here) as channel:
        with nobody(here) as other:
            assert other.bind(Asked(taken, reuse_address=True, reuse_port=True)) == 0
            failed = channel.listen(here.outer.values(), PORT)
            assert failed.keys() == set(here.outer.values())
            assert {str(error) for error in failed.values()} == {
                f"listen for control datagrams ({address} UDP port {PORT}): Address already in use. "
                "Next: see who holds the port with `ss -ulpn`, on whatever address, or set controlPort in the configuration"
                for address in failed
            }
        assert channel.listen(here.outer.values(), PORT) == {}
        probe(there, here.outer.values())
        assert sources(channel, 2) == set(there.outer.values())


def test_only_an_address_of_the_node_is_listened_on(hosts: tuple[Host, Host]) -> None:
    """What the node has not got is told; what is sent to an address that the agent was not given is not read."""
    here, there = hosts
    with agents(here) as channel:
        failed = channel.listen([here.outer[4], there.outer[6]], PORT)
        assert {str(address): error.answer for address, error in failed.items()} == {
            str(there.outer[6]): "Cannot assign requested address"
        }
        channel.listen([here.outer[4]], PORT)
        for address in (here.outer[6], here.pod[4]):
            probe(there, [address])
            assert has_come(channel)
            assert channel.receive() == []
        probe(there, [here.outer[4]])
        assert sources(channel, 1) == {there.outer[4]}


def test_a_datagram_leaves_from_the_address_that_was_asked_for(hosts: tuple[Host, Host]) -> None:
    """Also where the route would choose another one of the node's: a peer knows the pair by it."""
    here, there = hosts
    own = [*here.outer.values(), *here.pod.values()]
    with agents(there) as peer:
        assert peer.listen(there.outer.values(), PORT) == {}
        with agents(here) as channel:
            assert channel.listen(own, PORT) == {}
            assert [channel.send(address, there.outer[address.version], 0, b"x") for address in own] == [True] * 4
        assert sources(peer, 4) == set(own)


def test_an_agent_that_was_killed_leaves_the_port_at_once(hosts: tuple[Host, Host]) -> None:
    """While it lives another one gets no socket; once it is dead, the first try of the next agent has them all."""
    here, _ = hosts
    argv = [sys.executable, "-c", LISTEN, str(PORT), *map(str, here.outer.values())]
    with agents(here) as channel:
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as before:
            assert before.stdout is not None
            assert before.stdout.readline() == b"listens\n"
            assert channel.listen(here.outer.values(), PORT).keys() == set(here.outer.values())
            before.kill()
        assert channel.listen(here.outer.values(), PORT) == {}


def test_no_other_user_takes_requests_for_metrics(hosts: tuple[Host, Host]) -> None:
    """Nor does anybody listen beside the TCP port, though its own options let an agent have it again at once."""
    here, _ = hosts
    asked = [replace(each, tcp=True) for each in beside(here)]
    with here.netns.entered(), closing(serve(PORT, "::", dispatch({}))), nobody(here) as other:
        free = count(PORT + 1)
        assert {other.bind(replace(each, port=next(free))) for each in asked} == {0}
        assert {each: other.bind(each) for each in asked} == dict.fromkeys(asked, errno.EADDRINUSE)
