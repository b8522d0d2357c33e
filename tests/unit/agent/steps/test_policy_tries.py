"""What no agent may have, a token of another node or a dry run on its pod: that it is given is told by the policy's name."""

from __future__ import annotations

import pytest

from wirecrypt.agent.steps.policy_tries import AGAIN, EVERY, PolicyTries
from wirecrypt.errors import Forbidden
from wirecrypt.model.admission import NODE_TOKEN, OWN_POD

both = pytest.mark.parametrize("policy", [NODE_TOKEN, OWN_POD])


class Server:
    """What an API server answers about one policy: True for refused; None: somebody else refused it. The other one holds."""

    def __init__(self, policy: str, *, answer: bool | None) -> None:
        self.policy, self.answer = policy, answer
        self.tries = 0

    def foreign_token_refused(self) -> bool:
        """Try it."""
        return self._refused(NODE_TOKEN)

    def pod_try_refused(self) -> bool:
        """Try it."""
        return self._refused(OWN_POD)

    def _refused(self, policy: str) -> bool:
        if policy != self.policy:
            return True
        self.tries += 1
        if self.answer is None:
            raise Forbidden("POST", answer="403 by RBAC")
        return self.answer


def check_of(server: Server) -> PolicyTries:
    """Return a check that has looked at time 0."""
    check = PolicyTries(server)  # type: ignore[arg-type]  # the methods that it calls
    check.check(0.0)
    return check


@both
def test_a_policy_in_force_is_tried_hourly(policy: str) -> None:
    """And nothing is said of it."""
    server = Server(policy, answer=True)
    check = check_of(server)
    check.check(EVERY - 1)
    assert (check.words, server.tries) == ("", 1)
    check.check(EVERY)
    assert server.tries == 2


@both
def test_a_policy_that_is_not_in_force_is_named_until_it_is(policy: str) -> None:
    """It is tried again after half a minute."""
    server = Server(policy, answer=False)
    check = check_of(server)
    assert check.words.startswith(policy)
    server.answer = True
    check.check(AGAIN.first - 1)
    assert check.words
    check.check(AGAIN.first)
    assert check.words == ""


@pytest.mark.parametrize("before", [True, False])
@both
def test_a_try_that_others_refused_changes_nothing(policy: str, *, before: bool) -> None:
    """RBAC that refuses says nothing of the policy, and it is tried again soon."""
    server = Server(policy, answer=before)
    check = check_of(server)
    words = check.words
    server.answer = None
    check.check(EVERY)
    check.check(EVERY + AGAIN.first)
    assert (check.words, server.tries) == (words, 3)
