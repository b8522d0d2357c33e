"""Keys change under load."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import product
from wirecrypt.lab.capture import Capture
from wirecrypt.lab.demo import cluster
from wirecrypt.lab.lab import Lab


@pytest.mark.R1
@pytest.mark.R2
@pytest.mark.L1
@pytest.mark.K1
def test_a_rotation_under_load_loses_nothing_and_uses_no_key_twice(protected: Lab, observer: Capture, tmp_path: Path) -> None:
    """0 packets lost, no more TCP retransmissions than without, every xfrm_stat +0, new SPIs, each key with one sender."""
    lab = protected
    with product.load(lab, tmp_path, "control") as load:
        product.wait_clock(lab, 20)
        control = load.stop()
    old = {n: product.states(lab, n) for n in product.PAIR}
    before = cluster.xfrm_errors(lab)
    with product.load(lab, tmp_path, "rotation") as load:
        cluster.wirecrypt(lab, "rotate", "--wait", "--reason", "test")
        after = cluster.xfrm_errors(lab)
        rotated = load.stop()
    new = {n: product.states(lab, n) for n in product.PAIR}
    assert rotated.whole, rotated.text
    assert control.whole, control.text
    assert cluster.differences(before, after) == {}
    per_megabyte = control.retransmissions / max(control.stream_bytes, 1)
    assert rotated.retransmissions <= per_megabyte * rotated.stream_bytes * 2 + 20, (control.text, rotated.text)
    _audit(old, new)


def _audit(old: dict[str, list[product.State]], new: dict[str, list[product.State]]) -> None:
    """Both ends have the same SA for a direction; no key and no SPI serves two of them, over both moments."""
    seen: dict[str, tuple[str, str, str]] = {}
    for moment in (old, new):
        assert all(moment.values())
        for states in moment.values():
            for state in states:
                what = (state.src, state.dst, state.spi)
                assert seen.setdefault(state.key, what) == what
        one, other = moment.values()
        assert sorted((s.src, s.spi, s.key) for s in one) == sorted((s.src, s.spi, s.key) for s in other)
    spis = [{s.spi for states in moment.values() for s in states} for moment in (old, new)]
    assert spis[0].isdisjoint(spis[1])


@pytest.mark.R1
def test_an_agent_killed_and_restarted_under_load_touches_no_packet(protected: Lab, observer: Capture, tmp_path: Path) -> None:
    """`kill -9` and a new start adopt what is installed: 0 lost, the same states and policies, nothing written."""
    lab = protected
    agent = lab.kubelet.pod("wirecrypt-agent", "node-1")
    before = product.states(lab, "node-1"), product.policies(lab, "node-1")
    with product.load(lab, tmp_path, "restart") as load:
        agent.kill()
        monitor = lab.spawn("node-1", ["ip", "xfrm", "monitor", "SA", "policy"])
        product.wait_clock(lab, 2)
        agent.restart()
        product.wait_clock(lab, 15)
        totals = load.stop()
    changes = monitor.output()
    monitor.kill(9)
    assert totals.whole, totals.text
    assert (product.states(lab, "node-1"), product.policies(lab, "node-1")) == before
    assert changes.strip() == ""


@pytest.mark.C2
def test_a_pass_with_nothing_changed_writes_nothing(protected: Lab) -> None:
    """Over several passes: no state or policy is written, by the kernel's own events, and no object, by the audit log."""
    lab = protected
    agents = "system:serviceaccount:wirecrypt-system:wirecrypt-agent"
    writes = ("create", "update", "patch", "delete")
    product.wait_clock(lab, 5)
    monitors = [lab.spawn(node, ["ip", "xfrm", "monitor", "SA", "policy"]) for node in product.PAIR]
    count = len([e for e in lab.audit(*writes) if e["user"]["username"] == agents])
    product.wait_clock(lab, 20)
    later = [e for e in lab.audit(*writes) if e["user"]["username"] == agents][count:]
    for monitor in monitors:
        assert monitor.output().strip() == ""
        monitor.kill(9)
    assert [e["requestURI"] for e in later if "dryRun" not in e["requestURI"]] == []
