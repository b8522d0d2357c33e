"""What agents at rest take on so many nodes of one lab: the whole product in one real kernel, with a real API server.

python3 -m tests.bench.nodes FOLDER [NODES ...] writes FOLDER/nodes.json: the share of a processor of each agent in the
guest, its memory, and how long it took to protect all nodes, which were labelled at once. Root is needed, as for a lab.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from statistics import mean
from typing import Final

from tests.bench.rows import write_rows
from wirecrypt.lab import operations
from wirecrypt.lab.lab import Lab

SIZES: Final = (3, 16)
RANGES: Final = ("10.0.0.0/11", "fd00:10::/28", "fd00:100::/24")  # of the pods of 31 nodes
PATIENCE: Final = 900.0  # seconds until all nodes are protected
REST: Final = 60.0  # seconds in which the last facts of joining have held
WATCHED: Final = 120.0
_AGENTS: Final = """
for each in /proc/[0-9]*; do
  [ "$(cat $each/comm 2>/dev/null)" = wirecrypt ] && grep -q agent $each/cmdline || continue
  echo "${each#/proc/} $(cut -d' ' -f14-15 $each/stat) $(awk '/^VmRSS/ {print $2}' $each/status)"
done
getconf CLK_TCK
"""


def agents(lab: Lab) -> dict[int, tuple[float, float]]:
    """Return processor seconds and MiB of memory of each agent, by its process in the guest."""
    *lines, hertz = lab.exec("guest", ["sh", "-c", _AGENTS]).stdout.split("\n")[:-1]
    found = [tuple(map(int, line.split())) for line in lines]
    return {pid: ((user + system) / int(hertz), memory / 1024) for pid, user, system, memory in found}


def measured(nodes: int) -> dict[str, float]:
    """Return what the agents of so many nodes take, which were labelled at once."""
    with Lab.up(nodes, pods=1) as lab:
        operations.deploy(lab)
        operations.configure(lab, **{**operations.RANGES, "clusterCIDRs": RANGES})
        began = time.monotonic()
        operations.label(lab, *lab.nodes)
        operations.wait_protected(lab, lab.nodes, PATIENCE)
        joined, at = time.monotonic() - began, agents(lab)
        time.sleep(REST)
        before = agents(lab)
        began = time.monotonic()
        time.sleep(WATCHED)
        after, seconds = agents(lab), time.monotonic() - began
    shares = [(after[pid][0] - before[pid][0]) / seconds for pid in after]
    return {
        "nodes": nodes,
        "agents": len(after),
        "seconds until all are protected": round(joined, 1),
        "an agent's processor seconds until then": round(mean(seconds for seconds, _ in at.values()), 2),
        "at rest, share of a CPU, mean": round(mean(shares), 4),
        "at rest, share of a CPU, most": round(max(shares), 4),
        "memory, MiB, most": round(max(memory for _, memory in after.values()), 1),
    }


def main(folder: Path, sizes: tuple[int, ...]) -> None:
    """Measure and write down; what was measured is shown as it comes."""
    what = "agents at rest by the number of nodes of one lab, in one kernel on two processors"
    write_rows(folder / "nodes.json", what, measured, sizes)


if __name__ == "__main__":
    main(Path(sys.argv[1]), tuple(map(int, sys.argv[2:])) or SIZES)
