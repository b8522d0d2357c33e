"""What somebody does to the objects of an encrypted node: the label is the wish, and an object that is lost says nothing."""

from __future__ import annotations

import pytest

from tests.e2e import product
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.waiting import until

NEWEST_KERNEL = True  # what is judged here is about objects
QUIET = True

PEER = "/apis/wirecrypt.io/v1alpha1/nodepeers/node-2"


@pytest.mark.L1
@pytest.mark.C1
def test_a_nodepeer_that_is_deleted_under_its_label_comes_back_and_nothing_is_readable(protected: Lab) -> None:
    """`kubectl delete np` of an enabled node: the same node ID, Active as before, and the wire is judged all the while."""
    lab = protected
    before = lab.api.get(PEER)
    with product.trickle(lab, *product.PAIR):
        lab.kubectl("delete", "np", "node-2", "--wait=false")
        until(
            lambda: _identity(lab)[0] not in ("", before["metadata"]["uid"]),
            what="node-2 has another NodePeer",
            seconds=product.SECONDS,
            every=0.2,
        )
        product.settle(lab, *product.PAIR)
        lab.kubectl("wait", "--for=condition=Ready", "en", "--all", f"--timeout={product.SECONDS:.0f}s")
    _, number, state = _identity(lab)
    assert (number, state) == (before["spec"]["nodeID"], "Active")


def _identity(lab: Lab) -> tuple[str, int, str]:
    """Return UID, node ID and state of node-2's NodePeer; nothing while there is none."""
    found = [p for p in lab.api.get("/apis/wirecrypt.io/v1alpha1/nodepeers")["items"] if p["metadata"]["name"] == "node-2"]
    return (found[0]["metadata"]["uid"], found[0]["spec"]["nodeID"], found[0]["spec"]["state"]) if found else ("", 0, "")
