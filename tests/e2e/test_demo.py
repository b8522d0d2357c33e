"""`scripts/demo` as a whole: it ends well, and its evidence, judged without it, says the same."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from wirecrypt.lab.demo.record import EVENTS
from wirecrypt.lab.machine import folders
from wirecrypt.lab.wire import observer

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 1500.0  # a loaded machine
PAIR = ("node-1", "node-2")
SAID = "said.txt"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(SECONDS + 300)]

Lines = list[dict[str, Any]]


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that one run of the demo has filled; the run ended well, and no lab of it is left."""
    out = tmp_path_factory.mktemp("demo")
    before = set(folders.base().glob("*/"))
    done = subprocess.run(
        [str(ROOT / "scripts/demo"), "--out", str(out)], capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    assert set(folders.base().glob("*/")) <= before
    (out / SAID).write_text(done.stderr + done.stdout)
    return out


@pytest.fixture(scope="module")
def timeline(evidence: Path) -> Lines:
    """Return the lines of the timeline."""
    return [json.loads(line) for line in (evidence / "timeline.jsonl").read_text().splitlines()]


def of(timeline: Lines, event: str) -> Lines:
    return [line for line in timeline if line["event"] == event]


def test_everything_that_was_to_be_shown_held(evidence: Path) -> None:
    """Every claim has its evidence, and there is no error."""
    result = json.loads((evidence / "result.json").read_text())
    assert (result["held"], result["error"]) == (True, "")
    assert [claim["what"] for claim in result["claims"] if not claim["held"] or not claim["evidence"]] == []
    assert len(result["claims"]) > 12


def test_it_shows_life_and_commands_that_can_be_copied(evidence: Path) -> None:
    """One line for all that is fetched and built; signs of life; commands in lines that a terminal does not break."""
    first, *lines = (evidence / SAID).read_text().splitlines()
    assert re.fullmatch(r"==> fetching and building what is missing: done, \d+ min \d+ s", first)
    commands = [line.partition("$ ")[2] for line in lines if line.startswith("          $ ")]
    assert "kubectl label node node-1 node-2 wirecrypt.io/encryption=enabled" in commands
    story = lines[: lines.index(next(line for line in lines if line.startswith("What was proved")))]
    assert max(map(len, story)) <= 80
    assert [line for line in story if re.match(r" +[\d.]+ s  … \d+ s: ", line)]


def test_what_it_says_to_do_next_judges_the_evidence(evidence: Path) -> None:
    """The check script calls the part while protected encrypted, and finds the cleartext of the whole."""
    said = (evidence / SAID).read_text().partition("What to do next\n")[2].replace("\\\n", "")
    checks = [line for line in said.splitlines() if "scripts/check-encryption.sh" in line]
    done = [subprocess.run(line, shell=True, cwd=ROOT, capture_output=True, check=False).returncode for line in checks]  # noqa: S602
    assert done == [0, 1]


def test_the_timeline_is_what_it_is_said_to_be(timeline: Lines) -> None:
    """Known events in the order of time, with their fields; *protected* once per node; loads that lost nothing."""
    assert {line["event"] for line in timeline} == set(EVENTS)
    for event in ("labelled", "protected", "unlabelled"):
        assert Counter(line["node"] for line in of(timeline, event)) == Counter(PAIR)
    assert len({line["node"] for line in of(timeline, "node")}) == 3
    for line in (*of(timeline, "node"), *of(timeline, "pod")):
        assert line["node"].startswith("node-")
        assert len(line["addresses"]) == 2
    loads = of(timeline, "load-end")
    assert len(loads) == len(of(timeline, "load-start")) == 6
    assert [(line["sent"] - line["received"], line["lost"]) for line in loads] == [(0, 0)] * 6
    assert all(line["sent"] > 1000 for line in loads)
    moments = [max(line["time"] for line in of(timeline, event)) for event in ("labelled", "protected", "rotating", "rotated")]
    assert moments == sorted(moments)
    assert moments[-1] < min(line["time"] for line in of(timeline, "unlabelled"))


@pytest.mark.L1
def test_the_capture_shows_no_cleartext_while_the_pair_is_protected(evidence: Path, timeline: Lines) -> None:
    """Between the two nodes' pods: readable before the label, ESP alone from protected to unlabelled, readable afterwards."""
    seen = observer.read(evidence / "wire.pcap")
    pods = [[f"{address}/{128 if ':' in address else 32}" for line in of(timeline, "pod") if line["node"] == node
             for address in line["addresses"]] for node in PAIR]  # fmt: skip
    protected = max(line["time"] for line in of(timeline, "protected"))
    unlabelled = min(line["time"] for line in of(timeline, "unlabelled"))
    window = seen.between(protected, unlabelled)
    assert window.cleartext(*pods) == []
    nodes = [{a for line in of(timeline, "node") if line["node"] == node for a in line["addresses"]} for node in PAIR]
    ways = {(sa[0] in nodes[0], sa[1] in nodes[0]) for sa in window.esp() if {sa[0], sa[1]} <= nodes[0] | nodes[1]}
    assert ways == {(True, False), (False, True)}
    assert seen.between(0, min(line["time"] for line in of(timeline, "labelled"))).cleartext(*pods) != []
    assert seen.between(unlabelled).cleartext(*pods) != []
