"""When an agent asks for its own restart: once, and only when the API server shows another Node than its token is of."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from structlog.testing import capture_logs

from tests.fakes.builders import START
from wirecrypt.agent.steps.own_restart import AGAIN, OwnRestart
from wirecrypt.errors import Forbidden, Unreachable
from wirecrypt.model.access import TokenIdentity
from wirecrypt.model.objects import Node

OLD = Node("a", "uid-old", "enabled", (), (), START)
NEW = replace(OLD, uid="uid-new")
TOKEN = TokenIdentity("agent-x", "pod-uid", "a", "uid-old")


@dataclass
class Server:
    """An API server: the Node that it has, what it reads from the token, whether it lets a pod be deleted."""

    found: Node | None = OLD
    token: TokenIdentity = TOKEN
    refusal: Exception | None = None
    asked: list[str] = field(default_factory=list)

    def identity(self) -> TokenIdentity:
        """Return what the token says."""
        self.asked.append("who")
        return self.token

    def node(self, name: str) -> Node | None:
        """Return the Node."""
        assert name == "a"
        return self.found

    def delete_pod(self, identity: TokenIdentity) -> None:
        """Note the pod that was deleted."""
        if self.refusal:
            raise self.refusal
        self.asked.append(f"delete {identity.pod} {identity.pod_uid}")

    @property
    def deleted(self) -> list[str]:
        """Return what was deleted."""
        return [each for each in self.asked if each != "who"]


def watched(server: Server, node: Node | None, seconds: float = 4000.0, restart: OwnRestart | None = None) -> OwnRestart:
    """Have passes for *seconds* in which the copies show *node*."""
    restart = restart or OwnRestart(server, "a")  # type: ignore[arg-type]  # the methods that it calls
    for second in range(int(seconds)):
        restart.check(node, float(second))
    return restart


def test_a_token_of_another_node_ends_the_pod_once() -> None:
    """By its name and UID, with a line that says why; there is no second time in the life of this pod."""
    server = Server(found=NEW)
    with capture_logs() as said:
        assert watched(server, NEW).asked
    assert server.asked == ["who", "delete agent-x pod-uid"]
    assert [entry["reason"] for entry in said if entry["log_level"] == "error"] == ["NodeReplaced"]


def test_a_node_that_stays_costs_one_question() -> None:
    """At the start; and it is seen when the Node changes later."""
    server = Server()
    restart = watched(server, OLD)
    assert server.asked == ["who"]
    server.found = NEW
    watched(server, NEW, 10, restart)
    assert server.deleted == ["delete agent-x pod-uid"]


def test_a_node_that_is_missing_says_nothing() -> None:
    """Neither in the copies, nor by the API server itself."""
    server = Server(found=None)
    watched(server, None)
    assert server.asked == []
    watched(server, NEW)
    assert server.deleted == []


def test_copies_that_are_out_of_date_say_nothing() -> None:
    """They show another Node than the token is of, and the API server shows the token's."""
    server = Server(found=OLD)
    assert not watched(server, NEW).asked
    assert server.deleted == []
    assert len(server.asked) < 4000 / AGAIN.most + 10


def test_a_token_that_was_renewed_needs_no_restart() -> None:
    """The kubelet writes one of the new Node when the old one is about to end."""
    server = Server()
    restart = watched(server, OLD, 1)
    server.found, server.token = NEW, replace(TOKEN, node_uid="uid-new")
    watched(server, NEW, 4000, restart)
    assert (server.deleted, server.asked) == ([], ["who", "who"])


@pytest.mark.parametrize("token", [TokenIdentity(), replace(TOKEN, node="b")])
def test_a_token_that_is_not_of_a_pod_here_ends_nothing(token: TokenIdentity) -> None:
    """An agent that runs by hand, or with a name that is not its node's."""
    server = Server(found=NEW, token=token)
    watched(server, NEW)
    assert server.deleted == []


@pytest.mark.parametrize("error", [Forbidden("DELETE", answer="403"), Unreachable("DELETE", answer="nothing")])
def test_a_refusal_is_tried_again_later_and_later(error: Exception) -> None:
    """And it is done when nobody refuses any more."""
    server = Server(found=NEW, refusal=error)
    restart = watched(server, NEW)
    assert not restart.asked
    assert 5 < server.asked.count("who") < 4000 / AGAIN.most + 10
    server.refusal = None
    restart.check(NEW, 4000 + AGAIN.first + AGAIN.most)
    assert restart.asked
