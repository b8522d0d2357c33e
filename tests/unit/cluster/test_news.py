"""What an agent hears of, and what is no news to it."""

from __future__ import annotations

from typing import Any, cast

from wirecrypt.cluster.api import Api
from wirecrypt.cluster.informers import ControllerInformers, Informers
from wirecrypt.model.objects import Phase


def rotation(version: int, phase: str, done: int) -> dict[str, Any]:
    """Return the event of a rotation of a hundred nodes, *done* of which have come along."""
    condition = {"type": "Complete", "status": "False", "reason": phase, "message": f"{done} of 100"}
    meta = {"name": "r", "uid": "u", "resourceVersion": str(version), "creationTimestamp": "2030-01-01T00:00:00Z"}
    status = {"phase": phase, "fromEpoch": 1, "toEpoch": 2, "toEpochID": "ab" * 16, "nodesTotal": 100, "nodesDone": done}
    changed = {**condition, "lastTransitionTime": "2030-01-01T00:00:00Z"}
    return {
        "type": "MODIFIED",
        "object": {"metadata": meta, "spec": {"reason": "x"}, "status": {**status, "conditions": [changed]}},
    }


def heard(informers: Informers) -> list[int]:
    """Return which of a hundred nodes' progress, and then of a phase, was news."""
    news: list[int] = []
    for done in range(100):
        informers._rotations._take(rotation(done + 1, "Switching", done), lambda done=done: news.append(done))  # type: ignore[misc]  # noqa: SLF001
    informers._rotations._take(rotation(101, "Retiring", 0), lambda: news.append(100))  # noqa: SLF001 - as the stream does
    return news


def test_how_far_a_rotation_is_calls_for_no_pass_of_an_agent() -> None:
    """It is the controller's and people's: with as many nodes as write, each agent would look as often at all of its pairs."""
    informers = Informers(Api(cast("Any", None)))
    assert heard(informers) == [0, 100]
    assert [(r.phase, r.from_epoch, r.to_epoch, r.to_epoch_id) for r in informers.rotations()] == [
        (Phase.RETIRING, 1, 2, "ab" * 16)
    ]


def test_a_controller_sees_how_far_a_rotation_is() -> None:
    """It writes that itself, and compares."""
    assert heard(ControllerInformers(Api(cast("Any", None)))) == list(range(101))
