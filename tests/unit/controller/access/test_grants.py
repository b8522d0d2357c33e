"""The account by which a node's keys are read: there before the keys are, what it should be, and gone with the node."""

# ruff: noqa: D102 - the methods are those of the port
from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from tests.fakes.builders import node
from tests.unit.controller.test_passes import encrypted_cluster, settle, ticking
from tests.unit.controller.watched import Leader, WatchedServer, agents
from wirecrypt.controller import Controller
from wirecrypt.model.access import AccessPart
from wirecrypt.model.objects import NodeState


@dataclass
class Diary(WatchedServer):
    """An API server that writes down what is made of a node, in order."""

    made: list[str] = field(default_factory=list)

    def grant_keys(self, node: str, part: AccessPart) -> None:
        super().grant_keys(node, part)
        self.made.append(part.value)

    def write_keys(self, secret: object, owner: object) -> None:
        super().write_keys(secret, owner)  # type: ignore[arg-type]  # as they came
        self.made.append("keys")

    def create_node_peer(self, node: object, peer: object) -> None:
        super().create_node_peer(node, peer)  # type: ignore[arg-type]  # as they came
        self.made.append("peer")


def test_who_may_read_the_keys_is_there_before_them() -> None:
    """An agent that sees its NodePeer can read its Secret at once; what is written there later is that the node is Active."""
    server = Diary.of(node(1))
    settle(server)
    assert server.made == ["ServiceAccount", "Role", "RoleBinding", "keys", "peer", "keys"]


@pytest.mark.parametrize("part", AccessPart)
def test_what_is_missing_is_made_again(part: AccessPart) -> None:
    """By the next pass, of the nodes that it is missing for and no other; an installation of before has none at all."""
    server = encrypted_cluster(1, 2)
    before = dict(server.access)
    del server.access["n1", part]
    settle(server)
    assert server.access.keys() == before.keys()
    assert {key for key in before if server.access[key] != before[key]} == {("n1", part)}


@pytest.mark.parametrize("part", AccessPart)
def test_what_says_something_else_than_it_should_is_made_anew(part: AccessPart) -> None:
    """A Role that somebody widened goes at once, and the next one is what it should be."""
    server = encrypted_cluster(1, 2)
    before = server.access["n1", part]
    server.access["n1", part] = replace(before, sound=False)
    settle(server)
    assert server.access["n1", part].sound
    assert server.access["n1", part].uid != before.uid


def test_a_node_that_left_has_no_account() -> None:
    """Neither one that was unlabelled nor one whose Node is gone; the others keep theirs."""
    server = encrypted_cluster(1, 2, 3)
    server.nodes["n1"] = replace(server.nodes["n1"], label=None)
    del server.nodes["n2"]
    settle(server, grace=1.0)
    assert {name for name, _ in server.access} == {"n3"}


def test_a_node_that_is_cut_off_has_no_account() -> None:
    """Its keys went, and who has its agent gets no token for those that come."""
    server = encrypted_cluster(1, 2)
    server.peers["n1"] = replace(server.peers["n1"], state=NodeState.EXCLUDED)
    for _ in range(5):
        Controller(server, Leader(), clock=ticking()).once()
    assert {name for name, _ in server.access} == server.keys.keys() == {"n2"}


def test_an_account_that_belongs_to_nobody_goes() -> None:
    """As after a death between two deletions: no Secret, no object and no label is left of the node."""
    server = encrypted_cluster(1)
    for part in AccessPart:
        server.grant_keys("n9", part)
    settle(server)
    assert {name for name, _ in server.access} == {"n1"}


def test_a_node_that_was_never_labelled_has_no_account() -> None:
    """Nothing is made for it."""
    server = WatchedServer.of(node(1, label=None))
    Controller(server, Leader()).once()
    assert server.access == {}


def test_somebody_elses_object_in_the_way_is_told_and_holds_up_no_other_node() -> None:
    """The node does not join with keys that nobody may read; it does once the object is gone."""
    server = WatchedServer.of(node(1), node(2), foreign={"n1"})
    for _ in range(10):
        Controller(server, Leader(), clock=ticking()).once()
        agents(server)
    assert server.peers.keys() == {"n2"}
    assert "KeySecretFailed" in server.reasons("n1")
    server.foreign.clear()
    settle(server)
    assert server.peers.keys() == {"n1", "n2"}
