"""Which vanished Nodes are removed and which wait for a person; what a label alone decides."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from tests.unit.controller.standin import CLEANED, SILENT, START, node
from wirecrypt.controller.actions import (
    Action,
    CreateEncrypted,
    CreatePeer,
    EmitEvent,
    QuarantineNodeID,
    RemovePeer,
    UpdateEncrypted,
    UpdatePeer,
)
from wirecrypt.controller.claims import Reserved
from wirecrypt.controller.leaving import GONE, HELD, LeavingWatch, held_back
from wirecrypt.controller.nodes import reconcile
from wirecrypt.model.objects import EncryptedNode, NodePeer, NodeState, SeedSecret
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Epoch
from wirecrypt.ports import ControllerView

LONG_GONE = LeavingWatch({f"uid-{n}": 1e6 for n in range(100)})


def peer(number: int, **more: object) -> NodePeer:
    """Return the NodePeer of n*number*, Active, which has published."""
    of = node(number)
    made = NodePeer(of.name, f"np-{number}", number + 16, of.uid, of.endpoints, of.pod_cidrs, NodeState.ACTIVE, START)
    return replace(made, **{"last_session": 1, **more})


def encrypted(number: int, **more: object) -> EncryptedNode:
    """Return the EncryptedNode of n*number*, Active."""
    return replace(EncryptedNode(f"n{number}", "en", number + 16, f"uid-{number}", NodeState.ACTIVE, START), **more)


def cluster(peers: Iterable[NodePeer], shown: Iterable[EncryptedNode], gone: Iterable[int], total: int = 20) -> ControllerView:
    """Return a view of *total* labelled Nodes but those that are *gone*; other peers than the given ones are Active."""
    given, objects = {p.name: p for p in peers}, {e.name: e for e in shown}
    nodes = {f"n{n}": node(n) for n in range(total) if n not in set(gone)}
    all_peers = {f"n{n}": given.get(f"n{n}", peer(n)) for n in range(total)}
    seeds = (SeedSecret(Epoch(1, "1" * 32), SecretBytes(bytes(32))), SeedSecret(Epoch(2, "2" * 32), SecretBytes(bytes(32))))
    return ControllerView(nodes, all_peers, objects, {}, seeds, (), None)


def decided(view: ControllerView, *names: str) -> list[Action]:
    """Return what is done about nodes called *names*."""
    chains = reconcile(view, Reserved(), (), LONG_GONE)
    return [action for chain in chains if chain.name in names for action in chain.actions]


def test_a_few_vanished_nodes_leave_after_the_grace_period() -> None:
    """One in ten may vanish: they are removed without a person."""
    actions = decided(cluster([], [], {0, 1}), "n0")
    assert [type(a) for a in actions] == [QuarantineNodeID, QuarantineNodeID, RemovePeer, EmitEvent]
    assert "gone for 60 s" in actions[-1].why


@pytest.mark.L1
@pytest.mark.parametrize("renewed", [False, True], ids=["gone", "made anew under its name"])
@pytest.mark.parametrize("deleting", [False, True])
def test_a_node_that_vanished_says_no_farewell(*, renewed: bool, deleting: bool) -> None:
    """Until it is removed its pairs stay as they are: nothing becomes Leaving, and its EncryptedNode says why, once."""
    view = cluster([peer(0, deleting=deleting)], [encrypted(n) for n in range(20)], {0})
    if renewed:
        view = replace(view, nodes={**view.nodes, "n0": replace(node(0), uid="new")})
    chains = reconcile(view, Reserved(), (), LeavingWatch({}))
    (update, event) = next(chain.actions for chain in chains if chain.name == "n0")
    assert isinstance(update, UpdateEncrypted)
    assert (update.state, update.problems) == (NodeState.ACTIVE, (GONE,))
    assert isinstance(event, EmitEvent)
    told = replace(view, encrypted={**view.encrypted, "n0": encrypted(0, problems=(GONE,))})
    assert "n0" not in {chain.name for chain in reconcile(told, Reserved(), (), LeavingWatch({}))}


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"deleting": True},
        {"state": NodeState.LEAVING},
        {"state": NodeState.LEAVING, "deleting": True},
    ],
    ids=["active", "deleted by a garbage collector", "left one by one", "left and deleted"],
)
def test_many_vanished_nodes_wait_whatever_was_written_or_deleted_since(changed: dict[str, object]) -> None:
    """Every NodePeer without its Node counts as long as it is there: no Leaving is written, and nothing is removed."""
    view = cluster([peer(n, **changed) for n in range(3)], [], {0, 1, 2})
    assert held_back(view) == {"n0", "n1", "n2"}
    actions = decided(view, "n0", "n1", "n2")
    assert [(type(a), a.reason) for a in actions] == [(EmitEvent, "RemovalHeldBack")] * 3


def test_a_node_that_left_by_itself_is_held_once_it_is_one_of_many() -> None:
    """Two vanish later than the first, for which Leaving was written already: then all three wait."""
    view = cluster([peer(0, state=NodeState.LEAVING), peer(1), peer(2)], [], {0, 1, 2})
    assert held_back(view) == {"n0", "n1", "n2"}
    assert not [a for a in decided(view, "n0", "n1", "n2") if not isinstance(a, EmitEvent)]


def test_nodes_that_came_back_under_their_names_count_as_vanished() -> None:
    """All Nodes are deleted and their kubelets register anew: the objects of the Nodes before wait for a person."""
    view = cluster([], [], set())
    renewed = replace(view, nodes={name: replace(n, uid=f"new-{name}") for name, n in view.nodes.items()})
    assert held_back(renewed) == renewed.peers.keys()


@pytest.mark.L1
@pytest.mark.parametrize("state", [NodeState.ACTIVE, NodeState.JOINING])
def test_a_nodepeer_that_is_deleted_under_its_label_is_made_again(state: NodeState) -> None:
    """With its node ID and state, and no Leaving in between: the label is the wish, whoever deleted however many."""
    view = cluster(
        [peer(n, state=state, deleting=True) for n in range(3)], [encrypted(n, state=state) for n in range(20)], set()
    )
    assert held_back(view) == frozenset()
    for n in range(3):
        assert [type(a) for a in decided(view, f"n{n}") if not isinstance(a, EmitEvent)] == [RemovePeer]
    without = replace(view, peers={name: p for name, p in view.peers.items() if name != "n0"})
    epochs = (view.seeds[0].epoch,)
    chains = reconcile(without, Reserved(), epochs, LONG_GONE)
    made = [a for chain in chains if chain.name == "n0" for a in chain.actions if isinstance(a, CreatePeer)]
    assert [(a.peer.node_id, a.peer.state, a.peer.sessions) for a in made] == [(16, state, ())]


@pytest.mark.parametrize("shown", [None, {"deleting": True}], ids=["gone", "deleted as well"])
def test_a_nodepeer_goes_only_when_its_encryptednode_remembers_it(shown: dict[str, object] | None) -> None:
    """Where that one was deleted too it is made first: else the node would come back under another node ID."""
    others = [encrypted(n) for n in range(1, 20)]
    view = cluster([peer(0, deleting=True)], [*others, *([] if shown is None else [encrypted(0, **shown)])], set())
    kinds = [type(a) for a in decided(view, "n0") if not isinstance(a, EmitEvent)]
    assert kinds == ([CreateEncrypted] if shown is None else [])


def test_a_nodepeer_that_is_deleted_without_a_label_leaves() -> None:
    """The label is off: that is a farewell, whoever deleted what."""
    view = cluster([peer(0, deleting=True)], [encrypted(n) for n in range(20)], set())
    view = replace(view, nodes={**view.nodes, "n0": replace(node(0), label=None)})
    assert [a.new.state for a in decided(view, "n0") if isinstance(a, UpdatePeer)] == [NodeState.LEAVING]


@pytest.mark.parametrize("on_peer", [True, False])
def test_a_person_confirms_each_removal_on_either_object(on_peer: bool) -> None:  # noqa: FBT001 - a parameter
    """The annotation on the NodePeer counts as well: the EncryptedNode may be gone. The others go on waiting."""
    gone = [peer(n, state=NodeState.LEAVING, confirmed=on_peer and n == 0) for n in range(3)]
    shown = [] if on_peer else [encrypted(0, state=NodeState.LEAVING, confirmed=True)]
    view = cluster(gone, shown, {0, 1, 2})
    assert held_back(view) == {"n1", "n2"}
    assert RemovePeer in {type(a) for a in decided(view, "n0")}


def test_an_agent_that_has_cleaned_up_needs_no_person() -> None:
    """Its own word that nothing is left of its pairs is what a person would wait for."""
    status = replace(SILENT, conditions=(CLEANED,))
    gone = [peer(n, state=NodeState.LEAVING) for n in range(3)]
    view = cluster(gone, [encrypted(0, state=NodeState.LEAVING, status=status)], {0, 1, 2})
    assert held_back(view) == {"n1", "n2"}


def test_a_held_removal_is_shown_on_the_object_that_is_there() -> None:
    """The EncryptedNode says so among its problems, once, and keeps its state."""
    view = cluster([], [encrypted(n) for n in range(3)], {0, 1, 2})
    update = decided(view, "n0")[0]
    assert isinstance(update, UpdateEncrypted)
    assert (update.state, update.problems) == (NodeState.ACTIVE, (HELD,))
    shown = [encrypted(n, problems=(HELD,)) for n in range(3)]
    assert [type(a) for a in decided(cluster([], shown, {0, 1, 2}), "n0")] == [EmitEvent]


def test_any_number_of_nodes_may_be_unlabelled_at_once() -> None:
    """Taking a label off is a person's word for each node: all leave at once, and nobody is asked again."""
    view = cluster([], [encrypted(n) for n in range(20)], set())
    unlabelled = replace(view, nodes={name: replace(n, label=None) for name, n in view.nodes.items()})
    assert held_back(unlabelled) == frozenset()
    updates = [a for a in decided(unlabelled, *view.nodes) if isinstance(a, UpdatePeer)]
    assert [u.new.state for u in updates] == [NodeState.LEAVING] * 20


def test_an_id_rests_in_every_live_epoch_before_its_objects_go() -> None:
    """An abort drops the newest seed; the older one then still knows the ID."""
    actions = decided(cluster([peer(0, state=NodeState.LEAVING)], [], {0}), "n0")
    assert [a.seed.epoch.number for a in actions[:2] if isinstance(a, QuarantineNodeID)] == [1, 2]
    assert isinstance(actions[2], RemovePeer)
