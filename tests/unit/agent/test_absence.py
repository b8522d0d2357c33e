"""What is not there any more: only what was really said, and is still true, takes anything away."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.unit.agent.cloud import CONFIG, TICK, Cloud, Machine, active
from wirecrypt.errors import StateError
from wirecrypt.model.objects import NodeState
from wirecrypt.model.spi import AHEAD


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    """Return nodes a and b, Active and encrypted."""
    return active(tmp_path, "a", "b")


def leave(cloud: Cloud, name: str) -> None:
    """Let a node leave to the end."""
    cloud.unlabel(name)
    cloud.run(30)
    status = cloud.api.encrypted[name].status
    assert status is not None
    assert "Cleaned" in [c.type for c in status.conditions]
    cloud.remove(name)
    cloud.run(8)


def join(cloud: Cloud, name: str) -> None:
    cloud.label(name)
    cloud.run(8)
    cloud.state(NodeState.ACTIVE, name)
    cloud.run(2)


def bare(machine: Machine) -> bool:
    return not (machine.kernel.sas or machine.kernel.policies or machine.filters.loaded())


def roll_back(cloud: Cloud, *names: str) -> None:
    """Have the API server as before these nodes were labelled."""
    for name in names:
        cloud.remove(name)
        cloud.api.nodes[name] = replace(cloud.api.nodes[name], label=None)


# ---- a peer's deletion


@pytest.mark.L1
def test_a_confirmed_deletion_counts_for_that_object_alone(cloud: Cloud) -> None:
    """A peer that left, came back under its UID and then vanishes from view keeps its encryption."""
    leave(cloud, "b")
    assert not cloud.machines["a"].kernel.sas
    join(cloud, "b")
    assert cloud.machines["a"].kernel.out(cloud.peer("b")) == {"esp"}
    cloud.api.hidden = {"b"}
    cloud.run(20)
    assert cloud.machines["a"].kernel.out(cloud.peer("b")) == {"esp"}


@pytest.mark.parametrize("why", ["malformed", "down"])
def test_a_peer_that_nobody_could_ask_about_is_not_gone(cloud: Cloud, why: str) -> None:
    """No answer and an object that cannot be read confirm no deletion, and the pass goes on."""
    if why == "malformed":
        cloud.api.malformed = {"b"}
    else:
        cloud.api.hidden, cloud.api.down = {"b"}, True
    cloud.api.nodes.pop("b")
    cloud.run(20, "a")
    assert cloud.machines["a"].kernel.sas


def test_a_deleted_peer_is_removed(cloud: Cloud) -> None:
    """When both the NodePeer and the Node are gone, by the API server's own answer, nothing of the pair stays."""
    gone = cloud.peer("b")
    del cloud.api.peers["b"], cloud.api.nodes["b"]
    cloud.run(12, "a")
    a = cloud.machines["a"]
    assert (a.kernel.sas, a.kernel.policies, a.kernel.out(gone)) == ({}, {}, set())


# ---- the own node


def test_a_node_that_left_is_bare(cloud: Cloud) -> None:
    """After leaving in order nothing is in the kernel or on disk, and joining again works as the first time."""
    leave(cloud, "b")
    b = cloud.machines["b"]
    assert (bare(b), b.pairs.exists(), b.store.kept) == (True, False, None)
    join(cloud, "b")
    assert b.kernel.out(cloud.peer("a")) == {"esp"}


@pytest.mark.L1
def test_a_rollback_of_the_api_strips_no_node(cloud: Cloud) -> None:
    """A node whose NodePeer and label are gone without a farewell keeps pairs, guard and state, also over a restart."""
    roll_back(cloud, "a", "b")
    a = cloud.machines["a"]
    before, written = (dict(a.kernel.sas), dict(a.kernel.policies), dict(a.filters.table)), len(a.journal)
    with capture_logs() as said:
        cloud.run(70, "a")
        a.start()
        cloud.run(10, "a")
    assert (a.kernel.sas, a.kernel.policies, a.filters.table) == before
    assert (len(a.journal), a.pairs.exists(), a.store.kept is not None) == (written, True, True)
    (first, again) = [entry for entry in said if entry["log_level"] == "error"]
    assert "label the node again" in first["error"]
    assert first == again  # once by each agent


@pytest.mark.L1
@pytest.mark.parametrize("joining", ["plain", "block"])
def test_a_rollback_strips_no_node_whose_pairs_are_not_on_disk_yet(tmp_path: Path, joining: str) -> None:
    """One that was still joining keeps what its kernel has of its pairs, also over a restart."""
    cloud = Cloud(tmp_path)
    cloud.api.configure(f"{CONFIG}joining: {joining}\n")
    for number, name in enumerate("ab", 16):
        cloud.add(name, number)
        cloud.label(name)
    a = cloud.machines["a"]
    for _ in range(40):
        if not a.kernel.sas:
            cloud.run(TICK)
    assert a.kernel.sas
    assert json.loads(a.pairs.read_bytes())["peers"] == []
    own = cloud.peer("a")
    roll_back(cloud, "a", "b")
    before = dict(a.kernel.sas), dict(a.kernel.policies), dict(a.filters.table)
    for _ in range(2):
        cloud.run(70, "a")
        assert (a.kernel.sas, a.kernel.policies, a.filters.table) == before
        a.start()
    cloud.api.peers["a"] = replace(own, state=NodeState.REMOVED)
    cloud.run(70, "a")
    assert (bare(a), a.pairs.exists()) == (True, False)


def test_a_node_that_was_never_enabled_is_not_looked_at(tmp_path: Path) -> None:
    """What others have in its kernel stays, however much it is like what the product makes."""
    cloud = active(tmp_path, "a", "b")
    cloud.add("c", 18)
    c, a = cloud.machines["c"], cloud.machines["a"]
    c.kernel.sas, c.kernel.policies = dict(a.kernel.sas), dict(a.kernel.policies)
    cloud.run(70, "c")
    assert (c.kernel.sas, c.kernel.policies, c.journal) == (a.kernel.sas, a.kernel.policies, [])


@pytest.mark.L1
def test_a_rollback_is_reported(cloud: Cloud) -> None:
    """An EncryptedNode that is still there says RollbackSeen; that is written once."""
    encrypted = cloud.api.encrypted["a"]
    roll_back(cloud, "a")
    cloud.api.encrypted["a"] = encrypted
    cloud.run(1, "a")
    written = len(cloud.writes)
    cloud.run(70, "a")
    assert cloud.ready("a") == (False, "RollbackSeen")
    assert len(cloud.writes) == written


def test_after_a_rollback_the_label_set_and_taken_off_again_is_a_farewell(cloud: Cloud) -> None:
    """What the message asks for works: the node comes back, leaves in order, and nothing of it stays at either end."""
    roll_back(cloud, "b")
    cloud.run(10)
    cloud.label("b")
    cloud.run(8)
    leave(cloud, "b")
    assert (bare(cloud.machines["b"]), cloud.machines["a"].kernel.sas) == (True, {})


def test_a_farewell_that_was_seen_outlives_the_agent(cloud: Cloud) -> None:
    """An agent that was killed while the node left cleans up when it starts after its NodePeer is gone."""
    cloud.unlabel("b")
    cloud.run(1)
    b = cloud.machines["b"]
    assert b.kernel.sas
    cloud.remove("b")
    b.start()
    cloud.run(10, "b")
    assert (bare(b), b.pairs.exists()) == (True, False)


@pytest.mark.L1
def test_a_new_nodepeer_forgets_the_farewell_of_the_one_before(cloud: Cloud) -> None:
    """A node that was labelled again while it still had pairs on disk is stripped by no rollback after that."""
    cloud.unlabel("b")
    cloud.run(1)
    cloud.remove("b")
    cloud.label("b")
    cloud.run(8)
    assert cloud.machines["b"].kernel.out(cloud.peer("a")) == {"esp"}
    roll_back(cloud, "b")
    cloud.run(70, "b")
    assert cloud.machines["b"].kernel.out(cloud.peer("a")) == {"esp"}


def test_a_node_that_is_another_now_is_cleaned_up(cloud: Cloud) -> None:
    """When the API server shows a Node of this name with another UID, the identity on disk is over."""
    roll_back(cloud, "b")
    cloud.api.nodes["b"] = replace(cloud.api.nodes["b"], uid="uid-of-another")
    cloud.run(10, "b")
    b = cloud.machines["b"]
    assert (bare(b), b.pairs.exists()) == (True, False)


@pytest.mark.L1
def test_an_api_server_that_does_not_answer_takes_nothing(cloud: Cloud) -> None:
    """A node that left by its copies keeps all while the API server cannot be asked."""
    cloud.unlabel("b")
    cloud.run(1)
    cloud.remove("b")
    cloud.api.down = True
    cloud.run(20, "b")
    assert cloud.machines["b"].kernel.sas


def test_the_farewell_is_written_beside_the_pairs(cloud: Cloud) -> None:
    """The file on disk says whether the own NodePeer was seen Leaving; a steady pass does not write it again."""
    b = cloud.machines["b"]
    assert json.loads(b.pairs.read_bytes())["leaving"] is False
    cloud.unlabel("b")
    cloud.run(0.25, "b")
    assert json.loads(b.pairs.read_bytes())["leaving"] is True
    before = b.pairs.stat().st_ino
    cloud.run(0.5, "b")
    assert b.pairs.stat().st_ino == before


# ---- objects that are lost under the label


def lose(cloud: Cloud) -> dict[str, tuple[dict[object, object], ...]]:
    """Have no NodePeer and no EncryptedNode any more, as when somebody deletes the kinds; return what the kernels have."""
    for name in cloud.machines:
        cloud.remove(name)
    return {name: (dict(m.kernel.sas), dict(m.kernel.policies)) for name, m in cloud.machines.items()}


@pytest.mark.L1
@pytest.mark.parametrize("restarted", ["", "a", "ab"])
@pytest.mark.parametrize("state", [NodeState.ACTIVE, NodeState.JOINING])
def test_objects_that_are_lost_and_made_again_stop_no_pair(cloud: Cloud, state: NodeState, restarted: str) -> None:
    """All of them, one after the other, whatever their state then, and over a restart of agents: nothing is touched."""
    before = lose(cloud)
    cloud.run(70)
    for name in restarted:
        cloud.machines[name].start()
    for name in "ab":
        cloud.run(5)
        cloud.label(name)
        cloud.state(state, name)
    cloud.run(8)
    assert {name: (m.kernel.sas, m.kernel.policies) for name, m in cloud.machines.items()} == before
    assert {name: cloud.peer(name).last_session for name in "ab"} == {"a": 1, "b": 1}
    cloud.state(NodeState.ACTIVE, "a", "b")
    cloud.run(5)
    assert {cloud.ready(name) for name in "ab"} == {(True, "AllPeersProtected")}


@pytest.mark.parametrize("ahead", [1, 2, AHEAD, AHEAD + 1, AHEAD + 2])
def test_numbers_that_are_lost_begin_above_what_a_policy_points_at(cloud: Cloud, ahead: int) -> None:
    """NodePeer, state file and SAs go at once: what is left of the number in use is the residue of it in a policy's SPI."""
    a, b = cloud.machines["a"], cloud.machines["b"]
    cloud.clock = 64 * 1000 + cloud.peer("b").last_session - ahead
    b.store.kept = None
    b.kernel.sas.clear()
    lose(cloud)
    cloud.label("a")
    cloud.label("b")
    cloud.state(NodeState.ACTIVE, "a", "b")
    b.start()
    cloud.run(40)
    assert {cloud.ready(name) for name in "ab"} == {(True, "AllPeersProtected")}
    assert a.kernel.sas.keys() == b.kernel.sas.keys()
    assert len(a.kernel.sas) == 2


@pytest.mark.L1
def test_an_object_that_comes_back_with_another_id_is_never_in_clear(cloud: Cloud) -> None:
    """Nobody knows the old one any more: the pair is made anew, and blocks until it is proved."""
    lose(cloud)
    cloud.run(5)
    for name, node_id in (("a", 17), ("b", 16)):
        cloud.label(name, node_id=node_id)
    for _ in range(40):
        cloud.run(0.25)
        assert all(cloud.machines["a"].kernel.out(cloud.peer("b")))
    cloud.state(NodeState.ACTIVE, "a", "b")
    cloud.run(5)
    assert {cloud.ready(name) for name in "ab"} == {(True, "AllPeersProtected")}


# ---- the own status


@pytest.mark.parametrize("change", ["made anew", "from a backup"])
def test_a_status_that_is_not_there_any_more_is_written_again(cloud: Cloud, change: str) -> None:
    """An EncryptedNode that was deleted and made anew has none, one that was restored an older one: seen within two minutes."""
    before = cloud.api.encrypted["a"]
    assert before.status is not None
    older = replace(before.status, ready_for=(), peers_protected=0) if change == "from a backup" else None
    cloud.api.encrypted["a"] = replace(before, uid="anew", status=older)
    writes = len(cloud.writes)
    cloud.run(125)
    assert cloud.api.encrypted["a"].status == before.status
    assert [w for w in cloud.writes[writes:] if w == "status a"] == ["status a"]


def test_a_pass_that_failed_is_told_until_one_succeeds(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full when a session is to be replaced: what the status said before is not true any more."""
    a = cloud.machines["a"]
    full = StateError("write the state file", answer="No space left on device", hint="make room")

    def refuse(_state: object) -> None:
        raise full

    monkeypatch.setattr(a.store, "save", refuse)
    a.kernel.sas.clear()
    with pytest.raises(StateError) as raised:
        cloud.run(5, "a")
    a.agent.failed(raised.value, cloud.now)
    assert cloud.ready("a") == (False, "PassFailed")
    monkeypatch.undo()
    cloud.run(10)
    assert cloud.ready("a") == (True, "AllPeersProtected")
