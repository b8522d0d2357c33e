"""The admission policies that the controller tries: which one admits what it must refuse is told, and told again."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from tests.fakes.api import ApiServer
from tests.fakes.builders import node
from tests.unit.controller.watched import Leader
from wirecrypt.controller import Controller, ControllerEndpoints
from wirecrypt.controller.access.policy_check import AGAIN, EVERY, PolicyCheck
from wirecrypt.errors import Forbidden, Unreachable
from wirecrypt.model.admission import AGENT_TOKEN, BY_CONTROLLER, STATUS_BY_AGENT


@dataclass
class Tried(ApiServer):
    """An API server that counts the tries, and does not answer some of them."""

    tried: list[str] = field(default_factory=list)
    silent: set[str] = field(default_factory=set)

    def refuses(self, policy: str) -> bool:
        """Note the try."""
        self.tried.append(policy)
        if policy in self.silent:
            raise Forbidden("POST", answer="403 by RBAC")
        return super().refuses(policy)


@pytest.mark.parametrize("policy", BY_CONTROLLER)
def test_a_policy_that_admits_what_it_must_refuse_is_told_by_name(policy: str) -> None:
    """In the log and by an Event, with the next step; the others are not."""
    server = Tried(open={policy})
    check = PolicyCheck(server)
    with capture_logs() as lines:
        check.check(0.0)
    assert check.open == (policy,)
    assert [line["object"] for line in lines if line["log_level"] == "error"] == [policy]
    assert [about for about, _ in server.events] == [policy]
    assert "apply your own overlay again" in server.events[0][1]


def test_policies_are_tried_hourly_and_an_open_one_soon_again() -> None:
    """A try that was refused is good for an hour; a policy that is back is noticed half a minute later."""
    server = Tried()
    check = PolicyCheck(server)
    check.check(0.0)
    check.check(EVERY - 1)
    assert server.tried == list(BY_CONTROLLER)
    server.open = {STATUS_BY_AGENT}
    check.check(EVERY)
    assert check.open == (STATUS_BY_AGENT,)
    server.open = set()
    check.check(EVERY + AGAIN.first)
    assert check.open == ()


def test_a_policy_that_could_not_be_tried_hides_no_other_and_stays_what_it_was() -> None:
    """RBAC that refuses the try says nothing of the policy: neither that it is open nor that it is not."""
    server = Tried()
    server.silent = {STATUS_BY_AGENT}
    server.open = {AGENT_TOKEN}
    check = PolicyCheck(server)
    check.check(0.0)
    assert check.open == (AGENT_TOKEN,)
    server.silent, server.open = {AGENT_TOKEN}, set()
    check.check(AGAIN.first)
    assert check.open == (AGENT_TOKEN,)
    assert len(server.tried) == 2 * len(BY_CONTROLLER)


def test_an_event_that_cannot_be_written_ends_no_pass() -> None:
    """The log says it all the same."""
    server = Tried(open={AGENT_TOKEN}, denied={"POST events"})
    with capture_logs() as lines:
        PolicyCheck(server).check(0.0)
    assert {"admission policy missing", "event not written"} == {line["event"] for line in lines}


def test_a_server_that_does_not_answer_says_nothing() -> None:
    """No policy is open for it."""

    class Silent(ApiServer):
        """Nobody is there."""

        def refuses(self, policy: str) -> bool:
            raise Unreachable("POST", what=policy)

    check = PolicyCheck(Silent())
    check.check(0.0)
    assert check.open == ()


def test_the_leader_tries_and_counts_them() -> None:
    """The metric of a policy that is open is 1; who does not lead tries nothing, and counts nothing."""
    server, endpoints, leader = Tried.of(node(1), open={AGENT_TOKEN}), ControllerEndpoints("127.0.0.1"), Leader()
    passes = Controller(server, leader, endpoints=endpoints)

    def counted(policy: str) -> float | None:
        return endpoints.metrics.registry.get_sample_value("wirecrypt_admission_policy_open", {"policy": policy})

    try:
        leader.leading = False
        passes.once()
        assert server.tried == []  # type: ignore[attr-defined]  # it is a Tried
        leader.leading = True
        passes.once()
        passes.once()
        assert {policy: counted(policy) for policy in BY_CONTROLLER} == {STATUS_BY_AGENT: 0, AGENT_TOKEN: 1}
        leader.leading = False
        passes.once()
        assert counted(AGENT_TOKEN) == 0
    finally:
        endpoints.close()
