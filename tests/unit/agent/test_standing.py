"""A pass decides about what has changed: the other pairs stand as they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.agent.cloud import active
from tests.unit.agent.star import MIDDLE, Star
from tests.unit.agent.woken import Woken
from wirecrypt.agent.steps import deciding, installing
from wirecrypt.model.secret import SecretBytes

FEW, MANY = 3, 9
REST = 30.0  # seconds in which the last facts of joining have held


def star_of(folder: Path, peers: int) -> Star:
    """Return a cluster in which the middle has so many peers, all of them protected and at rest."""
    folder.mkdir()
    star = Star(folder)
    star.grow(peers)
    woken = Woken(star)
    star.join(woken)
    woken.run(REST)
    star.machines[MIDDLE].agent.step(star.now)  # takes in what came since the last one
    return star


def counted(star: Star, patch: pytest.MonkeyPatch, change: Callable[[Star], None]) -> Counter[str]:
    """Return how many pairs the middle views, decides and plans in the pass that follows a *change*."""
    counts: Counter[str] = Counter()
    for module, name in ((deciding, "view_pair"), (deciding, "decide"), (installing, "wanted")):
        _count(counts, patch, module, name)
    change(star)
    star.machines[MIDDLE].agent.step(star.now)
    patch.undo()
    return counts


def _count(counts: Counter[str], patch: pytest.MonkeyPatch, module: object, name: str) -> None:
    does = getattr(module, name)

    def counting(*words: Any, **more: Any) -> Any:  # noqa: ANN401 - handed on
        counts[name] += 1
        return does(*words, **more)

    patch.setattr(module, name, counting)


def nothing(star: Star) -> None:
    """Have the middle told of links, of which none is another."""
    star.machines[MIDDLE].agent.links_changed()


def an_object(star: Star) -> None:
    """Have one peer's object be another."""
    star.api.peers["peer-0001"] = replace(star.api.peers["peer-0001"], resource_version="another")


def a_node(star: Star) -> None:
    """Have one peer's Node not be Ready."""
    star.api.nodes["peer-0001"] = replace(star.api.nodes["peer-0001"], ready=False)


def a_policy(star: Star) -> None:
    """Have one policy of one pair lost."""
    kernel = star.machines[MIDDLE].kernel
    kernel.policies.pop(next(name for name, policy in kernel.policies.items() if policy.templates))


@pytest.mark.parametrize(("change", "pairs"), [(nothing, 0), (an_object, 1), (a_node, 1)])
def test_a_pass_decides_about_the_pair_that_changed_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Star], None], pairs: int
) -> None:
    """However many peers there are."""
    for peers in (FEW, MANY):
        counts = counted(star_of(tmp_path / str(peers), peers), monkeypatch, change)
        assert counts == Counter(dict.fromkeys(("view_pair", "decide", "wanted"), pairs) if pairs else {})


def test_a_lost_policy_is_one_pairs_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is decided about before it is set again, and after."""
    few, many = (counted(star_of(tmp_path / str(n), n), monkeypatch, a_policy) for n in (FEW, MANY))
    assert few == many == {"view_pair": 2, "decide": 2, "wanted": 2}


def test_a_wrong_key_is_seen_after_a_restart(tmp_path: Path) -> None:
    """The first look takes an SA as it is, for keys are derived again after it; the next one compares, with or without news."""
    cloud = active(tmp_path, "a", "b")
    machine = cloud.machines["a"]
    name, sa = next((name, sa) for name, sa in machine.kernel.sas.items() if sa.receives)
    machine.kernel.sas[name] = replace(sa, key=SecretBytes(bytes(len(sa.key))))
    machine.start()
    before = cloud.peer("a").last_session
    cloud.run(5.0, "a")
    assert cloud.peer("a").last_session > before


def reads(star: Star, patch: pytest.MonkeyPatch, change: Callable[[Star], None]) -> int:
    """Return how often the middle lists the kernel's SAs in the pass that follows a *change*."""
    counts: Counter[str] = Counter()
    _count(counts, patch, star.machines[MIDDLE].kernel, "list_sas")
    change(star)
    star.machines[MIDDLE].agent.step(star.now)
    patch.undo()
    return counts["list_sas"]


@pytest.mark.parametrize(("change", "times"), [(nothing, 0), (an_object, 0), (a_node, 0), (a_policy, 2)])
def test_the_kernel_is_read_when_somebody_changed_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Star], None], times: int
) -> None:
    """Before something is written, and after; for what the API server tells of alone it is not."""
    assert reads(star_of(tmp_path / "star", FEW), monkeypatch, change) == times


def test_nothing_is_written_by_what_was_read_in_an_earlier_pass(tmp_path: Path) -> None:
    """Each write follows a list of this very pass: counters are of its time ◆R7, and notifications may be lost."""
    cloud = active(tmp_path, "a", "b")
    machine, told = cloud.machines["a"], ["pass"]
    kernel, step = machine.kernel, machine.agent.step
    lists = kernel.list_sas

    def listed() -> Any:  # noqa: ANN401 - handed on
        told.append("list")
        return lists()

    def stepped(now: float) -> float:
        told.append("pass")
        return step(now)

    kernel.told, kernel.list_sas, machine.agent.step = told.append, listed, stepped  # type: ignore[method-assign]
    woken = Woken(cloud)
    woken.run(REST)
    cloud.unlabel("b")
    woken.run(REST)
    passes = " ".join("list" if each == "list" else "pass" if each == "pass" else "write" for each in told).split("pass")
    writing = [each.split() for each in passes if "write" in each]
    assert writing
    assert all(each[0] == "list" for each in writing)
    assert any("list" not in each for each in passes[1:])
