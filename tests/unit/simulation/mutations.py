"""What takes one rule out of the real code, for a schedule that shows that it is needed."""

# ruff: noqa: D401, SLF001 - a docstring tells what is so without the rule, which is a private function

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import pytest

from tests.unit.pairs import mutations as of_pairs
from wirecrypt.agent.datapath.writes import Datapath
from wirecrypt.agent.steps import deciding, installing
from wirecrypt.agent.steps.deciding import Deciding
from wirecrypt.agent.store.session_keeper import SessionKeeper
from wirecrypt.agent.store.state import LedgerEntry
from wirecrypt.agent.view import pair_view, peers
from wirecrypt.agent.view.pass_state import PassState
from wirecrypt.controller import decide as controlling
from wirecrypt.controller import leaving, nodes
from wirecrypt.controller.claims import settle
from wirecrypt.controller.claims.mentions import Mentioned
from wirecrypt.controller.node_objects import NodeObjects
from wirecrypt.errors import ClusterError, KernelError
from wirecrypt.model.objects import ControllerView, Node, NodePeer, NodeState
from wirecrypt.pairs import decide
from wirecrypt.pairs.decide import Decision
from wirecrypt.pairs.inputs import PairInputs
from wirecrypt.plan import guard_entries, observe
from wirecrypt.plan.diff import Action, Step
from wirecrypt.ports import AgentApi
from wirecrypt.rotation import numbers, phases
from wirecrypt.rotation.actions import RotationInputs

Patch = pytest.MonkeyPatch


def entry_gone_ends_claim(patch: Patch) -> None:
    """What a Node does not mention is not its own any more."""

    def mentioned(found: Iterable[Node], held: Mapping[str, NodePeer]) -> list[Mentioned]:
        return [Mentioned(node, held.get(node.uid)) for node in found]

    patch.setattr(settle, "mentioned", mentioned)


def deleted_object_is_a_farewell(patch: Patch) -> None:
    """Whoever deletes a NodePeer has its node leave."""
    wanted = vars(NodeObjects)["wanted"].fget
    patch.setattr(
        NodeObjects, "wanted", property(lambda self: wanted(self) and not (self.peer is not None and self.peer.deleting))
    )


def missing_object_is_a_farewell(patch: Patch) -> None:
    """A NodePeer that the API server does not have is that of a peer that is gone, whatever its Node says."""

    def confirmed(peer: NodePeer, _nodes: tuple[Node, ...], api: AgentApi, *, plain: bool) -> bool:
        try:
            return api.node_peer(peer.name) is None
        except ClusterError:
            return False

    patch.setattr(peers, "deletion_confirmed", confirmed)


def removed_is_passed(patch: Patch) -> None:
    """The prefix of a node that was removed is in clear with whoever has it next."""
    true = guard_entries.plain_nodes
    patch.setattr(guard_entries, "plain_nodes", lambda found, ends, _former=(): true(found, ends))


def identity_by_address(patch: Patch) -> None:
    """A peer that vanished keeps what is between two addresses, whoever is there now."""
    patch.setattr(deciding, "with_successions", lambda seen: seen)


def hostile_number_followed(patch: Patch) -> None:
    """The next epoch follows any number that a node says."""
    patch.setattr(numbers, "LEAP", 2**63)


def leave_waits_for_the_dead(patch: Patch) -> None:
    """A node that leaves waits for the word of a peer that is off."""
    of_pairs.source(decide._left, 'memory.held("away", None, now, timing)', "False")(patch)


def silent_peer_holds_active(patch: Patch) -> None:
    """A node is Active when it is ready for all that are labelled, also for one that never spoke."""

    def live(peer: NodePeer, view: ControllerView) -> bool:
        node = view.nodes.get(peer.name)
        return node is not None and node.ready and peer.state in (NodeState.JOINING, NodeState.ACTIVE) and bool(peer.endpoints)

    patch.setattr(nodes, "_live", live)


def exclusion_becomes_plaintext(patch: Patch) -> None:
    """With a node that a person cut off there is no pair any more, so it is in clear."""

    def cut_off(inputs: PairInputs) -> Decision:
        return decide._removal(inputs, "cut off by a person")

    patch.setattr(decide, "_cut_off", cut_off)


def vanished_node_is_a_farewell(patch: Patch) -> None:
    """A Node that is gone has its node leave."""
    patch.setattr(NodeObjects, "vanished", property(lambda _self: False))


def laggards_hold_everything_up(patch: Patch) -> None:
    """A rotation goes on only when every node has come along, whether it is there or not."""
    true = phases.step

    def step(snapshot: RotationInputs, *rest: object, **more: object) -> object:
        return true(replace(snapshot, down=frozenset()), *rest, **more)  # type: ignore[arg-type]

    patch.setattr(controlling, "step", step)


def lost_words_are_consent(patch: Patch) -> None:
    """A node whose objects were lost holds no rotation up, like one that never spoke."""
    patch.setattr(controlling, "_unheard", lambda _node, _view: False)


def made_again_without_its_claims(patch: Patch) -> None:
    """A NodePeer that was deleted is made again of what its Node mentions."""

    def new_peer(node: Node, node_id: int, _settled: settle.Settled, state: NodeState) -> NodePeer:
        return NodePeer(node.name, "", node_id, node.uid, node.endpoints, node.pod_cidrs, state, node.created)

    patch.setattr(nodes, "new_peer", new_peer)


def former_of_who_left(patch: Patch) -> None:
    """A peer that left in order is taken for one that was encrypted until it was gone."""
    true = Deciding._is_gone

    def is_gone(self: Deciding, pass_state: PassState, peer: NodePeer, *, plain: bool, now: float) -> bool:
        gone = true(self, pass_state, peer, plain=plain, now=now)
        if gone:
            self._note_former(pass_state, peer)
        return gone

    patch.setattr(Deciding, "_is_gone", is_gone)
    patch.setattr(Deciding, "_forget_former", lambda *_: None)


def former_for_ever(patch: Patch) -> None:
    """What was a peer's prefix is unknown for good, whatever a person says of it since."""
    patch.setattr(Deciding, "_forget_former", lambda *_: None)


def numbers_are_enough(patch: Patch) -> None:
    """A generation is that of its numbers, whoever has published which key under them."""
    patch.setattr(pair_view, "_replaced", lambda _pair, _peer, _state: frozenset())


def numbers_begin_again(patch: Patch) -> None:
    """A node whose NodePeer was lost with its numbers begins with 1."""
    true = SessionKeeper._new
    patch.setattr(SessionKeeper, "_new", lambda self, own: replace(true(self, own), last_session=own.last_session))


def any_copy_tells(patch: Patch) -> None:
    """That a peer began again is believed of a copy that may be of before."""
    patch.setattr(peers.Deletions, "current", lambda _self, _peer, _now: True)


def leave_waits_for_who_is_cut_off(patch: Patch) -> None:
    """A node that leaves waits for the word of a peer that a person cut off."""
    of_pairs.source(decide._left, "inputs.peer_state is NodeState.EXCLUDED or ", "")(patch)


def lost_is_left(patch: Patch) -> None:
    """A node without the label whose objects are gone has left."""
    patch.setattr(leaving, "lost_before_farewell", lambda _objects: False)


def plain_entry_gone_ends_claim(patch: Patch) -> None:
    """What a plain Node does not mention is nobody's."""
    patch.setattr(deciding, "with_held", lambda nodes, _peers, before: (nodes, before))


def plain_entry_gone_is_free(patch: Patch) -> None:
    """What a plain Node does not mention any agent may have."""
    patch.setattr(controlling, "with_held", lambda nodes, _peers, before: (tuple(nodes), before))


def boot_blocks_of_another_address_stay(patch: Patch) -> None:
    """What a boot blocked between a peer and an address that this node has no more is of no pair."""
    patch.setattr(installing, "of_removed", lambda _pass_state: [])


def former_self_kept(patch: Patch) -> None:
    """What a node has from the time before its Node was made anew is taken for its own."""
    of_pairs.source(observe._former, "(*theirs, *ours)", "theirs")(patch)


def _done_in_order(*steps: Step) -> Callable[[Patch], None]:
    """Have the actions of a plan done in another order of their kinds."""

    def without(patch: Patch) -> None:
        true = installing.plan
        patch.setattr(installing, "plan", lambda *told, **more: sorted(true(*told, **more), key=lambda a: steps.index(a.step)))

    return without


_STEPS = tuple(Step)
_OF_SAS = (Step.DELETE_SENDING, Step.DELETE_RECEIVING)
_OF_POLICIES = (Step.DELETE_SENDING_POLICY, Step.DELETE_RECEIVING_POLICY)
guard_last = _done_in_order(*(step for step in _STEPS if step is not Step.SET_GUARD), Step.SET_GUARD)
sas_go_before_policies = _done_in_order(*_OF_SAS, *(step for step in _STEPS if step not in _OF_SAS))
policies_go_before_the_guard_opens = _done_in_order(*_OF_POLICIES, *(step for step in _STEPS if step not in _OF_POLICIES))


def listed_once_installed(patch: Patch) -> None:
    """A generation is listed once its SAs are there."""
    waiting: list[tuple[SessionKeeper, Sequence[tuple[str, LedgerEntry]]]] = []
    true_list, true_apply = SessionKeeper.list_generations, Datapath.apply

    def apply(self: Datapath, actions: Sequence[Action]) -> dict[str, KernelError]:
        failed = true_apply(self, actions)
        while waiting:
            true_list(*waiting.pop())
        return failed

    patch.setattr(SessionKeeper, "list_generations", lambda *what: waiting.append(what))
    patch.setattr(Datapath, "apply", apply)


def a_name_is_a_word(patch: Patch) -> None:
    """That another Node has the name of a peer is believed of a copy that may be of before."""
    asked = Deciding._is_gone

    def is_gone(self: Deciding, pass_state: PassState, peer: NodePeer, *, plain: bool, now: float) -> bool:
        shown = any(shown.name == peer.name for shown in pass_state.cluster_view.peers)
        return shown or asked(self, pass_state, peer, plain=plain, now=now)

    patch.setattr(Deciding, "_is_gone", is_gone)
