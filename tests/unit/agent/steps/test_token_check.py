"""The token that no agent may have: that it is given is told by the policy's name."""

from __future__ import annotations

import pytest

from wirecrypt.agent.steps.admission_check import AGAIN, EVERY
from wirecrypt.agent.steps.token_check import TokenCheck
from wirecrypt.errors import Forbidden
from wirecrypt.model.admission import NODE_TOKEN


class Server:
    """What an API server answers: True for refused; None: somebody else refused it."""

    def __init__(self, *, answer: bool | None) -> None:
        self.answer = answer
        self.tries = 0

    def foreign_token_refused(self) -> bool:
        """Try it."""
        self.tries += 1
        if self.answer is None:
            raise Forbidden("POST", answer="403 by RBAC")
        return self.answer


def check_of(server: Server) -> TokenCheck:
    """Return a check that has looked at time 0."""
    check = TokenCheck(server)  # type: ignore[arg-type]  # the one method that it calls
    check.check(0.0)
    return check


def test_a_policy_in_force_is_tried_hourly() -> None:
    """And nothing is said of it."""
    server = Server(answer=True)
    check = check_of(server)
    check.check(EVERY - 1)
    assert (check.words, server.tries) == ("", 1)
    check.check(EVERY)
    assert server.tries == 2


def test_a_policy_that_is_not_in_force_is_named_until_it_is() -> None:
    """It is tried again after half a minute."""
    server = Server(answer=False)
    check = check_of(server)
    assert NODE_TOKEN in check.words
    server.answer = True
    check.check(AGAIN - 1)
    assert check.words
    check.check(AGAIN)
    assert check.words == ""


@pytest.mark.parametrize("before", [True, False])
def test_a_try_that_others_refused_changes_nothing(*, before: bool) -> None:
    """RBAC that refuses says nothing of the policy, and it is tried again soon."""
    server = Server(answer=before)
    check = check_of(server)
    words = check.words
    server.answer = None
    check.check(EVERY)
    check.check(EVERY + AGAIN)
    assert (check.words, server.tries) == (words, 3)
