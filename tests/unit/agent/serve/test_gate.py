"""Who is let in: the API server's word, kept for a while; floods of tokens end here. The reviewer is the test's."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from itertools import count

import pytest

from wirecrypt.agent.serve.gate import KEPT, MOST_WAITING, Gate
from wirecrypt.errors import Unreachable
from wirecrypt.http_server import HttpRequest, Reply, Response
from wirecrypt.model.access import ALLOWED, FORBIDDEN, UNKNOWN, TokenVerdict
from wirecrypt.model.secret import SecretBytes

LONG = 60.0
TOLD: Response = (200, "text/plain", b"told")


class Reviewer:
    """The API server: *verdicts* by token; it may be away, and it may be slow."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked: list[tuple[bytes, str]] = []
        self.verdicts = {b"good": TokenVerdict(ALLOWED), b"other": TokenVerdict(FORBIDDEN, "x lacks the right")}
        self.away = False
        self.began = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, token: SecretBytes, page: str) -> TokenVerdict:
        """Review."""
        self.began.release()
        assert self.go_on.wait(LONG)
        self.asked.append((token.reveal(), page))
        if self.away:
            raise Unreachable("ask for a TokenReview", answer="no answer")
        return self.verdicts.get(token.reveal(), TokenVerdict(UNKNOWN, "not valid"))


@pytest.fixture
def reviewer() -> Reviewer:
    return Reviewer()


@pytest.fixture
def gate(reviewer: Reviewer) -> Iterator[Gate]:
    """Yield a gate before that API server."""
    with closing(Gate("n", reviewer, clock=lambda: reviewer.now)) as made:
        yield made
        reviewer.go_on.set()


def let_in(_request: HttpRequest, reply: Reply) -> None:
    reply(TOLD)


def ask(gate: Gate, token: bytes | None, client: str = "c", page: str = "verify", *, local: bool = False) -> Response:
    """Return what a request is answered."""
    answers: list[Response] = []
    there = threading.Event()

    def reply(response: Response) -> None:
        answers.append(response)
        there.set()

    secret = None if token is None else SecretBytes(token)
    gate.before(page, let_in)(HttpRequest(f"/{page}", {}, client, local, secret), reply)
    assert there.wait(LONG)
    (answer,) = answers
    return answer


def status(gate: Gate, token: bytes | None, client: str = "c", page: str = "verify") -> int:
    return ask(gate, token, client, page)[0]


def test_each_refusal_says_what_is_missing(gate: Gate, reviewer: Reviewer) -> None:
    """No token, one that is not valid, one without the right: 401, 401, 403, with one line that names the agent."""
    found = [ask(gate, token) for token in (None, b"bad", b"other")]
    assert [code for code, _, _ in found] == [401, 401, 403]
    said = [json.loads(body)["message"] for _, _, body in found]
    assert said[0].startswith("agent of n: no token; send a token for this agent")
    assert said[1:] == ["agent of n: not valid", "agent of n: x lacks the right"]
    assert ask(gate, b"good") == TOLD
    assert reviewer.asked[-1] == (b"good", "verify")


def test_a_verdict_is_kept_for_a_while_for_its_page_alone(gate: Gate, reviewer: Reviewer) -> None:
    """A permission for a minute, a refusal for half of it; then the API server is asked again."""
    for token, allowed in ((b"good", True), (b"other", False)):
        expected = status(gate, token)
        reviewer.now += KEPT[allowed] - 1
        assert status(gate, token) == expected
        assert len(reviewer.asked) == 1
        assert status(gate, token, page="plan") == expected
        assert reviewer.asked.pop() == (token, "plan")
        reviewer.now += 2
        assert status(gate, token) == expected
        assert len(reviewer.asked) == 2
        reviewer.asked.clear()


def test_a_permission_that_was_taken_away_ends(gate: Gate, reviewer: Reviewer) -> None:
    """Within a minute."""
    assert status(gate, b"good") == 200
    reviewer.verdicts.clear()
    reviewer.now += KEPT[True] + 1
    assert status(gate, b"good") == 401


def test_a_flood_of_bad_tokens_is_no_flood_of_reviews(gate: Gate, reviewer: Reviewer) -> None:
    """A client has five to waste, all clients together twenty; another one with a good token is let in meanwhile."""
    found = [status(gate, b"bad %d" % number, "flooder") for number in range(50)]
    assert (found.count(401), found.count(429), len(reviewer.asked)) == (5, 45, 5)
    assert status(gate, b"good", "modest") == 200
    numbers = count()
    for client in range(20):
        [status(gate, b"worse %d" % next(numbers), f"flooder {client}") for _ in range(10)]
    assert len(reviewer.asked) == 5 + 1 + 15
    reviewer.now += 3600.0
    assert status(gate, b"bad again", "flooder") == 401


def test_good_tokens_cost_nothing(gate: Gate, reviewer: Reviewer) -> None:
    """Whoever verifies has a new token each time, and all come from the API server's address."""
    for number in range(100):
        reviewer.verdicts[b"good %d" % number] = TokenVerdict(ALLOWED)
    assert {status(gate, b"good %d" % number) for number in range(100)} == {200}


def test_many_who_verify_at_once_are_all_let_in(gate: Gate, reviewer: Reviewer) -> None:
    """What waits for its review has wasted nothing yet."""
    reviewer.go_on.clear()
    there = threading.Semaphore(0)
    came: list[Response] = []

    def reply(response: Response) -> None:
        came.append(response)
        there.release()

    for number in range(MOST_WAITING):
        token = b"good %d" % number
        reviewer.verdicts[token] = TokenVerdict(ALLOWED)
        gate.before("verify", let_in)(HttpRequest("/verify", {}, "c", token=SecretBytes(token)), reply)
    reviewer.go_on.set()
    for _ in range(MOST_WAITING):
        assert there.acquire(timeout=LONG)
    assert came == [TOLD] * MOST_WAITING


def test_a_flood_that_waits_is_not_reviewed_either(gate: Gate, reviewer: Reviewer) -> None:
    """Of bad tokens that came all at once, only so many are asked about as if they had come one after the other."""
    reviewer.go_on.clear()
    there = threading.Semaphore(0)
    came: list[int] = []

    def reply(response: Response) -> None:
        came.append(response[0])
        there.release()

    for number in range(MOST_WAITING):
        gate.before("verify", let_in)(HttpRequest("/verify", {}, "c", token=SecretBytes(b"bad %d" % number)), reply)
    reviewer.go_on.set()
    for _ in range(MOST_WAITING):
        assert there.acquire(timeout=LONG)
    assert (came.count(401), came.count(429)) == (5, MOST_WAITING - 5)


def test_without_the_api_server_nobody_is_let_in_and_nothing_is_kept(gate: Gate, reviewer: Reviewer) -> None:
    """503; when it is back, the same token is good. Root of the node needs none by the local socket."""
    reviewer.away = True
    code, _, body = ask(gate, b"good")
    assert (code, b"cannot be asked about your token: no answer" in body) == (503, True)
    assert ask(gate, None, local=True) == TOLD
    reviewer.away = False
    assert status(gate, b"good") == 200


def test_while_the_api_server_is_slow_few_wait_and_known_tokens_pass(gate: Gate, reviewer: Reviewer) -> None:
    """Beyond a fixed number requests are sent away at once; what is known already needs no review."""
    assert status(gate, b"good") == 200
    assert reviewer.began.acquire(timeout=LONG)
    reviewer.go_on.clear()
    came: list[Response] = []
    for number in range(MOST_WAITING + 2):
        gate.before("plan", let_in)(HttpRequest("/plan", {}, "c", token=SecretBytes(b"slow %d" % number)), came.append)
        if not number:
            assert reviewer.began.acquire(timeout=LONG)
    assert [code for code, _, _ in came] == [503]
    reviewer.now = 1.0
    assert status(gate, b"good") == 200


def test_many_requests_with_one_token_are_one_review(gate: Gate, reviewer: Reviewer) -> None:
    """Those that come while it is under way wait for it."""
    reviewer.go_on.clear()
    came: list[Response] = []
    there = threading.Semaphore(0)

    def reply(response: Response) -> None:
        came.append(response)
        there.release()

    for _ in range(4):
        gate.before("verify", let_in)(HttpRequest("/verify", {}, "c", token=SecretBytes(b"good")), reply)
    reviewer.go_on.set()
    for _ in range(4):
        assert there.acquire(timeout=LONG)
    assert (came, len(reviewer.asked)) == ([TOLD] * 4, 1)
