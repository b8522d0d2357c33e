"""The product on another CNI plugin: `ptp`, where every pod has a link of its own to the node and a route."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e import product
from wirecrypt.lab import operations
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.wire.capture import Capture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wirecrypt.lab.machine.kernels import Kernel

NEWEST_KERNEL = True  # what is judged here does not depend on the kernel; joining and rotating are tried on all
QUIET = True


@pytest.fixture(scope="module")
def routed(lab_kernel: Kernel) -> Iterator[Lab]:
    """Return a lab of two nodes whose pods the `ptp` plugin plugs in, with the product installed."""
    with Lab.up(2, kernel=lab_kernel, cni="ptp") as running:
        operations.deploy(running)
        yield running


@pytest.mark.L1
def test_pods_on_links_of_their_own_are_protected(routed: Lab, tmp_path: Path) -> None:
    """Traffic of every class goes on while two nodes join; from protected on none is readable, and ESP is there instead."""
    ends = [str(routed.nodes[node].addresses.wire4.ip) for node in product.PAIR]
    with product.trickle(routed, *product.PAIR):
        product.protect(routed, *product.PAIR)
        with Capture.start(routed, tmp_path / "wire.pcap") as wire:
            product.wait_clock(routed, 3)
            seen = wire.observe()
    assert product.leaks(routed, seen, *product.PAIR) == []
    directions = {(source, target) for source, target, _ in seen.esp()}
    assert directions == {(ends[0], ends[1]), (ends[1], ends[0])}
