"""`wirecrypt enable` and `wirecrypt disable`: the wish, as a label on Nodes. All Nodes are checked before any is changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import click

from wirecrypt.cli.output import count, emit, say
from wirecrypt.cli.tools import TIMED_OUT, CliApi, Duration, client, connecting, exits, formatted
from wirecrypt.cli.view import still_here, unready
from wirecrypt.cli.waiting import wait_until
from wirecrypt.cluster.cli_client import NodeLabel
from wirecrypt.errors import ClusterError, InputError
from wirecrypt.model.objects import LABEL, LABEL_ENABLED


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one Node: *changed* or as it was."""

    node: str
    changed: bool


_nodes = click.argument("nodes", nargs=-1, metavar="NODE...")
_timeout = click.option("--timeout", type=Duration(), default="5m", show_default=True, help="How long --wait waits.")


@click.command(
    epilog=exits(
        {
            0: "every node is labelled (with --wait: and Ready)",
            1: "the API server refused",
            2: "an unknown node, or no node: nothing was changed",
            3: "--wait: not Ready in time; it goes on",
        }
    )
)
@_nodes
@click.option("--all", "everyone", is_flag=True, help="All Nodes that run Linux.")
@click.option("--wait", is_flag=True, help="Wait until each of them is Ready: all its peers are protected.")
@_timeout
@connecting
@formatted
def enable(nodes: tuple[str, ...], timeout: float, *, everyone: bool, wait: bool) -> None:
    """Encrypt the traffic of NODE... with every other enabled node, by the label wirecrypt.io/encryption=enabled.

    An unknown node is refused before any is changed. Traffic goes on meanwhile; a node is protected when `status` says Ready.
    """
    _apply(nodes, LABEL_ENABLED, everyone=everyone, wait=timeout if wait else None)


@click.command(
    epilog=exits(
        {
            0: "no node is labelled any more (with --wait: and all have left)",
            1: "the API server refused",
            2: "an unknown node, or no node: nothing was changed",
            3: "--wait: not gone in time; it goes on",
        }
    )
)
@_nodes
@click.option("--all", "everyone", is_flag=True, help="All Nodes.")
@click.option("--wait", is_flag=True, help="Wait until each of them has left: its objects are gone.")
@_timeout
@connecting
@formatted
def disable(nodes: tuple[str, ...], timeout: float, *, everyone: bool, wait: bool) -> None:
    """Take NODE... out of encryption, by removing the label. Traffic goes on, in cleartext once both ends agreed."""
    _apply(nodes, None, everyone=everyone, wait=timeout if wait else None)


def _apply(names: Sequence[str], value: str | None, *, everyone: bool, wait: float | None) -> None:
    cluster = client()
    chosen = choose(cluster.node_labels(), names, everyone=everyone, linux_only=value is not None)
    done = write(cluster, chosen, value)
    if wait is None:
        _print_done(done, value)
        return
    for one in done:
        say(_line(one, value))
    waited = [one.node for one in done]
    missing: Callable[[], list[str]] = (lambda: unready(cluster, waited)) if value else (lambda: still_here(cluster, waited))
    left = wait_until(missing, seconds=wait)
    emit({"nodes": [_document(one) for one in done], "waitingFor": left}, lambda: [_result(left, value, len(waited))])
    if left:
        raise click.exceptions.Exit(TIMED_OUT)


def choose(node_labels: Sequence[NodeLabel], names: Sequence[str], *, everyone: bool, linux_only: bool) -> list[NodeLabel]:
    """Return the Nodes meant; raises `InputError` for an unknown one, or when it is not clear which are meant."""
    if everyone == bool(names):
        hint = "name nodes, or say --all"
        raise InputError("choose nodes", answer="both names and --all" if everyone else "no node was named", hint=hint)
    if everyone:
        return [w for w in node_labels if w.linux or not linux_only]
    known = {w.name: w for w in node_labels}
    unknown = sorted(set(names) - known.keys())
    if unknown:
        raise InputError(
            "find the Node" if len(unknown) == 1 else "find the Nodes",
            what=", ".join(unknown),
            answer="the cluster has none of this name; nothing was changed",
            hint="`kubectl get nodes` lists them",
        )
    foreign = [n for n in names if linux_only and not known[n].linux]
    if foreign:
        answer = "it does not run Linux, so no agent runs there; nothing was changed"
        raise InputError("enable the Node", what=", ".join(foreign), answer=answer, hint="leave it out")
    return [known[name] for name in dict.fromkeys(names)]


def write(cluster: CliApi, nodes: Sequence[NodeLabel], value: str | None) -> list[Done]:
    """Set or remove the label where it differs: first asked for all, then done, so that a refusal changes nothing."""
    differing = [n for n in nodes if n.label != value]
    for node in differing:
        cluster.label(node, value, dry_run=True)
    changed: set[str] = set()
    for node in differing:
        try:
            cluster.label(node, value)
        except ClusterError as error:
            raise _partly(error, sorted(changed)) from error
        changed.add(node.name)
    return [Done(n.name, n.name in changed) for n in nodes]


def _partly(error: ClusterError, changed: Sequence[str]) -> ClusterError:
    """Return *error* with the nodes that were changed before it."""
    if not changed:
        return error
    hint = f"{', '.join(changed)} changed already; run the command again, it goes on where it stopped"
    return type(error)(error.tried, what=error.what, answer=error.answer, hint=hint)


def _print_done(done: Sequence[Done], value: str | None) -> None:
    emit({"nodes": [_document(one) for one in done]}, lambda: [_line(one, value) for one in done] or ["no node"])


def _line(one: Done, value: str | None) -> str:
    word = "enabled" if value else "disabled"
    return f"node/{one.node} {word}" if one.changed else f"node/{one.node} unchanged: {word} already"


def _document(one: Done) -> dict[str, object]:
    return {"name": one.node, "label": LABEL, "changed": one.changed}


def _result(left: Sequence[str], value: str | None, total: int) -> str:
    if not left:
        return f"{count(total, 'node is', 'nodes are')} {'Ready' if value else 'out of encryption'}"
    return f"not yet, and it goes on (`wirecrypt status` shows it): {'; '.join(left)}"
