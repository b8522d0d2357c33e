"""A node joins and leaves while it carries traffic."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import product
from wirecrypt.lab import operations
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.waiting import until
from wirecrypt.lab.wire.capture import Capture


@pytest.mark.C1
@pytest.mark.L1
def test_joining_and_leaving_under_load_lose_nothing_and_leak_nothing_in_between(exposed: Lab, tmp_path: Path) -> None:
    """Two labelled nodes lose no packet; from protected to unlabelled nothing is readable; afterwards nothing is left."""
    product.put_qdiscs_in_place(exposed)
    with Capture.start(exposed, tmp_path / "wire.pcap") as wire:
        with product.load(exposed, tmp_path, "join") as load:
            operations.label(exposed, *product.PAIR)
            protected = max(operations.wait_protected(exposed, product.PAIR, product.SECONDS).values())
            product.wait_clock(exposed, 3)
            joined = load.stop()
        with product.load(exposed, tmp_path, "leave") as load:
            unlabelled = exposed.time()
            operations.unlabel(exposed, *product.PAIR)
            operations.wait_removed(exposed, product.PAIR, product.SECONDS)
            product.wait_clock(exposed, 2)
            left = load.stop()
        seen = wire.observe()
    window = seen.between(protected, unlabelled)
    assert joined.complete, joined.text
    assert left.complete, left.text
    assert product.leaks(exposed, window, *product.PAIR) == []
    assert sum(window.esp().values()) > 0
    product.expose(exposed)


def test_the_observer_reports_cleartext_when_encryption_is_off(exposed: Lab, tmp_path: Path) -> None:
    """The detector fires: with no label every flow's marker and addresses are readable on the wire, and no ESP is seen."""
    with Capture.start(exposed, tmp_path / "wire.pcap") as wire, product.load(exposed, tmp_path, "plain") as load:
        product.wait_clock(exposed, 2)
        load.stop()
        seen = wire.observe()
        assert product.leaks(exposed, seen, *product.PAIR) != []
    assert all(seen.marked(marker) for marker in load.markers)  # of every flow class: pods with pods, and with nodes
    assert not seen.esp()


def test_an_agent_on_an_unlabelled_node_has_no_kernel_object(exposed: Lab) -> None:
    """Idle means idle: no state, no policy, no filter of ours, no pinned program in any node."""
    for node in exposed.nodes:
        assert product.states(exposed, node) == []
        assert product.policies(exposed, node) == []
        filters = exposed.exec(
            node, ["sh", "-c", "for d in $(ls /sys/class/net); do tc filter show dev $d ingress; done"]
        ).stdout
        assert "wirecrypt" not in filters
        agent = exposed.kubelet.pod("wirecrypt-agent", node)
        until(
            lambda agent=agent: agent.exec(["ls", "/sys/fs/bpf"]).stdout.split() == [],
            what=f"no pin is left on {node}",
            seconds=product.SECONDS,
            every=1,
        )
