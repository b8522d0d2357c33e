"""What somebody takes away in the kernel is put back, each time, and nothing is readable meanwhile."""

from __future__ import annotations

import signal

import pytest

from tests.e2e import product
from wirecrypt.lab import operations
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.waiting import until
from wirecrypt.lab.wire.capture import Capture

NEWEST_KERNEL = True  # that changes are told does not depend on the kernel; the telling itself is tried on all
QUIET = True

TIMES = 8
UNKNOWN = "10.5.0.9"  # inside the cluster's ranges, nobody's
NOBODYS_MAC = "02:77:63:00:00:dd"
PINS = "/sys/fs/bpf/wirecrypt"


def last_session(lab: Lab, node: str) -> int:
    """Return the number of the node's last session."""
    return int(lab.api.get(f"/apis/wirecrypt.io/v1alpha1/nodepeers/{node}")["status"]["lastSession"])


@pytest.mark.C1
@pytest.mark.L1
def test_sas_that_are_flushed_again_and_again_are_replaced_each_time(protected: Lab) -> None:
    """Each flush costs one new session, however many there were before; the wire is judged all the while."""
    lab = protected
    before = last_session(lab, "node-1")
    with product.trickle(lab, *product.PAIR):
        for _ in range(TIMES):
            lab.exec("node-1", ["ip", "xfrm", "state", "flush"])
            product.settle(lab, *product.PAIR)
    assert last_session(lab, "node-1") == before + TIMES


@pytest.mark.C1
@pytest.mark.L1
def test_policies_that_are_flushed_are_put_back(protected: Lab) -> None:
    """With the same SAs: no key is new, and the wire is judged all the while."""
    lab = protected
    states, wanted = product.states(lab, "node-1"), product.policies(lab, "node-1")
    with product.trickle(lab, *product.PAIR, to_nodes=False):
        lab.exec("node-1", ["ip", "xfrm", "policy", "flush"])
        product.settle(lab, *product.PAIR)
    assert (product.states(lab, "node-1"), product.policies(lab, "node-1")) == (states, wanted)


@pytest.mark.L1
def test_a_path_that_is_cut_is_reported_by_both_ends_and_taken_back(protected: Lab) -> None:
    """Nothing of what two nodes tell the API server ends: the probes alone show it. What is lost meanwhile is not readable."""
    lab, peer = protected, str(protected.nodes["node-2"].addresses.wire4.ip)
    with product.trickle(lab, *product.PAIR):
        lab.exec("node-1", ["ip", "neigh", "replace", peer, "lladdr", NOBODYS_MAC, "dev", "upl", "nud", "permanent"])
        try:
            for node, other in (product.PAIR, product.PAIR[::-1]):
                until(
                    lambda node=node, other=other: f"{other}: 5 probes in a row" in failing(lab, node),  # type: ignore[misc]
                    what=f"{node} says that {other} does not answer",
                    seconds=product.SECONDS,
                    every=0.5,
                )
        finally:
            lab.exec("node-1", ["ip", "neigh", "del", peer, "dev", "upl"])
    operations.wait_protected(lab, product.PAIR, product.SECONDS)


def failing(lab: Lab, node: str) -> str:
    """Return what the node's status says of its peers that fail."""
    return str(operations.encrypted_node(lab, node).get("status", {}).get("failing", []))


@pytest.mark.L1
@pytest.mark.L6
def test_pins_that_are_removed_take_no_guard_away(protected: Lab, observer: Capture) -> None:
    """While the agent stands still somebody removes them all: what the guard drops is dropped. Then it makes them anew."""
    lab = protected
    agent = lab.kubelet.pod("wirecrypt-agent", "node-1")
    before = operations.kernel_objects(lab, "node-1")
    lab.exec("node-1", ["ip", "route", "replace", UNKNOWN, "via", "192.0.2.13"])
    try:
        agent.process.kill(signal.SIGSTOP)
        try:
            agent.exec(["rm", "-rf", PINS])
            lab.exec("pod/node-1/a", ["ping", "-c", "3", "-i", "0.2", "-W", "1", UNKNOWN], check=False)
            seen = observer.observe()
        finally:
            agent.process.kill(signal.SIGCONT)
        assert UNKNOWN not in {str(h.target) for f in seen.frames for h in f.headers}
        until(
            lambda: sorted(operations.kernel_objects(lab, "node-1")) == sorted(before),
            what="each program is attached and pinned once, as before",
            seconds=product.SECONDS,
            every=0.5,
        )
        lab.exec("pod/node-1/a", ["ping", "-c", "3", "-i", "0.2", "-W", "1", UNKNOWN], check=False)
        assert UNKNOWN not in {str(h.target) for f in observer.observe().frames for h in f.headers}
    finally:
        lab.exec("node-1", ["ip", "route", "del", UNKNOWN])
