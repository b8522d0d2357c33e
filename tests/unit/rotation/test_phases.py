"""The rotation of a cluster: each rule, and whole rotations in any order with crashes anywhere."""

# ruff: noqa: D102 - methods of a test's cluster need no more than a name
from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.builders import SILENT, START
from wirecrypt.model.objects import (
    KeyRotation,
    KeySecret,
    NodeKey,
    NodePeer,
    NodeState,
    NodeStatus,
    Phase,
    SeedSecret,
)
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import LEAP, Epoch, Session
from wirecrypt.model.xfrm import Algorithm
from wirecrypt.rotation import phases
from wirecrypt.rotation.actions import (
    Action,
    CreateRotation,
    CreateSeed,
    DeleteRotation,
    DeleteSeed,
    ExcludePeer,
    RemoveNodeKey,
    RotationInputs,
    SetFinalizer,
    UpdateRotationStatus,
    WriteNodeKeys,
)
from wirecrypt.rotation.history import surplus
from wirecrypt.rotation.numbers import never_was, next_number
from wirecrypt.rotation.phases import current, joining_epochs, step

NOW = START
FRESH = "f" * 32
ONE, TWO = Epoch(1, "1" * 32), Epoch(2, "2" * 32)


def seed(epoch: Epoch, released: tuple[int, ...] = ()) -> SeedSecret:
    """Return the Secret of *epoch*."""
    return SeedSecret(epoch, SecretBytes(bytes(32)), released)


def keys(node: str, *epochs: Epoch) -> KeySecret:
    """Return the Secret of *node* with keys of *epochs*."""
    return KeySecret(node, f"uid-{node}", tuple(NodeKey(e, SecretBytes(bytes(2048))) for e in sorted(epochs)))


def peer(name: str, *epochs: Epoch, state: NodeState = NodeState.ACTIVE, boot: str = "boot") -> NodePeer:
    """Return a NodePeer that has published a session of each of *epochs*."""
    sessions = tuple(Session(i + 1, e, bytes(32), 1, Algorithm.AES_256_GCM) for i, e in enumerate(epochs))
    return NodePeer(name, "o", 16, f"uid-{name}", (), (), state, NOW, boot_id=boot, sessions=sessions)


def says(sending: int, *accepting: int, boot: str = "boot") -> NodeStatus:
    """Return the words of an agent."""
    return replace(SILENT, boot_id=boot, sending_epoch=sending, accepting_epochs=accepting)


def rotation(name: str = "r", phase: Phase | None = None, **more: object) -> KeyRotation:
    """Return a KeyRotation, held, from epoch 1 to 2 once it has begun."""
    begun = phase not in (None, Phase.PENDING)
    numbers = {"from_epoch": 1, "to_epoch": 2, "to_epoch_id": TWO.id, "held": True} if begun else {}
    return replace(KeyRotation(name, f"uid-{name}", "a test", NOW, phase=phase), **{**numbers, **more})


def two_nodes(active: KeyRotation, **more: object) -> RotationInputs:
    """Return a cluster of nodes a and b, with keys and sessions of both epochs, under the rotation *active*."""
    return replace(
        RotationInputs(
            rotations=(active,),
            seeds=(seed(ONE), seed(TWO)),
            keys={n: keys(n, ONE, TWO) for n in "ab"},
            peers=tuple(peer(n, ONE, TWO) for n in "ab"),
            statuses={n: says(2, 2) for n in "ab"},
            wanted=True,
        ),
        **more,
    )


def phase_after(snapshot: RotationInputs) -> Phase | None:
    """Return the phase that one step moves the only rotation to, None when it stays."""
    moves = [
        a for a in step(snapshot, NOW, fresh=FRESH) if isinstance(a, UpdateRotationStatus) and a.new.phase is not a.old.phase
    ]
    return moves[0].new.phase if moves else None


def test_the_first_label_asks_for_the_first_epoch() -> None:
    """Without any epoch and with a node to encrypt there is a rotation `initial`; without such a node there is none."""
    assert step(RotationInputs(wanted=True), NOW, fresh=FRESH) == (CreateRotation("initial", "there is no epoch yet"),)
    assert step(RotationInputs(), NOW, fresh=FRESH) == ()


def test_a_number_is_never_used_twice() -> None:
    """◆R36 The new number is above every one in rotations, Secrets and sessions, each of which may be the only witness."""
    assert next_number(RotationInputs(rotations=(rotation(phase=Phase.ABORTED, to_epoch=7),))) == 8
    assert next_number(RotationInputs(seeds=(seed(Epoch(7, "")),))) == 8
    assert next_number(RotationInputs(keys={"a": keys("a", Epoch(7, ""))})) == 8
    assert next_number(RotationInputs(peers=(peer("a", Epoch(7, "")),))) == 8
    assert next_number(RotationInputs(statuses={"a": says(7, 6)})) == 8
    assert next_number(RotationInputs(statuses={"a": says(6, 6, 7)})) == 8


def test_a_number_that_cannot_be_moves_nobody() -> None:
    """A node that publishes a session of an epoch that never was: the next one follows what is known, and there is a next."""
    known = RotationInputs(seeds=(seed(Epoch(7, "")),), peers=(peer("a", Epoch(2**63 - 2, "")), peer("b", Epoch(9, ""))))
    known = replace(known, statuses={"a": says(2**63 - 2, 2**63 - 2)})
    assert next_number(known) == 10
    assert [bool(never_was(p, 7)) for p in known.peers] == [True, False]
    assert not never_was(peer("a", Epoch(7 + LEAP, "")), 7)


def test_only_one_rotation_runs_and_the_others_wait_in_order() -> None:
    """◆R38 A begun rotation goes on though an older one waits; the waiting one is told so and nothing else."""
    old, begun = rotation("old", created=NOW - timedelta(days=1)), rotation("begun", Phase.SWITCHING)
    assert current((old, begun)) == begun
    actions = step(two_nodes(begun, rotations=(begun, old), statuses={}), NOW, fresh=FRESH)
    waiting = [a.new for a in actions if isinstance(a, UpdateRotationStatus) and a.old == old]
    assert [w.phase for w in waiting] == [Phase.PENDING]
    assert waiting[0].conditions[0].reason == "Queued"
    assert current((rotation("b"), rotation("a"))) == rotation("a")


def test_a_rotation_is_held_before_it_begins_and_let_go_at_its_end() -> None:
    """A deleted KeyRotation cannot vanish half done."""
    pending = rotation(phase=Phase.PENDING)
    assert step(RotationInputs((pending,)), NOW, fresh=FRESH) == (SetFinalizer(pending, held=True, why="begins"),)
    aborted = rotation(phase=Phase.ABORTED)
    assert step(RotationInputs((aborted,)), NOW, fresh=FRESH) == (SetFinalizer(aborted, held=False, why="finished"),)


def test_the_last_completed_rotation_is_kept_until_the_next_one() -> None:
    """Agents read from it which epoch is in use; when somebody removed it all the same, a new rotation says it again."""
    old, new = rotation("old", Phase.COMPLETE), rotation("new", Phase.COMPLETE, from_epoch=2, to_epoch=3)
    assert step(RotationInputs((old,)), NOW, fresh=FRESH) == ()
    assert step(RotationInputs((old, new)), NOW, fresh=FRESH) == (SetFinalizer(old, held=False, why="finished"),)
    lost = RotationInputs(seeds=(seed(TWO),), peers=(peer("a", TWO),), wanted=True)
    assert [a.name for a in step(lost, NOW, fresh=FRESH) if isinstance(a, CreateRotation)] == ["recovery-3"]


@pytest.mark.parametrize("used", [False, True])
def test_the_last_completed_rotation_is_let_go_when_it_is_deleted(*, used: bool) -> None:
    """Neither uninstalling nor the replacement of the kind hangs on our finalizer; an open rotation needs it to its end."""
    done = replace(rotation("done", Phase.COMPLETE), deleting=True)
    inputs = RotationInputs(rotations=(done,), peers=(peer("a", TWO),) if used else (), wanted=used)
    assert SetFinalizer(done, held=False, why="finished") in step(inputs, NOW, fresh=FRESH)
    running = replace(inputs, rotations=(done, rotation("running", Phase.SWITCHING, from_epoch=2, to_epoch=3)))
    assert not [action for action in step(running, NOW, fresh=FRESH) if isinstance(action, SetFinalizer)]


def test_the_seed_is_there_before_any_key_is_given() -> None:
    """Distributing begins with the epoch's Secret, which carries on the IDs that rest."""
    snapshot = two_nodes(rotation(phase=Phase.DISTRIBUTING), seeds=(seed(ONE, released=(20,)),), keys={})
    assert step(snapshot, NOW, fresh=FRESH) == (CreateSeed(TWO, (20,), why="r begins epoch 2"),)


def test_every_secret_has_the_new_key_before_nodes_are_told_to_use_it() -> None:
    """Switching comes only when no Secret lacks it; a Secret of an earlier Node of the name does not count."""
    active = rotation(phase=Phase.DISTRIBUTING)
    for lacking in (keys("b", ONE), replace(keys("b", ONE, TWO), node_uid="earlier"), None):
        secrets = {"a": keys("a", ONE, TWO)} | ({"b": lacking} if lacking else {})
        snapshot = two_nodes(active, keys=secrets)
        assert [a.node for a in step(snapshot, NOW, fresh=FRESH) if isinstance(a, WriteNodeKeys)] == ["b"]
        assert phase_after(snapshot) is None
    assert phase_after(two_nodes(active)) is Phase.SWITCHING


def test_keys_are_given_in_waves() -> None:
    """One step writes at most a wave of Secrets."""
    peers = tuple(peer(f"n{i}", ONE) for i in range(200))
    actions = step(two_nodes(rotation(phase=Phase.DISTRIBUTING), peers=peers, keys={}), NOW, fresh=FRESH)
    assert sum(isinstance(a, WriteNodeKeys) for a in actions) == phases.WAVE


def test_a_secret_that_cannot_be_read_holds_up_no_other() -> None:
    """The others get their keys, it is not written over, and the rotation names its node and the reason."""
    active = rotation(phase=Phase.DISTRIBUTING)
    snapshot = two_nodes(active, keys={}, unusable={"a": "Secret wirecrypt-node-a: not base64"})
    actions = step(snapshot, NOW, fresh=FRESH)
    assert [a.node for a in actions if isinstance(a, WriteNodeKeys)] == ["b"]
    report = next(a.new for a in actions if isinstance(a, UpdateRotationStatus))
    assert (report.phase, report.laggards) == (Phase.DISTRIBUTING, ("a",))
    assert "a: Secret wirecrypt-node-a: not base64" in report.conditions[0].message


def test_the_last_secret_that_cannot_be_read_is_the_reason_of_the_condition() -> None:
    """When nothing else is to be written, the condition says KeySecretFailed, and the phase stays."""
    active = rotation(phase=Phase.DISTRIBUTING)
    snapshot = two_nodes(active, keys={"b": keys("b", ONE, TWO)}, unusable={"a": "not base64"})
    actions = step(snapshot, NOW, fresh=FRESH)
    assert [(type(a), a.new.conditions[0].reason) for a in actions] == [(UpdateRotationStatus, "KeySecretFailed")]
    assert phase_after(snapshot) is None


def test_secrets_whose_write_failed_are_tried_again_after_the_others() -> None:
    """They fill no wave, and they are named until they are written."""
    peers = tuple(peer(f"n{i:03}", ONE) for i in range(100))
    failed = {f"n{i:03}": "there is another Secret of this name" for i in range(70)}
    snapshot = two_nodes(rotation(phase=Phase.DISTRIBUTING), peers=peers, keys={}, refused=failed)
    gives = [a.node for a in step(snapshot, NOW, fresh=FRESH) if isinstance(a, WriteNodeKeys)]
    assert gives[:30] == [f"n{i:03}" for i in range(70, 100)]
    assert len(gives) == phases.WAVE


def test_no_old_key_goes_while_a_secret_cannot_be_read() -> None:
    """Nobody knows whether the new key is in it: the rotation stays in Retiring and says whose Secret it is."""
    active = rotation(phase=Phase.RETIRING)
    snapshot = two_nodes(active, keys={"a": keys("a", ONE, TWO)}, unusable={"b": "not base64"})
    actions = step(snapshot, NOW, fresh=FRESH)
    assert [type(a) for a in actions] == [UpdateRotationStatus]
    assert (actions[0].new.phase, actions[0].new.laggards) == (Phase.RETIRING, ("b",))


def test_a_seed_that_is_lost_after_keys_were_given_ends_the_rotation() -> None:
    """A new seed under the same number would not fit the keys that are out: they are taken back, the last one at the end."""
    snapshot = two_nodes(rotation(phase=Phase.DISTRIBUTING), seeds=(seed(ONE),))
    actions = step(snapshot, NOW, fresh=FRESH)
    assert [type(a) for a in actions] == [RemoveNodeKey, UpdateRotationStatus, RemoveNodeKey]
    assert {a.number for a in actions if isinstance(a, RemoveNodeKey)} == {2}
    report = next(a.new for a in actions if isinstance(a, UpdateRotationStatus))
    assert (report.phase, report.conditions[0].reason) == (Phase.ABORTED, "Aborted")
    assert "seed of epoch 2 is gone" in report.conditions[0].message


def test_switching_ends_when_every_live_node_sends_with_the_new_epoch() -> None:
    """One live node that does not say so, or says nothing, holds it up."""
    active = rotation(phase=Phase.SWITCHING)
    assert phase_after(two_nodes(active)) is Phase.RETIRING
    for status in (says(1, 1, 2), None):
        statuses = {"a": says(2, 1, 2)} | ({"b": status} if status else {})
        assert phase_after(two_nodes(active, statuses=statuses)) is None


def test_a_node_that_is_down_holds_up_no_switch_but_the_end() -> None:
    """It is listed as a laggard; its old key is kept until it has moved, so the rotation stays in Retiring."""
    words = {"a": says(2, 2), "b": says(1, 1)}
    snapshot = two_nodes(rotation(phase=Phase.SWITCHING), statuses=words, down=frozenset("b"))
    report = next(a for a in step(snapshot, NOW, fresh=FRESH) if isinstance(a, UpdateRotationStatus))
    assert (report.new.phase, report.new.laggards) == (Phase.RETIRING, ("b",))
    retiring = two_nodes(rotation(phase=Phase.RETIRING), statuses=words, down=frozenset("b"))
    actions = step(retiring, NOW, fresh=FRESH)
    assert not [a for a in actions if isinstance(a, (RemoveNodeKey, DeleteSeed))]
    assert phase_after(retiring) is None
    gone = replace(retiring, peers=(peer("a", ONE, TWO),))
    assert phase_after(gone) is Phase.COMPLETE


THREE = Epoch(3, "3" * 32)


def laggard(**more: object) -> RotationInputs:
    """Return a cluster that retires epoch 1, which only b, that is down, accepts."""
    words = {"a": says(2, 2), "b": says(1, 1)}
    given = {"statuses": words, "down": frozenset("b"), **more}
    return replace(two_nodes(rotation(phase=Phase.RETIRING)), **given)


def test_a_laggard_holds_up_no_other_rotation() -> None:
    """The one that waits has its turn; the old epoch stays for the laggard, and is the next one's to retire."""
    snapshot = laggard(rotations=(rotation(phase=Phase.RETIRING), rotation("next", Phase.PENDING, created=NOW + timedelta(1))))
    first, told = step(snapshot, NOW, fresh=FRESH)
    assert isinstance(first, UpdateRotationStatus)
    assert first.new.name == "next"
    assert isinstance(told, UpdateRotationStatus)
    assert (told.new.phase, told.new.laggards) == (Phase.COMPLETE, ("b",))
    assert told.why == "complete but for b, which next waits for from here on"
    done = replace(snapshot, rotations=(told.new, first.new))
    assert current(done.rotations) == first.new
    assert joining_epochs(done) == (TWO,)
    assert next_number(done) == 3


def test_the_schedule_goes_on_beside_a_laggard() -> None:
    """A rotation that is due is asked for, once."""
    made = [a for a in step(laggard(), NOW, fresh=FRESH, due=True) if isinstance(a, CreateRotation)]
    assert [a.name for a in made] == ["scheduled-3"]


def three_epochs(accepted_by_b: tuple[int, ...], *waiting: KeyRotation) -> RotationInputs:
    """Return a cluster that retires epoch 2 beside a laggard."""
    active = rotation(phase=Phase.RETIRING, from_epoch=2, to_epoch=3, to_epoch_id=THREE.id)
    return laggard(
        rotations=(active, *waiting),
        seeds=(seed(ONE), seed(TWO), seed(THREE)),
        keys={name: keys(name, ONE, TWO, THREE) for name in "ab"},
        statuses={"a": says(3, 3), "b": says(accepted_by_b[-1], *accepted_by_b)},
    )


def test_no_fourth_epoch_begins_beside_laggards() -> None:
    """Three fit into a pair: with the laggard's, the one in use and one between, nothing begins, and it is said."""
    snapshot = three_epochs((1, 2), rotation("next", Phase.PENDING, created=NOW + timedelta(1)))
    told = [a.new for a in step(snapshot, NOW, fresh=FRESH) if isinstance(a, UpdateRotationStatus)]
    report = next(r for r in told if r.name == "r")
    assert (report.phase, report.conditions[0].reason) == (Phase.RETIRING, "WaitingForLaggards")
    assert "3 epochs are in use" in report.conditions[0].message


def test_an_epoch_between_that_nobody_accepts_goes_although_a_laggard_stays() -> None:
    """It is retired everywhere at once, which makes room for the next rotation."""
    actions = step(three_epochs((1,)), NOW, fresh=FRESH)
    assert {a.number for a in actions if isinstance(a, RemoveNodeKey)} == {2}
    assert [a.seed.epoch for a in actions if isinstance(a, DeleteSeed)] == [TWO]


@pytest.mark.parametrize("phase", [Phase.SWITCHING, Phase.RETIRING])
def test_a_person_has_a_rotation_go_on_without_a_node_that_holds_it_up(phase: Phase) -> None:
    """Not before patience is over, and never without one that holds nothing up."""
    words = {"a": says(2, 2), "b": says(1, 1)}
    active = rotation(phase=phase, without=("a", "b", "z"), started=NOW)
    snapshot = two_nodes(active, statuses=words, patience=600.0)
    for after, names in ((599, []), (600, ["b"])):
        actions = step(snapshot, NOW + timedelta(seconds=after), fresh=FRESH)
        assert [a.peer.name for a in actions if isinstance(a, ExcludePeer)] == names


@pytest.mark.parametrize("phase", [Phase.SWITCHING, Phase.RETIRING])
def test_a_person_has_a_rotation_go_on_without_a_node_that_answers_nobody(phase: Phase) -> None:
    """One that was taken over says that it has come along: who waits for its answer names it, if it is there and published."""
    words = {"a": replace(says(1, 1, 2), failing=("b: no answer on generation 1.2.3",)), "b": says(2, 2)}
    active = rotation(phase=phase, without=("b",), started=NOW)
    snapshot = two_nodes(active, statuses=words)
    assert [a.peer.name for a in step(snapshot, NOW, fresh=FRESH) if isinstance(a, ExcludePeer)] == ["b"]
    told = [a.new.conditions[0].message for a in step(snapshot, NOW, fresh=FRESH) if isinstance(a, UpdateRotationStatus)]
    assert told == ["waits for a; a has no answer of b: no answer on generation 1.2.3"]
    by_itself = {"peers": (peer("a", ONE, Epoch(LEAP + 3, "f" * 32)), peer("b", ONE, TWO))}
    for more in ({"down": frozenset("a")}, {"statuses": words | {"a": replace(words["a"], failing=())}}, by_itself):
        assert not [a for a in step(replace(snapshot, **more), NOW, fresh=FRESH) if isinstance(a, ExcludePeer)]


def test_a_word_of_another_boot_does_not_count() -> None:
    """◆R41 A node that rebooted since it spoke may need the old key again: its report is no evidence."""
    words = {"a": says(2, 2), "b": says(2, 2, boot="before")}
    for phase in (Phase.SWITCHING, Phase.RETIRING):
        assert phase_after(two_nodes(rotation(phase=phase), statuses=words)) is None


THREE = Epoch(3, "3" * 32)


def test_a_rotation_of_a_backup_that_nodes_have_gone_through_comes_to_its_end() -> None:
    """Restored in the middle of it: nodes send with a later epoch than its own, which is past it and holds up nothing."""
    later = {"peers": tuple(peer(n, ONE, TWO, THREE) for n in "ab"), "statuses": {n: says(3, 2, 3) for n in "ab"}}
    assert phase_after(two_nodes(rotation(phase=Phase.SWITCHING), **later)) is Phase.RETIRING
    assert phase_after(two_nodes(rotation(phase=Phase.RETIRING), **later)) is Phase.COMPLETE


def test_after_a_restore_the_controller_asks_for_a_rotation_when_every_node_says_so() -> None:
    """Nodes send with an epoch whose seed is nowhere: one more rotation, with a number that never was, sets things straight."""
    peers = tuple(peer(n, TWO, THREE) for n in "ab")
    restored = two_nodes(rotation(phase=Phase.COMPLETE), peers=peers, statuses={n: says(3, 2, 3) for n in "ab"})
    asked = [a for a in step(restored, NOW, fresh=FRESH) if isinstance(a, CreateRotation)]
    assert [a.name for a in asked] == ["recovery-4"]
    assert next_number(restored) == 4
    for statuses in ({"a": says(3, 3)}, {"a": says(3, 3), "b": says(2, 2)}, {n: says(3 + LEAP, 3) for n in "ab"}):
        one = replace(restored, statuses=statuses)
        assert not [a for a in step(one, NOW, fresh=FRESH) if isinstance(a, CreateRotation)]
    alone = replace(restored, peers=peers[:1])
    assert not [a for a in step(alone, NOW, fresh=FRESH) if isinstance(a, CreateRotation)]
    down = replace(restored, statuses={"a": says(3, 3), "b": says(2, 2)}, down=frozenset("b"))
    assert not [a for a in step(down, NOW, fresh=FRESH) if isinstance(a, CreateRotation)]


def test_a_node_that_sends_nothing_needs_a_session_of_the_new_epoch() -> None:
    """A lone node, or one that still joins, is done when it has published."""
    words = {n: says(0, 1, 2) for n in "ab"}
    active = rotation(phase=Phase.SWITCHING)
    assert phase_after(two_nodes(active, statuses=words)) is Phase.RETIRING
    assert phase_after(two_nodes(active, statuses=words, peers=(peer("a", ONE), peer("b", ONE, TWO)))) is None


def test_old_keys_go_only_when_nobody_accepts_them_and_then_all_at_once() -> None:
    """◆R41 One node that still accepts the old epoch keeps the old key of every node."""
    active = rotation(phase=Phase.RETIRING)
    waiting = two_nodes(active, statuses={"a": says(2, 2), "b": says(2, 1, 2)})
    assert not [a for a in step(waiting, NOW, fresh=FRESH) if isinstance(a, (RemoveNodeKey, DeleteSeed))]
    actions = step(two_nodes(active), NOW, fresh=FRESH)
    assert [type(a) for a in actions] == [RemoveNodeKey, RemoveNodeKey, DeleteSeed, UpdateRotationStatus]
    assert {a.number for a in actions if isinstance(a, RemoveNodeKey)} == {1}
    assert phase_after(two_nodes(active)) is Phase.COMPLETE


@pytest.mark.parametrize("phase", [Phase.SWITCHING, Phase.RETIRING])
@pytest.mark.parametrize("there", [True, False], ids=["made again", "not yet"])
def test_a_node_whose_words_were_lost_has_not_come_along(phase: Phase, *, there: bool) -> None:
    """◆R41 Its NodePeer is gone, or made again without a session: what it accepts is not known, which is no consent."""
    lost = replace(peer("b"), boot_id="")
    snapshot = two_nodes(rotation(phase=phase), peers=(peer("a", TWO), *([lost] if there else [])), unheard=frozenset("b"))
    told = [a.new for a in step(snapshot, NOW, fresh=FRESH) if isinstance(a, UpdateRotationStatus)]
    assert [(new.phase, new.nodes_done, new.nodes_total) for new in told] == [(phase, 1, 2)]
    assert told[0].conditions[0].message == "waits for b"
    down = replace(snapshot, down=frozenset("b"))
    assert phase_after(down) is (Phase.RETIRING if phase is Phase.SWITCHING else None)
    assert not [a for a in step(down, NOW, fresh=FRESH) if isinstance(a, RemoveNodeKey | DeleteSeed)]


def test_no_old_key_goes_where_the_new_one_is_missing() -> None:
    """A Secret that somebody emptied is repaired first."""
    snapshot = two_nodes(rotation(phase=Phase.RETIRING), keys={"a": keys("a", ONE, TWO), "b": keys("b", ONE)})
    assert [type(a) for a in step(snapshot, NOW, fresh=FRESH)] == [WriteNodeKeys]


@pytest.mark.parametrize("phase", [Phase.SWITCHING, Phase.RETIRING])
def test_a_late_abort_is_ignored(phase: Phase) -> None:
    """◆R40 Once nodes were told to use the new key, the rotation is finished forward."""
    with_abort = step(two_nodes(rotation(phase=phase, abort=True)), NOW, fresh=FRESH)
    without = step(two_nodes(rotation(phase=phase)), NOW, fresh=FRESH)
    assert [type(a) for a in with_abort] == [type(a) for a in without]
    assert phase_after(two_nodes(rotation(phase=phase, abort=True))) is not Phase.ABORTED


def test_an_abort_in_time_takes_the_new_keys_back() -> None:
    """While keys are distributed nobody uses them: they go, then their seed, and only then the phase says Aborted."""
    actions = step(two_nodes(rotation(phase=Phase.DISTRIBUTING, abort=True)), NOW, fresh=FRESH)
    assert [type(a) for a in actions] == [RemoveNodeKey, RemoveNodeKey, DeleteSeed, UpdateRotationStatus]
    assert {a.number for a in actions if isinstance(a, RemoveNodeKey)} == {2}
    pending = rotation(phase=Phase.PENDING, abort=True)
    assert phase_after(RotationInputs((pending,))) is Phase.ABORTED


def test_the_phase_decides_which_keys_a_joining_node_gets() -> None:
    """◆R39 Not the new one while it is distributed, both while nodes switch, not the old one any more while it retires."""
    expected = {Phase.DISTRIBUTING: (ONE,), Phase.SWITCHING: (ONE, TWO), Phase.RETIRING: (TWO,)}
    assert {p: joining_epochs(two_nodes(rotation(phase=p))) for p in expected} == expected


def test_a_lost_seed_asks_for_a_rotation() -> None:
    """Without the seed of the newest epoch no node could join."""
    actions = step(two_nodes(rotation(phase=Phase.COMPLETE, held=False), seeds=()), NOW, fresh=FRESH)
    assert [a.name for a in actions if isinstance(a, CreateRotation)] == ["recovery-3"]


def test_an_asked_rotation_never_takes_a_name_that_is_there() -> None:
    """A scheduled one that was aborted while it waited leaves its name behind."""
    done = (rotation(phase=Phase.COMPLETE), rotation("scheduled-3", Phase.ABORTED, held=False, to_epoch=0))
    asked = [
        a.name for a in step(two_nodes(done[0], rotations=done), NOW, fresh=FRESH, due=True) if isinstance(a, CreateRotation)
    ]
    assert asked == ["scheduled-3-2"]


@dataclass
class SimulatedCluster:
    """An API server and three agents, as coarse as it may be: what is written is seen by all at once."""

    rotations: dict[str, KeyRotation] = field(default_factory=dict)
    seeds: dict[int, SeedSecret] = field(default_factory=dict)
    keys: dict[str, KeySecret] = field(default_factory=dict)
    sessions: dict[str, list[Epoch]] = field(default_factory=lambda: {n: [] for n in "abc"})
    boots: dict[str, int] = field(default_factory=lambda: dict.fromkeys("abc", 1))
    words: dict[str, NodeStatus] = field(default_factory=dict)
    up: set[str] = field(default_factory=lambda: set("abc"))
    used: dict[int, str] = field(default_factory=dict)
    clock: int = 0

    def snapshot(self) -> RotationInputs:
        peers = tuple(peer(n, *self.sessions[n], boot=str(self.boots[n])) for n in "abc" if n in self.keys)
        down = frozenset(set("abc") - self.up)
        seeds = tuple(self.seeds.values())
        return RotationInputs(
            tuple(self.rotations.values()), seeds, dict(self.keys), peers, dict(self.words), down, wanted=True
        )

    def controller(self, most: int) -> int:
        """Let the controller do up to *most* actions of one step, as if it were killed then; return how many it did."""
        self.clock += 1
        actions = step(self.snapshot(), NOW + timedelta(seconds=self.clock), fresh=f"{self.clock:032x}")
        actions += surplus(self.snapshot(), 1)
        for action in actions[:most]:
            self.do(action)
        return min(most, len(actions))

    def do(self, action: Action) -> None:
        match action:
            case CreateRotation():
                assert action.name not in self.rotations
                self.rotations[action.name] = rotation(action.name, created=NOW + timedelta(seconds=self.clock))
            case SetFinalizer():
                self.rotations[action.rotation.name] = replace(action.rotation, held=action.held)
            case CreateSeed():
                assert action.epoch.number not in self.used, "a number was used twice"
                self.used[action.epoch.number] = action.epoch.id
                self.seeds[action.epoch.number] = replace(seed(action.epoch), carried=action.carried)
            case DeleteSeed():
                del self.seeds[action.seed.epoch.number]
            case WriteNodeKeys():
                self.write_keys(action.node, action.epochs)
            case RemoveNodeKey():
                left = [k.epoch for k in self.keys[action.secret.node].keys if k.epoch.number != action.number]
                self.keys[action.secret.node] = keys(action.secret.node, *left)
            case UpdateRotationStatus():
                self.rotations[action.new.name] = action.new
            case DeleteRotation():
                if self.rotations[action.rotation.name] == action.rotation:  # else another version
                    del self.rotations[action.rotation.name]

    def write_keys(self, node: str, epochs: tuple[Epoch, ...]) -> None:
        have = [k.epoch for k in self.keys[node].keys] if node in self.keys else []
        self.keys[node] = keys(node, *{*have, *epochs})

    def join(self, node: str) -> None:
        epochs = joining_epochs(self.snapshot())
        if node not in self.keys and epochs:
            self.write_keys(node, epochs)

    def agent(self, node: str) -> None:
        """Let an agent do its part: sessions by the phase, the old one away when all of its peers have moved."""
        if node not in self.up or node not in self.keys:
            return
        active = current(self.rotations.values())
        phase = active.phase if active else None
        mine = [k.epoch for k in self.keys[node].keys]
        for epoch in mine:
            new = bool(active and epoch.number == active.to_epoch)
            old = bool(active and epoch.number == active.from_epoch)
            early = new and phase is Phase.DISTRIBUTING
            late = old and phase is Phase.RETIRING
            if epoch not in self.sessions[node] and not early and not late:
                self.sessions[node].append(epoch)
        self.retire(node)

    def retire(self, node: str) -> None:
        others = [n for n in self.keys if n != node and self.sessions[n]]
        common = [e for e in self.sessions[node] if all(e in self.sessions[o] for o in others if o in self.up)]
        sending = max(common, default=None)
        active = current(self.rotations.values())
        moved = sending and all(sending in self.sessions[o] for o in others)
        if moved and (active is None or (active.phase is Phase.RETIRING and sending.number == active.to_epoch)):
            self.sessions[node] = [e for e in self.sessions[node] if e >= sending]
        accepting = tuple(sorted(e.number for e in self.sessions[node]))
        self.words[node] = says(sending.number if sending else 0, *accepting, boot=str(self.boots[node]))

    def lose(self, _what: str) -> None:
        active = current(self.rotations.values())
        given = {k.epoch.number for secret in self.keys.values() for k in secret.keys}
        if active and active.phase is Phase.DISTRIBUTING and active.to_epoch in given:
            self.seeds.pop(active.to_epoch, None)

    def reboot(self, node: str) -> None:
        self.boots[node] += 1
        self.sessions[node] = []

    def check(self) -> None:
        """Any two nodes that are up can always find a common epoch in what they have or may still make."""
        active = current(self.rotations.values())
        hidden = active.to_epoch if active and active.phase is Phase.DISTRIBUTING else 0
        ready = [n for n in self.keys if n in self.up]
        sets = [{k.epoch for k in self.keys[n].keys if k.epoch.number != hidden} for n in ready]
        assert not sets or set.intersection(*sets), "two live nodes have no epoch in common"


EVENTS = st.one_of(
    st.tuples(st.just("controller"), st.integers(0, 5)),
    st.tuples(st.sampled_from(["agent", "join", "reboot", "down", "up"]), st.sampled_from("abc")),
    st.tuples(st.sampled_from(["rotate", "abort"]), st.sampled_from("xy")),
    st.tuples(st.just("lose"), st.just("the seed of the epoch that is distributed")),
)


@pytest.mark.simulation
@settings(max_examples=300, deadline=None)
@given(st.lists(EVENTS, max_size=60))
def test_any_order_of_events_and_crashes_converges(events: list[tuple[str, int | str]]) -> None:
    """Whatever happens in whatever order, the nodes keep a common epoch, and at rest there is exactly one, everywhere."""
    cluster = SimulatedCluster()
    for event, argument in events:
        happen(cluster, event, argument)
        cluster.check()
    cluster.up = set("abc")
    for _ in range(80):
        for name in "abc":
            cluster.join(name)
            cluster.agent(name)
        cluster.controller(99)
        cluster.check()
    assert cluster.controller(0) == 0
    assert (*step(cluster.snapshot(), NOW, fresh=FRESH), *surplus(cluster.snapshot(), 1)) == ()
    assert len(cluster.rotations) <= 3  # the record, the highest number, and the one that ended last
    assert {r.phase for r in cluster.rotations.values()} <= {Phase.COMPLETE, Phase.ABORTED}
    assert [r.to_epoch for r in cluster.rotations.values() if r.held] == [s.epoch.number for s in cluster.seeds.values()]
    assert len(cluster.seeds) == 1
    assert {tuple(k.epoch for k in s.keys) for s in cluster.keys.values()} == {tuple(s.epoch for s in cluster.seeds.values())}


def happen(cluster: SimulatedCluster, event: str, argument: int | str) -> None:
    """Let one thing happen in the cluster."""
    if event == "controller":
        cluster.controller(int(argument))
    elif event == "rotate" and argument not in cluster.rotations:
        cluster.rotations[str(argument)] = rotation(str(argument), created=NOW + timedelta(seconds=cluster.clock))
    elif event == "abort" and argument in cluster.rotations:
        old = cluster.rotations[str(argument)]
        if old.phase in (None, Phase.PENDING, Phase.DISTRIBUTING):  # what the CRD lets through
            cluster.rotations[str(argument)] = replace(old, abort=True)
    elif event == "down":
        cluster.up.discard(str(argument))
    elif event == "up":
        cluster.up.add(str(argument))
    elif event in ("agent", "join", "reboot", "lose"):
        getattr(cluster, event)(str(argument))
