"""One thread a page: who waits for the same shares an answer, and nothing is computed twice at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import pairwise

import pytest

from wirecrypt.agent.serve.lane import MOST_WAITING, Lane
from wirecrypt.http_server import HttpRequest, Response

LONG = 60.0


class Work:
    """Work that waits for the test, and counts."""

    def __init__(self) -> None:
        self.began = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.done: list[Mapping[str, str]] = []

    def __call__(self, query: Mapping[str, str]) -> Response:
        """Wait, then answer with the number of the run."""
        self.began.release()
        assert self.go_on.acquire(timeout=LONG)
        self.done.append(query)
        if query.get("fails"):
            raise RuntimeError("a fault of ours")
        return 200, "text/plain", str(len(self.done)).encode()


class Asked:
    """Requests, and what came back."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.came: list[Response] = []
        self._all = threading.Condition()

    def ask(self, **query: str) -> None:
        """Ask."""
        self.lane.ask(HttpRequest("/x", query, "c"), self._reply)

    def answers(self, count: int) -> list[tuple[int, bytes]]:
        """Return the answers, once there are so many."""
        with self._all:
            assert self._all.wait_for(lambda: len(self.came) >= count, LONG)
            return [(status, body) for status, _, body in self.came]

    def _reply(self, response: Response) -> None:
        with self._all:
            self.came.append(response)
            self._all.notify()


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def asked(work: Work) -> Iterator[Asked]:
    """Yield requests to a lane."""
    with closing(Lane("x", work)) as lane:
        yield Asked(lane)
        work.go_on.release(100)


def test_those_who_come_during_a_run_share_the_next(work: Work, asked: Asked) -> None:
    """Each answer was begun after it was asked for; those with another query wait for a run of their own."""
    asked.ask()
    assert work.began.acquire(timeout=LONG)
    for query in ({}, {"a": "1"}, {}):
        asked.ask(**query)
    work.go_on.release(3)
    assert asked.answers(4) == [(200, b"1"), (200, b"2"), (200, b"2"), (200, b"3")]
    assert work.done == [{}, {}, {"a": "1"}]


def test_too_many_who_wait_are_sent_away(work: Work, asked: Asked) -> None:
    """At once, with words."""
    asked.ask()
    assert work.began.acquire(timeout=LONG)
    for _ in range(MOST_WAITING + 1):
        asked.ask()
    ((status, body),) = asked.answers(1)
    assert (status, b"wait already" in body) == (503, True)
    work.go_on.release(2)
    assert len(asked.answers(MOST_WAITING + 2)) == MOST_WAITING + 2


def test_a_fault_is_told_to_who_waits_and_ends_nothing(work: Work, asked: Asked) -> None:
    """500, and the next one is answered."""
    work.go_on.release(2)
    asked.ask(fails="yes")
    assert asked.answers(1)[0][0] == 500
    asked.ask()
    assert asked.answers(2)[1] == (200, b"2")


def test_between_two_runs_there_is_rest() -> None:
    """A page that may have a fifth of the time is not made again before four times as long as it took."""
    times: list[tuple[float, float]] = []

    def work(_query: Mapping[str, str]) -> Response:
        began = time.monotonic()
        while time.monotonic() < began + 0.02:
            pass
        times.append((began, time.monotonic()))
        return 200, "", b""

    with closing(Lane("x", work, share=0.2)) as lane:
        asked = Asked(lane)
        for number in range(3):
            asked.ask()
            asked.answers(number + 1)
    assert [after[0] - before[1] >= 0.08 for before, after in pairwise(times)] == [True, True]
