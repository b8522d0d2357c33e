"""etcd is restored from a backup: versions go back, and what was written since never was."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.cluster.controlled import EMPTY, Cluster, running
from wirecrypt.cluster import paths
from wirecrypt.cluster.codec import decode
from wirecrypt.cluster.reflector import Reflector
from wirecrypt.errors import ClusterError
from wirecrypt.model.objects import Phase
from wirecrypt.model.session import Epoch, Session
from wirecrypt.model.xfrm import Algorithm

if TYPE_CHECKING:
    from tests.cluster.conftest import Server

PAIR = ("a", "b")


def _shake(server: Server, times: int) -> None:
    """Have versions go on, as the Leases of a cluster's nodes do it."""
    for number in range(times):
        server.admin.patch(f"{paths.NODES}/a", {"metadata": {"labels": {"example.com/n": str(number)}}})


@pytest.mark.parametrize("writes", [1, 3000], ids=["and the store counts further at once", "and is behind for long"])
def test_a_copy_shows_what_a_restored_store_has(own_server: Server, writes: int) -> None:
    """What was made since the backup is gone from the copy, and what is made after the restore is in it."""
    server, backup = own_server, own_server.back_up()
    copy = Reflector(server.admin, "Node", paths.NODES, decode.node)
    copy.start(lambda: None)
    try:
        _shake(server, writes)
        server.node("b")
        server.wait(lambda: [n.name for n in copy.objects()] == ["a", "b"], "the first list")
        server.restore(backup)
        server.wait(lambda: [n.name for n in copy.objects()] == ["a"], "what the backup has")
        server.node("c")
        server.wait(lambda: [n.name for n in copy.objects()] == ["a", "c"], "what is made after that")
    finally:
        copy.stop()


def _served(cluster: Cluster) -> bool:
    """Return whether agents are answered: kinds and rights are there a moment after the API server itself."""
    try:
        return all(cluster.agent(name).cluster.node_peer(name) and cluster.encrypted(name) for name in PAIR)
    except ClusterError:
        return False


def _play(cluster: Cluster, session: Session) -> None:
    """Have both agents publish *session* and say that they send with its epoch, whatever their objects show."""
    for name in PAIR:
        agent, peer = cluster.agent(name).cluster, cluster.peer(name)
        agent.publish_sessions(peer, boot_id="b1", boot_session=1, sessions=[session])
        number = session.epoch.number
        words = replace(EMPTY, sending_epoch=number, accepting_epochs=(number,), ready_for=tuple({*PAIR} - {name}))
        cluster.report(name, lambda _, said=words: said)


def _session(number: int, epoch: Epoch) -> Session:
    return Session(number, epoch, bytes(32), 1, Algorithm.AES_256_GCM)


def _rotate(cluster: Cluster, name: str, number: int) -> Epoch:
    """Rotate to the end, and return the epoch."""
    cluster.until(lambda: cluster.rotation(name), f"the rotation {name}")
    cluster.until(lambda: cluster.rotation(name).phase is Phase.SWITCHING, f"{name} to switch")
    rotation = cluster.rotation(name)
    epoch = Epoch(rotation.to_epoch, rotation.to_epoch_id)
    _play(cluster, _session(number, epoch))
    cluster.until(lambda: cluster.rotation(name).phase is Phase.COMPLETE, f"{name} to be complete")
    return epoch


def test_rotations_go_on_after_a_restore(own_server: Server) -> None:
    """The controller sees what the backup has, also what it wrote itself and what is undone; no number comes again."""
    server = own_server
    server.admin.delete(f"{paths.NODES}/a")
    with running(server):
        cluster = Cluster(server)
        cluster.join(*PAIR)
        cluster.until(lambda: cluster.rotation("initial").phase is Phase.COMPLETE, "the first rotation")
        backup = server.back_up()
        for number, name in enumerate(("second", "third"), 2):
            cluster.rotate(name)
            epoch = _rotate(cluster, name, number)
        _shake(server, 500)
        server.restore(backup)
        cluster.until(lambda: _served(cluster), "kinds and rights of the restored API server")
        assert (cluster.seeds(), cluster.peer("a").last_session) == ([1], 1)
        _play(cluster, _session(3, epoch))
        assert _rotate(cluster, "recovery-4", 4).number == 4
        cluster.rotate("asked")
        assert _rotate(cluster, "asked", 5).number == 5
        assert cluster.seeds() == cluster.keys("a") == cluster.keys("b") == [5]
