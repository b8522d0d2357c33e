"""An agent at rest: what it does is as much as its peers say, and what nobody told it of is found all the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.unit.agent.cloud import Cloud, active
from tests.unit.agent.star import MIDDLE, Star
from tests.unit.agent.woken import MOMENT, Woken
from tests.unit.lines import lines
from wirecrypt.agent.steps import tending
from wirecrypt.agent.steps.tending import LONGEST, PER_PEER, RESYNC
from wirecrypt.agent.view import configuration
from wirecrypt.errors import ClusterError, LinkError
from wirecrypt.model.objects import NodeState
from wirecrypt.model.xfrm import Address

MINUTE = 60.0
MANY = 20  # peers
SLOW = 20.0  # seconds between two comparisons, where a test has them come rarely


def at_rest(folder: Path, names: str) -> tuple[Cloud, Woken]:
    """Return a cloud of Active nodes whose agents have seen that they are, and its loops."""
    folder.mkdir(exist_ok=True)
    cloud = active(folder, *names)
    woken = Woken(cloud)
    woken.run(12)
    woken.passes.clear()
    return cloud, woken


@pytest.mark.parametrize("names", ["ab", "abcd", "abcdefgh"])
def test_a_minute_at_rest_takes_as_many_passes_whatever_the_number_of_peers(tmp_path: Path, names: str) -> None:
    """Probes are sent and answered between passes; everything is compared every few seconds, and for no other reason."""
    _, woken = at_rest(tmp_path, names)
    woken.run(MINUTE)
    assert {woken.passes[name] for name in names} <= {int(MINUTE / RESYNC) - 1, int(MINUTE / RESYNC)}


@pytest.mark.simulation
def test_a_minute_at_rest_costs_as_much_for_each_peer_whatever_their_number(tmp_path: Path) -> None:
    """All lines that are run in it, by all agents of the cluster, are as many as its pairs."""
    counts = []
    for names in ("abc", "abcdef"):
        _, woken = at_rest(tmp_path / names, names)
        counts.append(lines(lambda run=woken.run: run(MINUTE)).total() / (len(names) * (len(names) - 1)))  # type: ignore[misc]
    few, many = counts
    assert many / few < 1.1


@pytest.mark.simulation
def test_all_peers_together_are_probed_so_often_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The more they are the rarer each: twice as many get as many probes a minute."""
    monkeypatch.setattr(configuration, "PROBES", 0.1)  # one in ten seconds, instead of one each from each
    sent = []
    for names in ("abcd", "abcdefg"):
        cloud, woken = at_rest(tmp_path / names, names)
        woken.run(2 * MINUTE)
        channel, posted = cloud.machines["a"].channel, Counter[str]()
        monkeypatch.setattr(channel, "post", partial(_counted, posted, channel.post))
        woken.run(5 * MINUTE)
        assert cloud.ready("a") == (True, "AllPeersProtected")
        sent.append(posted["sent"])
    few, many = sent
    assert few == pytest.approx(5 * 6, rel=0.1)  # a probe of its own or an answer to one of theirs in ten seconds
    assert many == pytest.approx(few, rel=0.1)


def _counted(counts: Counter[str], post: Callable[..., bool], *words: object) -> bool:
    counts["sent"] += 1
    return post(*words)


def rarely(monkeypatch: pytest.MonkeyPatch, peers: int) -> None:
    """Have everything be compared as rarely as by an agent with very many peers."""
    monkeypatch.setattr(tending, "PER_PEER", SLOW / peers)


def test_the_more_peers_the_rarer_everything_is_compared() -> None:
    """Up to a bound: a hundredth of the time that such a look takes."""
    assert LONGEST / PER_PEER > 1000 > RESYNC / PER_PEER > 50


def test_what_nobody_told_of_is_found_by_the_next_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SAs that somebody removes, all of the kernel's notifications lost: every pair is whole again, and by itself."""
    cloud, woken = at_rest(tmp_path, "ab")
    rarely(monkeypatch, 1)
    woken.run(SLOW)
    kernel = cloud.machines["a"].kernel
    monkeypatch.setattr(cloud.machines["a"].agent._components.datapath, "_changes", lambda: 0)  # noqa: SLF001
    gone = frozenset(kernel.sas)
    for name in gone:
        kernel.sas.pop(name)
    woken.run(2 * SLOW)
    assert len(kernel.sas) == len(gone)
    assert cloud.ready("a") == cloud.ready("b") == (True, "AllPeersProtected")


def test_everything_is_compared_rarely_only_while_all_rests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where anything waits to be tried again the next look comes as soon as among few peers."""
    cloud, woken = at_rest(tmp_path, "ab")
    rarely(monkeypatch, 1)
    woken.run(SLOW)
    woken.passes.clear()
    woken.run(MINUTE)
    assert woken.passes["a"] in (2, 3)
    cloud.api.peers.pop("b")  # a view without it says nothing
    woken.passes.clear()
    woken.run(MINUTE)
    assert woken.passes["a"] >= MINUTE / RESYNC - 1


def test_a_path_that_ends_is_reported_by_the_probes_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe that stays without an answer calls for the pass that says so, and the first answer for one that takes it back."""
    cloud, woken = at_rest(tmp_path, "abc")
    rarely(monkeypatch, 2)
    woken.run(SLOW)
    post = cloud.machines["b"].post
    cut: set[Address] = set(cloud.machines["a"].addresses)
    cloud.machines["b"].channel.post = lambda src, dst, mark, data: dst in cut or post(src, dst, mark, data)
    monkeypatch.setattr(tending, "PER_PEER", LONGEST)
    monkeypatch.setattr(tending, "RESYNC", 3.7)  # no part of the time between two probes
    woken.run(10)  # four and a half until the first probe that is lost, and five in which it is repeated
    assert cloud.ready("a")[0] is False
    assert "b" in str(cloud.api.encrypted["a"].status)
    cut.clear()
    of_b = cloud.machines["a"].agent._peer_sessions["uid-b"]  # noqa: SLF001 - nothing else tells when the answer is there
    while of_b.memory.lost_in_row:
        woken.run(MOMENT)
    woken.run(2 * MOMENT)
    assert cloud.ready("a") == (True, "AllPeersProtected")


def test_a_path_that_ends_in_one_direction_is_reported_by_both_ends(tmp_path: Path) -> None:
    """First by the one whose turn it is, and by the other though the peer's probes go on to arrive."""
    cloud, woken = at_rest(tmp_path, "ab")
    cloud.machines["b"].channel.post = lambda *_: True
    woken.run(10)
    assert (False, "PeersFailing") in (cloud.ready("a"), cloud.ready("b"))
    woken.run(5)
    assert cloud.ready("a") == cloud.ready("b") == (False, "PeersFailing")


def test_a_pair_at_rest_takes_a_probe_and_an_answer_in_the_time_between_two(tmp_path: Path) -> None:
    """The ends take turns; each of them sends as many probes as the other."""
    cloud, woken = at_rest(tmp_path, "ab")
    posted = {name: Counter[str]() for name in "ab"}
    for name, counts in posted.items():
        channel = cloud.machines[name].channel
        channel.post = partial(_counted, counts, channel.post)
    woken.run(4 * MINUTE)
    assert [counts["sent"] for counts in posted.values()] == pytest.approx([4 * MINUTE / 4] * 2, rel=0.1)


def test_a_peer_that_is_silent_for_as_long_as_an_agent_starts_is_not_reported(tmp_path: Path) -> None:
    """Nobody writes a status for it."""
    cloud, woken = at_rest(tmp_path, "ab")
    away = cloud.machines.pop("b")
    cloud.writes.clear()
    woken.run(4.0)
    cloud.machines["b"] = away
    away.start()
    woken.run(10)
    assert cloud.ready("a") == (True, "AllPeersProtected")
    assert [write for write in cloud.writes if write == "status a"] == []


@pytest.mark.simulation
def test_however_many_peers_are_silent_no_more_probes_are_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once: not in any second are there more than the budget, nor fewer than one each; and all are reported."""
    monkeypatch.setattr(configuration, "PROBES", 5.0)
    star = Star(tmp_path)
    star.grow(MANY)
    woken = Woken(star)
    star.join(woken)
    woken.run(12)
    middle, sent = star.machines[MIDDLE], Counter[int]()
    for name in tuple(star.machines):
        if name != MIDDLE:
            star.machines.pop(name)
    monkeypatch.setattr(middle.channel, "post", lambda *_: bool(sent.update([int(star.now)])) or True)
    woken.run(2 * MINUTE)
    assert max(sent.values()) <= 5 + 1  # one at either end of the second
    assert sent.total() > 2 * MINUTE * 4
    status = star.api.encrypted[MIDDLE].status
    assert status is not None
    assert status.peers_failing == MANY


def test_a_guard_that_is_lost_is_noticed_however_rarely_everything_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Links and filters are looked at every few seconds: that costs the same whatever the number of peers."""
    cloud, woken = at_rest(tmp_path, "ab")
    monkeypatch.setattr(tending, "PER_PEER", LONGEST)
    woken.run(RESYNC + 1)

    def refused(*_: object) -> None:
        raise LinkError("attach the guard", what="upl", answer="No such device", hint="look at the link")

    monkeypatch.setattr(type(cloud.machines["a"].agent._components.guard_attachment), "ensure", refused)  # noqa: SLF001
    woken.run(RESYNC + 1)
    assert cloud.ready("a")[1] == "GuardRefused"


def test_a_status_that_is_refused_calls_for_no_more_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again with what is looked at anyway, and no pass follows the one before at once."""
    cloud, woken = at_rest(tmp_path, "ab")

    def refused(*_: object) -> None:
        raise ClusterError("write a status", what="a", answer="503", hint="wait")

    monkeypatch.setattr(type(cloud.machines["a"].api), "write_node_status", refused)
    cloud.machines.pop("b")  # which is silent from now on: there is something to tell
    woken.run(MINUTE)
    woken.passes.clear()
    woken.run(MINUTE)
    assert cloud.ready("a")[0] is True
    assert woken.passes["a"] <= MINUTE / RESYNC + 6  # probes


def test_a_new_peer_is_joined_at_once_by_those_at_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the API server tells of calls for a pass, however long everything has rested."""
    cloud, woken = at_rest(tmp_path, "ab")
    monkeypatch.setattr(tending, "PER_PEER", LONGEST)
    woken.run(RESYNC + 1)
    cloud.add("c", 30)
    cloud.label("c")
    woken.due["c"] = 0.0
    woken.run(5)
    cloud.state(NodeState.ACTIVE, "c")
    woken.run(2)
    assert {cloud.ready(name) for name in "abc"} == {(True, "AllPeersProtected")}


@pytest.mark.parametrize("peers", ["ab", "abcdef"])
def test_a_wake_without_news_looks_at_no_pair(tmp_path: Path, peers: str) -> None:
    """However many there are: no line of a pass is run, and the next pass is due when it was."""
    cloud, woken = at_rest(tmp_path, peers)
    machine, due = cloud.machines["a"], woken.due["a"]
    again: list[float] = []
    counted = lines(lambda: again.append(machine.agent.step(cloud.now)))
    assert again == [due]
    assert not [name for name, _ in counted if name.endswith(("deciding.py", "installing.py", "snapshot.py"))]


def test_probes_that_a_person_asks_for_are_sent_though_nothing_is_new(tmp_path: Path) -> None:
    """As a verification does, which wakes the loop and waits."""
    cloud, _ = at_rest(tmp_path, "ab")
    agent = cloud.machines["a"].agent
    agent.last_pass.live.ask()
    agent.step(cloud.now)
    assert not agent.last_pass.live.asked()
    assert [lane.sent for lane in agent.last_pass.live.lanes(cloud.peer("b").node_uid)] == [1]


@pytest.mark.parametrize("what", ["an object", "links", "the kernel", "a limit"])
def test_a_wake_with_news_is_a_pass(tmp_path: Path, what: str) -> None:
    """Whatever an agent is told of it looks at."""
    cloud, _ = at_rest(tmp_path, "ab")
    machine = cloud.machines["a"]
    shown = machine.agent.last_pass.snapshot
    if what == "an object":
        cloud.api.nodes["b"] = replace(cloud.api.nodes["b"], ready=False)
    elif what == "links":
        machine.agent.links_changed()
    elif what == "the kernel":
        machine.kernel.policies.popitem()
    else:
        machine.agent.expired([next(iter(machine.kernel.sas))])
    machine.agent.step(cloud.now)
    assert machine.agent.last_pass.snapshot is not shown
