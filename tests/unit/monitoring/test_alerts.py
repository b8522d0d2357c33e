"""The alerts that are shipped: each fires when its trouble is there, for no other, and an orderly rotation is none."""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from tests.fakes.builders import RANGES, document, node
from tests.unit.controller.watched import Leader, WatchedServer, agents
from tests.unit.monitoring import series
from tests.unit.monitoring.promtool import MONITORING, check, groups, promtool, rule_file, rules
from tests.unit.monitoring.series import MINUTES, at, cluster, gone, growing, named, without
from wirecrypt.controller import Controller, ControllerEndpoints
from wirecrypt.kernel.bpf.reasons import REASONS
from wirecrypt.metrics import PEER_STATES, AgentMetrics, ControllerMetrics
from wirecrypt.model.admission import BY_CONTROLLER
from wirecrypt.model.objects import Phase

ROOT = MONITORING.parent
NAMES = sorted(rule["alert"] for rule in rules())


def fires(folder: Path, changed: dict[str, str], expected: dict[int, set[str]]) -> None:
    """Assert which alerts fire, by minute."""
    check(folder, changed, expected)


def test_prometheus_takes_the_rules(tmp_path: Path) -> None:
    """Expressions, durations and templates are what Prometheus accepts."""
    done = subprocess.run(
        [promtool(), "check", "rules", rule_file(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, f"{len(NAMES)} rules found" in done.stdout) == (0, True), done.stdout + done.stderr


def test_every_metric_and_every_value_of_a_label_exists() -> None:
    """A rule about a series that no program serves would never fire, and nobody would notice."""
    served = {s.name for m in (AgentMetrics(), ControllerMetrics()) for f in m.registry.collect() for s in f.samples}
    totals = {f"{f.name}_total" for m in (AgentMetrics(),) for f in m.registry.collect() if f.type == "counter"}
    text = " ".join(rule["expr"] for rule in rules())
    assert set(re.findall(r"\bwirecrypt_[a-z_]+", text)) <= served | totals
    values = {"state": PEER_STATES, "phase": [p.value for p in Phase], "reason": list(REASONS)}
    for label, pattern in re.findall(r'(\w+)=~"([^"]*)"', text):
        branches = pattern.split("|") if "(" not in pattern else [pattern]
        assert all(any(re.fullmatch(each, value) for value in values[label]) for each in branches), pattern


def test_every_drop_of_the_guard_is_one_that_the_rule_knows() -> None:
    """Whatever is named as a drop, now or later, is matched; what passes is not."""
    (pattern,) = re.findall(r'reason=~"([^"]*)"', " ".join(rule["expr"] for rule in rules()))
    drops = {name for name in REASONS if name.startswith(("egress_", "ingress_"))}
    assert {name for name in REASONS if re.fullmatch(pattern, name)} == drops


def test_the_rules_go_by_jobs_that_the_monitors_make() -> None:
    """Each job that a rule names is set by a PodMonitor, on a port that the pods have."""
    monitors = list(yaml.safe_load_all((MONITORING / "pod-monitors.yaml").read_text()))
    ends = [end for monitor in monitors for end in monitor["spec"]["podMetricsEndpoints"]]
    jobs = {r["replacement"] for end in ends for r in end["relabelings"] if r["targetLabel"] == "job"}
    assert set(re.findall(r'job="([^"]*)"', str(groups()))) <= jobs
    for monitor in monitors:
        labels = monitor["spec"]["selector"]["matchLabels"]
        workload = next(
            document
            for document in yaml.safe_load_all((ROOT / f"manifests/{labels['app.kubernetes.io/component']}.yaml").read_text())
            if document["kind"] in ("DaemonSet", "Deployment")
        )
        pod = workload["spec"]["template"]
        assert labels.items() <= pod["metadata"]["labels"].items()
        ports = {port["name"] for container in pod["spec"]["containers"] for port in container["ports"]}
        assert {end["port"] for end in monitor["spec"]["podMetricsEndpoints"]} <= ports


def test_the_base_does_not_need_the_operator() -> None:
    """The kinds of Prometheus' operator may be absent: they are in a folder of their own."""
    assert "monitoring.coreos.com" not in "".join(p.read_text() for p in (ROOT / "manifests").glob("*.yaml"))
    listed = yaml.safe_load((MONITORING / "kustomization.yaml").read_text())["resources"]
    assert sorted([*listed, "kustomization.yaml"]) == sorted(p.name for p in MONITORING.iterdir())


def test_every_alert_says_what_to_do() -> None:
    """Its page has a row for each, with the same name."""
    page = (ROOT / "docs/how-to/alerts.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == [rule["alert"] for rule in rules()]


def test_every_alert_is_shown_firing() -> None:
    """An alert that no test here makes fire may never do so."""
    shown = set(re.findall(r'\{"(Wirecrypt\w+)"', Path(__file__).read_text()))
    assert sorted(shown) == NAMES


def test_a_cluster_that_is_well_is_silent(tmp_path: Path) -> None:
    """Nothing fires and nothing is about to, whatever counters stand at."""
    for state in ("firing", "pending"):
        check(tmp_path, cluster(), dict.fromkeys((1, 30, 119), ()), state=state)


def test_no_leader(tmp_path: Path) -> None:
    """Nobody leads; a hand-over that takes a minute is no alarm."""
    one, two = (named("wirecrypt_leader", "controller", n) for n in ("n1", "n2"))
    lost = {**cluster(), one: at((0, "1"), (20, "0"))}
    fires(tmp_path, lost, {19: set(), 26: {"WirecryptNoLeader"}})
    handed = {**cluster(), one: at((0, "1"), (20, "0")), two: at((0, "0"), (22, "1"))}
    fires(tmp_path, handed, {minute: set() for minute in range(18, 40, 3)})


def test_no_leader_and_no_series(tmp_path: Path) -> None:
    """Controllers that are gone, and ones that never were scraped, are no leader either."""
    dead = gone(gone(cluster(), "controller", "n1", 20), "controller", "n2", 20)
    fires(tmp_path, dead, {19: set(), 26: {"WirecryptNoLeader"}, 110: {"WirecryptNoLeader"}})
    fires(tmp_path, series.agents(), {10: {"WirecryptNoLeader"}})
    fires(tmp_path, {}, {10: {"WirecryptNoLeader"}})


def test_two_leaders(tmp_path: Path) -> None:
    """Two say that they lead, for longer than a hand-over looks like it."""
    two = named("wirecrypt_leader", "controller", "n2")
    fires(tmp_path, {**cluster(), two: at((0, "0"), (20, "1"))}, {22: set(), 26: {"WirecryptTwoLeaders"}})


def test_a_dead_agent(tmp_path: Path) -> None:
    """Its target answers no more; it is missed as one of a labelled node, too, and for as long as it is dead."""
    dead = {"WirecryptAgentDown", "WirecryptAgentMissing"}
    fires(tmp_path, gone(cluster(), "agent", "n2", 20), {24: set(), 26: {"WirecryptAgentDown"}, 32: dead, 119: dead})


def test_an_agents_restart_is_no_alarm(tmp_path: Path) -> None:
    """Away for two minutes; its own counters begin anew, those of the kernel and the guard go on."""
    again = cluster()
    for name, values in series.agent("n2").items():
        value = values.partition("+")[0]
        own = "wirecrypt_kernel_writes" in name
        again[name] = f"{value}+0x19 stale _x1 {0 if own else value}+0x{MINUTES - 22}"
    again[named("up", "agent", "n2")] = at((0, "1"), (20, "0"), (22, "1"))
    again[named("wirecrypt_pass_seconds_count", "agent", "n2")] = f"500+12x19 stale _x1 0+12x{MINUTES - 22}"
    fires(tmp_path, again, {minute: set() for minute in range(18, 60, 2)})


def test_a_labelled_node_without_an_agent(tmp_path: Path) -> None:
    """There is no target at all, so nothing is down: no pod was made, or nobody scrapes it. So it is for all agents at once."""
    missing = {"WirecryptAgentMissing"}
    fires(tmp_path, without(cluster(), "agent", "n2"), {9: set(), 12: missing, 119: missing})
    fires(tmp_path, without(cluster(), "agent", *series.AGENTS), {12: missing})
    idle = {**cluster(), named("wirecrypt_enabled", "agent", "n3"): series.steady(0)}
    fires(tmp_path, idle, {12: missing})


def test_agents_of_nodes_without_label_are_nobodys_loss(tmp_path: Path) -> None:
    """Agents run on every node; that some are not enabled is no alarm, and does not stand in for a labelled one."""
    more = {**cluster(), **{n.replace("n3", "n4"): v for n, v in series.agent("n3").items()}}
    more[named("wirecrypt_enabled", "agent", "n4")] = series.steady(0)
    fires(tmp_path, more, {60: set()})
    fires(tmp_path, without(more, "agent", "n3"), {60: {"WirecryptAgentMissing"}})


@pytest.mark.parametrize("job", ["agent", "controller"])
def test_a_loop_that_does_not_come_round(tmp_path: Path, job: str) -> None:
    """The program is scraped and counts no pass."""
    stuck = {**cluster(), named("wirecrypt_pass_seconds_count", job, "n2"): f"0+12x20 {240}+0x100"}
    fires(tmp_path, stuck, {30: set(), 40: {"WirecryptStuck"}})


@pytest.mark.parametrize("job", ["agent", "controller"])
def test_passes_that_keep_failing(tmp_path: Path, job: str) -> None:
    """One that fails is repeated and no alarm; when they go on failing it is."""
    failures = named("wirecrypt_pass_failures_total", job, "n1")
    fires(tmp_path, {**cluster(), failures: at((0, "0"), (20, "1"))}, {minute: set() for minute in (21, 29, 41)})
    fires(tmp_path, {**cluster(), failures: growing(1)}, {25: {"WirecryptPassesFail"}})


@pytest.mark.parametrize("state", ["failing", "blocked"])
def test_a_pair_that_fails(tmp_path: Path, state: str) -> None:
    """Some minutes of it; what is over sooner was repaired by itself."""
    pair = named("wirecrypt_peers", "agent", "n1", state=state)
    fires(tmp_path, {**cluster(), pair: at((0, "0"), (20, "1"))}, {22: set(), 26: {"WirecryptPairFailing"}})
    fires(tmp_path, {**cluster(), pair: at((0, "0"), (20, "1"), (23, "0"))}, {minute: set() for minute in range(20, 32)})


@pytest.mark.parametrize("state", ["joining", "leaving"])
def test_a_pair_that_stays_on_its_way(tmp_path: Path, state: str) -> None:
    """It may be in clear; joining and leaving in good time is no alarm."""
    pair = named("wirecrypt_peers", "agent", "n1", state=state)
    fires(tmp_path, {**cluster(), pair: at((0, "0"), (20, "1"))}, {45: set(), 52: {"WirecryptPairStaysOpen"}})
    fires(tmp_path, {**cluster(), pair: at((0, "1"), (5, "0"))}, {60: set()})


def test_an_sa_near_its_limit(tmp_path: Path) -> None:
    """Its session should have been renewed long before."""
    left = named("wirecrypt_sequence_headroom_ratio", "agent", "n1")
    fires(tmp_path, {**cluster(), left: at((0, "1"), (20, "0.05"))}, {25: set(), 31: {"WirecryptRenewalFails"}})


def test_packets_that_the_guard_drops(tmp_path: Path) -> None:
    """One dropped packet is told for ten minutes; counters that stand still, and what passes, are not told."""
    drops = named("wirecrypt_guard_packets_total", "agent", "n1", reason="ingress_peer_cleartext")
    fires(tmp_path, {**cluster(), drops: at((0, "5"), (20, "6"))}, {19: set(), 21: {"WirecryptGuardDrops"}, 40: set()})
    again = {**cluster(), drops: f"{at((0, '5'), (60, '0'))}"}  # the node was booted anew
    fires(tmp_path, again, {minute: set() for minute in (59, 61, 65)})


def test_errors_that_the_kernel_counts(tmp_path: Path) -> None:
    """The counters of /proc/net/xfrm_stat."""
    errors = named("wirecrypt_xfrm_stat_total", "agent", "n1", name="XfrmInNoStates")
    fires(tmp_path, {**cluster(), errors: at((0, "2"), (20, "9"))}, {19: set(), 21: {"WirecryptKernelErrors"}, 40: set()})


class Recorded:
    """A real controller over an API server in memory, and its metrics; its clock goes on by *step* seconds a look."""

    def __init__(self, step: float = 60.0) -> None:
        self.server = WatchedServer.of(node(1), node(2), node(3), config=document(f"{RANGES}\nmetrics: {{port: off}}"))
        self.endpoints = ControllerEndpoints("127.0.0.1")
        clock = itertools.count(1000.0, step).__next__
        self.leader = Leader()
        self.controller = Controller(self.server, self.leader, endpoints=self.endpoints, clock=clock)
        for _ in range(20):
            self.both()
        assert {r.phase for r in self.server.rotations.values()} == {Phase.COMPLETE}

    @property
    def registry(self) -> CollectorRegistry:
        """Return what is served."""
        return self.endpoints.metrics.registry

    def both(self) -> None:
        """Let the controller and all agents do their part."""
        self.controller._pass()  # noqa: SLF001 - what the loop calls
        agents(self.server)

    def alone(self) -> None:
        """Let the controller do its part; no agent does."""
        self.controller._pass()  # noqa: SLF001 - what the loop calls

    def passes(self, begin: int, work: Callable[[], None], before: Callable[[], None]) -> Iterator[Callable[[], object]]:
        """Yield the passes of two hours: *before* is done at minute *begin*, *work* from then on."""
        for minute in range(MINUTES):
            if minute == begin:
                before()
            yield self.both if minute < begin else work

    def series(self, begin: int, work: Callable[[], None], before: Callable[[], None]) -> dict[str, str]:
        """Return all series of a cluster with this controller."""
        found = series.recorded(self.registry, self.passes(begin, work, before), "n1")
        return {**series.agents(), **found, **series.controller("n2", leads=False), **_agents_rotate(begin)}


def _agents_rotate(begin: int) -> dict[str, str]:
    """Return what a rotation changes at agents: they write to kernels and send with another epoch."""
    found = {}
    for name in series.AGENTS:
        found[named("wirecrypt_kernel_writes_total", "agent", name)] = at((0, "40"), (begin, "90"), (begin + 2, "140"))
        found[named("wirecrypt_sessions_made_total", "agent", name)] = at((0, "1"), (begin, "2"))
        found[named("wirecrypt_sending_epoch", "agent", name)] = at((0, "1"), (begin + 1, "2"))
    return found


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """Yield a cluster of three nodes that is well."""
    made = Recorded()
    yield made
    made.endpoints.close()


def rotate(made: Recorded) -> None:
    """Ask for a rotation."""
    made.server.create_rotation("manual-1", "a test")


def test_an_orderly_rotation_is_no_alarm(tmp_path: Path, recorded: Recorded) -> None:
    """Neither while it runs nor after it, nothing fires, and nothing is about to: by the metrics of a real controller."""
    found = recorded.series(20, recorded.both, lambda: rotate(recorded))
    assert {r.phase for r in recorded.server.rotations.values()} == {Phase.COMPLETE}
    assert {r.to_epoch for r in recorded.server.rotations.values()} == {1, 2}
    fires(tmp_path, found, {minute: set() for minute in (*range(18, 40), 60, 90, 119)})
    check(tmp_path, found, {40: (), 119: ()}, state="pending")


def test_a_rotation_that_hangs(tmp_path: Path) -> None:
    """Agents that never switch, for an hour."""
    recorded = Recorded(step=0.01)  # so that the controller takes nobody for down
    found = recorded.series(20, recorded.alone, lambda: rotate(recorded))
    fires(tmp_path, found, {60: set(), 90: {"WirecryptRotationHangs"}})


def test_a_rotation_that_waits_for_a_node_that_is_down(tmp_path: Path, recorded: Recorded) -> None:
    """Told sooner than one that hangs, for there is something to do; over when the node is back."""

    def down() -> None:
        recorded.server.nodes["n3"] = replace(recorded.server.nodes["n3"], ready=False)
        rotate(recorded)

    def others() -> None:
        recorded.alone()
        agents(recorded.server, "n1", "n2")  # n3 is off

    found = recorded.series(20, others, down)
    fires(tmp_path, found, {45: set(), 60: {"WirecryptRotationWaitsForNodes"}})
    fires(tmp_path, found, {100: {"WirecryptRotationWaitsForNodes", "WirecryptRotationHangs"}})


def test_removals_that_wait_for_a_person(tmp_path: Path, recorded: Recorded) -> None:
    """Too many Nodes vanished at once."""
    found = recorded.series(20, recorded.both, recorded.server.nodes.clear)
    fires(tmp_path, found, {30: {"WirecryptRemovalsHeld"}})


def test_an_admission_policy_that_is_open(tmp_path: Path) -> None:
    """It admitted what it must refuse when the leader tried it; one that is back is no alarm any more."""
    tried = named("wirecrypt_admission_policy_open", "controller", "n1", policy=BY_CONTROLLER[0])
    found = {**cluster(), tried: at((0, "0"), (20, "1"), (40, "0"))}
    fires(tmp_path, found, {19: set(), 26: {"WirecryptPolicyOpen"}, 50: set()})


def test_a_leader_that_lost_the_lease_says_so_at_once(recorded: Recorded) -> None:
    """Also while its loop waits and its copies lag behind: two never count at once, and the alert on none is not kept quiet."""
    assert recorded.registry.get_sample_value("wirecrypt_leader") == 1
    recorded.leader.leading = False
    assert recorded.registry.get_sample_value("wirecrypt_leader") == 0
    assert recorded.registry.get_sample_value("wirecrypt_nodes_labelled") == 3
    recorded.endpoints.look(None, leads=False)
    assert recorded.registry.get_sample_value("wirecrypt_nodes_labelled") == 0


@pytest.mark.parametrize("phase", [Phase.COMPLETE, Phase.ABORTED])
def test_a_rotation_that_has_ended_has_no_laggards(recorded: Recorded, phase: Phase) -> None:
    """One that was aborted while it waited for a node would be an alarm for ever."""
    ended = replace(next(iter(recorded.server.rotations.values())), phase=phase, laggards=("n3",))
    view = recorded.server.view()
    assert view is not None
    recorded.endpoints.look(replace(view, rotations=(ended,)), leads=True)
    assert recorded.registry.get_sample_value("wirecrypt_rotation_laggards") == 0
