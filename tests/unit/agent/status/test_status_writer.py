"""How a status gets to the API server: with one request, unless others wrote meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.agent.cloud import Cloud, active
from wirecrypt.errors import Unreachable
from wirecrypt.model.objects import NodeState


class Requests:
    """The requests about its own EncryptedNode that the agent on node a makes."""

    def __init__(self, cloud: Cloud, patch: pytest.MonkeyPatch) -> None:
        self.made: list[str] = []
        self.unanswered = False  # the next write is done, and nobody hears of it
        api = cloud.machines["a"].api
        patch.setattr(api, "encrypted_node", self._counted("read", api.encrypted_node))
        patch.setattr(api, "write_node_status", self._counted("write", api.write_node_status))

    def taken(self) -> list[str]:
        """Return those since the last call."""
        made, self.made = self.made, []
        return made

    def _counted(self, what: str, does: Callable[..., object]) -> Callable[..., object]:
        def counted(*words: object) -> object:
            self.made.append(what)
            answer = does(*words)
            if what == "write" and self.unanswered:
                self.unanswered = False
                raise Unreachable("PATCH", answer="timed out", hint="wait")
            return answer

        return counted


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    """Return two Active nodes whose statuses were written a moment ago."""
    return active(tmp_path, "a", "b")


def change(cloud: Cloud) -> None:
    """Have the agents on both nodes say something else than before, and see that it stands there."""
    state = cloud.api.peers["b"].state
    cloud.state(NodeState.ACTIVE if state is NodeState.JOINING else NodeState.JOINING, "b")
    before = cloud.api.encrypted["a"].status
    cloud.run(3)
    assert cloud.api.encrypted["a"].status != before


def test_a_status_is_written_without_a_look_at_what_stands_there(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """The write before has answered with it."""
    requests = Requests(cloud, monkeypatch)
    for _ in range(3):
        change(cloud)
    assert set(requests.taken()) == {"write"}


def test_what_others_wrote_meanwhile_is_read_first(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the same pass: their part stays, and so does the status."""
    requests = Requests(cloud, monkeypatch)
    cloud.api.encrypted["a"] = replace(cloud.api.encrypted["a"], problems=("a word",), resource_version="another")
    change(cloud)
    assert requests.taken()[:3] == ["write", "read", "write"]
    assert cloud.api.encrypted["a"].problems == ("a word",)


def test_what_may_have_been_written_is_read_before_the_next_write(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request without an answer says nothing of what stands there."""
    requests = Requests(cloud, monkeypatch)
    requests.unanswered = True
    change(cloud)
    cloud.run(5)
    assert requests.taken()[:3] == ["write", "read", "write"]
