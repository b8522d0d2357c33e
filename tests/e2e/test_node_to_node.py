"""Between the addresses of two enabled nodes everything is ESP too, or exactly what is exempt; no change loses a packet."""

from __future__ import annotations

import secrets
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import pytest

from tests.e2e import product
from wirecrypt.lab import operations
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.streams import Tcp, Udp, start_all, stop_all
from wirecrypt.lab.waiting import until
from wirecrypt.lab.wire.capture import Capture

NEWEST_KERNEL = True  # joining, leaving and rotating are tried on all kernels, with traffic of this class as well
QUIET = True

DRAIN = 3
EXEMPT = {"nodeToNode": "off"}
DEAD = {4: "10.2.0.201", 6: "fd00:12::201"}  # in node-2's pod prefixes, nobody's


def set_node_to_node(lab: Lab, *, sealed: bool) -> None:
    """Have node→node of node-1 and node-2 sealed or in clear, and wait until both ends' kernels show it."""
    operations.configure(lab, **operations.RANGES, drain=DRAIN, **({} if sealed else EXEMPT))
    until(lambda: all(is_sealed(lab, n) is sealed for n in product.PAIR), what=f"sealed: {sealed}", seconds=product.SECONDS)


def is_sealed(lab: Lab, node: str) -> bool | None:
    """Return whether *node* sends nothing but ESP to its peer and requires it; None when one of both is so."""
    peer = next(str(lab.nodes[n].addresses.wire4.ip) for n in product.PAIR if n != node)
    found = product.policies(lab, node)
    sends = any(f"0.0.0.0/0 dst {peer}/32 \n\tdir out" in p and "mark" not in p for p in found)
    requires = any(f"{peer}/32 dst 0.0.0.0/0 \n\tdir in" in p and "level use" not in p for p in found)
    return sends if sends is requires else None


@contextmanager
def exempt(lab: Lab) -> Iterator[None]:
    """Have node→node in clear for the length of the block."""
    try:
        set_node_to_node(lab, sealed=False)
        yield
    finally:
        set_node_to_node(lab, sealed=True)


@pytest.mark.L9
@pytest.mark.exempts_nodes
def test_sealing_and_exempting_under_load_loses_nothing(protected: Lab) -> None:
    """From ESP to clear and back, with numbered traffic between the nodes both ways: every packet arrives; clear is counted."""
    lab = protected
    pairs = [product.PAIR, product.PAIR[::-1]]
    flows: list[Udp | Tcp] = [Udp.prepare(lab, a, b, rate=100, family=family) for a, b in pairs for family in (4, 6)]
    flows += [Tcp.prepare(lab, a, b, rate=100_000) for a, b in pairs]
    start_all(flows)
    before = product.guard_counters(lab, "node-1").get("node_to_node", 0)
    with exempt(lab):
        until(
            lambda: product.guard_counters(lab, "node-1").get("node_to_node", 0) > before + 50,
            what="packets in clear are counted",
            seconds=product.SECONDS,
            every=0.5,
        )
    results = stop_all(flows)
    assert [(f.source, f.target, r.lost) for f, r in zip(flows, results, strict=True) if r.lost] == []


@pytest.mark.L9
@pytest.mark.L3
@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "exempt"])
def test_errors_that_quote_what_was_decrypted_are_not_readable(protected: Lab, observer: Capture, sealed: bool) -> None:  # noqa: FBT001 - a table
    """A node cannot deliver what it decrypted, and tells the sender's node: the error arrives, its quote is not on the wire."""
    lab, marker = protected, f"quoted-{secrets.token_hex(8)}"
    for version, target in DEAD.items():
        lab.exec("node-2", ["ip", f"-{version}", "route", "replace", "prohibit", target])
    try:
        with observed(lab, sealed=sealed):
            told = [errno_of(lab, "node-1", target, marker) for target in DEAD.values()]
            closed = [str(getattr(lab.nodes["node-2"].addresses, f"wire{v}").ip) for v in DEAD] if sealed else []
            told += [errno_of(lab, "node-1", target, marker) for target in closed]
            errno_of(lab, "node-1", lab.pods["pod/node-2/a"].ip4, marker, hops=1)
    finally:
        for version, target in DEAD.items():
            lab.exec("node-2", ["ip", f"-{version}", "route", "del", "prohibit", target])
    assert all(told), f"an error comes back: {told}"
    assert observer.observe().marked(marker.encode()) == {}


@contextmanager
def observed(lab: Lab, *, sealed: bool) -> Iterator[None]:
    if sealed:
        yield
        return
    with exempt(lab):
        yield


def errno_of(lab: Lab, where: str, target: str, marker: str, hops: int = 64) -> str:
    """Return the name of the error that a datagram to *target* comes back with, empty when none does."""
    script = _ASK.format(target=target, marker=marker, hops=hops)
    return lab.exec(where, ["python3", "-c", script]).stdout.strip()


_ASK = """
import errno, socket, time
s = socket.socket(socket.AF_INET6 if ":" in "{target}" else socket.AF_INET, socket.SOCK_DGRAM)
v6 = s.family == socket.AF_INET6
s.setsockopt(*((socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, {hops}) if v6 else (socket.IPPROTO_IP, socket.IP_TTL, {hops})))
s.setsockopt(*((socket.IPPROTO_IPV6, 25, 1) if v6 else (socket.IPPROTO_IP, 11, 1)))
s.settimeout(1)
s.connect(("{target}", 9))
for _ in range(5):
    try:
        s.send(b"{marker}" * 8)
        s.recv(10)
    except TimeoutError:
        pass
    except OSError as error:
        print(errno.errorcode[error.errno])
        break
"""


SOURCES: dict[str, Callable[[Lab], str]] = {
    "outside": lambda _: "203.0.113.9",
    "an unlabelled node's": lambda lab: str(lab.nodes["node-3"].addresses.wire4.ip),
    "an unlabelled node's pod's": lambda lab: lab.pods["pod/node-3/a"].ip4,
    "its own node's": lambda lab: str(lab.nodes["node-1"].addresses.wire4.ip),
}


@pytest.mark.L7
@pytest.mark.L9
@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "exempt"])
def test_a_pod_that_chooses_its_source_is_not_readable_on_the_way_to_a_node(
    protected: Lab,
    observer: Capture,
    sealed: bool,  # noqa: FBT001 - a table
) -> None:
    """A pod with NET_RAW sends to a peer's own address under other sources, UDP and protocol 50: nothing of it is in clear."""
    lab, marker = protected, f"spoofed-{secrets.token_hex(8)}".encode()
    target = str(lab.nodes["node-2"].addresses.wire4.ip)
    for name in ("all", "default", "upl"):
        lab.exec("node-1", ["sysctl", "-qw", f"net.ipv4.conf.{name}.accept_local=1", f"net.ipv4.conf.{name}.rp_filter=0"])
    spi = next(int(s.spi, 16) for s in product.states(lab, "node-1") if s.dst == target)
    payloads = {17: struct.pack("!HHHH", 7, 9, 8 + len(marker), 0) + marker, 50: struct.pack("!II", spi, 1) + marker}
    packets = [_packet(make(lab), target, proto, data) for make in SOURCES.values() for proto, data in payloads.items()]
    with observed(lab, sealed=sealed):
        lab.exec("pod/node-1/a", ["python3", "-c", _SEND_RAW, target, *(packet.hex() for packet in packets)])
        product.wait_clock(lab, 1)
    assert observer.observe().marked(marker) == {}


def test_what_is_sent_under_a_chosen_source_does_reach_the_wire_without_encryption(exposed: Lab, wire: Capture) -> None:
    """The same packets with no node enabled are readable: the test before can see what it looks for."""
    lab, marker = exposed, f"spoofed-{secrets.token_hex(8)}".encode()
    target = str(lab.nodes["node-2"].addresses.wire4.ip)
    payload = struct.pack("!HHHH", 7, 9, 8 + len(marker), 0) + marker
    lab.exec("pod/node-1/a", ["python3", "-c", _SEND_RAW, target, _packet("203.0.113.9", target, 17, payload).hex()])
    until(lambda: wire.observe().marked(marker), what="the packets are on the wire", seconds=product.SECONDS)


def _packet(source: str, target: str, proto: int, payload: bytes) -> bytes:
    """Return an IPv4 packet; the kernel fills in the checksum of its header."""
    ends = ip_address(source).packed + ip_address(target).packed
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 7, 0, 64, proto, 0) + ends + payload


_SEND_RAW = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for packet in sys.argv[2:]:
    for _ in range(3):
        s.sendto(bytes.fromhex(packet), (sys.argv[1], 0))
"""


@pytest.mark.C1
def test_nothing_is_left_when_the_order_of_a_nodes_addresses_flips(protected: Lab) -> None:
    """The tunnel moves to the other family: a drain later both ends have its SAs and policies alone."""
    lab = protected
    places = [lab.nodes[node].addresses for node in product.PAIR]
    old, new = ({str(getattr(place, wire).ip) for place in places} for wire in ("wire4", "wire6"))
    try:
        for node in product.PAIR:
            list_addresses(lab, node, first=6)
        until(lambda: ends(lab) == {frozenset(new)}, what=f"only {new} are left", seconds=product.SECONDS, every=0.5)
        assert not any(set(old) <= set(p.split()) for node in product.PAIR for p in templates(lab, node))
    finally:
        for node in product.PAIR:
            list_addresses(lab, node, first=4)
    until(lambda: ends(lab) == {frozenset(old)}, what=f"only {old} are left", seconds=product.SECONDS, every=0.5)
    product.settle(lab, *product.PAIR)


def ends(lab: Lab) -> set[frozenset[str]]:
    """Return between which addresses the two nodes have SAs."""
    return {frozenset((s.src, s.dst)) for node in product.PAIR for s in product.states(lab, node)}


def templates(lab: Lab, node: str) -> list[str]:
    return [line for policy in product.policies(lab, node) for line in policy.splitlines() if "tmpl" in line]


@pytest.mark.C1
@pytest.mark.parametrize("missing", [4, 6], ids=["the tunnel's", "the other one"])
def test_an_address_that_its_node_does_not_mention_for_a_moment_is_held(protected: Lab, missing: int) -> None:
    """Pods go on to reach it, and the wire is judged: a list that lost an entry says no more than one that is gone."""
    lab, place = protected, protected.nodes["node-2"].addresses
    before = [product.policies(lab, node) for node in product.PAIR]
    pairs = [("pod/node-1/a", "node-2"), ("pod/node-1/a", "pod/node-2/a"), ("node-1", "node-2")]
    flows = [Udp.prepare(lab, source, target, rate=100, family=f) for source, target in pairs for f in (4, 6)]
    start_all(flows)
    try:
        list_addresses(lab, "node-2", first=10 - missing, only=True)
        address = str((place.wire4 if missing == 4 else place.wire6).ip)
        told = lambda: any(address in problem for problem in problems(lab, "node-2"))  # noqa: E731 - said once
        until(told, what=f"the EncryptedNode says that {address} is missing", seconds=product.SECONDS, every=0.2)
        product.wait_clock(lab, 3)
    finally:
        list_addresses(lab, "node-2", first=4)
    assert [result.lost for result in stop_all(flows)] == [0] * len(flows)
    assert [product.policies(lab, node) for node in product.PAIR] == before


def problems(lab: Lab, node: str) -> list[str]:
    """Return what the node's EncryptedNode says is wrong."""
    return list(lab.api.get(f"/apis/wirecrypt.io/v1alpha1/encryptednodes/{node}")["spec"].get("problems") or [])


def list_addresses(lab: Lab, node: str, *, first: int, only: bool = False) -> None:
    """Write the InternalIPs of *node* in another order, or the *first* one *only*, as a cloud controller may."""
    place = lab.nodes[node].addresses
    both = [str(place.wire4.ip), str(place.wire6.ip)]
    chosen = (both if first == 4 else both[::-1])[: 1 if only else 2]
    listed = [{"type": "InternalIP", "address": address} for address in chosen]
    lab.api.patch(f"/api/v1/nodes/{node}/status", {"status": {"addresses": listed}})


@pytest.mark.L9
@pytest.mark.exempts_nodes
def test_a_node_with_an_api_server_is_reached_without_any_key(all_protected: Lab) -> None:
    """With a control-plane Node's SAs gone and both agents standing still TCP between the nodes goes on, pods' does not."""
    lab, role = all_protected, "node-role.kubernetes.io/control-plane"
    lab.kubectl("label", "node", "node-2", f"{role}=")
    agents = [lab.kubelet.pod("wirecrypt-agent", node) for node in product.PAIR]
    try:
        until(lambda: all(is_sealed(lab, n) is False for n in product.PAIR), what="the pair is exempt", seconds=product.SECONDS)
        third = str(lab.nodes["node-3"].addresses.wire4.ip)
        assert any(f"0.0.0.0/0 dst {third}/32 \n\tdir out" in p for p in product.policies(lab, "node-1")), "others are sealed"
        until(
            lambda: "in clear with 2" in operations.condition(operations.encrypted_node(lab, "node-2"), "Ready")["message"],
            what="the status of node-2 says so",
            seconds=product.SECONDS,
        )
        for agent in agents:
            agent.process.kill(signal.SIGSTOP)
        for node in product.PAIR:
            lab.exec(node, ["ip", "xfrm", "state", "flush"])
        with Tcp.start(lab, *product.PAIR, rate=100_000) as flow:
            assert flow.stop().received > 0
        target = lab.pods["pod/node-2/a"].ip4
        assert lab.exec("pod/node-1/a", ["ping", "-c", "2", "-i", "0.2", "-W", "1", target], check=False).status
    finally:
        for agent in agents:
            agent.process.kill(signal.SIGCONT)
        lab.kubectl("label", "node", "node-2", f"{role}-")
    until(lambda: all(is_sealed(lab, n) for n in product.PAIR), what="the pair is sealed again", seconds=product.SECONDS)
    product.settle(lab, *product.ALL)


@pytest.mark.L6
@pytest.mark.parametrize("listed", [True, False], ids=["listed", "connected"])
def test_an_api_server_inside_the_cluster_ranges_is_reached(protected: Lab, listed: bool) -> None:  # noqa: FBT001 - a table
    """Ranges that hold the API server's address cut nobody off: others there are dropped, and a rotation goes through."""
    lab, unknown = protected, "192.0.2.77"
    ranges = {**operations.RANGES, "clusterCIDRs": [*operations.RANGES["clusterCIDRs"], "192.0.2.0/24"]}
    before = product.guard_counters(lab, "node-1").get("egress_unknown", 0)
    try:
        operations.configure(lab, **(ranges if listed else {**ranges, "apiServers": []}), drain=DRAIN)
        lab.exec("node-1", ["ip", "neigh", "replace", unknown, "lladdr", "02:77:63:00:00:77", "dev", "upl"])

        def dropped() -> bool:
            lab.exec("node-1", ["ping", "-c", "1", "-W", "1", unknown], check=False)
            return product.guard_counters(lab, "node-1").get("egress_unknown", 0) > before

        until(dropped, what="the ranges are in force", seconds=product.SECONDS, every=0.5)
        operations.rotate(lab, "through the ranges")
    finally:
        lab.exec("node-1", ["ip", "neigh", "del", unknown, "dev", "upl"], check=False)
        operations.configure(lab, **operations.RANGES, drain=DRAIN)
    product.settle(lab, *product.PAIR)
