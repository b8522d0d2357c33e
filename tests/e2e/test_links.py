"""Whatever link a packet leaves by, the guard is there: a second card, however it is reached, renamed or new."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e import product
from wirecrypt.lab import operations
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.waiting import until
from wirecrypt.lab.wire.capture import Capture
from wirecrypt.lab.wire.observer import Observation

NEWEST_KERNEL = True  # where the guard sits does not depend on the kernel; how it is attached is tried on all
QUIET = True

CARD, WIRE = "upl2", "wire-{}b"
UNKNOWN, UNKNOWN6 = "10.5.0.9", "fd00:15::9"  # inside the cluster's ranges, nobody's


def second(node: str) -> tuple[str, str]:
    """Return the addresses of a node's second card: its Node does not list them."""
    number = node.removeprefix("node-")
    return f"198.51.100.{number}", f"fd00:3::{number}"


@contextmanager
def second_cards(lab: Lab, *nodes: str) -> Iterator[None]:
    """Plug a second card of each node into the wire for the length of the block."""
    try:
        for node in nodes:
            wire = WIRE.format(node.removeprefix("node-"))
            four, six = second(node)
            script = (
                f"ip link add {CARD} type veth peer name {wire} netns 1; ip addr add {four}/24 dev {CARD};"
                f"ip addr add {six}/64 dev {CARD} nodad; ip link set {CARD} up"
            )
            lab.exec(node, ["sh", "-ec", script])
            lab.exec("guest", ["ip", "link", "set", wire, "master", "wire", "up"])
        yield
    finally:
        for node in nodes:
            script = f"ip link del {CARD}; ip rule del lookup 100; ip -6 rule del lookup 100; true"
            lab.exec(node, ["sh", "-c", script], check=False)


def guarded(lab: Lab, node: str) -> set[str]:
    """Return the links of *node* that have both programs of the guard, as seen from its agent's container."""
    found = "{a.link for a in KernelGuard(Path('/sys/fs/bpf')).attachments() if 'guard' in a.program}"
    script = f"from pathlib import Path; from wirecrypt.kernel.bpf.guard import KernelGuard; print(*{found})"
    agent = lab.kubelet.pod("wirecrypt-agent", node)
    return set(agent.exec(["python3", "-c", script]).stdout.split())


def ping(lab: Lab, *targets: str) -> None:
    """Send three packets from a pod of node-1 to each target; nobody need answer."""
    for target in targets:
        lab.exec("pod/node-1/a", ["ping", "-c", "3", "-i", "0.2", "-W", "1", target], check=False)


def readable(seen: Observation, *targets: str) -> list[str]:
    """Return the addresses among *targets* that could be read as a destination."""
    return sorted({str(h.target) for f in seen.frames for h in f.headers} & set(targets))


@pytest.mark.L10
@pytest.mark.L6
def test_an_unknown_address_by_a_second_card_that_a_rule_leads_to_is_dropped(protected: Lab, observer: Capture) -> None:
    """A rule for the pods and a table of its own: nothing of it is on the wire, as by the first card."""
    lab = protected
    four, six = second("node-2")
    with second_cards(lab, "node-1", "node-2"):
        for version, prefix, target, gateway in ((4, "10.1.0.0/24", UNKNOWN, four), (6, "fd00:11::/64", UNKNOWN6, six)):
            lab.exec("node-1", ["ip", f"-{version}", "rule", "add", "from", prefix, "lookup", "100"])
            lab.exec("node-1", ["ip", f"-{version}", "route", "add", target, "via", gateway, "dev", CARD, "table", "100"])
        until(lambda: CARD in guarded(lab, "node-1"), what="the guard is on the second card", seconds=product.SECONDS)
        before = product.guard_counters(lab, "node-1").get("egress_unknown", 0)
        ping(lab, UNKNOWN, UNKNOWN6)
        assert readable(observer.observe(), UNKNOWN, UNKNOWN6) == []
        until(
            lambda: product.guard_counters(lab, "node-1").get("egress_unknown", 0) >= before + 6,
            what="six drops are counted",
            seconds=product.SECONDS,
            every=0.5,
        )


@pytest.mark.L10
@pytest.mark.L1
def test_a_part_of_a_peers_prefix_by_a_second_card_is_guarded_without_policies(protected: Lab, observer: Capture) -> None:
    """The agent stands still and somebody deletes its policies: what would leave by the second card in clear does not."""
    lab = protected
    targets = lab.pods["pod/node-2/a"].ip4, lab.pods["pod/node-2/a"].ip6
    four, six = second("node-2")
    agent = lab.kubelet.pod("wirecrypt-agent", "node-1")
    with second_cards(lab, "node-1", "node-2"):
        for target, gateway in zip(targets, (four, six), strict=True):
            lab.exec("node-1", ["ip", "route", "add", target, "via", gateway, "dev", CARD])
        until(lambda: CARD in guarded(lab, "node-1"), what="the guard is on the second card", seconds=product.SECONDS)
        agent.process.kill(signal.SIGSTOP)
        try:
            lab.exec("node-1", ["ip", "xfrm", "policy", "flush"])
            ping(lab, *targets)
            seen = observer.observe()
        finally:
            agent.process.kill(signal.SIGCONT)
    assert readable(seen, *targets) == []
    product.settle(lab, *product.PAIR)


@pytest.mark.L10
def test_new_and_renamed_links_get_the_guard_and_links_of_pods_do_not(protected: Lab) -> None:
    """A VLAN, a bond and its port, a tunnel, under whatever name; a new pod is no uplink, and a card gets no mark."""
    lab = protected
    with second_cards(lab, "node-1"):
        script = (
            "ip link add v9 link upl2 type vlan id 9; ip link set v9 up; ip link add far0 type dummy;"
            "ip link add bond9 type bond; ip link add p9 type veth peer name q9; ip link set far0 up;"
            "ip link set bond9 up; ip link add tun9 type ipip remote 198.51.100.9 local 198.51.100.1; ip link set tun9 up"
        )
        lab.exec("node-1", ["sh", "-ec", script])
        try:
            wanted = {"upl", CARD, "v9", "bond9", "tun9"}
            until(lambda: guarded(lab, "node-1") == wanted, what=f"{wanted} are guarded", seconds=product.SECONDS)
            lab.exec("node-1", ["sh", "-ec", f"ip link set {CARD} down; ip link set {CARD} name card; ip link set card up"])
            until(lambda: "card" in guarded(lab, "node-1"), what="the renamed link is guarded", seconds=product.SECONDS)
            lab.exec("node-1", ["sh", "-ec", f"ip link set card down; ip link set card name {CARD}"])
        finally:
            lab.exec("node-1", ["sh", "-c", "for l in v9 bond9 tun9 p9 far0; do ip link del $l; done"], check=False)


@pytest.mark.L10
def test_uplinks_that_name_no_link_make_the_node_unready_and_say_so(protected: Lab) -> None:
    """A misspelt list: the guard that is there stays, Ready is False with the reason; corrected, all is well."""
    lab = protected
    before = guarded(lab, "node-1")
    operations.configure(lab, **operations.RANGES, drain=3, uplinks=["eht0"])
    try:
        until(
            lambda: operations.condition(operations.encrypted_node(lab, "node-1"), "Ready").get("reason") == "GuardRefused",
            what="node-1 says that its guard is not as it was asked for",
            seconds=product.SECONDS,
        )
        message = operations.condition(operations.encrypted_node(lab, "node-1"), "Ready")["message"]
        assert "eht0" in message
        assert guarded(lab, "node-1") == before
    finally:
        operations.configure(lab, **operations.RANGES, drain=3)
    operations.wait_protected(lab, product.PAIR, product.SECONDS)
