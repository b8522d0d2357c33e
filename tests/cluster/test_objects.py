"""Rules of the CRDs, on a real API server: what each object refuses."""

# ruff: noqa: ANN401 - JSON
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from wirecrypt.cluster import paths
from wirecrypt.errors import ClusterError

if TYPE_CHECKING:
    from tests.cluster.conftest import Server

SESSION = {
    "number": 5,
    "epoch": 1,
    "epochID": "0" * 32,
    "publicKey": "A" * 43 + "=",
    "lanes": 1,
    "algorithm": "aes-256-gcm",
}
STATUS = {"bootID": "b1", "bootSession": 5, "lastSession": 5, "sessions": [SESSION]}


def peer(**spec: Any) -> dict[str, Any]:
    """Return a NodePeer as it should be, with *spec* in place of its own fields."""
    complete = {"nodeID": 16, "nodeUID": "uid-a", "state": "Joining", "endpoints": ["192.0.2.1"], "podCIDRs": ["10.1.0.0/24"]}
    return {"apiVersion": paths.VERSION, "kind": "NodePeer", "metadata": {"name": "a"}, "spec": {**complete, **spec}}


def encrypted(**spec: Any) -> dict[str, Any]:
    """Return an EncryptedNode as it should be, with *spec* in place of its own fields."""
    complete = {"nodeID": 16, "nodeUID": "uid-a", "state": "Joining", "problems": []}
    return {"apiVersion": paths.VERSION, "kind": "EncryptedNode", "metadata": {"name": "a"}, "spec": {**complete, **spec}}


def rotation(**spec: Any) -> dict[str, Any]:
    """Return a KeyRotation."""
    spec = {"reason": "a test", **spec}
    return {"apiVersion": paths.VERSION, "kind": "KeyRotation", "metadata": {"name": "r"}, "spec": spec}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"nodeID": 15}, "greater than or equal to 16"),
        ({"nodeID": 65536}, "less than or equal to 65535"),
        ({"nodeUID": ""}, "nodeUID"),
        ({"state": "Ready"}, "supported values"),
        ({"endpoints": ["node-1"]}, "not an IP address"),
        ({"endpoints": ["192.0.2.1"] * 2}, "Duplicate"),
        ({"endpoints": [f"192.0.2.{i}" for i in range(5)]}, "at most 4"),
        ({"addresses": ["vip"]}, "not an IP address"),
        ({"addresses": ["198.51.100.7"] * 2}, "Duplicate"),
        ({"addresses": [f"198.51.100.{i}" for i in range(33)]}, "at most 32"),
        ({"podCIDRs": ["10.1.0.1/24"]}, "not a canonical prefix"),
        ({"podCIDRs": ["10.0.0.0/15"]}, "too short"),
        ({"podCIDRs": ["fd00::/47"]}, "too short"),
    ],
)
def test_a_malformed_node_peer_is_refused(clean: Server, spec: dict[str, Any], message: str) -> None:
    """IDs, UIDs, states, addresses and prefixes are checked by the API server already."""
    with pytest.raises(ClusterError, match=message):
        clean.admin.create(paths.NODE_PEERS, peer(**spec))


@pytest.mark.parametrize(("path", "make"), [(paths.NODE_PEERS, peer), (paths.ENCRYPTED_NODES, encrypted)])
@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({}, {"nodeID": 17}, "nodeID is immutable"),
        ({}, {"nodeUID": "other"}, "nodeUID is immutable"),
        ({"state": "Active"}, {"state": "Joining"}, "neither is recanted"),
        ({"state": "Excluded"}, {"state": "Active"}, "neither is recanted"),
        ({"state": "Excluded"}, {"state": "Joining"}, "neither is recanted"),
        ({"state": "Excluded"}, {"state": "Leaving"}, "neither is recanted"),
        ({"state": "Leaving"}, {"state": "Joining"}, "neither is recanted"),
        ({"state": "Leaving"}, {"state": "Active"}, "neither is recanted"),
    ],
)
def test_identity_never_changes_and_states_go_forward(  # noqa: PLR0913 - parameters
    clean: Server, path: str, make: Any, first: dict[str, Any], second: dict[str, Any], message: str
) -> None:
    """Node ID and UID are fixed; no way leads back from Active or Leaving."""
    clean.admin.create(path, make(**first))
    with pytest.raises(ClusterError, match=message):
        clean.admin.patch(f"{path}/a", {"spec": second})


@pytest.mark.parametrize("states", [("Joining", "Active", "Leaving"), ("Joining", "Leaving")])
def test_the_ways_of_a_node_are_open(clean: Server, states: tuple[str, ...]) -> None:
    """Joining to Active to Leaving, or straight to Leaving."""
    clean.admin.create(paths.NODE_PEERS, peer(state=states[0]))
    for state in states[1:]:
        made = clean.admin.patch(f"{paths.NODE_PEERS}/a", {"spec": {"state": state}})
        assert made["spec"]["state"] == state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lastSession": 4}, "never goes back"),
        ({"lastSession": None}, "cannot be removed|required|below"),
        ({"bootSession": 4}, "bootSession never goes back"),
        ({"bootSession": 6}, "above lastSession"),
        ({"bootSession": None}, "bootSession cannot be removed"),
        ({"sessions": [{**SESSION, "publicKey": "B" * 43 + "="}]}, "never changes"),
        ({"sessions": [SESSION, {**SESSION, "number": 4}]}, "newer than all before"),
        ({"sessions": [{**SESSION, "number": 6}]}, "below a session's number"),
        ({"lastSession": 9, "sessions": [{**SESSION, "number": n} for n in (6, 7, 8, 9)]}, "at most 3"),
        ({"lastSession": 6, "sessions": [{**SESSION, "number": 6}, {**SESSION, "number": 6, "lanes": 2}]}, "one number"),
        ({"lastSession": 6, "sessions": [{**SESSION, "number": 6, "epochID": "x" * 32}]}, "epochID"),
        ({"lastSession": 6, "sessions": [{**SESSION, "number": 6, "publicKey": "short"}]}, "publicKey"),
        ({"lastSession": 6, "sessions": [{**SESSION, "number": 6, "algorithm": "des"}]}, "algorithm"),
        ({"lastSession": 6, "sessions": [{**SESSION, "number": 6, "lanes": 17}]}, "lanes"),
        ({"proposed": ["192.0.2.1/32"]}, "not an IP address"),
        ({"proposed": [f"198.51.100.{i}" for i in range(33)]}, "at most 32"),
    ],
)
def test_published_sessions_never_change_and_numbers_never_go_back(clean: Server, change: dict[str, Any], message: str) -> None:
    """The agent itself cannot break the promises that peers rely on."""
    node = clean.node("a")
    clean.admin.create(paths.NODE_PEERS, peer(nodeUID=node["metadata"]["uid"]))
    agent = clean.agent("a")
    agent.api.patch(f"{paths.NODE_PEERS}/a/status", {"status": STATUS})
    with pytest.raises(ClusterError, match=message):
        agent.api.patch(f"{paths.NODE_PEERS}/a/status", {"status": change})


MOST = 2**53 - 1  # the highest number that every reader of JSON reads as it is
FAR = 10**9
NEXT = {**SESSION, "number": 6}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (paths.NODE_PEERS, {"lastSession": 6, "sessions": [{**NEXT, "epoch": 2**63 - 2}]}),
        (paths.NODE_PEERS, {"lastSession": 2**63 - 1}),
        (paths.NODE_PEERS, {"lastSession": 2**63 - 1, "bootSession": 2**63 - 1}),
        (paths.NODE_PEERS, {"lastSession": 2**63 - 1, "sessions": [{**SESSION, "number": 2**63 - 1}]}),
        (paths.ENCRYPTED_NODES, {"sendingEpoch": 2**63 - 2}),
        (paths.ENCRYPTED_NODES, {"acceptingEpochs": [2**63 - 2]}),
        (paths.ENCRYPTED_NODES, {"peers": {"desired": 2**31 - 1}}),
        (paths.ENCRYPTED_NODES, {"versions": {"x" * 65: "1"}}),
    ],
)
def test_no_agent_writes_a_number_without_a_bound(clean: Server, path: str, status: dict[str, Any]) -> None:
    """Not in its first status either: epochs, session numbers, counts and names end somewhere."""
    uid = clean.node("a")["metadata"]["uid"]
    clean.admin.create(path, peer(nodeUID=uid) if path == paths.NODE_PEERS else encrypted(nodeUID=uid))
    agent = clean.agent("a")
    with pytest.raises(ClusterError, match=r"should be less than or equal to|a name is too long"):
        agent.api.patch(f"{path}/a/status", {"status": status})


@pytest.mark.parametrize(
    ("path", "status", "near", "far"),
    [
        (paths.NODE_PEERS, STATUS, {"lastSession": 5 + FAR}, {"lastSession": 6 + FAR}),
        (
            paths.NODE_PEERS,
            STATUS,
            {"lastSession": 6, "sessions": [SESSION, {**NEXT, "epoch": 1 + FAR}]},
            {"lastSession": 6, "sessions": [SESSION, {**NEXT, "epoch": 2 + FAR}]},
        ),
        (
            paths.NODE_PEERS,
            STATUS,
            {"lastSession": 6, "sessions": [{**NEXT, "epoch": 1 + FAR}]},
            {"lastSession": 6, "sessions": [{**NEXT, "epoch": MOST}]},
        ),
        (paths.ENCRYPTED_NODES, {"sendingEpoch": 7}, {"sendingEpoch": 7 + FAR}, {"sendingEpoch": 8 + FAR}),
        (
            paths.ENCRYPTED_NODES,
            {"acceptingEpochs": [1, 2]},
            {"acceptingEpochs": [2, 2 + FAR]},
            {"acceptingEpochs": [2, 3 + FAR]},
        ),
    ],
)
def test_no_agent_leaps_ahead_of_all_epochs_and_sessions(
    clean: Server, path: str, status: dict[str, Any], near: dict[str, Any], far: dict[str, Any]
) -> None:
    """One write goes a bounded step beyond the one before; what is near enough is written."""
    uid = clean.node("a")["metadata"]["uid"]
    clean.admin.create(path, peer(nodeUID=uid) if path == paths.NODE_PEERS else encrypted(nodeUID=uid))
    agent = clean.agent("a")
    agent.api.patch(f"{path}/a/status", {"status": status})
    with pytest.raises(ClusterError, match=r"so far ahead never was|goes up too far at once"):
        agent.api.patch(f"{path}/a/status", {"status": far})
    agent.api.patch(f"{path}/a/status", {"status": near})


@pytest.mark.parametrize("before", [{}, {"sendingEpoch": 0, "acceptingEpochs": []}])
def test_a_node_that_begins_takes_the_clusters_epoch_however_high(clean: Server, before: dict[str, Any]) -> None:
    """It has no epoch of its own that the step could be measured from."""
    clean.admin.create(paths.ENCRYPTED_NODES, encrypted(nodeUID=clean.node("a")["metadata"]["uid"]))
    agent = clean.agent("a")
    agent.api.patch(f"{paths.ENCRYPTED_NODES}/a/status", {"status": before})
    now = {"sendingEpoch": 5 * FAR, "acceptingEpochs": [5 * FAR]}
    assert agent.api.patch(f"{paths.ENCRYPTED_NODES}/a/status", {"status": now})["status"]["sendingEpoch"] == 5 * FAR


def test_a_rotation_has_no_epoch_beyond_the_bound(clean: Server) -> None:
    """Nor has the controller's own record."""
    clean.admin.create(paths.KEY_ROTATIONS, rotation())
    control = clean.controller()
    control.patch(f"{paths.KEY_ROTATIONS}/r/status", {"status": {"phase": "Pending"}})
    begun = {"phase": "Distributing", "fromEpoch": 1, "toEpoch": 2**63 - 1, "toEpochID": "0" * 32}
    with pytest.raises(ClusterError, match="should be less than or equal to"):
        control.patch(f"{paths.KEY_ROTATIONS}/r/status", {"status": begun})


def test_a_withdrawn_session_does_not_come_back(clean: Server) -> None:
    """After its removal a number is used, whether other sessions are left or none."""
    node = clean.node("a")
    clean.admin.create(paths.NODE_PEERS, peer(nodeUID=node["metadata"]["uid"]))
    agent = clean.agent("a")
    agent.api.patch(f"{paths.NODE_PEERS}/a/status", {"status": STATUS})
    agent.api.patch(f"{paths.NODE_PEERS}/a/status", {"status": {"sessions": None}})
    with pytest.raises(ClusterError, match="does not come back"):
        agent.api.patch(f"{paths.NODE_PEERS}/a/status", {"status": STATUS})
    with pytest.raises(ClusterError, match="status cannot be removed"):
        agent.api.patch(f"{paths.NODE_PEERS}/a/status", {"status": None})


BEGUN = {"phase": "Distributing", "fromEpoch": 1, "toEpoch": 2, "toEpochID": "0" * 32}


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([{"phase": "Pending"}, {"phase": "Switching", **{k: v for k, v in BEGUN.items() if k != "phase"}}], "one at a time"),
        ([{"phase": "Pending"}, BEGUN, {"phase": "Pending"}], "one at a time"),
        ([{"phase": "Pending"}, BEGUN, {"phase": "Switching"}, {"phase": "Aborted"}], "one at a time"),
        ([{"phase": "Pending"}, BEGUN, {"phase": None}], "phase cannot be removed"),
        ([{"phase": "Pending"}, BEGUN, {"toEpoch": 3}], "immutable"),
        ([{"phase": "Pending"}, BEGUN, {"toEpochID": "1" * 32}], "immutable"),
        ([{"phase": "Pending"}, BEGUN, {"fromEpoch": 0}], "immutable"),
        ([{"phase": "Pending"}, BEGUN, {"toEpoch": None}], "cannot be removed|names its epochs"),
        ([{"phase": "Pending"}, {**BEGUN, "fromEpoch": 2}], "moves forward"),
        ([{"phase": "Pending"}, {"phase": "Distributing"}], "names its epochs"),
    ],
)
def test_a_rotation_goes_forward_one_phase_at_a_time(clean: Server, steps: list[dict[str, Any]], message: str) -> None:
    """Neither phases nor epochs of a rotation can be turned back or skipped."""
    clean.admin.create(paths.KEY_ROTATIONS, rotation())
    path = f"{paths.KEY_ROTATIONS}/r/status"
    for step in steps[:-1]:
        clean.admin.patch(path, {"status": step})
    with pytest.raises(ClusterError, match=message):
        clean.admin.patch(path, {"status": steps[-1]})


def test_a_rotation_is_aborted_in_time_or_not_at_all(clean: Server) -> None:
    """`abort` is accepted while keys are distributed, never taken back, and refused once nodes use the new ones."""
    path = f"{paths.KEY_ROTATIONS}/r"
    clean.admin.create(paths.KEY_ROTATIONS, rotation())
    clean.admin.patch(f"{path}/status", {"status": {"phase": "Pending"}})
    clean.admin.patch(f"{path}/status", {"status": BEGUN})
    clean.admin.patch(path, {"spec": {"abort": True}})
    with pytest.raises(ClusterError, match="cannot be taken back"):
        clean.admin.patch(path, {"spec": {"abort": None}})
    clean.admin.delete(path)
    clean.admin.create(paths.KEY_ROTATIONS, rotation())
    for step in ({"phase": "Pending"}, BEGUN, {"phase": "Switching"}):
        clean.admin.patch(f"{path}/status", {"status": step})
    with pytest.raises(ClusterError, match="too late to abort"):
        clean.admin.patch(path, {"spec": {"abort": True}})
    with pytest.raises(ClusterError, match="immutable"):
        clean.admin.patch(path, {"spec": {"reason": "another"}})


def test_kubectl_shows_the_columns(clean: Server) -> None:
    """`kubectl get en,np,kr` tells state, protection and phase without any option."""
    clean.admin.create(paths.NODE_PEERS, peer())
    clean.admin.create(paths.ENCRYPTED_NODES, encrypted())
    clean.admin.create(paths.KEY_ROTATIONS, rotation())
    shown = clean.kubectl("get", "en,np,kr")
    for word in ("STATE", "READY", "PROTECTED", "SESSION", "ENDPOINTS", "PHASE", "Joining", "192.0.2.1"):
        assert word in shown
