"""`wirecrypt enable` and `wirecrypt disable`: the wish, as a label on Nodes. All Nodes are checked before any is changed.

A label that nobody takes up looks like protection and is none: what is not installed, or cannot run there, is not enabled.
To take all nodes out is what nobody wants by a slip: a person at a terminal is asked back, a program says `--yes`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import click

from wirecrypt.cli.choosing import Choice, able, choose, labelled, see_installed
from wirecrypt.cli.output import count, emit, say
from wirecrypt.cli.prerequisites import require_ranges
from wirecrypt.cli.tools import TIMED_OUT, Duration, client, connecting, exits, formatted, tools
from wirecrypt.cli.view import still_here, unready
from wirecrypt.cli.waiting import wait_until
from wirecrypt.cluster.cli_client import CliClient, NodeLabel
from wirecrypt.errors import ClusterError, InputError
from wirecrypt.model.objects import LABEL, LABEL_ENABLED


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The label's *value*, None for no label; *wait* in seconds, None for not at all. Unless *sure*, a person is asked back."""

    value: str | None
    wait: float | None
    dry_run: bool
    sure: bool = True


_nodes = click.argument("nodes", nargs=-1, metavar="[NODE...]")
_selector = click.option("-l", "--selector", metavar="SELECTOR", help="Nodes by their labels, as for kubectl: -l KEY=VALUE.")
_timeout = click.option("--timeout", type=Duration(), default="5m", show_default=True, help="How long --wait waits.")
_dry_run = click.option("--dry-run", is_flag=True, help="Only say what would be done; the API server is asked if it may be.")


@click.command(
    epilog=exits(
        {
            0: "every node is labelled (with --wait: and Ready)",
            1: "the API server refused, or wirecrypt's parts are not all there: nothing was changed",
            2: "an unknown node, no node, one that no agent can run on, or no ranges configured: nothing was changed",
            3: "--wait: not Ready in time; it goes on",
        }
    )
)
@_nodes
@_selector
@click.option("--all", "everyone", is_flag=True, help="All Nodes that run Linux.")
@click.option("--wait", is_flag=True, help="Wait until each of them is Ready: all its peers are protected.")
@_timeout
@_dry_run
@connecting
@formatted
def enable(  # noqa: PLR0913 - the verb's options
    nodes: tuple[str, ...], selector: str | None, timeout: float, *, everyone: bool, wait: bool, dry_run: bool
) -> None:
    """Encrypt the traffic of NODE... with every other enabled node, by the label wirecrypt.io/encryption=enabled.

    A node that is unknown or cannot run the agent is refused before any is changed, and so is a cluster without wirecrypt.
    Traffic goes on meanwhile; a node is protected when `status` says Ready.
    """
    choice = Choice(names=nodes, selector=selector, everyone=everyone)
    _apply(choice, Wish(value=LABEL_ENABLED, wait=timeout if wait else None, dry_run=dry_run))


@click.command(
    epilog=exits(
        {
            0: "no node is labelled any more (with --wait: and all have left)",
            1: "the API server refused",
            2: "an unknown node, no node, or all nodes without a yes: nothing was changed",
            3: "--wait: not gone in time; it goes on",
        }
    )
)
@_nodes
@_selector
@click.option("--all", "everyone", is_flag=True, help="All Nodes; asks back.")
@click.option("--yes", is_flag=True, help="Do not ask back; needed for all nodes where there is no terminal.")
@click.option("--wait", is_flag=True, help="Wait until each of them has left: its objects are gone.")
@_timeout
@_dry_run
@connecting
@formatted
def disable(  # noqa: PLR0913 - the verb's options
    nodes: tuple[str, ...], selector: str | None, timeout: float, *, everyone: bool, yes: bool, wait: bool, dry_run: bool
) -> None:
    """Take NODE... out of encryption, by removing the label. Traffic goes on, in cleartext once both ends agreed.

    A selector that chooses all enabled nodes asks back as --all does.
    """
    choice = Choice(names=nodes, selector=selector, everyone=everyone)
    _apply(choice, Wish(value=None, wait=timeout if wait else None, dry_run=dry_run, sure=yes or dry_run or bool(nodes)))


def _apply(choice: Choice, wish: Wish) -> None:
    if wish.dry_run and wish.wait is not None:
        hint = "leave one out: a dry run changes nothing that could be waited for"
        raise InputError("choose what to do", answer="both --dry-run and --wait", hint=hint)
    cluster = client()
    known = cluster.node_labels()
    chosen = choose(cluster, known, choice)
    if wish.value is not None:
        chosen = able(chosen, everyone=choice.everyone)
    elif not wish.sure and (choice.everyone or labelled(known) <= labelled(chosen)):
        _ask_back(len(labelled(chosen)))
    differing = [node for node in chosen if node.label != wish.value]
    for node in differing:
        cluster.label(node, wish.value, dry_run=True)  # for all, so that a refusal changes nothing
    unknown = ""
    if wish.value is not None:
        see_installed(cluster)
        unknown = require_ranges(cluster)
    if not wish.dry_run:
        write(cluster, differing, wish.value)
    if unknown:
        click.echo(unknown, err=True)
    if wish.wait is None:
        emit(_document(chosen, wish), lambda: [_line(node, wish) for node in chosen] or ["no node"])
        return
    for node in chosen:
        say(_line(node, wish))
    _wait(cluster, chosen, wish, wish.wait)


def _wait(cluster: CliClient, chosen: Sequence[NodeLabel], wish: Wish, seconds: float) -> None:
    """Wait until the nodes are as they were wished, and say so; exits with `TIMED_OUT` when they are not in time."""
    waited, value = [node.name for node in chosen], wish.value
    missing: Callable[[], list[str]] = (lambda: unready(cluster, waited)) if value else (lambda: still_here(cluster, waited))
    left = wait_until(missing, seconds=seconds)
    emit({**_document(chosen, wish), "waitingFor": left}, lambda: [_result(left, value, len(waited))])
    if left:
        raise click.exceptions.Exit(TIMED_OUT)


def _ask_back(number: int) -> None:
    """Return once a person at the terminal said yes to *number* nodes that leave; raises `InputError` for anything else."""
    tried = "take all nodes out of encryption"
    if not tools().terminal():
        raise InputError(
            tried, answer="there is no terminal to ask back on; nothing was changed", hint="say --yes if it is meant"
        )
    if not number:
        return
    question = f"Take {count(number, 'node')} out of encryption? Their traffic will be in clear. [y/N] "
    click.echo(question, err=True, nl=False)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise InputError(tried, answer="the answer was not yes; nothing was changed", hint="name the nodes that are meant")


def write(cluster: CliClient, nodes: Sequence[NodeLabel], value: str | None) -> None:
    """Set or remove the label of *nodes*; an error names those that were changed before it."""
    changed: list[str] = []
    for node in nodes:
        try:
            cluster.label(node, value)
        except ClusterError as error:
            raise _partly(error, changed) from error
        changed.append(node.name)


def _partly(error: ClusterError, changed: Sequence[str]) -> ClusterError:
    """Return *error* with the nodes that were changed before it."""
    if not changed:
        return error
    hint = f"{', '.join(changed)} changed already; run the command again, it goes on where it stopped"
    return type(error)(error.tried, what=error.what, answer=error.answer, hint=hint)


def _line(node: NodeLabel, wish: Wish) -> str:
    word = "enabled" if wish.value else "disabled"
    would = "would be " if wish.dry_run else ""
    changed = node.label != wish.value
    return f"node/{node.name} {would}{word}" if changed else f"node/{node.name} unchanged: {word} already"


def _document(chosen: Sequence[NodeLabel], wish: Wish) -> dict[str, object]:
    nodes = [{"name": node.name, "label": LABEL, "changed": node.label != wish.value} for node in chosen]
    return {"dryRun": wish.dry_run, "nodes": nodes}


def _result(left: Sequence[str], value: str | None, total: int) -> str:
    if not left:
        return f"{count(total, 'node is', 'nodes are')} {'Ready' if value else 'out of encryption'}"
    return f"not yet, and it goes on (`wirecrypt status` shows it): {'; '.join(left)}"
