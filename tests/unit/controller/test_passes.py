"""Whole passes of the controller over an API server in memory: failures that stay where they are, deaths anywhere."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from tests.fakes.builders import document, node
from tests.fakes.versions import Killed
from tests.unit.controller.watched import Leader, WatchedServer, agents
from wirecrypt.controller import Controller
from wirecrypt.controller.loop import REST_A_NODE, rest
from wirecrypt.errors import NotFound
from wirecrypt.model.objects import ConfigDocument, NodeState, Phase

Clock = Callable[[], float]
IDS = {"n1": (17, NodeState.ACTIVE), "n2": (16, NodeState.ACTIVE)}


def ticking(step: float = 100.0) -> Clock:
    """Return a clock that goes on by *step* seconds a look, so that every back-off and grace period is over."""
    return itertools.count(1000.0, step).__next__


def controller(server: WatchedServer, **more: object) -> Controller:
    """Return a new leader over *server*."""
    return Controller(server, Leader(), **{"clock": ticking(), **more})  # type: ignore[arg-type]  # options as they are called


def settle(server: WatchedServer, *, passes: int = 30, **more: object) -> None:
    """Let a new leader and the agents work until there is nothing to do."""
    leader = controller(server, **more)
    for _ in range(passes):
        before = server.version, server.writes
        leader.once()
        agents(server)
        if (server.version, server.writes) == before:
            return
    pytest.fail("the controller never comes to rest")


def encrypted_cluster(*numbers: int) -> WatchedServer:
    """Return a cluster whose nodes are Active, and whose first rotation is complete."""
    server = WatchedServer.of(*(node(n) for n in numbers))
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
    server = WatchedServer.of(node(1))
    leader = controller(server)
    leader.once()
    server.config = None
    server.nodes["n2"] = replace(node(2), pod_cidrs=prefixes(("10.96.2.0/24",)))
    with capture_logs() as logs:
        for _ in range(9):
            leader.once()
            agents(server)
    assert server.peers["n2"].pod_cidrs == ()
    assert [line["state"] for line in logs if line["event"] == "configuration refused"] == ["the one before stays in force"]


@pytest.mark.parametrize("config", [None, ConfigDocument({"config.yaml": "servceCIDRs: []"}, "1")])
def test_without_a_valid_configuration_nothing_is_done(config: ConfigDocument | None) -> None:
    """A controller that never read a document writes nothing, says so once, and begins when there is one."""
    server = WatchedServer.of(node(1), config=config)
    leader = controller(server)
    with capture_logs() as logs:
        assert [leader.once(), leader.once(), server.writes] == [0, 0, 0]
    said = [line["state"] for line in logs if line["event"] == "configuration refused"]
    assert said == ["nothing is done until there is a valid one"]
    server.config = document()
    assert leader.once() > 0


@pytest.mark.parametrize("malformed", [False, True])
def test_one_unusable_secret_stops_no_other(malformed: bool) -> None:  # noqa: FBT001 - a parameter
    """The others join and rotate; the node without keys gets no NodePeer, and an Event that names the Secret."""
    server = WatchedServer.of(node(1), node(2), node(3))
    if malformed:
        server.unusable_keys["n1"] = "read Secret wirecrypt-node-n1: not base64"
    else:
        server.foreign.add("n1")
    leader = controller(server)
    for _ in range(20):
        leader.once()
        agents(server)
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
    server.config = document("rotation: {history: 3}")
    server.denied = {"DELETE keyrotations"}
    for number in range(6):
        server.create_rotation(f"manual-{number}", "a test")
        settle(server)
    assert {r.phase for r in server.rotations.values()} == {Phase.COMPLETE}
    assert len(server.rotations) == 7
    server.denied = set()
    settle(server)
    assert sorted(r.to_epoch for r in server.rotations.values()) == [5, 6, 7]
    assert [r.name for r in server.rotations.values() if r.held] == ["manual-5"]


def test_a_failing_event_keeps_no_node_from_joining() -> None:
    """Without the right to write Events everything else is done, and nothing waits for a back-off."""
    server = WatchedServer.of(node(1), node(2), denied={"POST events"})
    settle(server, clock=lambda: 1000.0)
    assert {p.state for p in server.peers.values()} == {NodeState.ACTIVE}


def test_a_new_leader_catches_up_before_its_first_write() -> None:
    """Each term begins with a fresh read; without leadership nothing is read, and a term that ends in a pass ends the pass."""
    server, leader = WatchedServer.of(node(1)), Leader()
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


class Stop(threading.Event):
    """Ends a controller after two rests, and knows how long they were to be."""

    def __init__(self) -> None:
        super().__init__()
        self.rests: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        """Rest no time."""
        self.rests.append(timeout)
        if len(self.rests) > 1:
            self.set()
        return self.is_set()


class Elected(Leader):
    """A candidate that leads, without an election."""

    def run(self, stop: threading.Event, changed: Callable[[], None]) -> None:
        """Have something be new once and again."""
        while not stop.is_set():
            changed()


def test_a_controller_rests_after_a_pass() -> None:
    """The longer the more nodes there are, and a second at most: what they write meanwhile is looked at together."""
    stop = Stop()
    Controller(encrypted_cluster(1, 2, 3, 4), Elected()).run(stop)
    assert stop.rests == [4 * REST_A_NODE, 4 * REST_A_NODE]
    assert [rest(nodes) for nodes in (0, 1, 64, 5000)] == [0.0, REST_A_NODE, 64 * REST_A_NODE, 1.0]


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
        agents(server)
    server.rotations["r"] = replace(server.rotations["r"], abort=True)
    server.foreign.clear()
    settle(server)
    assert server.rotations["r"].phase is Phase.ABORTED
    server.nodes["n4"] = node(4)
    settle(server)
    assert server.peers["n4"].node_id != left


def killed_anywhere(prepared: Callable[[], WatchedServer], done: Callable[[WatchedServer], bool]) -> None:
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

    def leaving() -> WatchedServer:
        server = encrypted_cluster(1, 2)
        server.nodes["n1"] = replace(server.nodes["n1"], label=None)
        return server

    def left(server: WatchedServer) -> bool:
        states = {name: p.state for name, p in server.peers.items()}
        gone = {*server.encrypted, *server.keys} == {"n2"}
        removed = states == {"n1": NodeState.REMOVED, "n2": NodeState.ACTIVE}
        return gone and removed and all(set(server.gone_ids) <= set(s.released) for s in server.seeds.values())

    killed_anywhere(leaving, left)


def test_a_controller_killed_after_any_write_of_a_rotation_is_taken_over() -> None:
    """The rotation ends Complete with one epoch everywhere, wherever the first controller dies."""

    def asked() -> WatchedServer:
        server = encrypted_cluster(1, 2)
        server.create_rotation("r", "a test")
        return server

    def complete(server: WatchedServer) -> bool:
        epochs = {k.epoch.number for s in server.keys.values() for k in s.keys} | set(server.seeds)
        return server.rotations["r"].phase is Phase.COMPLETE and epochs == {2}

    killed_anywhere(asked, complete)


def later_first() -> WatchedServer:
    """Return a cluster whose second node joined before the first, so that IDs given anew would be the other way round."""
    server = encrypted_cluster(2)
    server.nodes["n1"] = node(1)
    settle(server)
    assert {name: (p.node_id, p.state) for name, p in server.peers.items()} == IDS
    return server


@pytest.mark.L1
@pytest.mark.parametrize("lost", [("peers",), ("encrypted",), ("peers", "encrypted"), ("peers", "encrypted", "rotations")])
def test_objects_that_are_lost_are_made_again_with_the_same_ids(lost: tuple[str, ...]) -> None:
    """Whole kinds at once, as when a CRD is replaced: an ID is known as long as one object or Secret says it ◆R31."""
    server = later_first()
    for kind in lost:
        getattr(server, kind).clear()
    server.gone_ids.clear()  # by nobody's word
    settle(server)
    assert {name: (p.node_id, p.state) for name, p in server.peers.items()} == IDS
    assert {name: (e.node_id, e.state) for name, e in server.encrypted.items()} == IDS


@pytest.mark.L1
def test_a_nodepeer_whose_kind_is_to_go_is_let_go_though_nothing_else_says_its_id() -> None:
    """A kind that is replaced with EncryptedNode waits for our finalizer: the Secret keeps the ID, and that it is Active."""
    server = later_first()
    server.encrypted.clear()
    server.peers = {name: replace(peer, deleting=True) for name, peer in server.peers.items()}
    held = {peer.uid for peer in server.peers.values()}
    server.gone_ids.clear()
    controller(server).once()
    assert held.isdisjoint(peer.uid for peer in server.peers.values())
    server.peers.clear()  # the kind takes along what was made again meanwhile
    server.gone_ids.clear()
    server.encrypted.clear()
    settle(server)
    assert {name: (p.node_id, p.state) for name, p in server.peers.items()} == IDS


def test_a_nodepeer_is_let_go_though_no_encryptednode_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both kinds are replaced, and that one is gone first: whoever makes them again waits for our finalizers."""

    def unknown(*_: object) -> None:
        raise NotFound("POST", what="encryptednodes", answer="404 page not found")

    server = later_first()
    server.encrypted.clear()
    server.peers = {name: replace(peer, deleting=True) for name, peer in server.peers.items()}
    monkeypatch.setattr(server, "create_encrypted_node", unknown)
    controller(server).once()
    assert server.peers == {}


def test_a_node_that_was_never_active_joins_again() -> None:
    """What was not proved yet is not blocked by the loss of objects."""
    server = later_first()
    server.peers.clear()
    server.encrypted.clear()
    server.gone_ids.clear()
    server.keys = {name: replace(secret, active=False) for name, secret in server.keys.items()}
    controller(server).once()
    assert {p.state for p in server.peers.values()} == {NodeState.JOINING}


def test_an_id_next_to_keys_of_another_node_or_that_rests_is_not_taken() -> None:
    """A Node that was made anew, an ID that was given up, or that another one has by now: then it is a free one."""
    for change in ("anew", "rests", "taken"):
        server = later_first()
        two = server.encrypted["n2"]
        server.peers.clear()
        server.encrypted.clear()
        server.gone_ids.clear()
        if change == "anew":
            server.nodes["n1"] = replace(server.nodes["n1"], uid="another")
        elif change == "rests":
            server.seeds = {n: replace(s, released=(17,)) for n, s in server.seeds.items()}
        else:
            server.encrypted["n2"] = replace(two, node_id=17)
        settle(server)
        assert server.peers["n1"].node_id != 17, change
        assert server.peers["n1"].node_id != server.peers["n2"].node_id, change


def test_a_secret_of_a_version_before_gets_the_id() -> None:
    """It is written once, next to the keys that are there."""
    server = encrypted_cluster(1)
    keys = server.keys["n1"].keys
    server.keys["n1"] = replace(server.keys["n1"], node_id=0)
    settle(server)
    assert (server.keys["n1"].node_id, server.keys["n1"].keys) == (16, keys)
