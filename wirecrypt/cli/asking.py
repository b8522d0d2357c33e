"""How verbs ask agents: through the API server from anywhere, or this node's own; those that do not answer are named.

Who is to be asked is told by two witnesses, labels and NodePeers: a node that is labelled, and that no readable NodePeer
vouches for, is as silent as one whose agent does not answer. Nobody may take it for protected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import click

from wirecrypt.cli.main import Refusal
from wirecrypt.cli.tools import context, kubeconfig
from wirecrypt.cluster.agent_proxy import Agents, ask_local
from wirecrypt.errors import ClusterError, InputError, ObjectError, WirecryptError
from wirecrypt.model.access import LOCAL_SOCKET
from wirecrypt.model.objects import LABEL_ENABLED
from wirecrypt.model.verify_facts import NodeEvidence, NodePlan, decode
from wirecrypt.verify import Silent

_AT_ONCE: Final = 16

Facts = TypeVar("Facts", NodeEvidence, NodePlan)
socket_option = click.option(
    "--socket", type=click.Path(path_type=Path), default=LOCAL_SOCKET, show_default=True, help="Of the agent, with --local."
)


@dataclass(frozen=True, slots=True)
class Answers:
    """What was asked: nodes that the person *chose* (all without a choice), answers by node."""

    chosen: frozenset[str]
    facts: Mapping[str, Any]


def ask_all(kind: type[Facts], page: str, query: Mapping[str, object], chosen: Sequence[str], *, peers: bool) -> Answers:
    """Ask the agents of the enabled nodes at once; with a choice its nodes, and their *peers* if wanted.

    Raises `InputError` for a chosen node that is not enabled, `ClusterError` when the API server does not answer, or gives no
    token to ask agents with.
    """
    agents = Agents.connect(kubeconfig(), context())
    labels = agents.labels()  # before the NodePeers: one that is made meanwhile is asked
    enabled = tuple(peer.name for peer in agents.node_peers())
    unseen = _unseen(labels, enabled, agents.malformed_peers())
    for name in chosen:
        if name not in enabled:
            answer = unseen.get(name, "it is not enabled, or the cluster has none of this name")
            raise InputError("find the node", what=name, answer=answer, hint="`wirecrypt status` lists them")
    everyone = peers or not chosen
    asked = enabled if everyone else tuple(dict.fromkeys(chosen))
    pods, port = agents.pods(), agents.port()

    def one(node: str) -> Facts | Silent:
        if node not in pods:
            return Silent(node, "no pod of the agent on this node: see the DaemonSet in wirecrypt-system")
        if not port:
            return Silent(node, "metrics.port is off in the configuration: run it on the node with --local")
        token = agents.token(node)
        return _asked(kind, node, lambda: agents.ask(pods[node], port, f"{page}?{urlencode(query)}", token))

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers: dict[str, Any] = dict(zip(asked, pool.map(one, asked), strict=True))
    if everyone:
        answers |= {name: Silent(name, why) for name, why in sorted(unseen.items())}
    return Answers(frozenset(chosen or answers), answers)


def _unseen(labels: Mapping[str, str], enabled: Sequence[str], malformed: Mapping[str, str]) -> dict[str, str]:
    """Return the nodes that are to be encrypted and have no NodePeer that can be read, each with the reason."""
    return {name: _reason(label) for name, label in labels.items() if name not in enabled} | dict(malformed)


def _reason(label: str) -> str:
    if label != LABEL_ENABLED:
        return f"the label's value is {label!r}, not {LABEL_ENABLED!r}"
    return "labelled, and has no NodePeer: the controller has not taken it up, see `wirecrypt status` and the Node's events"


@contextmanager
def exiting(code: int) -> Iterator[None]:
    """Have the command exit with *code* where nobody answers: that says nothing of what was to be judged."""
    try:
        yield
    except (ClusterError, ObjectError) as error:
        raise Refusal(error, code) from error


def ask_here(kind: type[Facts], page: str, query: Mapping[str, object], path: Path) -> Facts:
    """Ask this node's own agent by its socket; raises `ClusterError` when none answers, `ObjectError` for another version."""
    return decode(kind, ask_local(path, f"{page}?{urlencode(query)}"), str(path))


def _asked(kind: type[Facts], node: str, ask: Callable[[], Any]) -> Facts | Silent:
    try:
        return decode(kind, ask(), f"agent of {node}")
    except ClusterError as error:
        return Silent(node, error.answer or str(error))
    except WirecryptError as error:
        return Silent(node, str(error))
