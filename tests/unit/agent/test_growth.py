"""What an agent does grows with its peers no faster than they do: counted, not timed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.fakes.builders import EPOCH, START
from tests.unit.agent.cloud import Cloud, active
from tests.unit.agent.star import MIDDLE, Star
from tests.unit.agent.woken import MOMENT, Woken
from tests.unit.lines import Lines, grown, lines
from wirecrypt import private_file
from wirecrypt.model.objects import KeyRotation, NodeState, Phase
from wirecrypt.model.session import Epoch

pytestmark = pytest.mark.simulation

FEW, MANY = "abcd", "abcdefgh"
GROWTH = (len(MANY) - 1) / (len(FEW) - 1)  # of the peers
EACH = 200  # lines for a peer of which nothing has changed, and for a node without the label
KERNEL = "objects of the kernel"
NEXT = Epoch(2, "cd" * 16)


def counted(cloud: Cloud, patch: pytest.MonkeyPatch) -> Counter[str]:
    """Return the counts, from now on, of what the agent on node a writes: files, requests, objects of the kernel."""
    counts: Counter[str] = Counter()
    machine, write, keep = cloud.machines["a"], private_file.replace, cloud.machines["a"].store.told

    def replace(path: Path, *told: Any, **more: Any) -> None:  # noqa: ANN401 - passed on as it is
        counts["pairs on disk"] += path == machine.pairs
        write(path, *told, **more)

    def told(what: str) -> None:
        counts["state file"] += 1
        keep(what)

    patch.setattr(private_file, "replace", replace)
    patch.setattr(machine.store, "told", told)
    patch.setattr(machine.api, "wrote", lambda what: counts.update([what.partition(" ")[0]]))
    patch.setattr(machine.kernel, "told", lambda _: counts.update([KERNEL]))
    return counts


def rotate(cloud: Cloud) -> None:
    """Move every pair to the keys of another epoch."""
    for phase, epochs in ((Phase.DISTRIBUTING, (EPOCH, NEXT)), (Phase.SWITCHING, (EPOCH, NEXT)), (Phase.COMPLETE, (NEXT,))):
        cloud.give(*epochs)
        cloud.rotate(KeyRotation("next", "n", "", START, phase=phase, from_epoch=1, to_epoch=2, to_epoch_id=NEXT.id))
        cloud.run(8)
    words = {encrypted.status.accepting_epochs for encrypted in cloud.api.encrypted.values() if encrypted.status}
    assert words == {(2,)}


def join(cloud: Cloud) -> None:
    """Have a join those that are Active."""
    cloud.label("a")
    cloud.run(6)
    cloud.state(NodeState.ACTIVE, "a")
    cloud.run(2)
    assert cloud.ready("a") == (True, "AllPeersProtected")


def test_a_plan_is_told_in_a_line_a_peer(tmp_path: Path) -> None:
    """Which names how much is done with it, and why."""
    cloud = active(tmp_path, *FEW[1:])
    cloud.add("a", 23)
    with capture_logs() as logged:
        join(cloud)
    added = [line for line in logged if line["event"] == "plan" and "add_receiving" in line["action"]]
    assert Counter(line["peer"] for line in added) == {"b": 1, "c": 1, "d": 1, "a": 3}
    assert all(line["action"].startswith("1 add_receiving, 1 add_sending, ") for line in added)
    assert {line["reason"].partition(";")[0] for line in added} == {"new generation 1.1.1"}


def of_joining(folder: Path, names: str) -> Counter[str]:
    """Return what the agent on node a writes while it joins all others of *names*."""
    cloud = active(folder, *names[1:])
    cloud.add("a", 23)
    with pytest.MonkeyPatch.context() as patch:
        counts = counted(cloud, patch)
        join(cloud)
    return counts


def of_a_rotation(folder: Path, names: str) -> Counter[str]:
    """Return what the agent on node a writes while a cluster of these *names* rotates."""
    cloud = active(folder, *names)
    with pytest.MonkeyPatch.context() as patch:
        counts = counted(cloud, patch)
        rotate(cloud)
    return counts


@pytest.mark.parametrize("of", [of_joining, of_a_rotation])
def test_files_and_requests_are_as_many_whatever_the_number_of_peers(
    tmp_path: Path, of: Callable[[Path, str], Counter[str]]
) -> None:
    """What must be on disk before something is done with a pair is there by one write for all pairs.

    Objects in the kernel are as many as the peers.
    """
    counts = []
    for names in (FEW, MANY):
        folder = tmp_path / names
        folder.mkdir()
        counts.append(of(folder, names))
    few, many = counts
    assert {what: many[what] - few[what] for what in few if what != KERNEL} == {what: 0 for what in few if what != KERNEL}
    assert many[KERNEL] / few[KERNEL] == pytest.approx(GROWTH, rel=0.1)


def test_passes_without_a_change_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file, no request, nothing of the kernel; for five minutes, in which each pass lists it once."""
    cloud = active(tmp_path, *FEW)
    cloud.run(12)
    counts = counted(cloud, monkeypatch)
    kernel, listed = cloud.machines["a"].kernel, Counter[str]()
    for what in ("list_sas", "list_all_policies"):
        monkeypatch.setattr(kernel, what, partial(_counting, listed, what, getattr(kernel, what)))
    for _ in range(60):
        cloud.now += 4.75
        cloud.run(0.25)
    assert counts == Counter()
    assert listed == {"list_sas": 60, "list_all_policies": 60}


def _counting(counts: Counter[str], what: str, does: Callable[[], object]) -> object:
    counts[what] += 1
    return does()


def star_of(folder: Path, peers: int) -> tuple[Star, Woken]:
    """Return a node with so many peers, and with as many nodes beside them that have no label."""
    folder.mkdir()
    star = Star(folder)
    star.grow(peers)
    for number in range(peers):
        star.add(f"plain{number}", 10_000 + number)
        star.machines.pop(f"plain{number}")
    return star, Woken(star)


def lines_of_joining(folder: Path, peers: int) -> Lines:
    """Return the lines that the node in the middle runs until all its pairs are protected."""
    star, woken = star_of(folder, peers)
    agent, counted = star.machines[MIDDLE].agent, Lines()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("step", "hear", "tend"):
            patch.setattr(agent, name, partial(_added, counted, getattr(agent, name)))
        star.join(woken)
    return counted


def _added(counted: Lines, does: Callable[..., object], *words: object) -> object:
    found: list[object] = []
    counted.update(lines(lambda: found.append(does(*words))))
    return found[0]


def lines_of_a_pass(folder: Path, peers: int) -> Lines:
    """Return the lines of a pass without a change that reads the kernel, in which no probe is due."""
    star, woken = star_of(folder, peers)
    star.join(woken)
    woken.run(12)
    while star.machines[MIDDLE].agent.tending_due <= star.now + 0.01:
        woken.run(MOMENT)
    star.machines[MIDDLE].agent._components.datapath.forget()  # noqa: SLF001 - a wake without news is no pass
    return lines(lambda: star.machines[MIDDLE].agent.step(star.now + 0.01))


@pytest.mark.parametrize("of", [lines_of_joining, lines_of_a_pass])
def test_no_line_runs_more_often_than_there_are_peers(tmp_path: Path, of: Callable[[Path, int], Lines]) -> None:
    """Twice as many peers more run each line of the product twice as often more: nothing compares each with each."""
    few, some, many = (of(tmp_path / str(peers), peers) for peers in (8, 16, 32))
    assert grown(few, some, many) == []
    assert (many.total() - some.total()) / (some.total() - few.total()) == pytest.approx(2, rel=0.1)


def lines_of_a_change(folder: Path, peers: int) -> Lines:
    """Return the lines of a pass that one peer's new object calls for, right after another one."""
    star, woken = star_of(folder, peers)
    star.join(woken)
    woken.run(12)
    agent, counted = star.machines[MIDDLE].agent, Lines()
    for version in ("changed", "changed again"):
        peer = star.api.peers["peer-0000"]
        star.api.peers["peer-0000"] = replace(peer, resource_version=version, last_session=peer.last_session + 1)
        counted = lines(lambda: agent.step(star.now))
    return counted


def test_a_pass_works_out_what_changed_and_looks_at_the_other_peers_in_passing(tmp_path: Path) -> None:
    """One pair is decided about and told of, whatever their number; each of the others costs some dozen lines."""
    few, many = (lines_of_a_change(tmp_path / str(peers), peers) for peers in (8, 32))
    more = Counter[str]()
    for (file, _), count in (many - few).items():
        more[Path(file).parent.name] += count
    assert more["pairs"] + more["kernel"] + more["keys"] == more["pairs"] < len(range(8, 32)) * 2
    assert (many.total() - few.total()) / 24 < EACH
