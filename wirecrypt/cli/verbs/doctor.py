"""`wirecrypt doctor`: what is wrong with the cluster and with this node, each with the next step."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import click

from wirecrypt.cli.output import Grid, emit
from wirecrypt.cli.tools import connecting, context, exits, formatted, kubeconfig, tools
from wirecrypt.doctor.facts import ClusterFacts
from wirecrypt.doctor.finding import Finding, Severity, worst
from wirecrypt.doctor.inspect_cluster import REACH, inspect_cluster
from wirecrypt.doctor.inspect_node import inspect_node, no_node
from wirecrypt.errors import ConfigError
from wirecrypt.settings import Settings, from_document

_SIGNS: Final = {Severity.OK: ("ok", "green"), Severity.WARNING: ("warning", "yellow"), Severity.ERROR: ("error", "red")}
_SIDES: Final = ("cluster", "node")
NOT_SEEN: Final = 4


@click.command(
    epilog=exits(
        {
            0: "no error was found (there may be warnings)",
            1: "errors were found",
            2: "wrong usage",
            NOT_SEEN: "nothing could be looked at: no right to, or not root",
        }
    )
)
@click.option("--only", type=click.Choice(_SIDES), help="Look at one side alone. Default: both.")
@click.option("--all", "everything", is_flag=True, help="Show what is well, too, in one line each.")
@click.option("--bpffs", type=click.Path(path_type=Path), default=None, help="Where bpffs is mounted. [default: /sys/fs/bpf]")
@connecting
@formatted
def doctor(only: str | None, bpffs: Path | None, *, everything: bool) -> None:
    """Look for what is wrong: in the cluster, and as root on a node, or inside the agent's pod, on that node.

    A machine that is no Node of the cluster is not looked at, but with --only node.
    Every finding has the next step and a place in the reference to read on.
    """
    findings: list[Finding] = []
    settings, facts = Settings(), None
    if only != "node":
        facts = tools().gather_cluster(kubeconfig(), context())
        settings = _settings(facts)
        findings += inspect_cluster(facts)
    if only != "cluster":
        findings += _of_machine(facts, settings, bpffs)
    emit(_document(findings), lambda: _lines(findings, everything=everything))
    if worst(findings) is Severity.ERROR:
        raise click.exceptions.Exit(1)
    if not _seen(findings):
        raise click.exceptions.Exit(NOT_SEEN)


def _of_machine(cluster: ClusterFacts | None, settings: Settings, bpffs: Path | None) -> list[Finding]:
    """Return what this machine shows; of one that is no Node of the *cluster* that was looked at, that alone."""
    elsewhere = no_node(tools().gather_machine(), cluster) if cluster else []
    return elsewhere or inspect_node(tools().gather_node(settings.mark.layout, bpffs))


def _settings(facts: ClusterFacts) -> Settings:
    """Return the cluster's settings, the defaults where they cannot be had (which is a finding of its own)."""
    with suppress(ConfigError):
        return from_document(facts.config)
    return Settings()


def _seen(findings: Sequence[Finding]) -> bool:
    """Return whether anything was looked at, but how the API server is reached."""
    return any(f.seen for f in findings if f.check not in REACH)


def _document(findings: Sequence[Finding]) -> dict[str, object]:
    return {
        "worst": worst(findings).value,
        "seen": _seen(findings),
        "findings": [
            {
                "side": f.side,
                "check": f.check,
                "severity": f.severity.value,
                "seen": f.seen,
                "sentence": f.sentence,
                "nextStep": f.next_step,
                "doc": f.doc,
            }
            for f in findings
        ],
    }


def _lines(findings: Sequence[Finding], *, everything: bool) -> Iterable[Grid | str]:
    for side in _SIDES:
        of_side = [f for f in findings if f.side == side]
        if not of_side:
            continue
        yield "the cluster" if side == "cluster" else f"this machine, {socket.gethostname()}"
        shown = [f for f in of_side if everything or f.severity is not Severity.OK]
        for finding in shown:
            yield Grid(("", "", ""), [(_SIGNS[finding.severity], finding.check, finding.sentence)])
            if finding.next_step:
                yield f"    next: {finding.next_step}"
                yield f"    read: {finding.doc}"
        if len(shown) < len(of_side):
            yield f"  {len(of_side) - len(shown)} of {len(of_side)} checks are fine (--all shows them)"
        yield ""
    errors = sum(f.severity is Severity.ERROR for f in findings)
    warnings = sum(f.severity is Severity.WARNING for f in findings)
    yield f"{errors} errors, {warnings} warnings"
    if not _seen(findings):
        yield "nothing could be looked at, so this says nothing about wirecrypt"
