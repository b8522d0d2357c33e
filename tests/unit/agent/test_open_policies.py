"""An agent that could read the keys of other nodes says so, and goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.agent.cloud import active
from wirecrypt.agent.steps.policy_tries import AGAIN
from wirecrypt.model.admission import NODE_TOKEN, OWN_POD


@pytest.mark.L1
def test_a_policy_that_gives_tokens_of_other_nodes_is_named_in_the_status(tmp_path: Path) -> None:
    """Each node is not Ready with the policy's name; its pairs stay encrypted; it is Ready when the policy is back."""
    cloud = active(tmp_path, "a", "b")
    cloud.api.open = {NODE_TOKEN, OWN_POD}
    a = cloud.machines["a"]
    a.start()  # an agent tries it when it starts, and hourly
    cloud.run(10)
    status = cloud.api.encrypted["a"].status
    assert cloud.ready("a") == (False, "AdmissionPolicyMissing")
    assert status is not None
    assert [c.message for c in status.conditions if NODE_TOKEN in c.message]
    assert a.kernel.out(cloud.peer("b")) == {"esp"}
    cloud.api.open = set()
    cloud.run(AGAIN.first + 10, "a", "b")
    assert cloud.ready("a") == (True, "AllPeersProtected")
