"""Addresses that a node says it has: reached by ESP once they are granted, never in clear when they move; not any address."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.e2e import product
from tests.e2e.test_links import second, second_cards
from wirecrypt.lab import operations
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.waiting import DEADLINE, until
from wirecrypt.lab.wire.capture import Capture
from wirecrypt.lab.wire.observer import Observation
from wirecrypt.model.objects import ALLOW_ADDRESSES

NEWEST_KERNEL = True  # how an address is granted does not depend on the kernel; what it then is, is tried on all
QUIET = True

VIP, VIP6 = "192.0.2.100", "fd00:2::100"  # on the wire's own networks, as kube-vip has them
UPLINK = "upl"
OUTSIDE = "203.0.113.53"  # in no range of nodes
ELSEWHERE = "198.51.100.53"  # in one, where no node has an address
SECOND_CARDS = {"nodeCIDRs": [*operations.RANGES["nodeCIDRs"], "198.51.100.0/24", "fd00:3::/64"]}


@pytest.fixture
def enabled(all_protected: Lab) -> Iterator[Lab]:
    """Yield the lab with its three nodes protected from each other; no node has a virtual address before and after."""
    yield all_protected
    for node in product.ALL:
        put_off(all_protected, node)


def put_on(lab: Lab, node: str) -> None:
    """Give the virtual addresses to *node*."""
    for address in (f"{VIP}/32", f"{VIP6}/128"):
        lab.exec(node, ["ip", "addr", "add", address, "dev", UPLINK, *(["nodad"] if ":" in address else [])])


def put_off(lab: Lab, node: str) -> None:
    """Take the virtual addresses from *node*, where it has them."""
    for address in (f"{VIP}/32", f"{VIP6}/128"):
        lab.exec(node, ["ip", "addr", "del", address, "dev", UPLINK], check=False)


def holders(lab: Lab, address: str) -> list[str]:
    """Return the nodes that the API shows with *address*."""
    peers = lab.api.get("/apis/wirecrypt.io/v1alpha1/nodepeers")["items"]
    return sorted(p["metadata"]["name"] for p in peers if address in p["spec"].get("addresses", []))


def sends_to(lab: Lab, node: str, address: str) -> set[str]:
    """Return the outer addresses to which the kernel of *node* sends what is for *address*, by iproute2."""
    length = 128 if ":" in address else 32
    ours = [p for p in product.policies(lab, node) if f"dst {address}/{length}" in p and "dir out" in p and "tmpl" in p]
    return {line.split()[4] for policy in ours for line in policy.splitlines() if line.strip().startswith("tmpl")}


def wait_reached(lab: Lab, holder: str) -> None:
    """Wait until the other nodes send to the virtual addresses by ESP to *holder*."""
    place = str(lab.nodes[holder].addresses.wire4.ip)
    others = [node for node in product.ALL if node != holder]
    until(
        lambda: all(sends_to(lab, node, address) == {place} for node in others for address in (VIP, VIP6)),
        what=f"the virtual addresses are reached at {holder}",
        seconds=product.SECONDS,
        every=0.2,
    )


PING = ("ping", "-c", "3", "-i", "0.2", "-W", "2")  # succeeds when any is answered


def answered(lab: Lab, where: str, *words: str) -> bool:
    """Return whether three pings of a place are all answered."""
    done = lab.exec(where, [*PING, *words], check=False)
    return done.status == 0 and " 0% packet loss" in done.stdout


def readable(seen: Observation, *addresses: str) -> list[str]:
    """Return what could be read to or from *addresses* on the wire."""
    wanted = set(addresses)
    found = {(str(h.source), str(h.target)) for f in seen.frames for h in f.headers if h.clear}
    return sorted(f"{source} → {target}" for source, target in found if {source, target} & wanted)


@pytest.mark.L1
def test_a_virtual_address_of_an_encrypted_node_is_reached_by_esp(enabled: Lab, wire: Capture) -> None:
    """A pod of another node and its answer, and the node itself by that address to a pod: delivered, and nothing readable."""
    lab = enabled
    put_on(lab, "node-2")
    wait_reached(lab, "node-2")
    pod = lab.pods["pod/node-1/a"]
    for address, other in ((VIP, pod.ip4), (VIP6, pod.ip6)):
        assert answered(lab, "pod/node-1/a", address)
        assert answered(lab, "node-2", "-I", address, other)
    assert readable(wire.observe(), VIP, VIP6) == []


@pytest.mark.L1
def test_a_virtual_address_that_moves_is_never_in_clear(enabled: Lab, wire: Capture) -> None:
    """Pods send without a pause while it goes from node to node: by ESP or not at all, and soon by ESP to the new one."""
    lab = enabled
    put_on(lab, "node-2")
    wait_reached(lab, "node-2")
    pings = [lab.spawn("pod/node-1/a", ["ping", "-i", "0.2", "-W", "1", address]) for address in (VIP, VIP6)]
    try:
        put_off(lab, "node-2")
        until(lambda: not answered(lab, "pod/node-1/a", VIP), what="nobody has the address", seconds=product.SECONDS)
        assert holders(lab, VIP) == ["node-2"]
        put_on(lab, "node-3")
        wait_reached(lab, "node-3")
        for address in (VIP, VIP6):
            assert answered(lab, "pod/node-1/a", address)
            assert answered(lab, "pod/node-2/a", address)
        until(lambda: holders(lab, VIP) == ["node-3"], what="node-2 lost the address", seconds=product.SECONDS, every=0.2)
    finally:
        for process in pings:
            process.stop()
    assert readable(wire.observe(), VIP, VIP6) == []


@pytest.mark.L1
def test_an_address_that_moved_and_is_not_granted_yet_is_blocked(enabled: Lab, wire: Capture) -> None:
    """No controller works meanwhile: neither what the old node decrypts nor what its own pods send goes on to the new one."""
    lab = enabled
    put_on(lab, "node-2")
    wait_reached(lab, "node-2")
    controllers = lab.kubelet.pods("wirecrypt-controller")
    try:
        for controller in controllers:
            controller.process.kill(signal.SIGSTOP)
        put_off(lab, "node-2")
        put_on(lab, "node-3")
        places = [(where, address) for where in ("pod/node-1/a", "pod/node-2/a", "node-2") for address in (VIP, VIP6)]
        pings = [lab.spawn(where, [*PING, address]) for where, address in places]
        assert [place for place, ping in zip(places, pings, strict=True) if ping.wait(DEADLINE) == 0] == []
        seen = wire.observe()
    finally:
        for controller in controllers:
            controller.process.kill(signal.SIGCONT)
    assert readable(seen, VIP, VIP6) == []
    wait_reached(lab, "node-3")
    assert answered(lab, "pod/node-2/a", VIP)


@pytest.fixture
def second_subnet(enabled: Lab) -> Iterator[Lab]:
    """Yield the lab with a second subnet of nodes in the configuration."""
    operations.configure(enabled, **{**operations.RANGES, **SECOND_CARDS}, drain=3)
    yield enabled
    operations.configure(enabled, **operations.RANGES, drain=3)
    enabled.kubectl("annotate", "np", "--all", f"{ALLOW_ADDRESSES}-")


def problems(lab: Lab, node: str) -> list[str]:
    """Return what the controller tells of the claims of *node*."""
    found: list[str] = operations.encrypted_node(lab, node)["spec"].get("problems", [])
    return found


def granted(lab: Lab, node: str, address: str) -> bool:
    """Return whether the API shows *node* with *address*, as an endpoint or another address."""
    spec = lab.api.get(f"/apis/wirecrypt.io/v1alpha1/nodepeers/{node}")["spec"]
    return address in (*spec.get("endpoints", []), *spec.get("addresses", []))


@pytest.mark.K3
def test_an_outside_address_that_a_kubelet_gives_its_node_draws_nothing(second_subnet: Lab) -> None:
    """It lists two that are not its own, has them and would answer: nobody sends them there, and it gets nothing to answer."""
    lab, status = second_subnet, "/api/v1/nodes/node-3/status"
    kubelet = lab.api.as_user(lab.plane.node_token("node-3"))
    before = lab.api.get("/api/v1/nodes/node-3")["status"]["addresses"]
    strange = [OUTSIDE, ELSEWHERE]
    try:
        for address in strange:
            lab.exec("node-3", ["ip", "addr", "add", f"{address}/32", "dev", UPLINK])
        kubelet.patch(status, {"status": {"addresses": [*before, *({"type": "InternalIP", "address": a} for a in strange)]}})
        until(
            lambda: all(granted(lab, "node-3", a) or any(p.startswith(a) for p in problems(lab, "node-3")) for a in strange),
            what="the controller has decided about both",
            seconds=product.SECONDS,
        )
        drawn = [a for a in strange for node in product.PAIR if sends_to(lab, node, a) or answered(lab, f"pod/{node}/a", a)]
        assert (drawn, [a for a in strange if granted(lab, "node-3", a)]) == ([], [])
        refused, waits = sorted(problems(lab, "node-3"), reverse=True)
        assert refused == f"{OUTSIDE}: outside nodeCIDRs"
        assert waits.startswith(f"{ELSEWHERE}: waits")
    finally:
        kubelet.patch(status, {"status": {"addresses": before}})
        for address in strange:
            lab.exec("node-3", ["ip", "addr", "del", f"{address}/32", "dev", UPLINK], check=False)
    operations.wait_protected(lab, product.ALL, product.SECONDS)


@pytest.mark.L1
def test_a_second_card_of_an_encrypted_node_is_reached_by_esp(second_subnet: Lab, wire: Capture) -> None:
    """Its addresses, of both families, on a network of their own, once a person allowed it: delivered, and nothing readable."""
    lab = second_subnet
    with second_cards(lab, *product.PAIR):
        four, six = second("node-2")
        until(
            lambda: sum(": waits" in problem for problem in problems(lab, "node-2")) == 2,
            what="both wait for a person",
            seconds=product.SECONDS,
        )
        lab.kubectl("annotate", "np", "node-2", f"{ALLOW_ADDRESSES}={','.join(SECOND_CARDS['nodeCIDRs'])}")
        until(
            lambda: all(sends_to(lab, "node-1", address) for address in (four, six)),
            what="the second card is reached by ESP",
            seconds=product.SECONDS,
            every=0.2,
        )
        assert answered(lab, "pod/node-1/a", four)
        assert answered(lab, "pod/node-1/a", six)
        assert readable(wire.observe(), four, six) == []
