"""Which Nodes a verb means, and whether wirecrypt can do there what is asked: all is refused before any Node is changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from wirecrypt.cli.output import count
from wirecrypt.cluster.cli_client import CliClient, NodeLabel
from wirecrypt.errors import APPLY_AGAIN, INSTALL, ClusterError, InputError

_SHOWN: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which Nodes are meant, in one of three ways: by *names*, by a label *selector* as kubectl has them, or *everyone*."""

    names: tuple[str, ...] = ()
    selector: str | None = None
    everyone: bool = False


def labelled(nodes: Sequence[NodeLabel]) -> set[str]:
    """Return the names of those *nodes* that carry the label, whatever its value."""
    return {node.name for node in nodes if node.label is not None}


def choose(cluster: CliClient, known: Sequence[NodeLabel], choice: Choice) -> list[NodeLabel]:
    """Return the Nodes meant of those *known*; raises `InputError` for an unknown one, or when it is not clear who is meant."""
    said = {"names": bool(choice.names), "-l": choice.selector is not None, "--all": choice.everyone}
    ways = [way for way, used in said.items() if used]
    if len(ways) != 1:
        answer = f"both {' and '.join(ways)}" if ways else "no node was named"
        raise InputError("choose nodes", answer=answer, hint="name nodes, or choose them by -l KEY=VALUE, or say --all")
    if choice.selector is not None:
        return _selected(cluster, choice.selector)
    return list(known) if choice.everyone else _named(known, choice.names)


def _selected(cluster: CliClient, selector: str) -> list[NodeLabel]:
    """Return the Nodes that *selector* chooses; an empty one would be all, and none is as wrong as an unknown name."""
    hint = f"`kubectl get nodes -l '{selector}'` shows what it chooses; --all is for all nodes"
    found = cluster.node_labels(selector) if selector.strip() else ()
    if not found:
        answer = "no Node has these labels" if selector.strip() else "it is empty"
        raise InputError("choose nodes by labels", what=selector, answer=f"{answer}; nothing was changed", hint=hint)
    return list(found)


def _named(known: Sequence[NodeLabel], names: Sequence[str]) -> list[NodeLabel]:
    by_name = {w.name: w for w in known}
    unknown = sorted(set(names) - by_name.keys())
    if unknown:
        raise InputError(
            "find the Node" if len(unknown) == 1 else "find the Nodes",
            what=", ".join(unknown),
            answer="the cluster has none of this name; nothing was changed",
            hint="`kubectl get nodes` lists them",
        )
    return [by_name[name] for name in dict.fromkeys(names)]


def able(nodes: Sequence[NodeLabel], *, everyone: bool) -> list[NodeLabel]:
    """Return *nodes*, of *everyone* those with Linux; raises `InputError` where no agent can run on one of them."""
    asked = [node for node in nodes if node.linux or not everyone]
    unfit = [f"{node.name} {node.unfit}" for node in asked if node.unfit]
    if unfit:
        more = f"; and {count(len(unfit) - _SHOWN, 'more node')}" if len(unfit) > _SHOWN else ""
        what = f"{'; '.join(unfit[:_SHOWN])}{more}"
        hint = "leave it out; labels choose nodes, too, as in -l kubernetes.io/arch=amd64"
        raise InputError("enable nodes", answer=f"{what}; no agent could run there, and nothing was changed", hint=hint)
    return asked


def see_installed(cluster: CliClient) -> None:
    """Return where wirecrypt is installed; raises `ClusterError` where it is not, or not whole."""
    missing = cluster.missing_parts()
    if missing:
        kinds = all(part.startswith("kind") for part in missing)
        state = "not installed" if kinds else "not whole"
        answer = f"wirecrypt is {state} there: {', '.join(f'no {part}' for part in missing)}; nothing was changed"
        raise ClusterError("enable nodes", answer=answer, hint=INSTALL if kinds else APPLY_AGAIN)
