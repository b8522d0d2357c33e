"""`wirecrypt verify`: ask both ends of every pair what their kernels, probes and uplinks show, and judge it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import permutations
from pathlib import Path
from typing import Final

import click

from wirecrypt.cli.asking import ask_all, ask_here, exiting, socket_option
from wirecrypt.cli.output import Grid, Json, count, emit
from wirecrypt.cli.tools import connecting, exits, formatted
from wirecrypt.errors import InputError
from wirecrypt.model.verify_facts import NodeEvidence
from wirecrypt.verify import KeyRow, Silent, Standing, Unasked, Verdict, audit, judge

BROKEN: Final = 1
NOT_SHOWN: Final = 4
ON_ITS_WAY: Final = 5
NOT_ASKED: Final = 6
_STYLES: Final = {Standing.PROTECTED: "green", Standing.BROKEN: "bold red", Standing.UNKNOWN: "yellow"}

Asked = NodeEvidence | Silent | Unasked


@click.command(
    epilog=exits(
        {
            0: "every pair is protected (--keys: no key is wrong or used twice)",
            BROKEN: "a pair is broken (--keys: a key is)",
            2: "a node that is not enabled, or wrong usage",
            NOT_SHOWN: "not shown: an agent cannot be asked, a labelled node has no NodePeer, or there is no pair",
            ON_ITS_WAY: "nothing is broken, and a pair is still joining or leaving",
            NOT_ASKED: "nobody was asked: the API server refused or did not answer",
        }
    )
)
@click.argument("nodes", nargs=-1, metavar="[NODE]...")
@click.option("--seconds", type=click.IntRange(1, 10), default=2, show_default=True, help="How long each uplink is watched.")
@click.option("--keys", is_flag=True, help="Compare the fingerprints of all keys over all nodes instead.")
@click.option("--local", is_flag=True, help="Ask this node's own agent only, without the API server.")
@socket_option
@connecting
@formatted
def verify(nodes: tuple[str, ...], seconds: int, socket: Path, *, keys: bool, local: bool) -> None:
    """Show for every pair of enabled nodes, or those of NODE..., whether its traffic is encrypted, and if not why.

    Each agent reads its kernel at once, probes its peers over the SAs in use, and watches what leaves the node meanwhile. Needs
    the rights of the roles wirecrypt-verify-user; with --local those of root.
    """
    if local and nodes:
        raise InputError("verify", what=" ".join(nodes), answer="--local asks this node alone", hint="leave the names out")
    query = {"seconds": seconds}
    if local:
        with exiting(NOT_SHOWN):
            answers: dict[str, Asked] = _local(ask_here(NodeEvidence, "verify", query, socket))
        chosen = frozenset(n for n, a in answers.items() if isinstance(a, NodeEvidence))
    else:
        with exiting(NOT_ASKED):
            asked = ask_all(NodeEvidence, "verify", query, nodes, peers=True)
        answers, chosen = dict(asked.facts), asked.chosen
    sys.exit(_keys(answers) if keys else _pairs(answers, chosen))


def _local(facts: NodeEvidence) -> dict[str, Asked]:
    return {facts.node: facts, **{peer.node: Unasked(peer.node) for peer in facts.peers}}


def _pairs(answers: dict[str, Asked], chosen: frozenset[str]) -> int:
    ends = [(a, b) for a, b in permutations(sorted(answers), 2) if chosen & {a, b}]
    verdicts = [judge(answers[a], answers[b]) for a, b in ends if not _both_unasked(answers[a], answers[b])]
    totals = Counter(v.standing for v in verdicts)
    summary = {s.value: totals[s] for s in Standing if totals[s]}
    document: Json = {"verdicts": [_document(v) for v in verdicts], "summary": summary}
    emit(document, lambda: _lines(verdicts, summary))
    return _status(totals)


def _both_unasked(a: Asked, b: Asked) -> bool:
    return isinstance(a, Unasked) and isinstance(b, Unasked)


def _status(totals: Counter[Standing]) -> int:
    if totals[Standing.BROKEN]:
        return BROKEN
    if totals[Standing.UNKNOWN] or not totals:
        return NOT_SHOWN
    return ON_ITS_WAY if totals[Standing.JOINING] or totals[Standing.LEAVING] else 0


def _document(verdict: Verdict) -> Json:
    return {
        "from": verdict.sender,
        "to": verdict.receiver,
        "verdict": verdict.standing.value,
        "causes": [{"kind": c.kind.value, "node": c.node, "detail": c.detail} for c in verdict.causes],
        "notes": list(verdict.notes),
        "generation": verdict.generation,
        "spis": [f"0x{spi:08x}" for spi in verdict.spis],
        "espPacketsSeen": verdict.esp,
        "probesAnswered": verdict.probes[0],
        "probesSent": verdict.probes[1],
        "roundTripSeconds": verdict.seconds,
    }


def _lines(verdicts: Sequence[Verdict], summary: dict[str, int]) -> Iterable[Grid | str]:
    if not verdicts:
        yield "no pair to verify: fewer than two nodes are enabled, so nothing is shown"
        return
    columns = ("FROM", "TO", "VERDICT", "GENERATION", "SPI", "ESP SEEN", "PROBES", "ROUND TRIP")
    yield Grid(columns, [_row(v) for v in verdicts])
    yield ""
    yield ", ".join(f"{number} {name}" for name, number in summary.items()) + f" of {count(len(verdicts), 'direction')}"
    for verdict in verdicts:
        where = f"  {verdict.sender} → {verdict.receiver}"
        yield from (f"{where}: {cause}" for cause in verdict.causes)
        yield from (f"{where}: note: {note}" for note in verdict.notes)


def _row(v: Verdict) -> tuple[str | tuple[str, str], ...]:
    return (
        v.sender,
        v.receiver,
        (v.standing.value, _STYLES.get(v.standing, "")),
        v.generation or "-",
        " ".join(f"0x{spi:08x}" for spi in v.spis) or "-",
        str(v.esp),
        f"{v.probes[0]}/{v.probes[1]}",
        "-" if v.seconds is None else f"{v.seconds * 1000:.1f} ms",
    )


def _keys(answers: dict[str, Asked]) -> int:
    rows = audit(a for a in answers.values() if isinstance(a, NodeEvidence))
    silent = [a for a in answers.values() if isinstance(a, Silent)]
    document: Json = {
        "keys": [_key_document(row) for row in rows],
        "silent": [{"node": s.node, "why": s.why} for s in silent],
    }
    emit(document, lambda: _key_lines(rows, silent))
    if any(row.faults for row in rows):
        return BROKEN
    return 0 if rows and not silent else NOT_SHOWN


def _key_document(row: KeyRow) -> Json:
    return {
        "spi": f"0x{row.spi:08x}",
        "sender": row.sender,
        "receiver": row.receiver,
        "fingerprintAtSender": row.at_sender,
        "fingerprintAtReceiver": row.at_receiver,
        "equal": row.equal,
        "faults": row.faults,
    }


def _key_row(row: KeyRow) -> tuple[str | tuple[str, str], ...]:
    equal: str | tuple[str, str] = "-" if row.equal is None else "yes" if row.equal else ("no", "bold red")
    return (f"0x{row.spi:08x}", row.sender, row.receiver, row.at_sender or "-", row.at_receiver or "-", equal)


def _key_lines(rows: Sequence[KeyRow], silent: Sequence[Silent]) -> Iterable[Grid | str]:
    columns = ("SPI", "SENDER", "RECEIVER", "AT SENDER", "AT RECEIVER", "EQUAL")
    yield Grid(columns, [_key_row(row) for row in rows])
    yield ""
    faults = [f"  0x{r.spi:08x} {r.sender} → {r.receiver}: {fault}" for r in rows for fault in r.faults]
    yield f"{count(len(rows), 'key')}, {count(len(faults), 'fault')}"
    yield from faults
    yield from (f"  not asked: {s.node}: {s.why}" for s in silent)
