"""Own sessions in the state file and in the API server: nothing is lost between the two, and no number gets two keys."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.fakes.builders import node_key
from tests.unit.agent.node import GENERATION, state
from tests.unit.agent.sessionports import BOOT, LANES, ONE, OTHER_TWO, TWO, Api, Store, peer, session
from tests.unit.pairs.views import complete, esp, inputs, long_after
from tests.unit.pairs.views import session as of_peer
from wirecrypt.agent.store import state as states
from wirecrypt.agent.store.session_keeper import SessionKeeper
from wirecrypt.agent.store.state import SessionParams, as_seen, newest_seen
from wirecrypt.errors import Conflict, StateError, Unreachable
from wirecrypt.model.objects import NodePeer, NodeState
from wirecrypt.model.session import Epoch, Generation
from wirecrypt.model.xfrm import Algorithm
from wirecrypt.pairs import sessions as rules
from wirecrypt.pairs.inputs import Observed, Out, Receive

OFFER = SessionParams(LANES, Algorithm.AES_256_GCM)


class End:
    """A keeper with its file and its API server, opened on what the API shows."""

    def __init__(self, *epochs: Epoch) -> None:
        self.now = 0.0
        self.api = Api(peer("a", 16), *(epochs or (ONE,)))
        self.store = Store(self.api.log.append)
        self.session_keeper = self.start()
        self.session_keeper.fetch_keys("a")

    def start(self) -> SessionKeeper:
        """Start an agent's keeper, as after a restart."""
        self.session_keeper = SessionKeeper(self.store, self.api, BOOT, clock=lambda: self.now)
        self.session_keeper.open(self.api.own)
        return self.session_keeper

    @property
    def state(self) -> states.State:
        """Return what the keeper holds."""
        assert self.session_keeper.state is not None
        return self.session_keeper.state

    def make(self, epoch: Epoch = ONE) -> int:
        """Make a session; return its number."""
        return self.session_keeper.make(rules.NeededSession(epoch, "test"), OFFER, (), self.api.own).number

    def publish(self, own: NodePeer | None = None) -> bool:
        """Publish with *own* as the view, by default what the API has."""
        return self.session_keeper.publish(own or self.api.own)

    def flags(self) -> dict[int, tuple[bool, bool, bool]]:
        """Return (published, offered, alive) by number."""
        return {o.session.number: (o.published, o.offered, o.key is not None) for o in self.state.sessions}


def publish_in_vain(end: End) -> NodePeer:
    """Publish so that the write is done and the answer lost; return the view from before."""
    before = end.api.own
    end.api.answer_lost = True
    with pytest.raises(Unreachable):
        end.publish()
    end.api.answer_lost = False
    return before


# ---- offered is not published


def test_an_offer_is_written_down_before_it_is_sent() -> None:
    """The state file says that peers may know the session before the API server hears of it."""
    end = End()
    end.make()
    end.api.log.clear()
    end.publish()
    assert end.api.log == ["read", "save", "write", "save"]


def test_a_session_whose_answer_got_lost_is_kept_for_those_who_saw_it() -> None:
    """Published, answer lost, replaced: the peer saw it, proved it and sends on it, so its receiving SAs stay."""
    end = End()
    end.make()
    end.publish()
    end.make()
    view_before = publish_in_vain(end)
    end.session_keeper.open(view_before)
    end.make()
    assert end.flags() == {1: (True, True, True), 2: (False, True, True), 3: (False, False, True)}
    mine = as_seen(end.state)
    theirs = replace(of_peer(1), epoch=ONE)
    installed = {Generation(1, n, 1): complete(n - 1) for n in (1, 2)}
    seen = inputs(esp(Generation(1, 1, 1), installed), own_sessions=mine, peer_sessions=(theirs,))
    assert long_after(seen).keep[Generation(1, 2, 1)] == (True, True)


def test_a_session_that_was_never_offered_is_dead_when_overtaken() -> None:
    """What nobody can know is deleted at once ◆R5."""
    end = End()
    end.make()
    end.make()
    installed = {Generation(1, 1, 1): complete(), Generation(1, 2, 1): complete(1)}
    blocked = Observed(installed, Out.BLOCK, None, Receive.REQUIRED)
    seen = inputs(blocked, own_sessions=as_seen(end.state), peer_sessions=(replace(of_peer(1), epoch=ONE),))
    assert set(long_after(seen).keep) == {Generation(1, 2, 1)}


def test_an_offer_survives_the_agent() -> None:
    """After a restart it is still known that a peer may know the session."""
    end = End()
    end.make()
    before = publish_in_vain(end)
    other = SessionKeeper(end.store, end.api, BOOT)
    assert [(o.published, o.offered) for o in other.open(before).sessions] == [(False, True)]


def test_what_stands_there_is_not_written_again() -> None:
    """After a lost answer the quorum read recognises the session: it counts as published without a second write."""
    end = End()
    end.make()
    before = publish_in_vain(end)
    assert end.publish(before) is True
    assert end.api.writes == 1
    assert end.flags() == {1: (True, True, True)}


def test_what_the_view_lists_is_published() -> None:
    """The watch brings the session whose answer got lost: no further request is needed."""
    end = End()
    end.make()
    publish_in_vain(end)
    end.session_keeper.open(end.api.own)
    assert end.flags() == {1: (True, True, True)}


# ---- one number, one X


def test_published_by_compare_and_swap_on_a_quorum_read() -> None:
    """The version that is swapped is the quorum read's, not the view's; a write in between is a conflict ◆R3."""
    end = End()
    end.make()
    view_ = end.api.own
    end.api.own = replace(end.api.own, resource_version="7")
    assert end.publish(view_)
    assert end.api.own.sessions == tuple(o.session for o in end.state.sessions)
    end.make()
    end.api.before_write = lambda: setattr(end.api, "own", replace(end.api.own, resource_version="9"))
    with pytest.raises(Conflict):
        end.publish()
    assert end.flags()[2] == (False, True, True)


def test_a_number_with_another_x_is_never_published() -> None:
    """The quorum read shows the number with another X (a lost state file): it is skipped and its x destroyed ◆R3."""
    end = End()
    end.make()
    view_ = end.api.own
    end.api.own = replace(end.api.own, sessions=(session(1),), last_session=1, resource_version="2")
    assert end.publish(view_) is False
    assert end.api.writes == 0
    assert end.flags() == {1: (False, False, False)}
    assert end.make() == 2


def test_an_older_x_is_destroyed_when_the_newer_is_published() -> None:
    """Not before: until then peers may still install with the older one ◆R4."""
    end = End()
    end.make()
    end.publish()
    end.make()
    end.session_keeper.destroy((ONE,), ())
    assert [alive for _, _, alive in end.flags().values()] == [True, True]
    end.publish()
    end.session_keeper.destroy((ONE,), ())
    assert [alive for _, _, alive in end.flags().values()] == [False, True]


# ---- another object, an older API


def test_a_new_object_of_another_id_gets_sessions_of_its_own() -> None:
    """Label off and on again: the new NodePeer starts without sessions; numbers go on, and what was installed stays listed."""
    end = End()
    end.make()
    end.publish()
    entry = next(iter(state().ledger["uid-b"]))
    end.session_keeper.list_generations([("uid-b", entry)])
    end.api.own = replace(peer("a", 17), uid="another", resource_version="20")
    end.session_keeper.open(end.api.own)
    assert end.state.sessions == ()
    assert end.state.entry("uid-b", GENERATION) == entry
    assert (end.state.last_session, end.state.boot_session) == (1, 0)
    assert rules.needs(end.session_keeper.seen(), (ONE,), (ONE,), {}) == [
        rules.NeededSession(ONE, "first session of the epoch")
    ]
    assert end.make() == 2
    assert end.publish()
    assert (end.api.own.boot_session, end.api.own.last_session) == (2, 2)
    assert newest_seen(end.state) == 2


@pytest.mark.R1
@pytest.mark.parametrize(
    ("state", "last", "first"),
    [
        (NodeState.ACTIVE, 0, 1_800_000_001),
        (NodeState.LEAVING, 0, 1_800_000_001),
        (NodeState.ACTIVE, 3, 4),
        (NodeState.JOINING, 0, 1),
    ],
)
def test_numbers_that_were_lost_begin_above_all_that_were_used(state: NodeState, last: int, first: int) -> None:
    """◆R44 The NodePeer was made again, and this boot knows nothing of before: peers have SAs of numbers that nobody tells."""
    end = End()
    end.store.remove()
    end.now = 1.8e9
    end.api.own = replace(end.api.own, state=state, last_session=last, sessions=())
    end.start()
    end.session_keeper.fetch_keys("a")
    assert end.make() == first
    assert end.make() == first + 1


@pytest.mark.parametrize("restarted", [False, True])
def test_a_lost_object_that_is_made_again_gets_the_same_sessions(*, restarted: bool) -> None:
    """Its ID tells: what is installed with peers stays, and nothing but the publication comes again ◆R31."""
    end = End()
    end.make()
    end.publish()
    before = end.state
    end.api.own = replace(peer("a", 16), uid="another", resource_version="20")
    if restarted:
        end.start()
    end.session_keeper.open(end.api.own)
    assert end.flags() == {1: (False, True, True)}
    assert newest_seen(end.state) == 0  # the new object is not older than what was seen
    assert end.publish()
    assert end.api.own.sessions == (before.sessions[0].session,)
    assert (end.api.own.boot_session, end.api.own.last_session) == (1, 1)
    assert end.state == replace(before, peer_uid="another")


def test_a_new_object_is_recognised_after_a_restart() -> None:
    """The file says which object its sessions were published in; one of the version before does not, and is kept."""
    end = End()
    end.make()
    end.publish()
    old_version = replace(end.state, peer_uid="")
    end.api.own = replace(peer("a", 17), uid="another", resource_version="20")
    end.start()
    assert end.state.sessions == ()
    end.store.kept = old_version
    end.start()
    assert [o.session.number for o in end.state.sessions] == [1]
    assert end.state.peer_uid == "another"


def restored(end: End) -> NodePeer:
    """Publish sessions 1 and 2; return the object as a backup between the two has it."""
    end.make()
    end.publish()
    backup = end.api.own
    end.make()
    end.publish()
    end.session_keeper.open(end.api.own)
    end.session_keeper.outdated(end.api.own)
    return backup


def test_what_a_restored_api_lost_is_published_again() -> None:
    """The view shows an older session than was published, a quorum read too: the living ones count as unpublished."""
    end = End()
    end.api.own = backup = restored(end)
    end.session_keeper.open(backup)
    assert end.session_keeper.outdated(backup)
    assert end.session_keeper.look_again(backup)
    assert end.flags()[2] == (False, True, True)
    assert end.publish()
    assert end.api.own.last_session == 2
    assert not end.session_keeper.outdated(end.api.own)


def test_an_old_view_alone_is_no_restore() -> None:
    """A watch that lags behind shows less as well: the quorum read says so, once a version of the object."""
    end = End()
    backup = restored(end)
    assert end.session_keeper.outdated(backup)
    assert not end.session_keeper.look_again(backup)
    assert end.flags()[2] == (True, True, True)
    assert not end.session_keeper.outdated(backup)


def test_the_own_publication_is_not_taken_for_a_restore() -> None:
    """Until the watch brings it, the view is older than what was just published: nothing is asked."""
    end = End()
    end.make()
    before = end.api.own
    end.publish()
    assert not end.session_keeper.outdated(before)


def test_nothing_vanished_is_gone_until_a_session_after_the_restore() -> None:
    """Published again, the API still lacks what else it lost: it counts as rolled back until a newer session is there."""
    end = End()
    end.api.own = backup = restored(end)
    end.session_keeper.look_again(backup)
    end.publish()
    assert newest_seen(end.state) == 3 > end.api.own.last_session
    end.make()
    end.publish()
    assert newest_seen(end.state) == 3 == end.api.own.last_session


# ---- epochs by number and id


def test_a_session_is_made_with_the_key_of_exactly_its_epoch() -> None:
    """A held key of the same number and another id is of no use."""
    end = End(ONE, TWO)
    with pytest.raises(StateError, match="no node key"):
        end.make(OTHER_TWO)
    end.api.epochs = (ONE, OTHER_TWO)
    end.session_keeper.fetch_keys("a")
    assert end.make(OTHER_TWO) == 1
    assert end.state.sessions[0].session.epoch == OTHER_TWO


def test_a_replaced_epochs_node_key_goes_with_its_session() -> None:
    """The key of the epoch that lost its number stays while its x lives, and goes when the new one is published."""
    end = End(ONE, TWO)
    end.make(TWO)
    end.publish()
    end.api.epochs = (ONE, OTHER_TWO)
    end.session_keeper.fetch_keys("a")
    end.make(OTHER_TWO)
    end.session_keeper.destroy((ONE, OTHER_TWO), {2})
    assert end.state.node_key(TWO) == node_key(TWO, "uid-a")
    end.publish()
    end.session_keeper.destroy((ONE, OTHER_TWO), {2})
    assert [k.epoch for k in end.state.node_keys] == [ONE, OTHER_TWO]
    assert [o.session.epoch for o in end.state.sessions if o.key] == [OTHER_TWO]
