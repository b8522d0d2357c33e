"""Write docs/figures.md from the results in docs/figures/, each of which names the machine that it was measured on.

python3 scripts/figures.py                         write the page anew
python3 scripts/figures.py demo-out/result.json    take a demo's result first, measured on this machine
python3 scripts/figures.py bench-results/*.json    the same with what tests/bench has measured
"""  # noqa: INP001  # a program, no package

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
RESULTS: Final = ROOT / "docs/figures"
PAGE: Final = ROOT / "docs/figures.md"
LOADS: Final = {
    "plain": "before the label",
    "join": "joining",
    "rotation": "rotating",
    "check": "verifying",
    "restart": "restarting",
    "leave": "leaving",
}
Result = Mapping[str, Any]


def machine() -> str:
    """Return what this machine is: system, processors that a process may use, kernel."""
    system = platform.freedesktop_os_release()["PRETTY_NAME"]
    return f"{system}, {len(os.sched_getaffinity(0))} processors, Linux {platform.release()}"


def take(file: Path) -> None:
    """Take a result of this machine; ValueError for what is none, or did not hold."""
    found = json.loads(file.read_text())
    if "claims" in found:
        if not found["held"]:
            raise ValueError(f"{file}: this demo did not hold, so its figures say nothing")
        _keep("demo", {"machine": machine(), "figures": found["figures"]})
    elif {"what", "seconds"} <= found.keys():
        _keep(file.stem, {"machine": machine(), "what": found["what"], "seconds": found["seconds"]})
    elif {"what", "rows"} <= found.keys():
        _keep(file.stem, {"machine": machine(), "what": found["what"], "rows": found["rows"]})
    else:
        raise ValueError(f"{file}: neither a demo's result nor one of tests/bench")


def _keep(name: str, result: Result) -> None:
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")


def page() -> str:
    """Return the page that the results give."""
    results = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    demo, by_hand = results.pop("demo"), results.pop("by-hand")
    return "\n".join([
        "<!-- Made by `python3 scripts/figures.py` from docs/figures/: change the results, not this page. -->",
        "",
        "# Figures",
        "",
        "Times and ratios of one machine each, no promise for another.",
        "",
        *_section("The demo", demo["machine"], _demo(demo["figures"])),
        *(line for _, result in sorted(results.items()) for line in _measured(result)),
        *_section("Measured by hand", by_hand["machine"], by_hand["figures"].items()),
    ])  # fmt: skip


def _section(title: str, where: str, rows: Any) -> Iterator[str]:  # noqa: ANN401 - pairs of texts
    yield from (f"## {title}", "", f"On {where}.", "", "| what | figure |", "| --- | --- |")
    yield from (f"| {what} | {figure} |" for what, figure in rows)
    yield ""


def _measured(result: Result) -> Iterator[str]:
    if "rows" in result:
        yield from _table(result["what"], result["machine"], result["rows"])
        return
    yield from _section("Measured by tests/bench", result["machine"], [(result["what"], f"{result['seconds']} s")])


def _table(title: str, where: str, rows: Sequence[Result]) -> Iterator[str]:
    yield from (f"## {title[0].upper()}{title[1:]}", "", f"On {where}.", "")
    yield from (f"| {' | '.join(rows[0])} |", f"|{' --- |' * len(rows[0])}")
    yield from (f"| {' | '.join(map(_cell, row.values()))} |" for row in rows)
    yield ""


def _cell(figure: float | str) -> str:
    return figure if isinstance(figure, str) else f"{figure:,}"


def _demo(figures: Result) -> Iterator[tuple[str, str]]:
    loads = {text: figures[f"load {name}"] for name, text in LOADS.items()}
    moved = sum(figures["xfrm_stat_differences"].values())
    yield "`./scripts/demo`, caches warm", f"{figures['total_seconds']} s"
    yield "lab of 3 nodes up: kernel, etcd, API server, nodes, pods", f"{figures['lab_up_seconds']} s"
    yield "manifests applied, agents and controllers running, from the beginning", f"{figures['deployed_seconds']} s"
    yield "label → protected under load, two of three nodes", f"{figures['label_to_protected_seconds']} s"
    yield "`wirecrypt rotate --wait` under load", f"{figures['rotation_seconds']} s"
    yield "label off → objects gone, under load", f"{figures['unlabel_seconds']} s"
    restart = "the agent after `kill -9`, from its start until its first pass finds the pair protected, under load"
    yield restart, f"{figures['agent_restart_seconds']} s"
    yield "agent's resident memory", f"{figures['agent_rss_kilobytes'] / 1000:.0f} MB"
    yield f"UDP packets sent: {', '.join(loads)}", " · ".join(f"{load['sent']:,}" for load in loads.values())
    yield "UDP packets lost, in the same order", " · ".join(str(load["lost"]) for load in loads.values())
    again = " · ".join(str(load["tcp_retransmissions"]) for load in loads.values())
    yield "TCP segments sent again, in the same order", again
    yield "every counter of `xfrm_stat` on three nodes over the rotation", f"+{moved}"
    judged = (figures[f"wire_{name}"] for name in ("frames_judged", "esp_packets", "cleartext_packets"))
    yield "frames judged while protected: ESP packets, cleartext packets", "{:,}: {:,}, {}".format(*judged)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        take(Path(name))
    PAGE.write_text(page())
