"""Objects that are lost while the labels stay, whole kinds of them at once: what is made again, and from what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.conftest import OTHER, ROOT
from tests.cluster.controlled import Cluster, running
from wirecrypt.cluster import paths
from wirecrypt.cluster.informers import Informers
from wirecrypt.errors import ClusterError
from wirecrypt.model.access import AccessPart
from wirecrypt.model.objects import NodeState, Phase

if TYPE_CHECKING:
    from tests.cluster.conftest import Server

KINDS = ("nodepeers", "encryptednodes", "keyrotations")


def _found(cluster: Cluster, names: str = "bc") -> dict[str, Any]:
    """Return node ID and state of each node's objects; nothing of what is not there, or whose kind is not."""
    try:
        objects = {("np", name): cluster.peer(name) for name in names} | {("en", n): cluster.encrypted(n) for n in names}
    except ClusterError:
        return {}
    return {
        f"{kind} {name}": (o.node_id, o.state) for (kind, name), o in objects.items() if o and not getattr(o, "deleting", False)
    }


def _all_active(cluster: Cluster, names: str = "bc") -> dict[str, Any]:
    """Return what `_found` does once all four say Active: an EncryptedNode does so a pass after its NodePeer."""

    def active() -> dict[str, Any]:
        found = _found(cluster, names)
        return found if [state for _, state in found.values()] == [NodeState.ACTIVE] * 4 else {}

    found: dict[str, Any] = cluster.until(active, "both nodes Active in both kinds")
    return found


def _play(cluster: Cluster) -> None:
    """Have the agents publish in new objects, and say that they are ready, as real ones do."""
    for name, other in ("bc", "cb"):
        peer, encrypted = cluster.peer(name), cluster.encrypted(name)
        if peer and not peer.sessions and cluster.keys(name):
            cluster.publish(name, 1)
        if encrypted and encrypted.status is None:
            cluster.say(name, sending_epoch=1, accepting_epochs=(1,), ready_for=(other,))


def _rotate(cluster: Cluster) -> None:
    """Play the rotation that is asked for, since none tells any more which epoch is in use."""
    cluster.until(lambda: cluster.rotation("recovery-2"), "the rotation")
    cluster.until(lambda: cluster.rotation("recovery-2").phase is Phase.SWITCHING, "the rotation to switch")
    for name, other in ("bc", "cb"):
        cluster.publish(name, 1, 2)
        cluster.say(name, sending_epoch=2, accepting_epochs=(2,), ready_for=(other,))


def _come_back(cluster: Cluster, before: dict[str, Any]) -> bool:
    if _found(cluster).keys() != before.keys():
        return False
    _play(cluster)
    return _found(cluster) == before


@pytest.mark.L1
@pytest.mark.parametrize("kinds", [*((kind,) for kind in KINDS), KINDS], ids="+".join)
def test_kinds_that_are_replaced_get_their_objects_again(own_server: Server, kinds: tuple[str, ...]) -> None:
    """`kubectl replace --force` of CRDs: the same node IDs, and in the end the same states, without a restart of anybody."""
    server = own_server
    for path in (paths.NODE_PEERS, paths.ENCRYPTED_NODES):
        server.admin.delete(f"{path}/{OTHER}")
    with running(server):
        cluster = Cluster(server)
        server.node("c", label="enabled")  # before b: IDs that are given anew would be the other way round
        cluster.until(lambda: cluster.peer("c"), "the NodePeer of c")
        cluster.join("b", "c")
        cluster.until(lambda: cluster.rotation("initial").phase is Phase.COMPLETE, "the first rotation")
        before = _all_active(cluster)
        assert before["np c"] < before["np b"]
        copies = Informers(cluster.agent("b").api)
        copies.start(lambda: None)
        try:
            cluster.until(lambda: copies.synced() and {p.name for p in copies.peers()} >= {"b", "c"}, "an agent's copies")
            server.kubectl(
                "replace", "--force", *(word for kind in kinds for word in ("-f", str(ROOT / f"manifests/crd-{kind}.yaml")))
            )
            cluster.until(lambda: _come_back(cluster, before), f"the objects as they were: {before}")
            uids = {name: cluster.peer(name).uid for name in "bc"}
            cluster.until(lambda: {p.name: p.uid for p in copies.peers() if p.name in "bc"} == uids, "the copies to follow")
            if "keyrotations" in kinds:
                _rotate(cluster)
            cluster.until(lambda: any(r.phase is Phase.COMPLETE for r in copies.rotations()), "a rotation that is complete")
        finally:
            copies.stop()


@pytest.mark.R1
def test_a_rotation_waits_for_a_node_whose_words_were_lost(clean: Server) -> None:
    """A NodePeer that is made again has no session: what its node accepts is not known, so no old key goes before it speaks."""
    with running(clean):
        cluster = Cluster(clean)
        cluster.join("a", "b")
        cluster.until(lambda: cluster.rotation("initial").phase is Phase.COMPLETE, "the first rotation")
        _all_active(cluster, "ab")
        before = cluster.peer("b")
        clean.admin.delete(f"{paths.NODE_PEERS}/b")
        cluster.until(lambda: (peer := cluster.peer("b")) and peer.uid != before.uid, "the NodePeer of b to be made again")
        cluster.rotate("next")
        cluster.until(lambda: cluster.keys("a") == cluster.keys("b") == [1, 2], "the new key")
        cluster.publish("a", 2)
        cluster.say("a", sending_epoch=2, accepting_epochs=(2,))
        cluster.until(lambda: cluster.rotation("next").nodes_done, "a to have come along")
        rotation = cluster.rotation("next")
        assert (rotation.phase, rotation.nodes_done, rotation.nodes_total) == (Phase.SWITCHING, 1, 2)
        assert rotation.conditions[0].message == "waits for b"
        cluster.publish("b", 2)
        cluster.say("b", sending_epoch=2, accepting_epochs=(2,))
        cluster.until(lambda: cluster.rotation("next").phase is Phase.COMPLETE, "the rotation to be complete")
        assert cluster.keys("a") == cluster.keys("b") == [2]


@pytest.mark.L1
def test_what_the_namespace_of_the_keys_holds_is_made_again(clean: Server) -> None:
    """All Secrets, accounts, Roles and RoleBindings at once, as `kubectl delete namespace` takes them: the same keys again."""
    with running(clean):
        cluster = Cluster(clean)
        cluster.join("a", "b")
        cluster.until(lambda: cluster.rotation("initial").phase is Phase.COMPLETE, "the first rotation")
        before = cluster.agent("a").cluster.node_keys("a")
        for path in (paths.NODE_KEYS, *(path + paths.ACCESS_ONLY for path in paths.ACCESS.values())):
            for item in clean.admin.items(path)[0]:
                clean.admin.delete(f"{path.partition('?')[0]}/{item['metadata']['name']}")
        cluster.until(
            lambda: all(cluster.found(f"{paths.ACCESS[part]}/wirecrypt-node-a") for part in AccessPart), "the account"
        )
        cluster.until(lambda: cluster.keys("a") == cluster.keys("b") == [1], "the keys")
        cluster.until(lambda: cluster.reads("a"), "the keys to be read")
        assert cluster.agent("a").cluster.node_keys("a") == before
        assert {cluster.peer(name).state for name in "ab"} == {NodeState.ACTIVE}
