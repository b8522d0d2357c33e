"""Sessions within a pass: which are made, when they are published, and that one bad peer holds up nobody."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.builders import node_key
from tests.unit.agent.sessionports import (
    BOOT,
    ONE,
    OTHER_TWO,
    SMALL_ORDER,
    TWO,
    Node,
    peer,
    rotation,
    session,
)
from wirecrypt import keys
from wirecrypt.agent.steps.install_failures import MOST_RENEWALS
from wirecrypt.agent.steps.publishing import WAITS
from wirecrypt.agent.steps.renewal import BURST, REFILL
from wirecrypt.agent.store.state import OwnSession, State
from wirecrypt.model.objects import Phase
from wirecrypt.model.session import Epoch, Generation
from wirecrypt.model.spi import RESIDUES
from wirecrypt.model.xfrm import Algorithm

B, C = "uid-b", "uid-c"


@pytest.fixture
def good() -> keys.SessionKey:
    return keys.new_session_key()


def epochs(node: Node) -> list[Epoch]:
    return [o.session.epoch for o in node.state.sessions if o.key is not None]


# ---- which sessions


def test_the_phase_decides_not_the_secret(tmp_path: Path) -> None:
    """While keys are distributed, a session of the new epoch is not made though its key is in the Secret ◆R39."""
    node = Node(tmp_path)
    node.api.epochs = (ONE, TWO)
    node.rotations = (rotation(ONE), rotation(TWO, Phase.DISTRIBUTING, 1))
    node.run()
    assert epochs(node) == [ONE]
    node.rotations = (rotation(ONE), rotation(TWO, Phase.SWITCHING, 1))
    node.run()
    assert epochs(node) == [ONE, TWO]
    assert [s.epoch for s in node.api.own.sessions] == [ONE, TWO]


def test_a_number_that_came_back_with_another_id_is_fetched(tmp_path: Path) -> None:
    """After an etcd restore epoch 2 has another id: its key is read though one of number 2 is held, and a session made."""
    node = Node(tmp_path)
    node.api.epochs = (TWO,)
    node.rotations = (rotation(TWO),)
    node.run()
    node.api.epochs = (OTHER_TWO,)
    node.rotations = (rotation(OTHER_TWO),)
    node.run()
    node.run()
    assert epochs(node) == [OTHER_TWO]
    assert node.api.own.sessions[-1].epoch == OTHER_TWO
    assert [k.epoch for k in node.state.node_keys] == [OTHER_TWO]


def test_a_new_number_passes_residues_in_the_own_kernel(tmp_path: Path) -> None:
    """An SA of session 1 is still there when 64 were made: 65 has its residue and is passed ◆R2."""
    node = Node(tmp_path, peer("b", 17, session(1)))
    node.run()
    node.session_keeper.state = replace(node.state, last_session=RESIDUES)
    node.renewal.born[1] = float("-inf")  # too old
    node.run()
    assert node.state.last_session == RESIDUES + 2


def test_a_restored_api_gets_its_sessions_again(tmp_path: Path) -> None:
    """What the API server lost is published again, without a new session."""
    node = Node(tmp_path, peer("b", 17, session(1)))
    backup = node.api.own
    node.run()
    node.run()
    assert node.api.writes == 1
    node.api.own = backup
    node.run()
    node.run()
    assert node.api.own.sessions == tuple(o.session for o in node.state.sessions)
    assert node.state.last_session == 1


def test_a_second_pass_writes_nothing(tmp_path: Path) -> None:
    """With nothing changed neither the API nor the file is written, and no SA is added."""
    node = Node(tmp_path, peer("b", 17, session(1)))
    node.run()
    node.run()
    node.log.clear()
    writes = node.api.writes
    node.run()
    assert node.log == []
    assert node.api.writes == writes


# ---- installed first


def test_the_ledger_is_written_before_the_first_sa(tmp_path: Path) -> None:
    """Every generation is in the state file before any SA of it is in the kernel ◆R8."""
    node = Node(tmp_path, peer("b", 17, session(1)))
    listed: list[bool] = []

    def logged(what: str) -> None:
        kept = node.store.kept
        if what.startswith("add "):
            listed.append(kept is not None and kept.entry(B, Generation(1, 1, 1)) is not None)

    node.kernel.told = logged
    node.run()
    assert listed == [True, True]  # receiving SAs, then sending ones


def test_nothing_is_published_before_it_is_installed(tmp_path: Path) -> None:
    """When the publication is sent, the SAs towards every published peer are in the kernel ◆R9."""
    node = Node(tmp_path, peer("b", 17, session(1)), peer("c", 18, session(1)))
    installed: list[int] = []
    node.api.before_write = lambda: installed.append(len(node.kernel.sas))
    node.run()
    assert installed == [4]


@pytest.mark.parametrize(("lanes", "expected"), [(1, 1), (3, 2)])
def test_lanes_are_those_of_the_published_sessions(tmp_path: Path, good: keys.SessionKey, lanes: int, expected: int) -> None:
    """The generation has the smaller number of lanes that both sessions say, whatever the node would offer now ◆R1."""
    node = Node(tmp_path, peer("b", 17, session(1, lanes=lanes)))
    mine = session(1, public=good.public, lanes=2)
    node.store.kept = State("uid-a", BOOT, 1, 1, (OwnSession(mine, good),), (node_key(ONE, "uid-a"),), peer_uid="peer-a")
    node.run()
    entry = node.state.entry(B, Generation(1, 1, 1))
    assert entry is not None
    assert entry.lanes == expected
    assert len(node.kernel.sas) == 2 * expected


# ---- one peer's trouble


def test_an_x_of_small_order_holds_up_nobody(tmp_path: Path) -> None:
    """One peer publishes an X that no key can be derived with: the node's session is published, the other pair whole."""
    node = Node(tmp_path, peer("b", 17, session(1, public=SMALL_ORDER)), peer("c", 18, session(1)))
    pass_state = node.run()
    assert node.api.own.last_session == 1
    assert node.look().pair_views[C].inputs.observed.installed[Generation(1, 1, 1)].complete
    assert "small order" in pass_state.failed[B]
    for _ in range(20):
        pass_state = node.run()
    assert node.state.last_session == 1
    assert list(pass_state.failed) == [B]


def test_a_cipher_that_the_kernel_lacks_holds_up_nobody(tmp_path: Path) -> None:
    """One peer offers only what this kernel has not: all is published, and sessions because of it end after a few."""
    bad = replace(session(1), algorithm=Algorithm.CHACHA20_POLY1305)
    node = Node(tmp_path, peer("b", 17, bad), peer("c", 18, session(1)))
    node.kernel.lacks = frozenset({Algorithm.CHACHA20_POLY1305})
    for _ in range(200):
        pass_state = node.run()
        node.now += 60.0
    assert node.state.last_session == 1 + MOST_RENEWALS
    assert node.api.own.last_session == node.state.last_session
    assert "Function not implemented" in pass_state.failed[B]
    assert max(pass_state.pair_views[C].inputs.observed.installed) == Generation(1, node.state.last_session, 1)


def test_a_refused_peer_is_tried_again_with_its_next_session(tmp_path: Path) -> None:
    """What the peer published was the trouble: another session of it is installed."""
    bad = replace(session(1), algorithm=Algorithm.CHACHA20_POLY1305)
    node = Node(tmp_path, peer("b", 17, bad))
    node.kernel.lacks = frozenset({Algorithm.CHACHA20_POLY1305})
    node.run()
    node.peers = (peer("b", 17, session(2)),)
    pass_state = node.run()
    assert pass_state.pair_views[B].inputs.observed.installed[max(pass_state.pair_views[B].inputs.observed.installed)].complete
    assert pass_state.failed == {}


def test_a_passing_refusal_heals_by_one_new_session(tmp_path: Path) -> None:
    """The kernel refused once: what was listed is not made again, so one new session follows, and all is well."""
    node = Node(tmp_path, peer("b", 17, session(1)))
    node.kernel.lacks = frozenset(Algorithm)
    node.run()
    node.kernel.lacks = frozenset()
    for _ in range(5):
        pass_state = node.run()
        node.now += 5.0
    assert node.state.last_session == 2
    assert pass_state.pair_views[B].inputs.observed.installed[Generation(1, 2, 1)].complete
    assert pass_state.failed == {}


def test_a_pair_whose_sas_are_taken_again_and_again_says_that_it_waits(tmp_path: Path) -> None:
    """As many new sessions at once as a burst has; then the pair tells that it waits, and after a while it has its session."""
    node = Node(tmp_path, peer("b", 17, session(1)))
    node.run()
    for number in range(BURST):
        node.kernel.sas.clear()
        assert node.run().failed == {}
        assert node.state.last_session == number + 2
        node.now -= 1.0  # no time goes by
    node.kernel.sas.clear()
    assert node.run().failed == {B: WAITS}
    assert node.state.last_session == BURST + 1
    node.now += REFILL
    assert node.run().failed == {}
    assert node.state.last_session == BURST + 2
