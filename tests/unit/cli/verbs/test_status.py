"""status: every node's stand, in a table and for programs."""

import json
from dataclasses import replace

import pytest
import yaml

from tests.unit.cli.conftest import Line
from tests.unit.cli.fake_cli_client import NOW, encrypted, node_label, peer, rotation, status
from wirecrypt.errors import ObjectError
from wirecrypt.model.conditions import Condition
from wirecrypt.model.objects import MOST_JOINING, NodeState, Phase


@pytest.fixture
def cluster(wirecrypt: Line) -> Line:
    """Return the command line with a ready, a failing, an unlabelled, a badly labelled and an untaken node."""
    client = wirecrypt.client
    client.nodes = {n: node_label(n, "enabled") for n in "abe"} | {"c": node_label("c"), "d": node_label("d", "yes")}
    client.objects = {
        "a": encrypted("a", 16, status()),
        "b": encrypted("b", 17, status(ready=False, message="c: no answer"), state=NodeState.JOINING),
    }
    client.peers = {"a": peer("a", 16, 4, 5), "b": peer("b", 17, 7)}
    return wirecrypt


def test_the_table_has_a_row_per_node(cluster: Line) -> None:
    """State, ready, reason, peers, epoch, session and age; then a count and the reasons of those that are not ready."""
    done = cluster("status")
    assert done.exit_code == 0
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[:6] == [
        "NODE STATE READY REASON PEERS EPOCH SESSION AGE",
        "a Active True AllPeersProtected 2/2 1 5 2h",
        "b Joining False PeersFailing 1/2 1 7 2h",
        "c Plain 3d",
        "d Pending Unknown BadLabel 3d",
        "e Pending Unknown NoController 3d",
    ]
    assert "4 of 5 nodes enabled, 1 ready" in lines
    assert "b: c: no answer" in lines


def test_of_many_nodes_it_says_how_many_join_and_how_many_wait(wirecrypt: Line) -> None:
    """Those that wait have their row, and no line each below."""
    names = [f"n{number:03}" for number in range(2 * MOST_JOINING)]
    client = wirecrypt.client
    client.nodes = {name: node_label(name, "enabled") for name in names}
    states = dict.fromkeys(names[:9], NodeState.ACTIVE) | dict.fromkeys(names[9:MOST_JOINING], NodeState.JOINING)
    client.objects = {name: encrypted(name, 16 + n, status(), state=states[name]) for n, name in enumerate(states)}
    done = wirecrypt("status").stdout
    assert f"{2 * MOST_JOINING} of {2 * MOST_JOINING} nodes enabled, {MOST_JOINING} ready, 55 joining, 64 waiting" in done
    assert done.count("JoinWaits") == MOST_JOINING
    assert "not taken up yet" not in done


def test_programs_get_the_same(cluster: Line) -> None:
    """JSON and YAML are equal and have every node."""
    found = json.loads(cluster("status -o json").stdout)
    assert found == yaml.safe_load(cluster("status -o yaml").stdout)
    assert [(n["name"], n["state"], n["ready"]) for n in found["nodes"]] == [
        ("a", "Active", True),
        ("b", "Joining", False),
        ("c", "Plain", None),
        ("d", "Pending", None),
        ("e", "Pending", None),
    ]
    assert found["nodes"][1]["peers"] == {"desired": 2, "protected": 1, "failingCount": 1, "failing": ["c: no answer"]}


def test_programs_get_the_number_of_failing_peers_where_the_list_ends_early(cluster: Line) -> None:
    """The status names at most 16 peers: the count is that of the table, for programs as well, and the rest is told."""
    named = tuple(f"p{i}: no answer" for i in range(16))
    made = status(ready=False, peers_desired=40, peers_protected=19, peers_failing=21, failing=named)
    cluster.client.objects["b"] = encrypted("b", 17, made)
    shown = [" ".join(line.split()) for line in cluster("status b").stdout.splitlines()]
    assert "peers 19 of 40 protected, 21 failing" in shown
    assert "and 5 more failing peers" in shown
    for line in ("status b", "status"):
        document = yaml.safe_load(cluster(f"{line} -o yaml").stdout)
        peers = document["peers"] if line == "status b" else document["nodes"][1]["peers"]
        assert (peers["failingCount"], len(peers["failing"])) == (21, 16)
        assert document == json.loads(cluster(f"{line} -o json").stdout)


def test_rotations_in_progress_are_shown(cluster: Line) -> None:
    """Unfinished ones with phase, counts, message and laggards; finished ones not."""
    waiting = (Condition("Complete", status=False, reason="Retiring", message="waits for b", changed=NOW),)
    more = {"nodes_total": 2, "nodes_done": 1, "from_epoch": 1, "to_epoch": 2, "laggards": ("b",), "conditions": waiting}
    cluster.client.turns = {"x": rotation("x", Phase.RETIRING, **more), "y": rotation("y", Phase.COMPLETE)}
    lines = [" ".join(line.split()) for line in cluster("status").stdout.splitlines()]
    assert "x Retiring 1 → 2 1/2 1 waits for b 5m" in lines
    assert "x did not wait for b: PeersFailing: c: no answer" in lines
    found = json.loads(cluster("status -o json").stdout)["rotations"]
    assert [(r["name"], r["laggards"]) for r in found] == [("x", [{"node": "b", "reason": "PeersFailing: c: no answer"}])]


def test_one_node_in_detail(cluster: Line) -> None:
    """Claims, sessions, conditions, failing peers, headroom and versions of one node."""
    shown = cluster("status b").stdout
    for text in ("192.0.2.17", "10.17.0.0/24", "97 %", "kernel version", "PeersFailing", "FAILING PEER", "aes-256-gcm"):
        assert text in shown
    found = json.loads(cluster("status b -o json").stdout)
    assert (found["nodeID"], found["sequenceHeadroom"], found["versions"]) == (17, 97, {"agent": "0.1.0", "kernel": "6.1.0"})
    assert found["sessions"] == [{"number": 7, "epoch": 1, "lanes": 1, "algorithm": "aes-256-gcm"}]


@pytest.mark.parametrize("node", ["c", "d", "e"])
def test_a_node_without_objects_in_detail(cluster: Line, node: str) -> None:
    """Nodes that are not enabled, or not taken up, are shown with why."""
    assert cluster(f"status {node}").exit_code == 0
    assert json.loads(cluster(f"status {node} -o json").stdout)["nodeID"] is None


def test_an_unknown_node_is_refused(cluster: Line) -> None:
    """A name that the cluster does not have: exit 2."""
    done = cluster("status nope")
    assert (done.exit_code, "nope" in done.stderr) == (2, True)


def test_refused_claims_and_malformed_objects_are_shown(cluster: Line) -> None:
    """What the controller refused stands in the reason; what cannot be read is listed as ignored."""
    cluster.client.objects["a"] = encrypted("a", 16, status(), problems=("10.2.0.0/24 is b's",))
    cluster.client.malformed["nodepeers/z"] = ObjectError("read NodePeer z", answer="nodeID is missing")
    shown = cluster("status").stdout
    assert "Refused" in shown
    assert "nodepeers/z: nodeID is missing" in shown
    assert "a: 10.2.0.0/24 is b's" in shown


def test_what_looks_like_a_wish_and_is_none_is_shown(cluster: Line) -> None:
    """A label of ours that is misspelt, on a node that is not enabled or is: in the overview, in detail, for programs."""
    strange = ("label wirecrypt.io/encrypt=enabled",)
    cluster.client.nodes |= {"a": node_label("a", "enabled", strange=strange), "c": node_label("c", strange=strange)}
    said = (
        "the label wirecrypt.io/encrypt=enabled means nothing; a node is enabled by the label wirecrypt.io/encryption=enabled"
    )
    shown = cluster("status").stdout
    assert all(f"  {name}: {said}" in shown for name in "ac")
    assert said in cluster("status c").stdout
    found = {n["name"]: n["unknownLabels"] for n in json.loads(cluster("status -o json").stdout)["nodes"]}
    assert (found["c"], found["b"]) == (list(strange), [])


def test_an_empty_cluster(wirecrypt: Line) -> None:
    """No node at all is no error."""
    done = wirecrypt("status")
    assert (done.exit_code, "0 of 0 nodes enabled, 0 ready" in done.stdout) == (0, True)


def test_a_removal_that_waits_is_shown(cluster: Line) -> None:
    """A NodePeer whose Node is gone, or whose name another Node has: with the reason, and what a person can do."""
    cluster.client.peers = {**cluster.client.peers, "f": peer("f", 20, 1), "c": replace(peer("c", 21, 1), node_uid="another")}
    done = cluster("status")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert [line.split()[:4] for line in lines if line.startswith(("c ", "f "))] == [
        ["c", "Pending", "False", "NodeGone"],
        ["f", "Pending", "False", "NodeGone"],
    ]
    assert "confirm-removal=true" in done.stdout


def test_packets_in_clear_are_shown_by_exempt_peer(cluster: Line) -> None:
    """As the node's agent last reported them."""
    cluster.client.objects["a"] = encrypted("a", 16, replace(status(), exempt_packets=(("b", 9), ("c", 1))))
    lines = [" ".join(line.split()) for line in cluster("status a").stdout.splitlines()]
    assert lines[lines.index("EXEMPT PEER PACKETS IN CLEAR") + 1 :][:2] == ["b 9", "c 1"]
    assert json.loads(cluster("status a -o json").stdout)["exemptPackets"] == {"b": 9, "c": 1}
