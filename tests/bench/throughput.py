"""What pods of two nodes get through, by what protects them: the product, `ip xfrm` by hand, WireGuard, nothing.

python3 -m tests.bench.throughput FOLDER [CIPHER ...] writes FOLDER/throughput-CIPHER.json, each with rows from one guest with
both nodes in it: medians of interleaved rounds, and of the ratios within each round. Processor seconds are of the whole
guest, seen from outside, because the machine may be shared. Root is needed, as for a lab, and the kernel of
`scripts/build-kernel`, which has WireGuard and more than one processor.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.bench.compared import BY_HAND, PRODUCT, STEERED, WIREGUARD
from wirecrypt.errors import LabError
from wirecrypt.lab.machine import kernels
from wirecrypt.lab.machine.channel import Command
from wirecrypt.lab.machine.machine import Build, Machine
from wirecrypt.model.xfrm import Algorithm

FULL: Final = {"lanes": [1, 2, 4], "rounds": 5, "seconds": 2.0, "pings": 300}
MEMORY: Final = 1536  # MB
LONGEST: Final = 1800.0  # seconds
PACKET: Final = 1400  # bytes
ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass
class Measured:
    """What one way gave, a value a round: Mbit/s and processor seconds a Gbit by the number of streams; round trips."""

    speed: dict[int, list[float]] = field(default_factory=dict)
    cost: dict[int, list[float]] = field(default_factory=dict)
    middle: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)


class Listener:
    """Takes what a guest says line by line, and reads the processor time at the marks."""

    def __init__(self, processor_seconds: Callable[[], float]) -> None:
        self.about: Mapping[str, Any] = {}
        self.ways: dict[str, Measured] = {}
        self._seconds, self._began, self._rest = processor_seconds, 0.0, b""

    def hear(self, kind: bytes, content: bytes) -> None:
        """Take output; what is no document goes on as it is."""
        *lines, self._rest = (self._rest + content).split(b"\n")
        for line in lines:
            if kind == b"o" and line.startswith(b"{"):
                self._take(json.loads(line))
            else:
                sys.stderr.write(line.decode(errors="replace") + "\n")

    def _take(self, said: Mapping[str, Any]) -> None:
        if "begin" in said:
            self._began = self._seconds()
        elif "end" in said:
            taken, gigabits = self._seconds() - self._began, said["bytes"] * 8 / 1e9
            way = self.ways.setdefault(said["end"], Measured())
            way.speed.setdefault(said["streams"], []).append(gigabits * 1000 / said["seconds"])
            way.cost.setdefault(said["streams"], []).append(taken / gigabits)
        elif "times" in said:
            times, way = sorted(said["times"]), self.ways[said["way"]]
            way.middle.append(statistics.median(times))
            way.late.append(times[min(len(times) - 1, len(times) * 99 // 100)])
            sys.stdout.write(f"{said['way']}: {_newest(way)}\n")
            sys.stdout.flush()
        else:
            self.about = said


def _newest(way: Measured) -> str:
    return f"{' / '.join(f'{found[-1]:.0f}' for found in way.speed.values())} Mbit/s, {way.middle[-1]:.3f} ms"


def descendants() -> float:
    """Return the processor seconds of all processes below this one, with those that they have waited for."""
    below, children = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = int(stat.parent.name), stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        children.setdefault(int(rest[1]), []).append(pid)
        below[pid] = sum(map(int, rest[11:15]))
    todo, ticks = [os.getpid()], 0
    while todo:
        own = children.get(todo.pop(), [])
        ticks += sum(below[pid] for pid in own)
        todo += own
    return ticks / os.sysconf("SC_CLK_TCK")


def kernel() -> kernels.Kernel:
    """Return the newest kernel that has all that is compared: the one that scripts/build-kernel makes, where it is there."""
    found = kernels.available()
    if not found:
        raise LabError("there is no kernel for a guest", hint="scripts/setup fetches some, scripts/build-kernel builds 7.2")
    return found[-1]


def measured(algorithm: Algorithm, plan: Mapping[str, Any]) -> Listener:
    """Return what a guest of its own gave for one cipher."""
    listener = Listener(descendants)
    document = json.dumps({**plan, "algorithm": algorithm.value})
    with Machine.boot(Build(kernel(), memory=MEMORY)) as machine:
        command = Command([sys.executable, "-m", "tests.bench.transfers", document], cwd=str(ROOT))
        machine.channel.run("guest", command, timeout=LONGEST, on_output=listener.hear)
    return listener


def rows(ways: Mapping[str, Measured]) -> Iterator[dict[str, str]]:
    """Yield a row a way: medians with their spread, and the medians of its ratios to others in the same round."""
    for name, way in ways.items():
        by_hand, other = (
            ways.get(name.replace(PRODUCT, BY_HAND).replace(STEERED, ""), Measured()),
            ways.get(WIREGUARD, Measured()),
        )
        row = {"way": name}
        for number, found in way.speed.items():
            what = f"{number} stream{'s' if number > 1 else ''}"
            row |= {f"{what}, Mbit/s": _spread(found, 0), f"{what}, CPU s a Gbit": _spread(way.cost[number], 2)}
            row |= {f"{what} ÷ by hand": _ratio(found, by_hand.speed.get(number, []) if name.startswith(PRODUCT) else [])}
            row |= {f"{what} ÷ {WIREGUARD}": _ratio(found, other.speed.get(number, []))}
        row |= {"round trip, ms, p50": _spread(way.middle, 3), "p99": _spread(way.late, 3)}
        yield {**row, f"round trip ÷ {WIREGUARD}": _ratio(way.middle, other.middle)}


def _spread(found: Sequence[float], digits: int) -> str:
    low, middle, high = (f"{value:,.{digits}f}" for value in (min(found), statistics.median(found), max(found)))
    return f"{middle} ({low} to {high})"


def _ratio(found: Sequence[float], others: Sequence[float]) -> str:
    return _spread([one / other for one, other in zip(found, others, strict=True)], 2) if others else ""


def processor(algorithm: Algorithm) -> float:
    """Return the Mbit/s that one processor of this machine encrypts with all of its instructions, by `openssl speed`."""
    words = ["openssl", "speed", "-elapsed", "-seconds", "1", "-bytes", str(PACKET), "-evp", algorithm.value]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return float(re.findall(r"([\d.]+)k", said)[-1]) * 8 / 1000


def main(folder: Path, algorithms: Sequence[Algorithm], plan: Mapping[str, Any] = FULL) -> None:
    """Measure each cipher and write down; what was measured is shown as it comes."""
    folder.mkdir(parents=True, exist_ok=True)
    for algorithm in algorithms:
        found = measured(algorithm, plan)
        about = f"Linux {found.about['kernel']} in user mode, {found.about['processors']} processors for both nodes"
        lacks = "".join(f"; no {name}: {why}" for name, why in found.about["lacks"].items())
        alone = f"openssl speed on one processor of the machine {processor(algorithm):,.0f} Mbit/s"
        what = f"throughput between pods of two nodes, {algorithm.value}, {about}; {alone}{lacks}"
        document = {"what": what, "rows": list(rows(found.ways))}
        (folder / f"throughput-{algorithm.value}.json").write_text(json.dumps(document, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Algorithm(word) for word in sys.argv[2:]] or list(Algorithm))
