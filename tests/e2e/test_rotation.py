"""Keys change under load."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import Self

import pytest

from tests.e2e import product
from wirecrypt.lab import operations
from wirecrypt.lab.demo.traffic import LoadTotals
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.streams import address
from wirecrypt.lab.waiting import until

TRIES = 3
HOUR = 3600  # seconds: no rotation here lasts longer
STANDSTILL = 1.0  # seconds in which no packet of some stream arrived, though all were on their way
BLIND = 20.0  # seconds of the guest: after 30 of silence an agent probes blindly; ten are left to the slow one's first word


@pytest.mark.R1
@pytest.mark.R2
@pytest.mark.L1
@pytest.mark.K1
def test_a_rotation_under_load_loses_nothing_and_uses_no_key_twice(all_protected: Lab, tmp_path: Path) -> None:
    """0 packets lost, no more TCP repairs than without, every xfrm_stat +0, new SPIs, each key with one sender."""
    lab = all_protected
    with product.load(lab, tmp_path, "path") as load:
        product.wait_clock(lab, 2)  # the first streams after joining meet the smaller path MTU, and send some segments again
        load.stop()
    assert min(_known_for(lab, "node-1", "node-2"), _known_for(lab, "node-2", "node-1")) > HOUR
    for _ in range(TRIES):
        control, rotated = product.under_load(lambda part: _rotated(lab, tmp_path, part))
        starved = control.longest_gap > STANDSTILL  # also without a rotation: TCP repairs what a machine is late with
        if rotated.repairs <= control.repairs or not starved:
            break
    assert rotated.repairs <= control.repairs, (control.text, rotated.text)


def _known_for(lab: Lab, source: str, target: str) -> int:
    """Return for how many seconds the pods' kernel will know the path's MTU: one that asks again has a segment refused."""
    route = lab.exec(f"pod/{source}/a", ["ip", "route", "get", address(lab, f"pod/{target}/a")]).stdout
    known = re.search(r"expires (\d+)sec mtu", route)
    return int(known[1]) if known else 0


def _rotated(lab: Lab, folder: Path, part: float) -> tuple[LoadTotals, LoadTotals]:
    """Put load on the lab for a while, and again for a rotation that harms nothing; return what came of both."""
    with product.load(lab, folder, "control", part) as load:
        product.wait_clock(lab, 12)
        control = load.stop()
    old = _all_states(lab)
    before = operations.xfrm_errors(lab)
    with product.load(lab, folder, "rotation", part) as load, Samples(lab) as samples:
        operations.wirecrypt(lab, "rotate", "--wait", "--reason", "test")
        after = operations.xfrm_errors(lab)
        rotated = load.stop()
    product.settle(lab, *product.ALL)
    new = _all_states(lab)
    assert rotated.complete, rotated.text
    assert control.complete, control.text
    assert operations.differences(before, after) == {}
    _audit([old, *samples.taken, new])
    assert {s.spi for states in old.values() for s in states}.isdisjoint({s.spi for states in new.values() for s in states})
    return control, rotated


Moment = dict[str, list[product.State]]  # the states of every node, by its name


def _all_states(lab: Lab) -> Moment:
    return {node: product.states(lab, node) for node in lab.nodes}


class Samples:
    """The SAs of all nodes, read again and again next to what happens in the `with` block."""

    def __init__(self, lab: Lab) -> None:
        self.taken: list[Moment] = []
        self._lab = lab
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        assert self.taken

    def _sample(self) -> None:
        while not self._ended.wait(0.5):
            self.taken.append(_all_states(self._lab))


def _audit(moments: list[Moment]) -> None:
    """No key and no SPI serves two SAs, over all nodes and moments; at rest both ends have the same SA for a direction."""
    by_key: dict[str, tuple[str, str, str]] = {}
    by_spi: dict[tuple[str, str], str] = {}
    for state in (s for moment in moments for states in moment.values() for s in states):
        assert state.key, state
        assert by_key.setdefault(state.key, (state.src, state.dst, state.spi)) == (state.src, state.dst, state.spi)
        assert by_spi.setdefault((state.dst, state.spi), state.key) == state.key
    for moment in (moments[0], moments[-1]):
        held = Counter(s for states in moment.values() for s in states)
        assert set(held.values()) == {2}
        directions = Counter(state.direction for state in held)
        assert len(directions) == len(moment) * (len(moment) - 1)
        assert len(set(directions.values())) == 1  # lanes, as many in each


@pytest.mark.R1
@pytest.mark.L1
def test_a_peer_that_is_slow_to_install_gets_nothing_that_it_cannot_read(protected: Lab) -> None:
    """Its agent stands still between its word and its look at the other's, for longer than a probe used to wait: errors +0."""
    lab = protected
    before = operations.xfrm_errors(lab)
    with product.trickle(lab, *product.PAIR):
        for _ in range(TRIES):
            stood = _rotate_with_one_slow(lab)
            errors = operations.differences(before, operations.xfrm_errors(lab))
            if not errors or stood < BLIND:
                break
            before = operations.xfrm_errors(lab)
        else:
            pytest.skip(f"this machine is too slow: the agent stood still for {stood:.0f} s, and {BLIND:.0f} are allowed")
    assert errors == {}
    product.settle(lab, *product.PAIR)


def _rotate_with_one_slow(lab: Lab) -> float:
    """Rotate to the end, one agent standing still in between; return for how many seconds of the guest it stood."""
    slow, other = (lab.kubelet.pod("wirecrypt-agent", node) for node in ("node-2", "node-1"))
    old = max(_epochs(lab, "node-1"))
    other.process.kill(signal.SIGSTOP)
    try:
        product.wait_clock(lab, 10)  # the last word may be that old when a rotation begins
        name = json.loads(operations.wirecrypt(lab, "rotate", "-o", "json").stdout)["name"]
        _until_newer(lab, "node-2", old)
        slow.process.kill(signal.SIGSTOP)
        other.process.kill(signal.SIGCONT)
        began = lab.time()
        _until_newer(lab, "node-1", old)
        product.wait_clock(lab, 8)
    finally:
        other.process.kill(signal.SIGCONT)
        slow.process.kill(signal.SIGCONT)
    stood = lab.time() - began
    until(
        lambda: lab.api.get(f"{operations.GROUP}/keyrotations/{name}").get("status", {}).get("phase") == "Complete",
        what=lambda: f"{name} is Complete: {operations.summary(lab)}",
        seconds=product.SECONDS,
        every=0.2,
    )
    return stood


def _epochs(lab: Lab, node: str) -> list[int]:
    peer = lab.api.get(f"{operations.GROUP}/nodepeers/{node}")
    return [session["epoch"] for session in peer.get("status", {}).get("sessions", [])]


def _until_newer(lab: Lab, node: str, old: int) -> None:
    until(
        lambda: max(_epochs(lab, node)) > old,
        what=f"{node} publishes a session of the next epoch",
        seconds=product.SECONDS,
        every=0.1,
    )


@pytest.mark.R1
@pytest.mark.L1
def test_an_agent_killed_and_restarted_under_load_touches_no_packet(protected: Lab, tmp_path: Path) -> None:
    """`kill -9` and a new start adopt what is installed: 0 lost, the same states and policies, nothing written."""
    lab = protected
    before = product.states(lab, "node-1"), product.policies(lab, "node-1")
    totals, changes = product.under_load(lambda part: _restarted(lab, tmp_path, part))
    assert totals.complete, totals.text
    assert (product.states(lab, "node-1"), product.policies(lab, "node-1")) == before
    assert changes == []
    assert product.counted(lab, "node-1", "wirecrypt_kernel_writes") == 0


def _restarted(lab: Lab, folder: Path, part: float) -> tuple[LoadTotals, list[str]]:
    """Kill the agent of a node under load and start it anew; return what came of the load, and the kernel's own events."""
    agent = lab.kubelet.pod("wirecrypt-agent", "node-1")
    with product.load(lab, folder, "restart", part) as load, Watched(lab, "node-1") as watched:
        agent.kill()
        try:
            product.wait_clock(lab, 2)
        finally:
            agent.restart()
        product.wait_passes(lab, "node-1", 3)
        totals = load.stop()
    return totals, watched.changes


class Watched:
    """The kernel's own events about a node's states and policies; proved to arrive by two foreign objects at both ends."""

    def __init__(self, lab: Lab, node: str) -> None:
        self._lab = lab
        self._node = node
        self.changes: list[str] = []

    def __enter__(self) -> Self:
        self._monitor = self._lab.spawn(self._node, ["ip", "xfrm", "monitor", "SA", "policy"])
        until(lambda: self._shows("first"), what="the monitor tells of a foreign state", seconds=product.SECONDS, every=0.3)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            until(lambda: self._shows("last"), what="the monitor still tells", seconds=product.SECONDS, every=0.3)
            lines = self._monitor.output().splitlines()
            self.changes = [line for line in lines if _CHANGE.match(line) and _FOREIGN not in line]
        finally:
            self._monitor.kill(9)

    def _shows(self, name: str) -> bool:
        """Make and delete a state that nobody takes for ours, and say whether the monitor told of it."""
        spi = {"first": "0x2001", "last": "0x2002"}[name]
        where = ["src", "192.0.2.11", "dst", _FOREIGN, "proto", "esp", "spi", spi]
        key = ["mode", "transport", "aead", "rfc4106(gcm(aes))", "0x" + "22" * 20, "128"]
        self._lab.exec(self._node, ["ip", "xfrm", "state", "add", *where, *key])
        self._lab.exec(self._node, ["ip", "xfrm", "state", "delete", *where])
        return f"spi 0x{int(spi, 16):08x}" in self._monitor.output()


_FOREIGN = "192.0.2.98"  # nobody's
_CHANGE = re.compile(r"(Deleted |Updated )?src ")


@pytest.mark.C2
def test_a_pass_with_nothing_changed_writes_nothing(protected: Lab) -> None:
    """Over several passes: nothing is written to the kernel, by its own events and the agents' count; no object to the API."""
    lab = protected
    agents = "system:serviceaccount:wirecrypt-system:wirecrypt-agent"
    writes = ("create", "update", "patch", "delete")
    with Watched(lab, "node-1") as one, Watched(lab, "node-2") as other:
        count = len([e for e in lab.audit(*writes) if e["user"]["username"] == agents])
        before = {node: product.counted(lab, node, "wirecrypt_kernel_writes") for node in product.PAIR}
        for node in product.PAIR:
            product.wait_passes(lab, node, 4)
        written = {node: product.counted(lab, node, "wirecrypt_kernel_writes") - before[node] for node in product.PAIR}
    later = [e for e in lab.audit(*writes) if e["user"]["username"] == agents][count:]
    assert one.changes == other.changes == []
    assert written == {"node-1": 0, "node-2": 0}
    assert [e["requestURI"] for e in later if "dryRun" not in e["requestURI"]] == []
