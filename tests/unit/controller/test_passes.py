"""Whole passes of the controller over an API server in memory: failures that stay where they are, deaths anywhere."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from tests.unit.controller.standin import CONFIG, ApiServer, Killed, Leader, node
from wirecrypt.controller import Controller
from wirecrypt.model.objects import ConfigDocument, NodeState, Phase

Clock = Callable[[], float]


def ticking(step: float = 100.0) -> Clock:
    """Return a clock that goes on by *step* seconds a look, so that every back-off and grace period is over."""
    return itertools.count(1000.0, step).__next__


def controller(server: ApiServer, **more: object) -> Controller:
    """Return a new leader over *server*."""
    return Controller(server, Leader(), **{"clock": ticking(), **more})  # type: ignore[arg-type]  # options as they are called


def settle(server: ApiServer, *, passes: int = 30, **more: object) -> None:
    """Let a new leader and the agents work until there is nothing to do."""
    leader = controller(server, **more)
    for _ in range(passes):
        before = server.version, server.writes
        leader.once()
        server.agents()
        if (server.version, server.writes) == before:
            return
    pytest.fail("the controller never comes to rest")


def encrypted_cluster(*numbers: int) -> ApiServer:
    """Return a cluster whose nodes are Active, and whose first rotation is complete."""
    server = ApiServer.of(*(node(n) for n in numbers))
    settle(server)
    assert {p.state for p in server.peers.values()} == {NodeState.ACTIVE}
    assert {r.phase for r in server.rotations.values()} == {Phase.COMPLETE}
    return server


@pytest.mark.C2
def test_a_pass_with_nothing_to_do_writes_nothing() -> None:
    """Neither the same leader nor a new one writes, also when a node has more problems than its object can hold."""
    server = encrypted_cluster(1, 2)
    refused = tuple(f"10.96.{n}.0/24" for n in range(30))
    server.nodes["n1"] = replace(server.nodes["n1"], pod_cidrs=(*server.nodes["n1"].pod_cidrs, *prefixes(refused)))
    settle(server)
    assert len(server.encrypted["n1"].problems) == 16
    before = server.writes
    leader = controller(server)
    leader.once()
    leader.once()
    assert server.writes == before


def prefixes(texts: tuple[str, ...]) -> tuple[object, ...]:
    """Return networks."""
    from ipaddress import ip_network  # noqa: PLC0415 - of this helper alone

    return tuple(ip_network(text) for text in texts)


def test_a_missing_configuration_leaves_the_one_before_in_force() -> None:
    """When the ConfigMap is deleted the Service range stays reserved, and it is said once."""
    server = ApiServer.of(node(1))
    leader = controller(server)
    leader.once()
    server.config = None
    server.nodes["n2"] = replace(node(2), pod_cidrs=prefixes(("10.96.2.0/24",)))
    with capture_logs() as logs:
        for _ in range(9):
            leader.once()
            server.agents()
    assert server.peers["n2"].pod_cidrs == ()
    assert [line["state"] for line in logs if line["event"] == "configuration refused"] == ["the one before stays in force"]


@pytest.mark.parametrize("config", [None, ConfigDocument({"config.yaml": "servceCIDRs: []"}, "1")])
def test_without_a_valid_configuration_nothing_is_done(config: ConfigDocument | None) -> None:
    """A controller that never read a document writes nothing, says so once, and begins when there is one."""
    server = ApiServer.of(node(1), config=config)
    leader = controller(server)
    with capture_logs() as logs:
        assert [leader.once(), leader.once(), server.writes] == [0, 0, 0]
    said = [line["state"] for line in logs if line["event"] == "configuration refused"]
    assert said == ["nothing is done until there is a valid one"]
    server.config = CONFIG
    assert leader.once() > 0


@pytest.mark.parametrize("malformed", [False, True])
def test_one_unusable_secret_stops_no_other(malformed: bool) -> None:  # noqa: FBT001 - a parameter
    """The others join and rotate; the node without keys gets no NodePeer, and an Event that names the Secret."""
    server = ApiServer.of(node(1), node(2), node(3))
    if malformed:
        server.unusable_keys["n1"] = "read Secret wirecrypt-node-n1: not base64"
    else:
        server.foreign.add("n1")
    leader = controller(server)
    for _ in range(20):
        leader.once()
        server.agents()
    assert {n: p.state for n, p in server.peers.items()} == {"n2": NodeState.ACTIVE, "n3": NodeState.ACTIVE}
    assert {r.phase for r in server.rotations.values()} == {Phase.COMPLETE}
    assert "n1" not in server.keys
    assert any("wirecrypt-node-n1" in text for name, text in server.events if name == "n1" and "KeySecretFailed" in text)
    server.foreign.clear()
    server.unusable_keys.clear()
    settle(server)
    assert server.peers["n1"].state is NodeState.ACTIVE


@pytest.mark.parametrize("malformed", [False, True])
def test_a_rotation_names_the_node_whose_secret_is_unusable(malformed: bool) -> None:  # noqa: FBT001 - a parameter
    """All others get their keys in Distributing; the condition has node and reason, and once mended it goes on."""
    server = encrypted_cluster(1, 2, 3)
    del server.keys["n1"]
    if malformed:
        server.unusable_keys["n1"] = "read Secret wirecrypt-node-n1: not base64"
    else:
        server.foreign.add("n1")
    server.create_rotation("r", "a test")
    leader = controller(server)
    for _ in range(9):
        leader.once()
    assert [k.epoch.number for n in ("n2", "n3") for k in server.keys[n].keys] == [1, 2, 1, 2]
    rotation = server.rotations["r"]
    assert (rotation.phase, rotation.laggards, rotation.conditions[0].reason) == (
        Phase.DISTRIBUTING,
        ("n1",),
        "KeySecretFailed",
    )
    assert "wirecrypt-node-n1" in rotation.conditions[0].message
    server.foreign.clear()
    server.unusable_keys.clear()
    settle(server)
    assert server.rotations["r"].phase is Phase.COMPLETE


def test_ended_rotations_go_beyond_the_limit_of_the_configuration() -> None:
    """The newest stay, the last one is the record; a deletion that is refused holds up no rotation."""
    server = encrypted_cluster(1, 2)
    server.config = replace(CONFIG, data={"config.yaml": "rotation: {history: 3}"})
    server.historyless = True
    for number in range(6):
        server.create_rotation(f"manual-{number}", "a test")
        settle(server)
    assert {r.phase for r in server.rotations.values()} == {Phase.COMPLETE}
    assert len(server.rotations) == 7
    server.historyless = False
    settle(server)
    assert sorted(r.to_epoch for r in server.rotations.values()) == [5, 6, 7]
    assert [r.name for r in server.rotations.values() if r.held] == ["manual-5"]


def test_a_failing_event_keeps_no_node_from_joining() -> None:
    """Without the right to write Events everything else is done, and nothing waits for a back-off."""
    server = ApiServer.of(node(1), node(2), eventless=True)
    settle(server, clock=lambda: 1000.0)
    assert {p.state for p in server.peers.values()} == {NodeState.ACTIVE}


def test_a_new_leader_catches_up_before_its_first_write() -> None:
    """Each term begins with a fresh read; without leadership nothing is read, and a term that ends in a pass ends the pass."""
    server, leader = ApiServer.of(node(1)), Leader()
    passes = Controller(server, leader, clock=ticking())
    leader.leading = False
    passes.once()
    assert server.catch_ups == 0
    leader.leading = True
    passes.once()
    passes.once()
    assert server.catch_ups == 1
    leader.term = 2
    passes.once()
    assert server.catch_ups == 2


def test_a_released_id_rests_in_every_live_epoch() -> None:
    """A rotation that is aborted after a node left takes the memory of its ID not with it."""
    server = encrypted_cluster(1, 2, 3)
    server.create_rotation("r", "a test")
    leader = controller(server)
    while not (server.rotations["r"].phase is Phase.DISTRIBUTING and 2 in server.seeds):
        leader.once()
    server.foreign.add("n3")  # holds the rotation where it is
    del server.keys["n3"]
    left = server.peers["n1"].node_id
    server.nodes["n1"] = replace(server.nodes["n1"], label=None)
    while server.peers["n1"].state is not NodeState.REMOVED:
        leader.once()
        server.agents()
    server.rotations["r"] = replace(server.rotations["r"], abort=True)
    server.foreign.clear()
    settle(server)
    assert server.rotations["r"].phase is Phase.ABORTED
    server.nodes["n4"] = node(4)
    settle(server)
    assert server.peers["n4"].node_id != left


def killed_anywhere(prepared: Callable[[], ApiServer], done: Callable[[ApiServer], bool]) -> None:
    """Kill the controller after each of its writes in turn; each time another one has to bring the work to its end."""
    for writes in itertools.count():
        server = prepared()
        server.most = server.writes + writes
        try:
            settle(server)
        except Killed:
            server.most = 2**31
            settle(server)
            assert done(server), f"not finished after a death at write {writes}"
        else:
            assert done(server)
            return


def test_a_controller_killed_after_any_write_of_a_leaving_is_taken_over() -> None:
    """The objects go, the word that it was removed stays, and the ID rests, wherever the first controller dies."""

    def leaving() -> ApiServer:
        server = encrypted_cluster(1, 2)
        server.nodes["n1"] = replace(server.nodes["n1"], label=None)
        return server

    def left(server: ApiServer) -> bool:
        states = {name: p.state for name, p in server.peers.items()}
        gone = {*server.encrypted, *server.keys} == {"n2"}
        removed = states == {"n1": NodeState.REMOVED, "n2": NodeState.ACTIVE}
        return gone and removed and all(set(server.gone_ids) <= set(s.released) for s in server.seeds.values())

    killed_anywhere(leaving, left)


def test_a_controller_killed_after_any_write_of_a_rotation_is_taken_over() -> None:
    """The rotation ends Complete with one epoch everywhere, wherever the first controller dies."""

    def asked() -> ApiServer:
        server = encrypted_cluster(1, 2)
        server.create_rotation("r", "a test")
        return server

    def complete(server: ApiServer) -> bool:
        epochs = {k.epoch.number for s in server.keys.values() for k in s.keys} | set(server.seeds)
        return server.rotations["r"].phase is Phase.COMPLETE and epochs == {2}

    killed_anywhere(asked, complete)
