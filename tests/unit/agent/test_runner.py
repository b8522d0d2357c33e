"""The loop waits for what a pass has to look at, and for nothing that the last pass did itself."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from wirecrypt.agent.runner import Runner
from wirecrypt.errors import StateError, WirecryptError
from wirecrypt.model.xfrm import SaKey

DEADLINE = 60.0  # seconds


class Channel:
    """A control channel: a pipe of words, of which one is read at a time."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe2(os.O_NONBLOCK)

    def files(self) -> list[int]:
        """Return the end that is read."""
        return [self.reader]

    def say(self, words: bytes) -> None:
        """Have words of a byte each arrive."""
        os.write(self.writer, words)

    def waiting(self) -> bool:
        """Return whether there are words that nobody has read."""
        return bool(select.select([self.reader], [], [], 0)[0])

    def close(self) -> None:
        """Close both ends."""
        os.close(self.reader)
        os.close(self.writer)


@dataclass
class Loop:
    """An agent, its watcher and the kernel's events in memory; every pass says that it wants none soon."""

    passes: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    told: list[str] = field(default_factory=list)
    news: list[str] = field(default_factory=list)
    channel: Channel = field(default_factory=Channel)
    heard: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def __post_init__(self) -> None:
        self.reader, self.writer = os.pipe2(os.O_NONBLOCK)
        self.tends_at = float("inf")
        self.tended, self.alive = threading.Semaphore(0), threading.Semaphore(0)
        self.looks, self.failures = threading.Semaphore(0), threading.Semaphore(0)
        self.rest = 0.0

    def happen(self, what: str) -> None:
        """Have the kernel tell something."""
        self.news.append(what)
        os.write(self.writer, b"x")

    def step(self, now: float) -> float:
        """Be a pass, one that fails where that is asked for."""
        self.passes.release()
        if "failing" in self.told:
            raise StateError("write the state file", answer="No space left on device", hint="make room")
        return now + 3600

    @property
    def tending_due(self) -> float:
        """Return when there is something to do between two passes: when the test says so."""
        return self.tends_at

    def tend(self, now: float) -> bool:
        """Be what is done between two passes; b"probe" in the news calls for one."""
        self.tends_at = now + 3600
        self.tended.release()
        if "refused" in self.told:
            raise StateError("probe", answer="No buffer space available", hint="wait")
        return "silence" in self.told

    def hear(self, _now: float) -> bool:
        """Read one word; b"!" calls for a pass."""
        word = os.read(self.channel.reader, 1)
        self.heard.release()
        return word == b"!"

    def failed(self, error: WirecryptError, _now: float) -> None:
        """Take note of a pass that failed."""
        self.told.append(str(error))
        self.failures.release()

    def start(self, wake: Callable[[], None]) -> None:
        """Watch nothing, and know how to tell of what others wrote."""
        self.wake = wake

    def stop(self) -> None:
        """Watch nothing any more."""

    def files(self) -> list[int]:
        """Return the descriptor of the kernel's events."""
        return [self.reader]

    def expired(self, keys: list[SaKey] | None = None) -> list[SaKey]:
        """Tell of no expired state, and take it in."""
        return keys or []

    def links_changed(self) -> bool:
        """Tell of links."""
        return "links" in self.news

    def touched(self) -> bool:
        """Tell of IPsec objects; it is the last question, so all is told then."""
        found = "touched" in self.news
        with contextlib.suppress(BlockingIOError):
            os.read(self.reader, 4096)
        self.news.clear()
        self.looks.release()
        return found


@pytest.fixture
def loop() -> Iterator[Loop]:
    """Run a loop until the test ends, its first pass done."""
    made = Loop()
    runner = Runner(made, made, made, made.channel)  # type: ignore[arg-type]  # only what the loop asks for
    runner.alive = made.alive.release  # type: ignore[assignment]  # how often does not matter
    thread = threading.Thread(target=runner.run)
    thread.start()
    assert made.passes.acquire(timeout=DEADLINE)
    yield made
    runner.stop()
    thread.join(DEADLINE)
    assert not thread.is_alive()


@pytest.mark.parametrize("what", ["touched", "links"])
def test_what_others_did_is_looked_at_at_once(loop: Loop, what: str) -> None:
    """A flush of the SAs by somebody, or a link that changed: the next pass does not wait for its time."""
    loop.happen(what)
    assert loop.passes.acquire(timeout=DEADLINE)


def test_what_the_pass_did_itself_is_no_reason_to_look_again(loop: Loop) -> None:
    """It is read, and the loop waits on; what somebody else does then is looked at."""
    loop.happen("own")
    assert loop.looks.acquire(timeout=DEADLINE)
    assert not loop.passes.acquire(blocking=False)
    loop.happen("touched")
    assert loop.passes.acquire(timeout=DEADLINE)


def test_a_datagram_that_teaches_nothing_calls_for_no_pass(loop: Loop) -> None:
    """A hundred of them are taken in, and the loop waits on; one that teaches something has its pass at once."""
    loop.channel.say(b"." * 100)
    for _ in range(100):
        assert loop.heard.acquire(timeout=DEADLINE)
    assert not loop.passes.acquire(blocking=False)
    loop.channel.say(b"!")
    assert loop.passes.acquire(timeout=DEADLINE)


def test_what_needs_no_pass_is_done_between_two(loop: Loop) -> None:
    """And the loop says that it comes round."""
    loop.tends_at = 0.0
    loop.channel.say(b".")
    assert loop.tended.acquire(timeout=DEADLINE)
    assert loop.alive.acquire(timeout=DEADLINE)
    assert not loop.passes.acquire(blocking=False)


@pytest.mark.parametrize("what", ["silence", "refused"])
def test_what_was_done_between_two_passes_may_call_for_one(loop: Loop, what: str) -> None:
    """A peer that does not answer, or an error: a pass finds out more."""
    loop.told.append(what)
    loop.tends_at = 0.0
    loop.channel.say(b".")
    assert loop.passes.acquire(timeout=DEADLINE)


@pytest.mark.parametrize("tells", ["an object", "a peer"])
def test_what_others_say_while_the_loop_rests_is_one_reason_to_look(loop: Loop, tells: str) -> None:
    """Of a hundred objects that changed, or peers that have something new, none has a pass of its own; all are heard."""
    loop.rest = 3600.0
    loop.happen("touched")
    assert loop.passes.acquire(timeout=DEADLINE)
    for _ in range(100):
        if tells == "a peer":
            loop.channel.say(b"!")
            assert loop.heard.acquire(timeout=DEADLINE)
        else:
            loop.wake()
            assert loop.looks.acquire(timeout=DEADLINE)
    assert not loop.passes.acquire(blocking=False)
    loop.rest = 0.0
    loop.happen("touched")
    assert loop.passes.acquire(timeout=DEADLINE), "what happened to the own kernel waits for no rest"
    loop.wake()
    assert loop.passes.acquire(timeout=DEADLINE)


def test_what_others_did_is_looked_at_amid_a_flood_of_datagrams(loop: Loop) -> None:
    """Datagrams are read in parts: between them the loop hears what else there is."""
    loop.channel.say(b"." * 60_000)
    assert loop.heard.acquire(timeout=DEADLINE)
    loop.happen("touched")
    assert loop.passes.acquire(timeout=DEADLINE)
    assert loop.channel.waiting()


def test_a_pass_that_failed_is_handed_on_and_tried_again(loop: Loop) -> None:
    """The loop goes on; who is asked how the node is hears of it."""
    loop.told.append("failing")
    loop.happen("touched")
    assert loop.failures.acquire(timeout=DEADLINE)
    assert "No space left" in loop.told[-1]
    loop.told.remove("failing")
    assert loop.passes.acquire(timeout=DEADLINE)
    assert loop.passes.acquire(timeout=DEADLINE)
