"""Local copies on a real API server: what they show, and what they survive."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from kubernetes.config import incluster_config

from wirecrypt.cluster import paths
from wirecrypt.cluster.api import Api
from wirecrypt.cluster.codec import decode
from wirecrypt.cluster.controller_client import LONGEST_LAG, ControllerClient
from wirecrypt.cluster.informers import Informers
from wirecrypt.cluster.reflector import Reflector
from wirecrypt.errors import ClusterError, Conflict, NotFound, Unreachable
from wirecrypt.model.objects import EncryptedNode, NodePeer, NodeState, SeedSecret
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Epoch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.conftest import Server

FOREIGN = "example.com/hold"


@pytest.fixture
def cache(clean: Server) -> Iterator[Informers]:
    """Yield the copies of an agent on node a, synced."""
    clean.node("a")
    informers = Informers(clean.agent("a").api)
    informers.start(lambda: None)
    clean.wait(informers.synced, "the first lists")
    yield informers
    informers.stop()


def wait_until_watched(clean: Server, cache: Informers) -> None:
    """Wait until every kind is not only listed, but watched."""
    clean.wait(lambda: all(reflector._stream for reflector in cache._all), "every watch to be open")  # noqa: SLF001


def test_copies_follow_changes(clean: Server, cache: Informers) -> None:
    """What is created, changed and deleted shows."""
    clean.node("b")
    clean.wait(lambda: [n.name for n in cache.nodes()] == ["a", "b"], "a new Node")
    clean.label("b", "enabled")
    clean.wait(lambda: cache.nodes()[1].label == "enabled", "a label")
    clean.admin.delete(f"{paths.NODES}/b")
    clean.wait(lambda: [n.name for n in cache.nodes()] == ["a"], "a deletion")
    assert cache.peers() == []
    assert cache.config() is not None


def test_a_malformed_object_is_left_out_and_harms_no_other(clean: Server, cache: Informers) -> None:
    """A Node with host bits in its prefix is listed as malformed, not as missing, until it is corrected."""
    clean.admin.create(paths.NODES, {"metadata": {"name": "bad"}})
    clean.admin.patch(f"{paths.NODES}/bad/status", {"status": {"addresses": [{"type": "InternalIP", "address": "x"}]}})
    clean.node("c")
    clean.wait(lambda: [n.name for n in cache.nodes()] == ["a", "c"], "the others")
    assert "status.addresses" in str(cache.malformed()["Node", "bad"])
    clean.admin.patch(f"{paths.NODES}/bad/status", {"status": {"addresses": None}})
    clean.wait(lambda: not cache.malformed(), "the corrected Node")
    assert [n.name for n in cache.nodes()] == ["a", "bad", "c"]


def test_a_version_that_is_forgotten_means_a_new_list(clean: Server) -> None:
    """The server answers 410 to a watch from long ago; the copy lists again by itself."""
    spec = {"nodeID": 16, "nodeUID": "u", "state": "Joining"}
    body = {"apiVersion": paths.VERSION, "kind": "NodePeer", "metadata": {"name": "a"}, "spec": spec}
    clean.admin.create(paths.NODE_PEERS, body)
    with clean.admin.stream(paths.NODE_PEERS, version="1", seconds=5) as stream:
        assert next(stream.events())["object"]["code"] == 410
    lists = []
    reflector = Reflector(clean.admin, "NodePeer", paths.NODE_PEERS, decode.node_peer)
    reflector._version = "1"  # noqa: SLF001 - as after hours without a connection
    reflector.start(lambda: lists.append(reflector.objects()))
    try:
        clean.wait(lambda: [p.name for p in reflector.objects()] == ["a"], "a new list")
        assert len(lists) == 1
    finally:
        reflector.stop()


def test_a_broken_stream_is_taken_up_again(clean: Server, cache: Informers) -> None:
    """A connection that breaks off loses nothing: the server confirms each copy, with an agent's rights, and it goes on."""
    wait_until_watched(clean, cache)
    broken = time.monotonic()
    for reflector in cache._all:  # noqa: SLF001 - cut every connection, as a network does
        with reflector._lock:  # noqa: SLF001
            stream = reflector._stream  # noqa: SLF001
        assert stream is not None
        stream.interrupt()
    clean.node("b")
    clean.wait(lambda: [n.name for n in cache.nodes()] == ["a", "b"], "a change after the break")
    clean.wait(lambda: max(cache.ages().values()) < time.monotonic() - broken, "every copy to be confirmed")


def test_what_went_back_for_one_kind_is_listed_anew_for_all(clean: Server, cache: Informers) -> None:
    """The copies count one restore, and are of one past when every kind was listed since."""
    started = time.monotonic()
    wait_until_watched(clean, cache)  # a stream that is not open yet cannot be cut
    kept = cache._all[0]  # noqa: SLF001 - as if a version had been seen that the store does not have
    kept._newest = str(10**12)  # noqa: SLF001
    kept._interrupt()  # noqa: SLF001
    clean.wait(lambda: cache.restores() and cache.settled(), "all kinds to be listed")
    assert cache.restores() == 1
    assert all(reflector.listed_since(started) for reflector in cache._all)  # noqa: SLF001
    assert set(cache.ages()) == {"Node", "NodePeer", "KeyRotation", "ConfigMap"}
    assert max(cache.ages().values()) <= time.monotonic() - started


def test_watches_end_at_once_when_they_are_stopped(clean: Server) -> None:
    """No thread waits for its server."""
    informers = Informers(clean.admin)
    informers.start(lambda: None)
    clean.wait(informers.synced, "the first lists")
    informers.stop()
    assert not [t for t in threading.enumerate() if t.name.startswith("watch-")]


def test_lists_come_in_pages(clean: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """More objects than a page holds are all read."""
    monkeypatch.setattr(clean.admin, "page", 2)
    for i in range(5):
        clean.admin.create(paths.NODES, {"metadata": {"name": f"n{i}"}})
    reads = clean.admin.reads
    assert len(clean.admin.items(paths.NODES)[0]) == 5
    assert clean.admin.reads - reads == 3


def test_writes_are_by_compare_and_swap(clean: Server) -> None:
    """A write on a version that somebody changed meanwhile is a Conflict and changes nothing."""
    node = clean.node("a")
    stale = {"metadata": {"resourceVersion": node["metadata"]["resourceVersion"], "labels": {"x": "y"}}}
    clean.label("a", "enabled")
    with pytest.raises(Conflict):
        clean.admin.patch(f"{paths.NODES}/a", stale)
    with pytest.raises(Conflict):
        clean.admin.delete(f"{paths.NODES}/a", version=node["metadata"]["resourceVersion"])
    with pytest.raises(NotFound):
        clean.admin.get(f"{paths.NODES}/none")
    clean.admin.delete(f"{paths.NODES}/none")


def test_a_token_file_is_read_again(clean: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bound tokens change while an agent runs: a pod's identity follows its file."""
    token, host = tmp_path / "token", clean.url.removeprefix("https://")
    token.write_text("wrong")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(clean.folder / "certs/apiserver.crt"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host.partition(":")[0])
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", host.partition(":")[2])
    monkeypatch.delenv("KUBECONFIG", raising=False)
    api = Api.connect()
    with pytest.raises(ClusterError, match="401"):
        api.get("/api/v1/namespaces/default")
    token.write_text("admin\n")
    assert api.get("/api/v1/namespaces/default")


def test_the_addresses_of_the_api_server_are_known(clean: Server) -> None:
    """That of the connection, and with an agent's rights those behind the Service `kubernetes`."""
    clean.node("a")
    agent = clean.agent("a").cluster
    slices = clean.wait(lambda: clean.admin.items(paths.API_SLICES)[0], "the slices of the Service")
    behind = {address for raw in slices for address in decode.slice_addresses(raw)}
    assert behind
    assert agent.api_addresses() == {ip_address("127.0.0.1"), *behind}


def test_an_agent_hears_whether_the_api_server_still_answers(clean: Server) -> None:
    """Only an answer to what was asked later counts; the question is asked beside it."""
    clean.node("a")
    agent = clean.agent("a").cluster
    since = time.monotonic()
    assert not agent.reached(since)
    clean.wait(lambda: agent.reached(since), "an answer")


def test_a_server_that_does_not_answer_is_unreachable(clean: Server, tmp_path: Path) -> None:
    """Nobody listens: one clear error, with the address's next step."""
    text = clean.kubeconfig("admin").read_text().replace(clean.url, "https://127.0.0.1:1")
    (tmp_path / "config").write_text(text)
    with pytest.raises(Unreachable, match="check the API server's address"):
        Api.connect(tmp_path / "config").get("/api/v1/nodes")


@pytest.fixture
def control(clean: Server) -> Iterator[ControllerClient]:
    """Yield the controller's cluster, synced."""
    clean.node("a")
    made = ControllerClient(clean.controller())
    made.start(lambda: None)
    clean.wait(made.view, "the first lists")
    yield made
    made.stop()


def test_a_version_that_never_comes_is_not_waited_for(clean: Server) -> None:
    """Copies that do not show an own write for long are listed, and what a quorum read shows is what is waited for."""
    now = [0.0]
    control = ControllerClient(clean.controller(), clock=lambda: now[0])
    control.start(lambda: None)
    try:
        clean.wait(control.view, "the first lists")
        control._written[paths.NODES] = 10**12  # noqa: SLF001 - the version of a write that was undone
        assert control.view() is None
        now[0] += LONGEST_LAG - 1
        assert control.view() is None
        now[0] += 1
        clean.wait(control.view, "the copies to be shown again")
    finally:
        control.stop()


@contextmanager
def holding(server: Server, path: str) -> Iterator[None]:
    """Put somebody else's finalizer on an object, and take it away in the end."""
    server.admin.patch(path, {"metadata": {"finalizers": [FOREIGN]}})
    try:
        yield
    finally:
        with suppress(NotFound):
            server.admin.patch(path, {"metadata": {"finalizers": None}})


def test_a_foreign_finalizer_on_an_encrypted_node_stops_nothing(clean: Server, control: ControllerClient) -> None:
    """A deleted object that others hold shows as being deleted; the copies are there at once, and it is asked for once."""
    view = clean.wait(control.view, "copies")
    control.create_encrypted_node(view.nodes["a"], 16, NodeState.LEAVING, ())
    with holding(clean, f"{paths.ENCRYPTED_NODES}/a"):
        held = clean.wait(lambda: _shown(control, deleting=False), "the EncryptedNode")
        control.delete_encrypted_node(held)
        again = clean.wait(lambda: _shown(control, deleting=True), "the copies to go on")
        writes = control.api.writes
        control.delete_encrypted_node(again)
        control.delete_encrypted_node(again)
        assert (control.api.writes, control.view() is not None) == (writes, True)
    clean.wait(lambda: (v := control.view()) and not v.encrypted, "the EncryptedNode to go")


def test_removing_a_node_peer_leaves_the_finalizers_of_others(clean: Server, control: ControllerClient) -> None:
    """Our finalizer is taken away, and what somebody else waits for stays until he lets it go."""
    node = clean.wait(control.view, "copies").nodes["a"]
    claims = node.endpoints, node.pod_cidrs
    control.create_node_peer(node, NodePeer("a", "", 16, node.uid, *claims, NodeState.JOINING, node.created))
    path = f"{paths.NODE_PEERS}/a"
    ours = clean.admin.get(path)["metadata"]["finalizers"]
    clean.admin.patch(path, {"metadata": {"finalizers": [*ours, FOREIGN]}})
    peer = clean.wait(lambda: (v := control.view()) and v.peers.get("a"), "the NodePeer")
    control.remove_node_peer(replace(peer, resource_version=clean.admin.get(path)["metadata"]["resourceVersion"]))
    assert clean.admin.get(path)["metadata"]["finalizers"] == [FOREIGN]
    clean.admin.patch(path, {"metadata": {"finalizers": None}})
    clean.wait(lambda: (v := control.view()) and not v.peers, "the NodePeer to go")


def _shown(control: ControllerClient, *, deleting: bool) -> EncryptedNode | None:
    """Return the EncryptedNode once the copies show it so."""
    view = control.view()
    return next((e for e in view.encrypted.values() if e.deleting is deleting), None) if view else None


def test_a_foreign_finalizer_on_a_secret_stops_nothing(clean: Server, control: ControllerClient) -> None:
    """The same for an epoch's seed, which is deleted by the version that was read."""
    control.write_seed(SeedSecret(Epoch(1, "0" * 32), SecretBytes(bytes(32)), (), ()))
    with holding(clean, f"{paths.SEEDS}/wirecrypt-epoch-1"):
        control.delete_seed(clean.wait(lambda: _held(control, clean), "the seed as it is held"))
        now = clean.wait(lambda: (v := control.view()) and v.seeds, "the copies to go on")
        writes = control.api.writes
        control.delete_seed(now[0])
        assert (control.api.writes, control.view() is not None) == (writes, True)
    clean.wait(lambda: (v := control.view()) and not v.seeds, "the seed to go")


def _held(control: ControllerClient, server: Server) -> SeedSecret | None:
    """Return the seed once the copies show the version that has the finalizer."""
    version = server.admin.get(f"{paths.SEEDS}/wirecrypt-epoch-1")["metadata"]["resourceVersion"]
    view = control.view()
    return next((s for s in view.seeds if s.resource_version == version), None) if view else None
