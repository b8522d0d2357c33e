"""Which vanished Nodes are removed and which wait for a person; what a label alone decides."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address

import pytest

from tests.fakes.builders import CLEANED, SILENT, START, node
from tests.unit.controller.watched import FREE
from wirecrypt.controller.actions import (
    Action,
    CreateEncrypted,
    CreatePeer,
    DeleteEncrypted,
    EmitEvent,
    GrantKeys,
    QuarantineNodeIDs,
    RemovePeer,
    UpdateEncrypted,
    UpdatePeer,
)
from wirecrypt.controller.leaving import GONE, HELD, NODE_IDS, LeavingWatch, held_back
from wirecrypt.controller.nodes import reconcile
from wirecrypt.model.objects import ControllerView, EncryptedNode, KeySecret, Node, NodePeer, NodeState, SeedSecret
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Epoch

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


def decided(
    view: ControllerView, *names: str, epochs: tuple[Epoch, ...] = (), watched: LeavingWatch = LONG_GONE
) -> list[Action]:
    """Return what is done about nodes called *names*, but for who may read their keys: no view here says it.

    In two passes: where node IDs begin to rest in the first one, the second sees it.
    """
    first = {chain.name: chain.actions for chain in reconcile(view, FREE, epochs, watched)}
    resting = [a for a in first.pop(NODE_IDS, ()) if isinstance(a, QuarantineNodeIDs)]
    seeds = {seed.epoch: seed for seed in view.seeds} | {a.seed.epoch: replace(a.seed, released=a.node_ids) for a in resting}
    rested = replace(view, seeds=tuple(seeds.values()))
    second = {chain.name: chain.actions for chain in reconcile(rested, FREE, epochs, watched)} if resting else {}
    assert NODE_IDS not in second
    done = [*resting, *(action for name in names for chains in (first, second) for action in chains.get(name, ()))]
    return [action for action in done if not isinstance(action, GrantKeys)]


def test_a_few_vanished_nodes_leave_after_the_grace_period() -> None:
    """One in ten may vanish: they are removed without a person."""
    actions = decided(cluster([], [], {0, 1}), "n0")
    assert [type(a) for a in actions] == [QuarantineNodeIDs, QuarantineNodeIDs, RemovePeer, EmitEvent]
    assert "gone for 60 s" in actions[-1].why


@pytest.mark.L1
@pytest.mark.parametrize("renewed", [False, True], ids=["gone", "made anew under its name"])
@pytest.mark.parametrize("deleting", [False, True])
def test_a_node_that_vanished_says_no_farewell(*, renewed: bool, deleting: bool) -> None:
    """Until it is removed its pairs stay as they are: nothing becomes Leaving, and its EncryptedNode says why, once."""
    view = cluster([peer(0, deleting=deleting)], [encrypted(n) for n in range(20)], {0})
    if renewed:
        view = replace(view, nodes={**view.nodes, "n0": replace(node(0), uid="new", label=None)})
    chains = reconcile(view, FREE, (), LeavingWatch({}))
    (update, event) = next(chain.actions for chain in chains if chain.name == "n0")
    assert isinstance(update, UpdateEncrypted)
    assert (update.state, update.problems) == (NodeState.ACTIVE, (GONE,))
    assert isinstance(event, EmitEvent)
    told = replace(view, encrypted={**view.encrypted, "n0": encrypted(0, problems=(GONE,))})
    assert "n0" not in {chain.name for chain in reconcile(told, FREE, (), LeavingWatch({}))}


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


def renewed(view: ControllerView, label: str | None) -> ControllerView:
    """Return *view* with all Nodes deleted and their kubelets registered anew."""
    nodes = {name: replace(n, uid=f"new-{name}", label=label) for name, n in view.nodes.items()}
    return replace(view, nodes=nodes)


def test_nodes_that_came_back_without_their_labels_count_as_vanished() -> None:
    """The objects of the Nodes before wait for a person: without them the pairs would be in clear."""
    view = renewed(cluster([], [], set()), None)
    assert held_back(view) == view.peers.keys()


@pytest.mark.L1
def test_nodes_that_came_back_with_their_labels_are_made_anew_at_once() -> None:
    """◆R30 However many: their pairs are taken over, and never in clear. Nobody waits, for a person or for a grace period."""
    view = renewed(cluster([], [], set()), "enabled")
    assert held_back(view) == frozenset()
    removed = {a.peer.name for a in decided(view, *view.nodes, watched=LeavingWatch({})) if isinstance(a, RemovePeer)}
    assert removed == view.peers.keys()


def removed(number: int, **more: object) -> NodePeer:
    """Return the word that n*number* was removed."""
    of = node(number)
    return replace(NodePeer(of.name, f"stone-{number}", number + 16, of.uid, (), (), NodeState.REMOVED, START), **more)


@pytest.mark.L1
@pytest.mark.parametrize(
    ("changed", "shown"),
    [
        ({}, {"conditions": "cleaned"}),
        ({}, {"confirmed": True}),
        ({"confirmed": True}, {}),
        ({"deleting": True}, {"confirmed": True}),
    ],
    ids=["cleaned", "confirmed", "confirmed on the peer", "confirmed and deleted"],
)
def test_a_node_that_was_removed_while_its_node_is_there_leaves_a_word(
    changed: dict[str, object], shown: dict[str, object]
) -> None:
    """◆R29 An agent that heard no farewell, or slept, reads it: absence would say nothing to it."""
    if shown.pop("conditions", None):
        shown["status"] = replace(SILENT, conditions=(CLEANED,))
    view = cluster([peer(0, state=NodeState.LEAVING, **changed)], [encrypted(0, state=NodeState.LEAVING, **shown)], set())
    view = replace(view, nodes={**view.nodes, "n0": node(0, label=None)})
    actions = decided(view, "n0")
    kinds = [type(a) for a in actions if not isinstance(a, QuarantineNodeIDs | EmitEvent)]
    assert kinds == [RemovePeer, CreatePeer, DeleteEncrypted]
    (made,) = [a.peer for a in actions if isinstance(a, CreatePeer)]
    assert (made.identity, made.state) == (peer(0).identity, NodeState.REMOVED)


def unlabelled(number: int, *shown: NodePeer | EncryptedNode, secret: KeySecret | None = None) -> ControllerView:
    """Return a view of a node without the label, of which only these objects are there."""
    name = f"n{number}"
    peers, encrypted_nodes = ({x.name: x for x in shown if isinstance(x, of)} for of in (NodePeer, EncryptedNode))
    view = cluster([], [], set())
    others = {other: each for other, each in view.peers.items() if other != name}
    keys = {name: secret} if secret else {}
    nodes = {**view.nodes, name: node(number, label=None)}
    return replace(view, nodes=nodes, peers={**others, **peers}, encrypted=encrypted_nodes, keys=keys)


def kept(number: int, *, active: bool = True) -> KeySecret:
    """Return the Secret of n*number*, with its node ID, and whether it was Active."""
    return KeySecret(f"n{number}", f"uid-{number}", (), node_id=number + 16, active=active)


@pytest.mark.parametrize("active", [False, True])
def test_a_node_that_never_published_is_removed_at_once(*, active: bool) -> None:
    """No agent cleans up. One that was Active has published before its NodePeer was lost: its farewell is waited for."""
    shown = (peer(0, last_session=0, state=NodeState.LEAVING), encrypted(0, state=NodeState.LEAVING))
    actions = decided(unlabelled(0, *shown, secret=kept(0, active=active)), "n0")
    made = [a.peer.state for a in actions if isinstance(a, CreatePeer)]
    assert made == ([] if active else [NodeState.REMOVED])


@pytest.mark.parametrize("remembered", [False, True], ids=["both gone", "NodePeer gone"])
def test_a_node_that_lost_its_nodepeer_before_it_had_left_says_its_farewell(*, remembered: bool) -> None:
    """◆R31 The label is off and the object is gone: no agent can tell that from a view that lacks something."""
    shown = [encrypted(0, state=NodeState.LEAVING)] if remembered else []
    actions = decided(unlabelled(0, *shown, secret=kept(0)), "n0")
    assert [type(a) for a in actions] == ([] if remembered else [CreateEncrypted]) + [CreatePeer]
    made = next(a.peer for a in actions if isinstance(a, CreatePeer))
    assert (made.node_id, made.state, made.endpoints, made.pod_cidrs) == (
        16,
        NodeState.LEAVING,
        node(0).endpoints,
        node(0).pod_cidrs,
    )


@pytest.mark.parametrize("how", ["cleaned", "confirmed", "removed", "no keys"])
def test_a_node_that_has_left_says_no_second_farewell(how: str) -> None:
    """Its NodePeer went because it had left: what is there goes as well."""
    words = {"cleaned": {"status": replace(SILENT, conditions=(CLEANED,))}, "confirmed": {"confirmed": True}}
    view = unlabelled(
        0, encrypted(0, state=NodeState.LEAVING, **words.get(how, {})), secret=None if how == "no keys" else kept(0)
    )
    if how == "removed":
        view = replace(view, tombstones={"n0": removed(0)})
    assert NodeState.LEAVING not in [a.peer.state for a in decided(view, "n0") if isinstance(a, CreatePeer)]


def test_a_label_that_nobody_knows_is_no_farewell_of_a_node_that_lost_its_objects() -> None:
    """Nothing was changed by it before, and nothing is now: they are made again ◆R31."""
    view = unlabelled(0, secret=kept(0))
    view = replace(view, nodes={**view.nodes, "n0": node(0, label="enable")})
    made = [a.peer for a in decided(view, "n0", epochs=(view.seeds[0].epoch,)) if isinstance(a, CreatePeer)]
    assert [(p.node_id, p.state) for p in made] == [(16, NodeState.ACTIVE)]


@pytest.mark.parametrize(
    ("now", "stone"),
    [
        (None, {}),
        (node(0, uid="new", label=None), {}),
        (node(0), {}),
        (node(0, label=None), {"deleting": True}),
    ],
    ids=["its Node is gone", "another Node has its name", "it is labelled again", "a person deleted it"],
)
def test_the_word_goes_when_it_says_nothing_any_more(now: Node | None, stone: dict[str, object]) -> None:
    """And a Node that is labelled again gets its own NodePeer only then."""
    view = cluster([], [], {0})
    nodes = view.nodes if now is None else {**view.nodes, "n0": now}
    peers = {name: p for name, p in view.peers.items() if name != "n0"}
    view = replace(view, nodes=nodes, peers=peers, tombstones={"n0": removed(0, **stone)})
    assert RemovePeer in [type(a) for a in decided(view, "n0")]


def test_the_word_stays_while_its_node_does() -> None:
    """It is not written again, and its ID is nobody else's meanwhile."""
    view = cluster([], [], {0})
    peers = {name: p for name, p in view.peers.items() if name not in ("n0", "n1")}
    view = replace(view, nodes={**view.nodes, "n0": node(0, label=None)}, peers=peers, tombstones={"n0": removed(0)})
    assert decided(view, "n0") == []
    made = [a.node_id for a in decided(view, "n1") if isinstance(a, CreateEncrypted)]
    assert made == [17]


@pytest.mark.L1
@pytest.mark.parametrize("state", [NodeState.ACTIVE, NodeState.JOINING])
def test_a_nodepeer_that_is_deleted_under_its_label_is_made_again(state: NodeState) -> None:
    """With its node ID and state, and no Leaving in between: the label is the wish, whoever deleted however many."""
    view = cluster(
        [peer(n, state=state, deleting=True) for n in range(3)], [encrypted(n, state=state) for n in range(20)], set()
    )
    assert held_back(view) == frozenset()
    for n in range(3):
        again = [a for a in decided(view, f"n{n}", epochs=(view.seeds[0].epoch,)) if isinstance(a, RemovePeer | CreatePeer)]
        assert [type(a) for a in again] == [RemovePeer, CreatePeer]
        assert [(a.peer.node_id, a.peer.state, a.peer.sessions) for a in again[1:]] == [(16 + n, state, ())]


def test_a_nodepeer_that_is_made_again_holds_what_it_held() -> None:
    """Its Node may not mention all of it at the moment, and nobody but the object that goes knows the rest."""
    old = peer(0, deleting=True, addresses=(ip_address("192.0.2.200"),))
    view = cluster([old], [encrypted(n) for n in range(20)], set())
    view = replace(view, nodes={**view.nodes, "n0": replace(node(0), endpoints=(), pod_cidrs=())})
    made = [a.peer for a in decided(view, "n0", epochs=(view.seeds[0].epoch,)) if isinstance(a, CreatePeer)]
    assert [(p.endpoints, p.pod_cidrs, p.addresses) for p in made] == [(old.endpoints, old.pod_cidrs, old.addresses)]


def test_a_nodepeer_that_cannot_be_made_again_stays() -> None:
    """Without keys to give, as without a seed, it would be gone for as long as that lasts."""
    view = cluster([peer(0, deleting=True)], [encrypted(n) for n in range(20)], set())
    assert not [a for a in decided(view, "n0") if isinstance(a, RemovePeer | CreatePeer)]


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
    assert [a.seed.epoch.number for a in actions[:2] if isinstance(a, QuarantineNodeIDs)] == [1, 2]
    assert isinstance(actions[2], RemovePeer)
