"""What joining and a rotation of many nodes take: a real API server, the controller's program, and real agents.

python3 -m tests.bench.join FOLDER [NODES ...] writes FOLDER/join.json and FOLDER/rotate.json. A number with a *s* behind it
(500s) is of nodes with the API side of an agent alone (tests.bench.real.standins): whole agents share this machine's
processors, and each has a pair with every other. Kernels, links and state files are in memory, the datagrams on the loopback.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from tests.bench.controller import memory
from tests.bench.real.cluster import MeasuredCluster, Reading
from tests.bench.requests import quiet

SIZES: Final = ("12", "25", "50", "100", "500s", "1000s")
PATIENCE: Final = 540.0
REST: Final = 10.0  # seconds without a write: the last facts of joining are told
STANDINS: Final = "tests.bench.real.standins"
_EACH: Final = "requests a node, and events of NodePeers that each agent gets, by the number of nodes"
WHAT: Final = {"join": f"nodes that are labelled at once: {_EACH}", "rotate": f"a rotation of them: {_EACH}"}
Row = Mapping[str, float]


def measured(nodes: int, folder: Path, *, whole: bool = True, **settings: object) -> Iterator[Row]:
    """Yield what so many nodes take that are labelled at once, and what they take when they rotate then."""
    kinds = {} if whole else {"kind": STANDINS}
    with MeasuredCluster.up(nodes, folder, **kinds, **settings) as cluster:  # type: ignore[arg-type]  # settings are any
        seconds, joining = _taken(cluster, lambda: (cluster.label(), cluster.join(PATIENCE)))
        waves = cluster.waves()
        yield {
            **_row(nodes, seconds, joining, whole=whole),
            "waves": len(waves),
            "nodes of the largest wave": max(size for size, _ in waves),
            "seconds of the longest wave": round(max(took for _, took in waves), 1),
            "the controller's memory, MB": memory(cluster.controller.pid, "VmHWM"),
        }
        cluster.rest(REST, PATIENCE)
        seconds, rotating = _taken(cluster, lambda: cluster.rotate(PATIENCE))
        yield _row(nodes, seconds, rotating, whole=whole)


def _taken(cluster: MeasuredCluster, does: Callable[[], object]) -> tuple[float, Reading]:
    before, began = cluster.reading(), time.monotonic()
    does()
    return time.monotonic() - began, cluster.reading().since(before)


def _row(nodes: int, seconds: float, taken: Reading, *, whole: bool) -> dict[str, float]:
    return {
        "nodes": nodes,
        "whole agents": nodes if whole else 0,
        "seconds": round(seconds, 1),
        "CPU seconds: an agent": round(taken.seconds["agents"] / nodes, 2),
        "CPU seconds: controller": round(taken.seconds["controller"], 1),
        "CPU seconds: API server, etcd": round(taken.seconds["API server"], 1),
        "reads": round(taken.reads / nodes, 1),
        "writes": round(taken.writes / nodes, 1),
        "writes by the controller": round(taken.controller_writes / nodes, 1),
        "events": round(taken.events),
    }


def main(folder: Path, sizes: tuple[str, ...]) -> None:
    """Measure and write down; what was measured is shown and written as it comes."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and end what was started
    results: dict[str, list[Row]] = {name: [] for name in WHAT}
    folder.mkdir(parents=True, exist_ok=True)
    for size in sizes:
        with quiet(), tempfile.TemporaryDirectory() as room:
            for name, row in zip(WHAT, measured(int(size.rstrip("s")), Path(room), whole=not size.endswith("s")), strict=True):
                results[name].append(row)
                (folder / f"{name}.json").write_text(json.dumps({"what": WHAT[name], "rows": results[name]}) + "\n")
                sys.stdout.write(f"{json.dumps(row)}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), tuple(sys.argv[2:]) or SIZES)
