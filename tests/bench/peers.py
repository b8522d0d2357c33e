"""What an agent costs by the number of its peers: real agents on both ends of every pair, kernels and API in memory.

python3 -m tests.bench.peers FOLDER [PEERS ...] writes FOLDER/peers.json: CPU seconds of the one agent in the middle.
Each of the others sees that one and itself alone, so that a thousand of them cost a thousand pairs and not half a million.
Figures are of one run on one machine; how they grow is what they tell of the product.
"""

from __future__ import annotations

import gc
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import structlog

from tests.unit.agent.star import MIDDLE, Star
from tests.unit.agent.woken import Woken
from wirecrypt.agent.reconciler import Reconciler
from wirecrypt.cli.beginning import GARBAGE

NAME = "peer-0000"
SIZES = (10, 100, 1000)
_CODE = (type, ModuleType, FunctionType, BuiltinFunctionType, MethodType)
REST = 130.0  # seconds of the clock: the last facts of joining have held, and all is compared as rarely as it will be
WATCHED = 120.0


class Stopwatch:
    """CPU seconds of an agent, in its passes and between them, without what carries its datagrams; *passes* of it."""

    def __init__(self, agent: Any, channel: Any) -> None:  # noqa: ANN401 - parts whose methods are replaced
        self._seconds, self._passes = 0.0, 0
        for name in ("step", "hear", "tend"):
            setattr(agent, name, self._counting(getattr(agent, name), 1, passes=name == "step"))
        channel.post = self._counting(channel.post, -1)

    def taken(self) -> tuple[float, int]:
        """Return the seconds and passes since the last call."""
        found, self._seconds, self._passes = (self._seconds, self._passes), 0.0, 0
        return found

    def _counting(self, does: Callable[..., Any], sign: int, *, passes: bool = False) -> Callable[..., Any]:
        def counted(*words: Any) -> Any:  # noqa: ANN401 - handed on
            began = time.process_time()
            try:
                return does(*words)
            finally:
                self._seconds += sign * (time.process_time() - began)
                self._passes += passes

        return counted


def kept(agent: Reconciler) -> int:
    """Return how many bytes an agent's values take, without what it works with (the kernel's and the API's adapters)."""
    seen, todo, found = {id(agent._components)}, [agent], 0  # noqa: SLF001 - what is measured
    while todo:
        value: Any = todo.pop()
        if id(value) not in seen and not isinstance(value, _CODE):
            seen.add(id(value))
            found += sys.getsizeof(value)
            todo.extend(gc.get_referents(value))
    return found


def measured(peers: int) -> dict[str, float]:
    """Return what an agent with *peers* peers costs, in CPU seconds unless a name says otherwise."""
    with tempfile.TemporaryDirectory() as folder:
        star = Star(Path(folder))
        star.grow(peers)
        middle = star.machines[MIDDLE]
        watch, woken = Stopwatch(middle.agent, middle.channel), Woken(star)
        star.join(woken)
        joined, passes = watch.taken()
        woken.run(REST)
        watch.taken()
        woken.run(WATCHED)
        idle, idle_passes = watch.taken()
        middle.agent.step(star.now)
        unchanged, _ = watch.taken()
        changed = []
        for session in (40, 41):
            star.api.peers[NAME] = replace(star.api.peers[NAME], resource_version=f"changed{session}", last_session=session)
            middle.agent.step(star.now)
            changed.append(watch.taken()[0])
        return {
            "peers": peers,
            "joined": joined,
            "passes until joined": passes,
            "a wake without a change": unchanged,
            "a pass with one peer's change, after a rest": changed[0],
            "the same right after another": changed[1],
            "at rest, share of a CPU": idle / WATCHED,
            "at rest, passes a minute": idle_passes * 60 / WATCHED,
            "kept, MB": kept(middle.agent) / 1e6,
        }


def main(folder: Path, sizes: tuple[int, ...]) -> None:
    """Measure and write down; what was measured is shown as it comes."""
    before, rows = structlog.get_config(), []
    thresholds = gc.get_threshold()
    gc.set_threshold(*GARBAGE)  # as an agent's process has it
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        for peers in sizes:
            row = {what: round(figure, 5) for what, figure in measured(peers).items()}
            sys.stdout.write(f"{json.dumps(row)}\n")
            sys.stdout.flush()
            rows.append(row)
    finally:
        structlog.configure(**before)
        gc.set_threshold(*thresholds)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "peers.json").write_text(
        json.dumps({"what": "an agent by the number of its peers, in CPU seconds", "rows": rows}) + "\n"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), tuple(map(int, sys.argv[2:])) or SIZES)
