"""Without a configuration that was ever read nothing is decided; one that goes away stays in force."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.unit.agent.cloud import Cloud, active
from tests.unit.agent.inmemory import CONFIG
from wirecrypt.model.objects import NodeState

BAD = "lanes: many\n"


def labelled(folder: Path) -> Cloud:
    """Return two nodes that were just labelled, without a configuration."""
    cloud = Cloud(folder)
    for number, name in enumerate(("a", "b"), 16):
        cloud.add(name, number)
        cloud.label(name)
    cloud.api.document = None
    return cloud


@pytest.mark.parametrize(("text", "reason"), [("", "ConfigMissing"), (BAD, "ConfigInvalid")])
def test_nothing_is_done_before_a_configuration_was_read(tmp_path: Path, text: str, reason: str) -> None:
    """No write to the kernel, no session; the reason is logged and reported once, and a good document starts the work."""
    cloud = labelled(tmp_path)
    if text:
        cloud.api.configure(text)
    with capture_logs() as said:
        cloud.run(70)
    a = cloud.machines["a"]
    assert (a.journal, a.store.kept, a.channel.open) == ([], None, False)
    assert sorted(cloud.api.writes) == ["status a", "status b"]
    assert cloud.api.ready("a") == (False, reason)
    assert len([entry for entry in said if entry["log_level"] == "error"]) == 2  # one a node
    cloud.api.configure(CONFIG)
    cloud.run(8)
    cloud.state(NodeState.ACTIVE, "a", "b")
    cloud.run(2)
    assert cloud.api.ready("a") == (True, "AllPeersProtected")


def test_a_reason_that_could_not_be_reported_is_reported_later(tmp_path: Path) -> None:
    """An API server that did not answer hears it when it answers again."""
    cloud = labelled(tmp_path)
    cloud.api.down = True
    cloud.run(1)
    cloud.api.down = False
    cloud.run(6)
    assert cloud.api.ready("a") == (False, "ConfigMissing")


@pytest.mark.L1
@pytest.mark.parametrize("text", ["", BAD])
def test_an_agent_that_starts_without_a_configuration_keeps_what_is_there(tmp_path: Path, text: str) -> None:
    """What an earlier agent encrypted stays encrypted, with the lanes, marks and ranges of then."""
    cloud = active(tmp_path, "a", "b")
    a = cloud.machines["a"]
    before = dict(a.kernel.policies), dict(a.kernel.sas), dict(a.filters.table), a.filters.settings
    cloud.api.document = None
    if text:
        cloud.api.configure(text)
    a.start()
    cloud.run(20, "a")
    assert (a.kernel.policies, a.kernel.sas, a.filters.table, a.filters.settings) == before


@pytest.mark.L1
def test_a_configuration_that_disappears_stays_in_force(tmp_path: Path) -> None:
    """The agent goes on with it, mends the kernel by it, and reports ConfigMissing until it is back."""
    cloud = active(tmp_path, "a", "b")
    a = cloud.machines["a"]
    before = dict(a.kernel.policies), dict(a.filters.table), a.filters.settings
    cloud.api.document = None
    a.kernel.policies = {}
    cloud.run(10)
    assert (a.kernel.policies, a.filters.table, a.filters.settings) == before
    assert cloud.api.ready("a") == (False, "ConfigMissing")
    cloud.api.configure(CONFIG)
    cloud.run(1)
    assert cloud.api.ready("a") == (True, "AllPeersProtected")


def test_a_node_without_label_stays_idle_without_a_configuration(tmp_path: Path) -> None:
    """It asks for nothing, writes nothing and reports nothing."""
    cloud = Cloud(tmp_path)
    machine = cloud.add("a", 16)
    cloud.api.document = None
    cloud.run(5)
    assert (machine.journal, cloud.api.writes, machine.channel.open) == ([], [], False)
