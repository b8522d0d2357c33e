"""The vehicle `qemu`: a stock distribution kernel, emulated, with BTF and the BPF JIT. Slow; only after scripts/get-qemu."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wirecrypt.lab.addresses import NodeAddresses
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.machine import kernels
from wirecrypt.lab.wire.capture import Capture

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not kernels.emulated(), reason="no kernel for QEMU: scripts/get-qemu fetches one"),
]


@pytest.fixture(scope="module")
def stock_lab() -> Iterator[Lab]:
    """Return a lab of two nodes on an emulated stock kernel."""
    with Lab.up(2, kernel=kernels.find("qemu")) as running:
        yield running


def test_pods_reach_one_another_on_a_stock_kernel(stock_lab: Lab) -> None:
    """Pods ping across nodes, nodes reach the API server, and the kernel is the distribution's with BTF and JIT."""
    pod = stock_lab.pods["pod/node-2/a"]
    for address in (pod.ip4, pod.ip6):
        stock_lab.exec("pod/node-1/a", ["ping", "-c1", "-W10", address])
    version = stock_lab.exec("node-1", ["uname", "-r"]).stdout
    assert version.startswith(kernels.find("qemu").version + ".")
    said = stock_lab.exec("guest", ["sh", "-c", "cat /proc/sys/net/core/bpf_jit_enable; test -s /sys/kernel/btf/vmlinux"])
    assert said.stdout == "1\n"
    assert "node-2" in stock_lab.exec("node-1", ["kubectl", "get", "nodes"], timeout=120).stdout


def test_esp_between_nodes_of_a_stock_kernel_is_on_the_wire(stock_lab: Lab, tmp_path: Path) -> None:
    """The kernel's own ESP modules load, and the observer counts what they send."""
    ends = [str(NodeAddresses(number).wire4.ip) for number in (1, 2)]
    for source, target, spi in ((*ends, "0x1001"), (*reversed(ends), "0x1002")):
        words = f"ip xfrm state add src {source} dst {target} proto esp spi {spi} reqid 1 mode transport aead rfc4106(gcm(aes))"
        for node in ("node-1", "node-2"):
            stock_lab.exec(node, [*words.split(), "0x" + "11" * 20, "128"])
    for node, (source, target) in (("node-1", ends), ("node-2", ends[::-1])):
        policy = f"ip xfrm policy add src {source}/32 dst {target}/32 proto icmp dir out tmpl proto esp reqid 1 mode transport"
        stock_lab.exec(node, policy.split())
    with Capture.start(stock_lab, tmp_path / "wire.pcap") as wire:
        stock_lab.exec("node-1", ["ping", "-c2", "-W10", ends[1]])
        seen = wire.observe()
    assert seen.esp() == {(*ends, 0x1001): 2, (*reversed(ends), 0x1002): 2}
