"""rotate: ask, queue, follow, abort."""

import json
from dataclasses import replace

import pytest

from tests.unit.cli.conftest import Line
from tests.unit.cli.fake_cli_client import encrypted, forbid, rotation, status
from wirecrypt.cluster.answer import ServerError, Throttled
from wirecrypt.errors import ClusterError, Unreachable
from wirecrypt.model.conditions import Condition
from wirecrypt.model.objects import Phase


def move(line: Line, name: str, phase: Phase, **more: object) -> None:
    """Let the controller move a rotation."""
    why = Condition("Complete", phase is Phase.COMPLETE, phase.value, f"it is {phase.value.lower()}")
    line.client.turns[name] = replace(line.client.turns[name], phase=phase, conditions=(why,), **more)


def test_rotate_creates_a_rotation(wirecrypt: Line) -> None:
    """The object is created with its reason, and named."""
    done = wirecrypt("rotate --reason audit")
    assert (done.exit_code, done.stdout) == (0, "keyrotation/manual-0 created\n")
    assert wirecrypt.client.turns["manual-0"].reason == "audit"


def test_a_running_one_queues_the_next(wirecrypt: Line) -> None:
    """While one is running the object is made all the same, and it is said that it waits."""
    wirecrypt.client.turns = {"x": rotation("x", Phase.SWITCHING, nodes_total=3, nodes_done=1)}
    done = wirecrypt("rotate")
    assert done.exit_code == 0
    assert "queued: x is running (Switching, 1 of 3 nodes done)" in done.stdout
    assert "manual-1" in wirecrypt.client.turns


def test_wait_shows_progress_until_complete(wirecrypt: Line) -> None:
    """Phases, counts and laggards with their reasons come on standard error; the object on standard output."""
    wirecrypt.client.objects = {"c": encrypted("c", made=status(ready=False, message="c: no answer"))}

    def later(seconds: float) -> None:
        if seconds >= 3:
            move(wirecrypt, "manual-0", Phase.COMPLETE, nodes_total=3, nodes_done=3, to_epoch=2, from_epoch=1)
        elif seconds >= 1:
            move(wirecrypt, "manual-0", Phase.SWITCHING, nodes_total=3, nodes_done=1, laggards=("c",), to_epoch=2, from_epoch=1)

    wirecrypt.slept = later
    done = wirecrypt("rotate --wait -o json")
    assert done.exit_code == 0
    assert 3 <= wirecrypt.passed < 3.4
    assert json.loads(done.stdout)["phase"] == "Complete"
    assert done.stderr.splitlines() == [
        "keyrotation/manual-0 created",
        "manual-0: New, 0 of 0 nodes done; the controller has not taken it up yet",
        "manual-0: Switching, epoch 1 to 2, 1 of 3 nodes done; it is switching",
        "  laggard c: PeersFailing: c: no answer",
        "manual-0: Complete, epoch 1 to 2, 3 of 3 nodes done; it is complete",
    ]


def test_an_aborted_rotation_is_no_success(wirecrypt: Line) -> None:
    """Somebody else aborted it: exit 1, and why."""
    wirecrypt.slept = lambda _: move(wirecrypt, "manual-0", Phase.ABORTED)
    done = wirecrypt("rotate --wait")
    assert (done.exit_code, "it is Aborted" in done.stderr) == (1, True)


def test_a_deleted_rotation_is_no_success(wirecrypt: Line) -> None:
    """Somebody deleted the object: exit 1, and that."""
    wirecrypt.slept = lambda _: wirecrypt.client.turns.clear()
    done = wirecrypt("rotate --wait")
    assert (done.exit_code, "deleted before it was finished" in done.stderr) == (1, True)


def test_ctrl_c_leaves_the_rotation_running(wirecrypt: Line) -> None:
    """An interrupt ends the showing alone: exit 130, it says that the rotation goes on, nothing is aborted."""

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    wirecrypt.slept = interrupt
    done = wirecrypt("rotate --wait")
    assert done.exit_code == 130
    assert "interrupted: manual-0 goes on" in done.stderr
    assert wirecrypt.client.writes == ["rotation manual-0"]


def test_the_time_is_over(wirecrypt: Line) -> None:
    """--timeout: exit 3, the rotation goes on."""
    done = wirecrypt("rotate --wait --timeout 5s")
    assert (done.exit_code, wirecrypt.passed) == (3, 5)
    assert "manual-0 goes on" in done.stderr


def test_a_silent_api_server_is_waited_out(wirecrypt: Line) -> None:
    """While the API server does not answer the wait goes on and says so."""

    def silent() -> None:
        if 1 <= wirecrypt.passed < 3:
            raise Unreachable("GET", answer="connection refused")

    def later(seconds: float) -> None:
        if seconds == 3:
            move(wirecrypt, "manual-0", Phase.COMPLETE)

    wirecrypt.client.before_read, wirecrypt.slept = silent, later
    done = wirecrypt("rotate --wait")
    assert done.exit_code == 0
    assert "does not answer, trying on: connection refused" in done.stderr


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ServerError("GET", answer="504 Gateway Timeout"), "cannot answer now, trying on: 504"),
        (Throttled("GET", answer="429 TooManyRequests", after=3.0), "cannot answer now, trying on: 429"),
    ],
)
@pytest.mark.parametrize("ends", [True, False])
def test_an_unwell_api_server_is_waited_out(wirecrypt: Line, error: ClusterError, words: str, *, ends: bool) -> None:
    """A 5xx, and 429 for as long as the server asks, end no wait; the command's own time does: exit 3."""

    def unwell() -> None:
        if wirecrypt.passed < 6 or not ends:
            raise error

    def later(seconds: float) -> None:
        if ends and seconds == 6:
            move(wirecrypt, "manual-0", Phase.COMPLETE)

    wirecrypt.client.before_read, wirecrypt.slept = unwell, later
    done = wirecrypt("rotate --wait --timeout 10s")
    assert (done.exit_code, wirecrypt.passed) == ((0, 6) if ends else (3, 10))
    assert words in done.stderr


def test_abort_the_running_one(wirecrypt: Line) -> None:
    """spec.abort is set on the rotation that is running, not on one that waits."""
    wirecrypt.client.turns = {"x": rotation("x", Phase.DISTRIBUTING), "y": rotation("y", Phase.PENDING)}
    done = wirecrypt("rotate --abort")
    assert (done.exit_code, wirecrypt.client.writes) == (0, ["abort x"])


@pytest.mark.parametrize("line", ["rotate --abort y", "rotate --abort y --wait", "rotate --abort=y"])
def test_abort_one_by_name(wirecrypt: Line, line: str) -> None:
    """One that waits is taken back by its name; the one that is running goes on."""
    wirecrypt.client.turns = {"x": rotation("x", Phase.DISTRIBUTING), "y": rotation("y", Phase.PENDING)}
    wirecrypt.slept = lambda _: move(wirecrypt, "y", Phase.ABORTED)
    done = wirecrypt(line)
    assert (done.exit_code, wirecrypt.client.writes) == (0, ["abort y"])


@pytest.mark.parametrize("name", ["z", "done"])
def test_abort_one_that_is_not_there_or_is_finished(wirecrypt: Line, name: str) -> None:
    """It is named, and nothing else is aborted instead: exit 1."""
    wirecrypt.client.turns = {"x": rotation("x", Phase.DISTRIBUTING), "done": rotation("done", Phase.COMPLETE)}
    done = wirecrypt(f"rotate --abort {name}")
    assert (done.exit_code, f"called {name}" in done.stderr, wirecrypt.client.writes) == (1, True, [])


def test_abort_and_wait(wirecrypt: Line) -> None:
    """With --wait it returns when the rotation is aborted."""
    wirecrypt.client.turns = {"x": rotation("x", Phase.DISTRIBUTING)}
    wirecrypt.slept = lambda _: move(wirecrypt, "x", Phase.ABORTED)
    assert wirecrypt("rotate --abort --wait").exit_code == 0


def test_abort_too_late_is_refused(wirecrypt: Line) -> None:
    """The API server's refusal is told with the object, its reason and the next step."""
    wirecrypt.client.turns = {"x": rotation("x", Phase.SWITCHING)}
    done = wirecrypt("rotate --abort")
    assert (done.exit_code, wirecrypt.client.writes) == (1, [])
    assert done.stderr == "error: abort the rotation (KeyRotation x): 422 Invalid too late to abort. Next: let it finish\n"


def test_nothing_to_abort(wirecrypt: Line) -> None:
    """Without a running rotation there is nothing to abort: exit 1."""
    wirecrypt.client.turns = {"x": rotation("x", Phase.COMPLETE)}
    done = wirecrypt("rotate --abort")
    assert (done.exit_code, "none is running" in done.stderr) == (1, True)


def test_forbidden(wirecrypt: Line) -> None:
    """Without the right to create a rotation none is made: exit 1."""
    wirecrypt.client.refuse = forbid("rotation")
    done = wirecrypt("rotate")
    assert (done.exit_code, wirecrypt.client.writes) == (1, [])


@pytest.mark.parametrize("length", [257])
def test_a_long_reason_is_refused(wirecrypt: Line, length: int) -> None:
    """What the kind would refuse is refused before: exit 2."""
    assert wirecrypt(f"rotate --reason {'x' * length}").exit_code == 2
    assert wirecrypt.client.writes == []


def test_a_node_is_named_that_the_running_rotation_goes_on_without(wirecrypt: Line) -> None:
    """It is noted on the rotation that has begun, and the answer says whether the node holds it up at all."""
    running = replace(rotation("x", Phase.RETIRING), to_epoch=2, laggards=("b",))
    wirecrypt.client.turns = {"x": running, "y": rotation("y", Phase.PENDING)}
    wirecrypt.client.objects = {name: encrypted(name) for name in "ab"}
    done = wirecrypt("rotate --without b --without a")
    assert (done.exit_code, wirecrypt.client.writes) == (0, ["exclude a,b from x"])
    assert "(b holds it up now)" in done.output
    assert "(a does not hold it up now" in done.output


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("rotate --without z", 2, "no node is encrypted under this name"),
        ("rotate --without b --abort", 2, "say one of them"),
    ],
)
def test_a_node_that_is_not_there_is_refused(wirecrypt: Line, line: str, code: int, words: str) -> None:
    """Before anything is written."""
    wirecrypt.client.turns = {"x": replace(rotation("x", Phase.RETIRING), to_epoch=2)}
    wirecrypt.client.objects = {"b": encrypted("b")}
    done = wirecrypt(line)
    assert (done.exit_code, words in done.stderr, wirecrypt.client.writes) == (code, True, [])


def test_without_a_rotation_nothing_goes_on_without_a_node(wirecrypt: Line) -> None:
    """One that only waits is none: nobody knows yet who will hold it up."""
    wirecrypt.client.turns = {"y": replace(rotation("y", Phase.PENDING), to_epoch=0)}
    done = wirecrypt("rotate --without b")
    assert (done.exit_code, "no rotation is running" in done.stderr, wirecrypt.client.writes) == (1, True, [])
