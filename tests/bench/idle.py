"""What nodes at rest do and keep, hour by hour of a simulated clock: real agents over kernels and an API in memory.

python3 -m tests.bench.idle FOLDER [HOURS ...] writes FOLDER/idle.json: requests a node and hour until each of these hours, and
what there is by then: objects that Python's collector follows, and bytes on the nodes' disks.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.bench.requests import AGENT_WRITES, READS, Requests, quiet
from tests.unit.agent.cloud import active
from tests.unit.agent.woken import Woken

HOURS: Final = (1, 2, 4, 8, 24)
NODES: Final = "abcd"
HOUR: Final = 3600.0


def measured(folder: Path, hours: tuple[int, ...]) -> list[dict[str, float]]:
    """Return a row for each number of hours, which grow."""
    cloud = active(folder, *NODES)
    woken, rows, passed = Woken(cloud), [], 0
    woken.run(600)  # the last facts of joining have held
    requests = Requests(*(machine.api for machine in cloud.machines.values()))
    woken.passes.clear()
    for hour in hours:
        woken.run((hour - passed) * HOUR)
        counts, shared = requests.taken(), len(NODES) * (hour - passed)
        row = {
            "hours": hour,
            "reads": sum(counts[n] for n in READS) / shared,
            "writes": sum(counts[n] for n in AGENT_WRITES) / shared,
        }
        row |= {"passes": woken.passes.total() / shared, "objects kept": _objects()}
        rows.append(row | {"bytes on disk": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())})
        woken.passes.clear()
        passed = hour
    return rows


def _objects() -> int:
    gc.collect()
    return len(gc.get_objects())


def main(folder: Path, hours: tuple[int, ...]) -> None:
    """Measure and write down; what was measured is shown."""
    with quiet(), tempfile.TemporaryDirectory() as nodes:
        rows = measured(Path(nodes), hours)
    for row in rows:
        sys.stdout.write(f"{json.dumps(row)}\n")
    folder.mkdir(parents=True, exist_ok=True)
    what = (
        f"{len(NODES)} nodes at rest, by the hour of a simulated clock: requests and passes a node and hour, and what is kept"
    )
    (folder / "idle.json").write_text(json.dumps({"what": what, "rows": rows}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), tuple(map(int, sys.argv[2:])) or HOURS)
