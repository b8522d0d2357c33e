"""Lanes by themselves: agents of machines with different numbers of processors, and of other configurations, agree."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.fakes.builders import document
from tests.unit.agent.cloud import Cloud, Machine, joined
from wirecrypt.model.mark import MarkLayout
from wirecrypt.model.spi import MAX_LANES

CONFIG = "algorithm: aes-256-gcm\ndrain: 1s\nclusterCIDRs: [10.0.0.0/13]\n"  # says nothing of lanes


def test_a_pair_has_as_many_lanes_as_the_end_with_fewer_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a word about lanes each offers what it has; each pair takes the smaller offer, the same at both ends."""
    cloud = _cloud(tmp_path, monkeypatch, {"a": 12, "b": 4, "c": 1})
    assert [cloud.peer(name).sessions[0].lanes for name in "abc"] == [8, 4, 1]
    assert {ends: lanes for ends, lanes in _lanes(cloud).items() if lanes > 1} == {("a", "b"): 4, ("b", "a"): 4}


def test_lanes_that_change_come_with_the_next_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a pair has stays when the configuration names another number, as after an upgrade; a node that boots offers that."""
    cloud = _cloud(tmp_path, monkeypatch, {"a": 4, "b": 4})
    cloud.api.config = document(f"lanes: 1\n{CONFIG}", 2)
    cloud.run(10)
    assert set(_lanes(cloud).values()) == {4}
    cloud.machines["b"].boot()
    _processors(monkeypatch, cloud.machines["b"], 4)
    cloud.run(20)
    assert set(_lanes(cloud).values()) == {1}
    assert {cloud.ready(name) for name in "ab"} == {(True, "AllPeersProtected")}


def test_a_lane_that_ends_alone_is_reported_by_both_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of four lanes go on to answer; the report names the fourth, and goes when that one answers again."""
    cloud = _cloud(tmp_path, monkeypatch, {"a": 4, "b": 4})
    cloud.run(10)
    post, dead = cloud.machines["b"].post, {2}
    shift = MarkLayout().shift
    cloud.machines["b"].channel.post = lambda *words: words[2] >> shift & (MAX_LANES - 1) in dead or post(*words)
    cloud.run(60)
    assert [cloud.ready(name) for name in "ab"] == [(False, "PeersFailing")] * 2
    assert all("without an answer over lane 2" in str(cloud.api.encrypted[name].status) for name in "ab")
    writes = len(cloud.writes)
    cloud.run(60)
    assert len(cloud.writes) == writes
    dead.clear()
    cloud.run(40)
    assert [cloud.ready(name) for name in "ab"] == [(True, "AllPeersProtected")] * 2


def _cloud(folder: Path, monkeypatch: pytest.MonkeyPatch, processors: dict[str, int]) -> Cloud:
    """Return a cloud whose nodes, with so many processors, are Active, each pair encrypted."""
    cloud = Cloud(folder)
    cloud.api.config = document(CONFIG)
    for number, (name, has) in enumerate(processors.items(), 16):
        _processors(monkeypatch, cloud.add(name, number), has)
        cloud.label(name)
    return joined(cloud, *processors)


def _processors(monkeypatch: pytest.MonkeyPatch, machine: Machine, number: int) -> None:
    """Have the machine's agent see so many processors."""
    step = machine.agent.step

    def stepped(now: float) -> float:
        with monkeypatch.context() as patch:
            patch.setattr(os, "cpu_count", lambda: number)
            return step(now)

    monkeypatch.setattr(machine.agent, "step", stepped)


def _lanes(cloud: Cloud) -> Counter[tuple[str, str]]:
    """Return how many SAs each node's kernel has to send to each other one, all of one generation."""
    names = {machine.addresses[0]: name for name, machine in cloud.machines.items()}
    sending = [(name, sa) for name, m in cloud.machines.items() for sa in m.kernel.sas.values() if sa.src in m.addresses]
    found = [(name, names[sa.dst]) for name, sa in sending]
    assert len({(name, sa.dst, sa.spi // MAX_LANES) for name, sa in sending}) == len(set(found))
    return Counter(found)
