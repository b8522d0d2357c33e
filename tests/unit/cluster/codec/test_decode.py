"""Objects of the API server become values, or are refused with object, field and next step."""

from __future__ import annotations

import base64
import copy
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from wirecrypt.cluster.codec import decode, encode
from wirecrypt.errors import ObjectError
from wirecrypt.model.conditions import Condition
from wirecrypt.model.objects import KeySecret, NodeKey, NodeState, NodeStatus, Phase, SeedSecret
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Epoch, Session
from wirecrypt.model.xfrm import Algorithm

if TYPE_CHECKING:
    from collections.abc import Callable

TIME = "2024-01-01T00:00:00Z"
META = {"name": "a", "uid": "u", "creationTimestamp": TIME, "resourceVersion": "7"}
EPOCH = Epoch(3, "ab" * 16)
SESSION = Session(5, EPOCH, bytes(range(32)), 2, Algorithm.CHACHA20_POLY1305)
NODE: dict[str, Any] = {
    "metadata": {**META, "labels": {"wirecrypt.io/encryption": "enabled"}},
    "spec": {"podCIDRs": ["10.1.0.0/24", "fd00::/64"]},
    "status": {
        "addresses": [{"type": "Hostname", "address": "a"}, {"type": "InternalIP", "address": "192.0.2.1"}],
        "conditions": [{"type": "Ready", "status": "True"}],
    },
}
PEER: dict[str, Any] = {
    "metadata": META,
    "spec": {"nodeID": 16, "nodeUID": "n", "state": "Active", "endpoints": ["192.0.2.1"], "podCIDRs": ["10.1.0.0/24"]},
    "status": {"bootID": "b", "bootSession": 4, "lastSession": 5, "sessions": [encode.session(SESSION)]},
}


def without(raw: dict[str, Any], *path: str | int, value: object = None) -> dict[str, Any]:
    """Return a copy of *raw* with *value* at *path*."""
    changed = copy.deepcopy(raw)
    inner: Any = changed
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return changed


def test_a_node_is_read_with_its_claims() -> None:
    """Internal addresses and pod prefixes of both families, the label's value, readiness."""
    node = decode.node(NODE)
    assert [str(e) for e in node.endpoints] == ["192.0.2.1"]
    assert [str(p) for p in node.pod_cidrs] == ["10.1.0.0/24", "fd00::/64"]
    assert (node.label, node.ready, node.created) == ("enabled", True, datetime(2024, 1, 1, tzinfo=UTC))


def test_the_addresses_of_a_slice_are_read_and_names_left_out() -> None:
    """All endpoints', also of those that are not ready: packets may go there all the same."""
    raw: dict[str, Any] = {"addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.1"]}, {"addresses": ["192.0.2.2"]}]}
    assert [str(a) for a in decode.slice_addresses(raw)] == ["192.0.2.1", "192.0.2.2"]
    assert decode.slice_addresses({"addressType": "IPv6", "endpoints": None}) == ()
    assert decode.slice_addresses({"addressType": "FQDN", "endpoints": [{"addresses": ["api.example"]}]}) == ()
    with pytest.raises(ObjectError, match="EndpointSlice"):
        decode.slice_addresses({"addressType": "IPv4", "endpoints": [{"addresses": ["api.example"]}]})


def test_a_node_without_word_of_readiness_counts_as_ready_and_an_unknown_one_does_not() -> None:
    """Only a kubelet that said something else than True makes a node not ready."""
    assert decode.node(without(NODE, "status", "conditions")).ready
    assert not decode.node(without(NODE, "status", "conditions", 0, "status", value="Unknown")).ready


def test_a_control_plane_node_is_known_by_its_label() -> None:
    """The label counts whatever its value, which is empty as a rule."""
    labels = {"node-role.kubernetes.io/control-plane": ""}
    assert decode.node({**NODE, "metadata": {**META, "labels": labels}}).control_plane
    assert not decode.node(NODE).control_plane


def test_a_removal_is_confirmed_on_a_peer_by_its_annotation() -> None:
    """The word is true and nothing else."""
    for word, confirmed in (("true", True), ("yes", False)):
        annotated = {**PEER, "metadata": {**META, "annotations": {"wirecrypt.io/confirm-removal": word}}}
        assert decode.node_peer(annotated).confirmed is confirmed


def test_what_a_node_may_have_of_addresses_is_read_from_an_annotation() -> None:
    """Prefixes and addresses with commas between; a word that is neither allows nothing."""
    for words, found in (
        ("198.51.100.0/28, fd00::7", ["198.51.100.0/28", "fd00::7/128"]),
        ("", []),
        ("all,198.51.100.1/24,192.0.2.7,192.0.2.7", ["192.0.2.7/32"]),
    ):
        annotated = {**PEER, "metadata": {**META, "annotations": {"wirecrypt.io/allow-addresses": words}}}
        assert [str(p) for p in decode.node_peer(annotated).allowed] == found
    assert decode.node_peer(PEER).allowed == ()


def test_a_session_survives_the_way_there_and_back() -> None:
    """What is published is read as it was written."""
    peer = decode.node_peer(PEER)
    assert (peer.sessions, peer.boot_session, peer.state) == ((SESSION,), 4, NodeState.ACTIVE)


def test_other_addresses_of_a_node_survive_the_way_there_and_back() -> None:
    """Granted ones as they are written; of the proposed ones, silence is not the same as none."""
    raw = without(without(PEER, "spec", "addresses", value=["198.51.100.7", "fd00::7"]), "status", "proposed", value=[])
    peer = decode.node_peer(raw)
    assert ([str(a) for a in peer.addresses], peer.proposed) == (["198.51.100.7", "fd00::7"], ())
    assert encode.peer_spec(peer)["addresses"] == raw["spec"]["addresses"]
    said = decode.node_peer(without(PEER, "status", "proposed", value=["198.51.100.7"]))
    assert [str(a) for a in said.proposed or ()] == ["198.51.100.7"]
    silent = decode.node_peer(PEER)
    assert (silent.addresses, silent.proposed) == ((), None)


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("metadata", "uid"), None, "metadata.uid"),
        (("spec", "nodeID"), 15, "spec.nodeID"),
        (("spec", "nodeID"), "16", "spec.nodeID"),
        (("spec", "nodeID"), True, "spec.nodeID"),
        (("spec", "state"), "Ready", "spec.state"),
        (("spec", "endpoints"), ["node"], "spec.endpoints"),
        (("spec", "podCIDRs"), ["10.1.0.1/24"], "spec.podCIDRs"),
        (("spec", "podCIDRs"), "10.1.0.0/24", "spec.podCIDRs"),
        (("spec", "addresses"), ["192.0.2.1/32"], "spec.addresses"),
        (("status", "proposed"), ["node"], "status.proposed"),
        (("status", "proposed"), "192.0.2.1", "status.proposed"),
        (("status", "sessions"), [1], "status.sessions[0]"),
        (("status", "sessions", 0, "publicKey"), "AAAA", "status.sessions[0].publicKey"),
        (("status", "sessions", 0, "epochID"), "AB" * 16, "status.sessions[0].epochID"),
        (("status", "sessions", 0, "lanes"), 17, "status.sessions[0].lanes"),
        (("status", "sessions", 0, "algorithm"), "des", "status.sessions[0].algorithm"),
    ],
)
def test_a_malformed_peer_is_refused_by_field(path: tuple[str | int, ...], value: object, field: str) -> None:
    """The error names the object, the path of the field, and what to do."""
    with pytest.raises(ObjectError) as caught:
        decode.node_peer(without(PEER, *path, value=value))
    assert "NodePeer a" in str(caught.value)
    assert field in str(caught.value)
    assert "Next:" in str(caught.value)


def test_the_keys_of_a_node_survive_the_way_there_and_back_and_are_sorted() -> None:
    """One entry an epoch: 16 bytes id, then the share; next to them what is to be known when all else is lost."""
    keys = tuple(NodeKey(Epoch(n, f"{n:032x}"), SecretBytes(bytes([n]) * 2048)) for n in (3, 10))
    secret = KeySecret("a", "uid", keys, "7", 17, active=True)
    raw = encode.key_secret(secret, [])
    assert base64.b64decode(raw["data"]["3"])[:16] == bytes(15) + b"\3"
    meta = {**raw["metadata"], "resourceVersion": "7"}
    assert decode.key_secret(raw | {"metadata": meta}) == secret
    for said in ({}, {decode.NODE_ID: "many"}, {decode.NODE_ID: "3"}, {decode.ACTIVE: "no"}):
        read = decode.key_secret(raw | {"metadata": {**meta, "annotations": said}})
        assert (read.node_id, read.active, read.keys) == (0, False, keys)


def test_a_seed_survives_the_way_there_and_back() -> None:
    """With the node IDs that rest."""
    seed = SeedSecret(EPOCH, SecretBytes(bytes(range(32))), (20, 16), (17,))
    assert decode.seed_secret(encode.seed_secret(seed)) == SeedSecret(EPOCH, seed.seed, (16, 20), (17,))


@pytest.mark.K2
@pytest.mark.parametrize(
    ("entry", "read"),
    [
        ({"1": "c2VjcmV0IQ=="}, decode.key_secret),
        ({"1": "c2VjcmV0IQ"}, decode.key_secret),
        ({"01": base64.b64encode(b"secret!" * 300).decode()[:2752]}, decode.key_secret),
        ({"seed": "c2VjcmV0IQ==", "id": "AAAA"}, decode.seed_secret),
    ],
)
def test_a_malformed_secret_is_refused_and_never_shown(entry: dict[str, str], read: Callable[[Any], object]) -> None:
    """Neither the message nor a chained cause holds what was in it."""
    name = "wirecrypt-node-a" if read is decode.key_secret else "wirecrypt-epoch-1"
    with pytest.raises(ObjectError) as caught:
        read({"metadata": {"name": name}, "data": entry})
    assert f"Secret {name}" in str(caught.value)
    error: BaseException | None = caught.value
    while error is not None:
        assert not any(text in f"{error!r}" for text in ("c2Vjcm", "secret!"))
        error = error.__cause__ or error.__context__


def test_a_condition_keeps_its_time_while_its_status_stays() -> None:
    """The time of the last transition moves only on a transition."""
    since, now = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 2, tzinfo=UTC)
    before = [Condition("Ready", status=True, reason="A", message="", changed=since)]
    same, other = (Condition("Ready", status=s, reason="B", message="") for s in (True, False))
    assert encode.conditions([same], before, now)[0]["lastTransitionTime"] == TIME
    assert encode.conditions([other], before, now)[0]["lastTransitionTime"] == "2024-02-02T00:00:00Z"


def test_the_words_of_an_agent_survive_the_way_there_and_back() -> None:
    """Every field of the status of an EncryptedNode."""
    since = datetime(2024, 1, 1, tzinfo=UTC)
    condition = Condition("Ready", status=None, reason="Starting", message="soon", changed=since)
    status = NodeStatus(
        "b", 3, (2, 3), 5, 4, 1, ("b", "c"), ("d: no answer",), 1400, 87, (("agent", "1"),), (condition,), (("c", 7),)
    )
    raw = {"metadata": META, "spec": {"nodeID": 16, "nodeUID": "n", "state": "Joining"}}
    assert decode.encrypted_node(raw).status is None
    assert decode.encrypted_node(raw | {"status": encode.node_status(status, (), since)}).status == status


def test_a_new_rotation_has_no_phase_and_a_finished_one_all_fields() -> None:
    """Status fields are read as they were written."""
    raw: dict[str, Any] = {"metadata": META, "spec": {"reason": "x"}}
    new = decode.key_rotation(raw)
    assert (new.phase, new.abort, new.held) == (None, False, False)
    status = {"phase": "Complete", "fromEpoch": 1, "toEpoch": 2, "toEpochID": "ab" * 16, "completionTime": TIME}
    done = decode.key_rotation(raw | {"status": status})
    assert (done.phase, done.from_epoch, done.to_epoch, done.completed) == (Phase.COMPLETE, 1, 2, new.created)
