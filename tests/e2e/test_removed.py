"""A node that leaves or is removed while an agent is dead: nobody waits for it for ever, and it hears of it when it is back."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from tests.e2e import product
from wirecrypt.lab import operations
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.waiting import until
from wirecrypt.lab.wire.capture import Capture

NEWEST_KERNEL = True  # what is judged here is about objects
QUIET = True


@pytest.mark.C1
def test_a_node_that_was_removed_while_its_agent_is_dead_is_gone_for_its_peers(deployed: Lab) -> None:
    """Its label is off and a person confirmed: a rotation waits for nobody, and the agent cleans up when it is back."""
    lab = deployed
    product.protect(lab, *product.ALL)
    with _dead(lab, "node-3"):
        operations.unlabel(lab, "node-3")
        lab.kubectl("annotate", "np", "node-3", "wirecrypt.io/confirm-removal=true")
        operations.wait_removed(lab, ["node-3"], product.SECONDS)
        for node in product.PAIR:
            until(
                lambda node=node: not _with(lab, node, "node-3"),
                what=f"{node} has nothing of node-3",
                seconds=product.SECONDS,
                every=0.3,
            )
        rotated = operations.wirecrypt(lab, "rotate", "--wait", "--timeout", f"{product.SECONDS:.0f}s")
        assert rotated.returncode == 0, rotated.stdout + rotated.stderr
    until(
        lambda: not product.states(lab, "node-3") and not product.policies(lab, "node-3"),
        what="node-3 is without kernel objects",
        seconds=product.SECONDS,
        every=0.3,
    )


@pytest.mark.C1
def test_a_node_leaves_while_a_peer_is_off_and_joins_again(deployed: Lab) -> None:
    """It finishes without the peer, the label set again is heeded, and all are protected once the peer is back."""
    lab = deployed
    product.protect(lab, *product.ALL)
    with _dead(lab, "node-3"):
        operations.unlabel(lab, "node-2")
        operations.wait_removed(lab, ["node-2"], product.SECONDS)
        assert not product.states(lab, "node-2")
        operations.label(lab, "node-2")
        product.settle(lab, *product.PAIR)
    operations.wait_protected(lab, product.ALL, product.SECONDS)
    product.settle(lab, *product.ALL)


@pytest.mark.L1
@pytest.mark.C1
def test_rotations_go_on_beside_a_node_that_is_off_and_without_one_that_is_cut_off(
    deployed: Lab, wire_of: Callable[..., Capture]
) -> None:
    """Two rotations with a node off; then it is cut off, nothing to it is readable, and it comes back by its label."""
    lab = deployed
    wire_of(*product.ALL)
    operations.configure(lab, **operations.RANGES, drain=3, rotation={"patience": "0s"})
    try:
        with product.trickle(lab, *product.ALL), _dead(lab, "node-3"):
            first = _rotate(lab)
            _until_phase(lab, first, "Retiring")
            second = _rotate(lab)
            _until_phase(lab, first, "Complete")
            _until_phase(lab, second, "Retiring")
            operations.wirecrypt(lab, "rotate", "--without", "node-3")
            _until_phase(lab, second, "Complete")
            for node in product.PAIR:
                until(
                    lambda node=node: not _with(lab, node, "node-3"),
                    what=f"{node} has nothing of node-3",
                    seconds=product.SECONDS,
                    every=0.3,
                )
            assert operations.encrypted_node(lab, "node-3")["spec"]["state"] == "Excluded"
            product.settle(lab, *product.PAIR)
    finally:
        operations.configure(lab, **operations.RANGES, drain=3)
    operations.unlabel(lab, "node-3")
    operations.wait_removed(lab, ["node-3"], product.SECONDS)
    operations.label(lab, "node-3")
    operations.wait_protected(lab, product.ALL, product.SECONDS)
    product.settle(lab, *product.ALL)


def _rotate(lab: Lab) -> str:
    """Ask for a rotation, and return its name."""
    return str(json.loads(operations.wirecrypt(lab, "rotate", "-o", "json").stdout)["name"])


def _until_phase(lab: Lab, name: str, phase: str) -> None:
    path = f"{operations.GROUP}/keyrotations/{name}"
    until(
        lambda: lab.api.get(path).get("status", {}).get("phase") == phase,
        what=lambda: f"{name} is {phase}: {operations.summary(lab)}",
        seconds=product.SECONDS,
        every=0.2,
    )


@contextmanager
def _dead(lab: Lab, node: str) -> Iterator[None]:
    """Have the agent of a node stand still, and its Node be not Ready, until the end."""
    agent = lab.kubelet.pod("wirecrypt-agent", node)
    agent.process.kill(signal.SIGSTOP)
    try:
        _set_ready(lab, node, "False")
        yield
    finally:
        agent.process.kill(signal.SIGCONT)
        _set_ready(lab, node, "True")


def _set_ready(lab: Lab, node: str, status: str) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ready = {"type": "Ready", "status": status, "reason": "Test", "lastTransitionTime": now, "lastHeartbeatTime": now}
    lab.api.patch(f"/api/v1/nodes/{node}/status", {"status": {"conditions": [ready]}})


def _with(lab: Lab, node: str, other: str) -> list[product.State]:
    address = str(lab.nodes[other].addresses.wire4.ip)
    return [state for state in product.states(lab, node) if address in (state.src, state.dst)]
