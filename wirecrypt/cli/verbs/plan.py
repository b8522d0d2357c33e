"""`wirecrypt plan`: what agents would change in their kernels now, and why; nothing is changed."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import click

from wirecrypt.cli.asking import ask_all, ask_here, exiting, socket_option
from wirecrypt.cli.output import Grid, Json, count, emit
from wirecrypt.cli.tools import connecting, exits, formatted
from wirecrypt.errors import InputError
from wirecrypt.model.verify_facts import NodePlan
from wirecrypt.verify import Silent

NOT_SHOWN: Final = 4


@click.command(
    epilog=exits(
        {
            0: "shown; nothing to change is an empty list",
            1: "the API server refused",
            2: "a node that is not enabled, or wrong usage",
            NOT_SHOWN: "an agent cannot be asked, or a labelled node has no NodePeer",
        }
    )
)
@click.argument("nodes", nargs=-1, metavar="[NODE]...")
@click.option("--local", is_flag=True, help="Ask this node's own agent only, without the API server.")
@socket_option
@connecting
@formatted
def plan(nodes: tuple[str, ...], socket: Path, *, local: bool) -> None:
    """Show what the agents of NODE..., or of all enabled nodes, would write to their kernels in the next pass, and why."""
    if local and nodes:
        raise InputError("plan", what=" ".join(nodes), answer="--local asks this node alone", hint="leave the names out")
    if local:
        with exiting(NOT_SHOWN):
            answers: list[NodePlan | Silent] = [ask_here(NodePlan, "plan", {}, socket)]
    else:
        answers = list(ask_all(NodePlan, "plan", {}, nodes, peers=False).facts.values())
    emit({"nodes": [_document(a) for a in answers]}, lambda: _lines(answers))
    sys.exit(NOT_SHOWN if any(isinstance(a, Silent) for a in answers) else 0)


def _document(answer: NodePlan | Silent) -> Json:
    if isinstance(answer, Silent):
        return {"node": answer.node, "error": answer.why}
    changes = [{"step": c.step, "object": c.object, "peer": c.peer, "reason": c.why} for c in answer.changes]
    return {"node": answer.node, "settled": answer.settled, "changes": changes}


def _lines(answers: Sequence[NodePlan | Silent]) -> Iterable[Grid | str]:
    plans = [a for a in answers if isinstance(a, NodePlan)]
    rows = [(p.node, c.step, c.object, c.peer or "-", c.why) for p in plans for c in p.changes]
    if rows:
        yield Grid(("NODE", "STEP", "OBJECT", "PEER", "REASON"), rows)
        yield ""
    yield f"{count(len(rows), 'change')} on {count(len(plans), 'node')}"
    yield from (f"  {p.node} is in the middle of a pass: some of it may be done already" for p in plans if not p.settled)
    yield from (f"  not asked: {a.node}: {a.why}" for a in answers if isinstance(a, Silent))
