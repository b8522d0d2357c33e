"""scripts/check-encryption.sh on a real kernel: each of its three answers, on plain, VXLAN and encrypted traffic."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.kernel.conftest import Host
from tests.kernel.test_xfrm_traffic import connect
from wirecrypt.kernel.xfrm.adapter import KernelXfrm

NEWEST_KERNEL = True  # a shell script and tcpdump are judged; the frames are the same on all
SCRIPT = str(Path(__file__).resolve().parents[2] / "scripts/check-encryption.sh")
SEND = """
import socket, sys, time
src, dst = sys.argv[1:]
s = socket.socket(socket.AF_INET6 if ":" in src else socket.AF_INET, socket.SOCK_DGRAM)
s.bind((src, 4444))
while True:
    s.sendto(b"marker", (dst, 5353))
    time.sleep(0.1)
"""


def check(host: Host, *arguments: str) -> tuple[int, str]:
    """Run the script on a node for two seconds; return its exit status and what it said."""
    words = ["nsenter", f"--net=/run/netns/{host.netns.name}", "sh", SCRIPT, "-s", "2", *arguments]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


@contextmanager
def traffic(src: Host, dst: Host, *versions: int) -> Iterator[None]:
    """Send datagrams from pod to pod, port 4444 to 5353, ten a second in each of the IP *versions*."""
    enter = ["nsenter", f"--net=/run/netns/{src.netns.name}", "/usr/bin/python3", "-c", SEND]
    senders = [subprocess.Popen([*enter, str(src.pod[v]), str(dst.pod[v])]) for v in versions]
    try:
        yield
    finally:
        for sender in senders:
            sender.kill()
            sender.wait()


@pytest.fixture
def nodes(hosts: tuple[Host, Host]) -> tuple[Host, Host]:
    """Return two nodes with a bridge that holds their pod prefixes, as a CNI makes it."""
    for host in hosts:
        host.netns.run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        host.netns.ip("link add cni0 type bridge")
        host.netns.ip(f"addr add {host.pods[4][-2]}/24 dev cni0")
        host.netns.ip(f"addr add {host.pods[6][-2]}/64 dev cni0 nodad")
        host.netns.ip("link set cni0 up")
    return hosts


@pytest.fixture
def encrypted(nodes: tuple[Host, Host]) -> Iterator[tuple[Host, Host]]:
    """Yield two nodes whose IPv4 pod traffic goes with ESP: SPI 0x101 from the first, 0x102 from the second."""
    with ExitStack() as stack:
        adapters = []
        for host in nodes:
            with host.netns.entered():
                adapters.append(stack.enter_context(KernelXfrm()))
        connect(nodes, (adapters[0], adapters[1]))
        yield nodes


def test_cleartext_is_named(nodes: tuple[Host, Host]) -> None:
    """Plain pod traffic ends in 1 and is named by its five-tuples, in both families; all defaults come from the routes."""
    with traffic(*nodes, 4, 6):
        status, said = check(nodes[0])
    assert status == 1, said
    assert "interface wire," in said
    assert "UDP 10.1.0.1:4444 > 10.2.0.1:5353" in said
    assert "UDP [fd00:11::1]:4444 > [fd00:12::1]:5353" in said
    assert "ESP packets by SPI:\n  none" in said


def test_cleartext_inside_vxlan_is_named(nodes: tuple[Host, Host]) -> None:
    """The same inside VXLAN, as flannel sends it, though the packets on the wire are between node addresses."""
    for here, there in (nodes, nodes[::-1]):
        remote, prefix = there.outer[4], there.pods[4]
        here.netns.ip(f"link add flannel.1 type vxlan id 1 local {here.outer[4]} remote {remote} dstport 8472 dev wire")
        here.netns.ip(f"addr add {here.pods[4][0]}/32 dev flannel.1")
        here.netns.ip("link set flannel.1 up")
        here.netns.ip(f"route replace {prefix} via {prefix[0]} dev flannel.1 onlink src {here.pod[4]}")
    with traffic(*nodes, 4):
        status, said = check(nodes[0])
    assert status == 1, said
    assert "UDP 10.1.0.1:4444 > 10.2.0.1:5353  (inside VXLAN)" in said


def test_encrypted_traffic_is_no_cleartext_on_either_end(encrypted: tuple[Host, Host]) -> None:
    """ESP alone ends in 0 with the SPIs, on the receiver too, where the decrypted packets show up again."""
    with traffic(*encrypted, 4), traffic(*encrypted[::-1], 4):
        sender, receiver = (check(host) for host in encrypted)
    assert [sender[0], receiver[0]] == [0, 0], sender[1] + receiver[1]
    assert "out  192.0.2.1 > 192.0.2.2  spi 0x00000101" in sender[1]
    assert "in  192.0.2.2 > 192.0.2.1  spi 0x00000102" in sender[1]
    assert "in  192.0.2.1 > 192.0.2.2  spi 0x00000101" in receiver[1]
    assert "cleartext packets between pods:\n  none" in receiver[1]


def test_one_family_in_clear_is_cleartext(encrypted: tuple[Host, Host]) -> None:
    """ESP next to cleartext ends in 1: IPv6 was forgotten."""
    with traffic(*encrypted, 4, 6):
        status, said = check(encrypted[0])
    assert status == 1, said
    assert "spi 0x00000101" in said
    assert "UDP [fd00:11::1]:4444 > [fd00:12::1]:5353" in said
    assert "10.1.0.1:4444" not in said


def test_silence_proves_nothing(nodes: tuple[Host, Host]) -> None:
    """Without pod traffic the answer is 2, and says that it proves nothing."""
    status, said = check(nodes[0])
    assert status == 2, said
    assert "proves nothing" in said
