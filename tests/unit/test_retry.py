"""Trying again: only what was asked for, within the caps, with jitter; and back-off that waits for nobody."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wirecrypt
from wirecrypt.retry import Backoff, Delays, RetryLimits, retry

CHANCES = st.floats(0, 1, exclude_max=True)
DELAYS = st.builds(Delays, first=st.floats(0.01, 10), most=st.floats(10, 1000), jitter=st.floats(0, 1))


class Flaky:
    """Fails with each of the given errors in turn, then gives "done"."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        """Fail or succeed once."""
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def test_an_expected_error_is_tried_again() -> None:
    """The result of the first success is returned, after a wait for each error on the way."""
    flaky, waits = Flaky(OSError("a"), OSError("b")), list[float]()
    assert retry(on=OSError, sleep=waits.append)(flaky)() == "done"
    assert (flaky.calls, len(waits)) == (3, 2)


def test_no_wait_is_shorter_than_the_error_asks_for() -> None:
    """What a server asks for is waited; what goes beyond the caps is not, and its error comes out."""
    flaky, waits = Flaky(OSError(3), OSError(0)), list[float]()
    asked = lambda error: float(error.args[0])  # noqa: E731 - the errors say it
    assert retry(on=OSError, sleep=waits.append, asked=asked)(flaky)() == "done"
    assert waits[0] == 3.0 > waits[1] > 0
    with pytest.raises(OSError, match="60"):
        retry(on=OSError, limits=RetryLimits(seconds=30), sleep=waits.append, asked=asked)(Flaky(OSError(60)))()
    assert len(waits) == 2


def test_another_error_is_not_tried_again() -> None:
    """What is not in `on` comes out at once."""
    flaky, waits = Flaky(ValueError("no")), list[float]()
    with pytest.raises(ValueError, match="no"):
        retry(on=OSError, sleep=waits.append)(flaky)()
    assert (flaky.calls, waits) == (1, [])


def test_what_to_retry_on_must_be_said() -> None:
    """There is no default for `on`."""
    with pytest.raises(TypeError, match="'on'"):
        retry()  # type: ignore[call-arg]


def test_the_last_error_itself_comes_out_after_the_attempts() -> None:
    """After the cap the caller sees its own kind of error, not one of the library."""
    flaky = Flaky(*[OSError(str(n)) for n in range(9)])
    with pytest.raises(OSError, match="2"):
        retry(on=OSError, limits=RetryLimits(attempts=3), sleep=lambda _seconds: None)(flaky)()
    assert flaky.calls == 3


def test_no_wait_reaches_beyond_the_seconds() -> None:
    """A try that could only begin after the cap is not waited for."""
    flaky, waits = Flaky(*[OSError("x")] * 9), list[float]()
    limits = RetryLimits(attempts=9, seconds=5.0, delays=Delays(first=6.0, most=6.0, jitter=0))
    with pytest.raises(OSError, match="x"):
        retry(on=OSError, limits=limits, sleep=waits.append)(flaky)()
    assert (flaky.calls, waits) == (1, [])


def test_waits_differ_by_default() -> None:
    """Jitter is on: of many first waits not all are equal, so that agents do not come back at the same moment."""
    waits: list[float] = []
    for _ in range(20):
        retry(on=OSError, sleep=waits.append)(Flaky(OSError("x")))()
    assert len(set(waits)) > 1


@given(delays=DELAYS, failures=st.integers(0, 10_000), chance=CHANCES)
def test_a_delay_is_capped_and_never_negative(delays: Delays, failures: int, chance: float) -> None:
    """However many failures: between the jittered part and the cap."""
    delay = delays.after(failures, lambda: chance)
    full = delays.after(failures, lambda: 0.0)
    assert 0 <= delay <= full <= delays.most
    assert delay >= full * (1 - delays.jitter)


@given(delays=DELAYS, failures=st.integers(1, 100))
def test_delays_grow(delays: Delays, failures: int) -> None:
    """Without chance, one more failure never shortens the delay, and the first delay is `first`."""
    assert delays.after(failures, lambda: 0.0) <= delays.after(failures + 1, lambda: 0.0)
    assert delays.after(1, lambda: 0.0) == min(delays.first, delays.most)


def test_delays_double() -> None:
    """The documented defaults: half a second, doubled, at most a minute; chance takes away up to half."""
    assert [Delays().after(n, lambda: 0.0) for n in (0, 1, 2, 3, 8, 9)] == [0.0, 0.5, 1.0, 2.0, 60.0, 60.0]
    assert Delays().after(3, lambda: 0.5) == 1.5


def test_each_object_has_its_own_back_off() -> None:
    """A failing object is not due for a while, another one is; a success forgets the failures."""
    bad, good = Backoff(), Backoff()
    bad = bad.failed(100.0, lambda: 0.0).failed(200.0, lambda: 0.0)
    assert (bad.failures, bad.not_before) == (2, 201.0)
    assert [bad.due(200.9), bad.due(201.0), good.due(0.0)] == [False, True, True]
    assert bad.succeeded() == Backoff()


def test_tenacity_is_imported_in_one_place() -> None:
    """Every other module takes `retry`, where what is retried must be said."""
    importing = set()
    for path in Path(wirecrypt.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == "tenacity" for name in names):
                importing.add(path.name)
    assert importing == {"retry.py"}
