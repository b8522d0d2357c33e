"""What the agent's container may do is enough, and is all that the eBPF adapter needs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.kernel.guard.wire import run

ROOT = Path(__file__).parents[3]
LIFE = """
import sys
from ipaddress import ip_network
from pathlib import Path
from tests.kernel.guard.conftest import SETTINGS, entries
from wirecrypt.kernel.bpf.guard import KernelGuard

status = dict(line.split(":\\t") for line in Path("/proc/self/status").read_text().splitlines())
print(status["CapEff"], status["CapPrm"], status["CapBnd"])
guard = KernelGuard(Path(sys.argv[1]))
guard.load(SETTINGS)
guard.set_entries(entries())
guard.attach_guard("lo")
guard.attach_mark("lo")
print([a.current for a in guard.attachments()], sum(guard.counters().values()) >= 0, guard.drops())
guard.unload()
print(guard.attachments(), guard.loaded())
"""


@pytest.fixture
def elsewhere(bpffs: Path) -> Iterator[Path]:
    folder = bpffs / "privileges"
    folder.mkdir()
    yield folder
    folder.rmdir()


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"wc{os.getpid()}alone"
    run(f"ip netns add {name}")
    yield name
    run(f"ip netns del {name}")


def granted() -> set[str]:
    """Return the capabilities of the agent's containers, as the manifest says."""
    pod = yaml.safe_load((ROOT / "manifests/agent.yaml").read_text())["spec"]["template"]["spec"]
    contexts = [c["securityContext"] for c in (*pod["initContainers"], *pod["containers"])]
    assert all(c["capabilities"]["drop"] == ["ALL"] for c in contexts)
    return {name for c in contexts for name in c["capabilities"]["add"]}


def test_the_manifest_grants_four_capabilities() -> None:
    """Administration of the system is not among them."""
    assert granted() == {"NET_ADMIN", "NET_RAW", "BPF", "PERFMON"}


def test_the_guard_lives_with_the_capabilities_of_the_manifest(namespace: str, elsewhere: Path) -> None:
    """Loading, attaching, reading and leaving work with no capability but NET_ADMIN, BPF and PERFMON."""
    kept = ",".join(["-all", *(f"+{name.lower()}" for name in sorted(granted() - {"NET_RAW"}))])
    command = ["nsenter", f"--net=/run/netns/{namespace}", "setpriv", f"--bounding-set={kept}", f"--inh-caps={kept}"]
    command += ["--no-new-privs", sys.executable, "-c", LIFE, str(elsewhere)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    three = f"{1 << 12 | 1 << 38 | 1 << 39:016x}"  # CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF
    assert done.stdout.splitlines() == [f"{three} {three} {three}", "[True, True, True] True []", "[] False"]
