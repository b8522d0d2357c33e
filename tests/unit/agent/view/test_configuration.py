"""Without a configuration that was ever read nothing is decided; one that goes away stays in force."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.unit.agent.cloud import CONFIG, Cloud, active
from wirecrypt.agent.view.configuration import Configuration, session_params, suitable_lanes
from wirecrypt.agent.view.range_trial import PROVED_SECONDS
from wirecrypt.model.guard import GuardAction
from wirecrypt.model.objects import ConfigDocument, NodeState
from wirecrypt.model.xfrm import Algorithm
from wirecrypt.settings import Settings

BAD = "lanes: many\n"
NARROW, WIDE = "clusterCIDRs: [10.0.0.0/16]\n", "clusterCIDRs: [10.0.0.0/8]\nlanes: 2\n"


def labelled(folder: Path) -> Cloud:
    """Return two nodes that were just labelled, without a configuration."""
    cloud = Cloud(folder)
    for number, name in enumerate(("a", "b"), 16):
        cloud.add(name, number)
        cloud.label(name)
    cloud.api.config = None
    return cloud


def test_a_version_that_comes_again_with_other_data_is_another_document() -> None:
    """Versions count from the backup on after a restore: one that was read before says nothing of what is in it now."""
    config = Configuration()
    for lanes in (1, 2):
        config.read(ConfigDocument({"config.yaml": f"lanes: {lanes}"}, "50"))
        assert config.settings is not None
        assert config.settings.lanes == lanes


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
    assert sorted(cloud.writes) == ["status a", "status b"]
    assert cloud.ready("a") == (False, reason)
    assert len([entry for entry in said if entry["log_level"] == "error"]) == 2  # one a node
    cloud.api.configure(CONFIG)
    cloud.run(8)
    cloud.state(NodeState.ACTIVE, "a", "b")
    cloud.run(2)
    assert cloud.ready("a") == (True, "AllPeersProtected")


def test_a_reason_that_could_not_be_reported_is_reported_later(tmp_path: Path) -> None:
    """An API server that did not answer hears it when it answers again."""
    cloud = labelled(tmp_path)
    cloud.api.down = True
    cloud.run(1)
    cloud.api.down = False
    cloud.run(6)
    assert cloud.ready("a") == (False, "ConfigMissing")


@pytest.mark.L1
@pytest.mark.parametrize("text", ["", BAD])
def test_an_agent_that_starts_without_a_configuration_keeps_what_is_there(tmp_path: Path, text: str) -> None:
    """What an earlier agent encrypted stays encrypted, with the lanes, marks and ranges of then."""
    cloud = active(tmp_path, "a", "b")
    a = cloud.machines["a"]
    before = dict(a.kernel.policies), dict(a.kernel.sas), dict(a.filters.table), a.filters.settings
    cloud.api.config = None
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
    cloud.api.config = None
    a.kernel.policies = {}
    cloud.run(10)
    assert (a.kernel.policies, a.filters.table, a.filters.settings) == before
    assert cloud.ready("a") == (False, "ConfigMissing")
    cloud.api.configure(CONFIG)
    cloud.run(1)
    assert cloud.ready("a") == (True, "AllPeersProtected")


def test_a_node_without_label_stays_idle_without_a_configuration(tmp_path: Path) -> None:
    """It asks for nothing, writes nothing and reports nothing."""
    cloud = Cloud(tmp_path)
    machine = cloud.add("a", 16)
    cloud.api.config = None
    cloud.run(5)
    assert (machine.journal, cloud.writes, machine.channel.open) == ([], [], False)


def test_a_node_that_new_ranges_cut_off_takes_them_out_of_its_guard(tmp_path: Path) -> None:
    """It goes on by the ranges before, and says so as soon as somebody hears it."""
    cloud = active(tmp_path, "a", "b")
    a = cloud.machines["a"]
    before = dict(a.filters.table)
    cloud.api.configure(WIDE)
    cloud.api.down = True
    cloud.run(10)
    assert a.filters.table[ip_network("10.0.0.0/8")].egress is GuardAction.UNKNOWN
    cloud.run(PROVED_SECONDS)
    assert a.filters.table == before
    cloud.api.down = False
    cloud.run(10)
    assert cloud.ready("a") == (False, "RangesTakenBack")
    cloud.api.configure(CONFIG)
    cloud.run(1)
    assert cloud.ready("a") == (True, "AllPeersProtected")


def silent(_: float) -> bool:
    """Answer nothing, as an API server behind a guard that drops."""
    return False


class Ruled:
    """A configuration, the documents it is given, and passes five seconds apart."""

    def __init__(self, text: str) -> None:
        self.config = Configuration()
        self.now, self.version = 1000.0, 0
        self.write(text)

    def write(self, text: str | None) -> None:
        """Have a new version of the document, or none."""
        self.version += 1
        self.config.read(None if text is None else ConfigDocument({"config.yaml": text}, str(self.version)))

    def passes(self, seconds: float, reached: Callable[[float], bool] = silent) -> None:
        """Let time go by, with an API server that answers as *reached* says."""
        for _ in range(int(seconds / 5)):
            self.now += 5.0
            self.config.prove(self.now, reached)

    def outcome(self) -> tuple[list[str], str | None]:
        """Return the ranges in force, and the reason of the trouble."""
        assert self.config.settings is not None
        return [str(p) for p in self.config.settings.cluster_cidrs], self.config.trouble[0] if self.config.trouble else None


BACK = ["10.0.0.0/16"], "RangesTakenBack"


def test_ranges_under_which_the_api_server_is_silent_go_back() -> None:
    """Only they: the rest of the document stays. It is said once, with both, the silence and the next step."""
    node = Ruled(NARROW)
    node.write(WIDE)
    with capture_logs() as said:
        node.passes(PROVED_SECONDS)
        assert node.outcome() == (["10.0.0.0/8"], None)
        node.passes(600)
    assert node.outcome() == BACK
    assert node.config.settings is not None
    assert node.config.settings.lanes == 2
    assert [(entry["log_level"], entry["reason"]) for entry in said] == [("error", "RangesTakenBack")]
    for words in (
        "10.0.0.0/8",
        "did not answer for 60 s",
        "in force again: 10.0.0.0/16",
        "Next: list its addresses in apiServers",
    ):
        assert words in said[0]["error"]


def test_ranges_under_which_the_api_server_answered_once_stay() -> None:
    """What passed once passes: a server that is away later is away for another reason."""
    node = Ruled(NARROW)
    node.write(WIDE)
    node.passes(30)
    node.passes(5, lambda _: True)
    node.passes(600)
    assert node.outcome() == (["10.0.0.0/8"], None)


def test_only_what_is_asked_after_the_ranges_were_written_counts() -> None:
    """The pass that writes them asks nothing, and an answer to an earlier question proves nothing."""
    node = Ruled(NARROW)
    node.write(WIDE)
    asked: list[float] = []

    def reached(since: float) -> bool:
        asked.append(since)
        return False

    node.passes(15, reached)
    assert asked == [1010.0, 1010.0]


@pytest.mark.parametrize("between", [None, BAD, WIDE])
def test_a_document_whose_ranges_went_back_is_not_tried_again(between: str | None) -> None:
    """Whatever version it has, and whether it was gone or bad meanwhile, until it says something else."""
    node = Ruled(NARROW)
    node.write(WIDE)
    node.passes(100)
    node.write(between)
    node.write(WIDE)
    assert node.outcome() == BACK
    node.passes(100, lambda _: True)
    assert node.outcome() == BACK


def test_another_document_is_taken_and_tried() -> None:
    """A corrected one ends the trouble; one with the same ranges that says something else as well is tried anew."""
    node = Ruled(NARROW)
    node.write(WIDE)
    node.passes(100)
    node.write(WIDE + "mode: permissive\n")
    assert node.outcome() == (["10.0.0.0/8"], None)
    node.passes(100)
    assert node.outcome() == BACK
    node.write("clusterCIDRs: [10.1.0.0/16]\n")
    node.passes(20, lambda _: True)
    node.passes(600)
    assert node.outcome() == (["10.1.0.0/16"], None)


def test_ranges_go_back_to_the_last_that_were_proved() -> None:
    """Two changes within the time of one do not make the first a place to go back to."""
    node = Ruled(NARROW)
    node.write(WIDE)
    node.passes(30)
    node.write("clusterCIDRs: [192.0.2.0/24]\n")
    node.passes(50)
    assert node.outcome() == (["192.0.2.0/24"], None)
    node.passes(20)
    assert node.outcome() == BACK


def test_a_change_of_something_else_makes_no_trial_and_ends_none() -> None:
    """The time of ranges on trial runs on."""
    node = Ruled(NARROW)
    node.write(NARROW + "lanes: 3\n")
    node.passes(600)
    assert node.outcome() == (["10.0.0.0/16"], None)
    node.write(WIDE)
    node.passes(50)
    node.write(WIDE + "mode: permissive\n")
    node.passes(20)
    assert node.outcome() == BACK


def test_the_first_document_is_not_on_trial() -> None:
    """Without ranges unknown addresses would pass, whenever an agent starts while the API server is away."""
    node = Ruled(WIDE)
    node.passes(600)
    assert node.outcome() == (["10.0.0.0/8"], None)


@pytest.mark.parametrize(
    ("processors", "peers", "expected"),
    [(1, 5, 1), (2, 5, 2), (6, 200, 4), (64, 200, 16), (64, 201, 4), (3, 1000, 2), (64, 1000, 4), (64, 1001, 2), (1, 5000, 1)],
)
def test_lanes_by_themselves_are_a_power_of_two_and_fewer_for_many_peers(processors: int, peers: int, expected: int) -> None:
    """As many as processors, where what they take of the kernel's memory allows it; what is configured goes before."""
    assert suitable_lanes(processors, peers) == expected
    assert session_params(replace(Settings(), lanes=3, algorithm=Algorithm.AES_256_GCM), peers).lanes == 3
