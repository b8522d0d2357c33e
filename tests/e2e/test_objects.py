"""What somebody does to the objects of an encrypted node: the label is the wish, and an object that is lost says nothing."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.e2e import product
from wirecrypt import datafiles
from wirecrypt.errors import ClusterError
from wirecrypt.lab import operations
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.waiting import until

NEWEST_KERNEL = True  # what is judged here is about objects
QUIET = True

KINDS = ("nodepeers", "encryptednodes", "keyrotations")
PEER = "/apis/wirecrypt.io/v1alpha1/nodepeers/node-2"


@pytest.mark.L1
@pytest.mark.C1
def test_a_nodepeer_that_is_deleted_under_its_label_comes_back_and_nothing_is_readable(protected: Lab) -> None:
    """`kubectl delete np` of an enabled node: the same node ID, Active as before, and the wire is judged all the while."""
    lab = protected
    before = lab.api.get(PEER)
    with product.trickle(lab, *product.PAIR):
        lab.kubectl("delete", "np", "node-2", "--wait=false")
        _until_made_again(lab, before["metadata"]["uid"])
        product.settle(lab, *product.PAIR)
        lab.kubectl("wait", "--for=condition=Ready", "en", "--all", f"--timeout={product.SECONDS:.0f}s")
    _, number, state = _identity(lab)
    assert (number, state) == (before["spec"]["nodeID"], "Active")


def _until_made_again(lab: Lab, before: str) -> None:
    """Wait until node-2 has a NodePeer of another UID than *before*."""
    until(lambda: _identity(lab)[0] not in ("", before), what="node-2 has another NodePeer", seconds=product.SECONDS, every=0.2)


def _identity(lab: Lab) -> tuple[str, int, str]:
    """Return UID, node ID and state of node-2's NodePeer; nothing while there is none."""
    found = [p for p in lab.api.get("/apis/wirecrypt.io/v1alpha1/nodepeers")["items"] if p["metadata"]["name"] == "node-2"]
    return (found[0]["metadata"]["uid"], found[0]["spec"]["nodeID"], found[0]["spec"]["state"]) if found else ("", 0, "")


@pytest.mark.L1
@pytest.mark.C1
@pytest.mark.parametrize("kinds", [("nodepeers",), ("encryptednodes",), ("keyrotations",), KINDS], ids="+".join)
def test_kinds_that_are_replaced_lose_no_packet(protected: Lab, tmp_path: Path, kinds: tuple[str, ...]) -> None:
    """`kubectl replace --force` of CRDs deletes every object: all come back with the same node IDs, 0 lost, none readable."""
    lab = protected
    before = _ids(lab)
    files = [word for kind in kinds for word in ("-f", str(datafiles.folder("manifests") / f"crd-{kind}.yaml"))]
    with product.load(lab, tmp_path, "replace") as load:
        product.wait_clock(lab, 2)
        lab.kubectl("replace", "--force", *files)
        until(
            lambda: _ids(lab) == before and _epoch_is_told(lab),
            what=lambda: f"objects with the same node IDs as before, {before}: {_ids(lab)}; {operations.summary(lab)}",
            seconds=product.SECONDS,
            every=0.5,
        )
        product.settle(lab, *product.PAIR)
        lab.kubectl("wait", "--for=condition=Ready", "en", "--all", f"--timeout={product.SECONDS:.0f}s")
        totals = load.stop()
    assert totals.complete, totals.text


@pytest.mark.L1
@pytest.mark.C1
def test_session_numbers_that_a_node_lost_do_not_come_again(protected: Lab) -> None:
    """NodePeer, state file and SAs go while the agent is dead, after a rotation: the pair comes back, nothing is readable."""
    lab = protected
    operations.wirecrypt(lab, "rotate", "--wait")
    before = lab.api.get(PEER)
    agent = lab.kubelet.pod("wirecrypt-agent", "node-2")
    with product.trickle(lab, *product.PAIR):
        agent.process.kill(signal.SIGSTOP)
        agent.exec(["rm", "/run/wirecrypt/state.json"])
        lab.exec("node-2", ["ip", "xfrm", "state", "flush"])
        lab.kubectl("delete", "np", "node-2", "--wait=false")
        _until_made_again(lab, before["metadata"]["uid"])
        agent.kill()
        agent.restart()
        until(lambda: _numbers(lab), what="sessions of node-2", seconds=product.SECONDS, every=0.2)
        product.settle(lab, *product.PAIR)
    assert min(_numbers(lab)) > before["status"]["lastSession"] > 1


def _numbers(lab: Lab) -> list[int]:
    """Return the numbers of node-2's sessions."""
    return [session["number"] for session in lab.api.get(PEER).get("status", {}).get("sessions", [])]


@pytest.mark.L1
def test_a_node_that_is_made_anew_with_its_label_comes_back_by_itself(protected: Lab) -> None:
    """Its agent's token is of the Node before: it ends its pod, the next one publishes, and nothing is readable meanwhile."""
    lab = protected
    pod = lab.kubelet.pod("wirecrypt-agent", "node-2").name
    with product.trickle(lab, *product.PAIR):
        lab.api.delete("/api/v1/nodes/node-2")
        lab.kubelet.register(lab.nodes["node-2"], **{operations.LABEL: "enabled"})
        uid = lab.api.get("/api/v1/nodes/node-2")["metadata"]["uid"]
        until(lambda: _pod(lab) != pod, what="another pod of the agent", seconds=product.SECONDS, every=0.5)
        new = (uid, "Active")
        until(lambda: _made_for(lab) == new, what="a NodePeer of the new Node", seconds=product.SECONDS, every=0.5)
        operations.wait_protected(lab, product.PAIR, product.SECONDS)
        product.settle(lab, *product.PAIR)
    assert _deleted_by_agents(lab) == [pod]


def _deleted_by_agents(lab: Lab) -> list[str]:
    """Return the pods that agents deleted; a try of the policy is refused."""
    done = [e for e in lab.audit("delete") if e["objectRef"]["resource"] == "pods" and e["responseStatus"]["code"] < 300]
    return [e["objectRef"]["name"] for e in done if e["user"]["username"].endswith(":wirecrypt-agent")]


def _pod(lab: Lab) -> str:
    """Return the name of the pod of node-2's agent, after the kubelets have looked."""
    lab.kubelet.sync()
    return lab.kubelet.pod("wirecrypt-agent", "node-2").name


def _made_for(lab: Lab) -> tuple[str, str]:
    """Return of which Node node-2's NodePeer is, and its state; nothing while there is none."""
    found = [p["spec"] for p in lab.api.items(f"{operations.GROUP}/nodepeers") if p["metadata"]["name"] == "node-2"]
    return (found[0]["nodeUID"], found[0]["state"]) if found else ("", "")


def _epoch_is_told(lab: Lab) -> bool:
    """Return whether KeyRotations say which epoch is in use: one that is asked for when they were lost has come to its end."""
    try:
        phases = {rotation.get("status", {}).get("phase") for rotation in lab.api.items(f"{operations.GROUP}/keyrotations")}
    except ClusterError:
        return False
    return phases == {"Complete"}


def _ids(lab: Lab) -> dict[tuple[str, str], tuple[int, str]]:
    """Return node ID and state of every object of an enabled node, by kind and name; none while a kind is not there."""
    found = {}
    for kind in ("nodepeers", "encryptednodes"):
        try:
            items = lab.api.items(f"{operations.GROUP}/{kind}")
        except ClusterError:
            items = []
        found |= {(kind, i["metadata"]["name"]): (i["spec"]["nodeID"], i["spec"]["state"]) for i in items}
    return {name: said for name, said in found.items() if said[1] != "Removed"}  # a word that nothing else keeps
