"""A node is Ready by what its Node has, not by what was granted of it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from tests.unit.agent import node
from tests.unit.agent.cloud import active
from tests.unit.agent.node import SETTINGS
from wirecrypt.agent.serve.evidence import Afterwards, facts
from wirecrypt.model.verify_facts import CaptureSummary

CLAIMS = {"prefix": {"pod_cidrs": (ip_network("10.77.0.0/24"),)}, "address": {"endpoints": (ip_address("192.0.2.77"),)}}


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_a_claim_that_was_not_granted_makes_the_node_unready(tmp_path: Path, claim: dict[str, tuple[object, ...]]) -> None:
    """Refused, or late: after some seconds it is said, with what it is; once there is none the node is Ready again."""
    cloud = active(tmp_path, "a", "b")
    ((field, values),) = claim.items()
    there = cloud.api.nodes["a"]
    cloud.api.nodes["a"] = replace(there, **{field: (*getattr(there, field), *values)})
    cloud.run(3)
    assert cloud.ready("a") == (True, "AllPeersProtected")
    cloud.run(6)
    assert cloud.ready("a") == (False, "ClaimNotGranted")
    status = cloud.api.encrypted["a"].status
    assert status is not None
    assert str(values[0]) in status.conditions[0].message
    cloud.api.nodes["a"] = there
    cloud.run(2)
    assert cloud.ready("a") == (True, "AllPeersProtected")


def test_a_node_without_a_pod_prefix_is_not_ready(tmp_path: Path) -> None:
    """Its pods are nobody's: cut off, or in clear outside the cluster's ranges, while all its pairs are well."""
    cloud = active(tmp_path, "a", "b")
    node_of_a, peer = cloud.api.nodes["a"], cloud.api.peers["a"]
    cloud.api.nodes["a"] = replace(node_of_a, pod_cidrs=())
    cloud.api.peers["a"] = replace(peer, pod_cidrs=(), resource_version="none")
    cloud.run(10)
    assert (cloud.ready("a"), cloud.ready("b")) == ((False, "NoPodPrefixes"), (True, "AllPeersProtected"))
    cloud.api.nodes["a"] = node_of_a
    cloud.api.peers["a"] = replace(peer, resource_version="again")
    cloud.run(10)
    assert cloud.ready("a") == (True, "AllPeersProtected")


def test_the_facts_name_what_was_not_granted() -> None:
    """`verify` judges the Node's prefixes and addresses, too."""
    snapshot = node.snapshot(node.complete())
    state, extra = snapshot.snapshot.pass_state, ip_network("10.77.0.0/24")
    own, *others = state.cluster_view.nodes
    for prefixes, expected in ((own.pod_cidrs, ()), ((*own.pod_cidrs, extra), (str(extra),))):
        state.cluster_view = replace(state.cluster_view, nodes=(replace(own, pod_cidrs=prefixes), *others))
        found = facts(snapshot, Afterwards({}, {}, {}, ()), SETTINGS, "a", CaptureSummary((), 1.0))
        assert found.ungranted == expected
