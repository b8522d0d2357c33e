"""The simulator's judge: a fault excuses what it inevitably disturbs, and nothing else."""

from __future__ import annotations

import pytest

from tests.unit.pairs.simulated_state import blocking
from tests.unit.pairs.simulated_traffic import Violation
from tests.unit.pairs.simulator import SimulatedCluster, steady
from wirecrypt.model.guard import GuardAction, GuardEntry
from wirecrypt.model.pair import Pair


def block(cluster: SimulatedCluster, name: str, peer: str) -> None:
    """Block what *name* sends to *peer*."""
    kernel = cluster.kernels[name]
    kernel.policies = {p.name: p for p in blocking(Pair(cluster.ids[name].end, cluster.ids[peer].end))}
    kernel.version += 1


def refuse_plain(cluster: SimulatedCluster, name: str, peer: str) -> None:
    """Have the guard of *name* drop cleartext from *peer*."""
    kernel = cluster.kernels[name]
    kernel.guard |= {p: GuardEntry(p, GuardAction.PASS, GuardAction.DROP) for p in cluster.ids[peer].pod_cidrs}
    kernel.version += 1


@pytest.mark.parametrize("fault", ["reboot", "flush"])
@pytest.mark.parametrize(("sender", "receiver"), ["ab", "ba"])
def test_a_pair_that_recovered_must_work(fault: str, sender: str, receiver: str) -> None:
    """Blocked after a reboot or a flush is inevitable until both ends have new SAs; blocked again later is a violation."""
    cluster = steady("ab", lanes=(1, 1))
    if fault == "reboot":
        cluster.reboot("a")
    else:
        cluster.wipe("a", "b", policies=True)
    cluster.check()
    cluster.calm()
    block(cluster, sender, receiver)
    with pytest.raises(Violation, match=f"{sender} blocks traffic to {receiver}"):
        cluster.check()


def test_a_flush_excuses_its_own_pair_only() -> None:
    """What is dropped between a and b after a flush of their pair is inevitable; what c drops of a is not."""
    cluster = SimulatedCluster("abc", lanes=(1, 1, 1))
    for name in "abc":
        cluster.label(name)
    cluster.check()
    cluster.wipe("a", "b", policies=True)
    refuse_plain(cluster, "b", "a")
    cluster.check()
    refuse_plain(cluster, "c", "a")
    with pytest.raises(Violation, match="c drops plaintext of a"):
        cluster.check()
