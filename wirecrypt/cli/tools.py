"""What the verbs share: the cluster they speak to, the clock they wait by, and the options that all of them take.

Options that every verb has (`--kubeconfig`, `--context`, `-o`) may stand before or after the verb; the later one wins.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from wirecrypt.cluster.cli_client import CliClient
from wirecrypt.settings.kinds import duration

FORMATS: Final = ("table", "json", "yaml")
TIMED_OUT: Final = 3
INTERRUPTED: Final = 130
EXIT_TITLE: Final = "Exit codes:"
_META: Final = "wirecrypt."

F = TypeVar("F", bound=Callable[..., Any])
if TYPE_CHECKING:
    from wirecrypt.doctor.facts import ClusterFacts, LocalMachine, NodeInspection
    from wirecrypt.model.mark import MarkLayout

    _Parameter = click.ParamType[float]
else:
    _Parameter = click.ParamType  # generic only since click 8.4


def _gather_cluster(kubeconfig: Path | None, context: str | None) -> ClusterFacts:
    from wirecrypt.doctor.gather_cluster import gather_cluster  # noqa: PLC0415 - imports the client, 0.2 s

    return gather_cluster(kubeconfig, context)


def _gather_node(marks: MarkLayout, bpffs: Path | None) -> NodeInspection:
    from wirecrypt.doctor.gather_node import BPFFS, gather_node  # noqa: PLC0415 - imports the kernel's adapters

    return gather_node(marks, bpffs or BPFFS)


def _gather_machine() -> LocalMachine:
    from wirecrypt.doctor.gather_node import gather_machine  # noqa: PLC0415 - imports the kernel's adapters

    return gather_machine()


@dataclass(frozen=True, slots=True)
class Tools:
    """How verbs reach the cluster and wait; tests put their own into the context's `obj`."""

    connect: Callable[[Path | None, str | None], CliClient] = CliClient.connect
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    terminal: Callable[[], bool] = lambda: sys.stdin is not None and sys.stdin.isatty()
    gather_cluster: Callable[[Path | None, str | None], ClusterFacts] = _gather_cluster
    gather_node: Callable[[MarkLayout, Path | None], NodeInspection] = _gather_node
    gather_machine: Callable[[], LocalMachine] = _gather_machine


class Duration(_Parameter):
    """A duration in seconds: 90, 30s, 5m, 2h."""

    name = "duration"
    _kind = duration(0, 366 * 86400)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401 - click's
        """Return seconds; a bad text is a usage error."""
        try:
            return float(self._kind.read(value))
        except ValueError as error:
            self.fail(f"{value!r}: {error}; {self._kind.allowed}", param, ctx)


def exits(codes: Mapping[int, str]) -> str:
    """Return the exit codes of a verb as the end of its help; docs/reference/exit-codes.md is made of the same."""
    width = len(str(max(codes)))
    return "\n".join(("\b", EXIT_TITLE, *(f"  {code:<{width}}  {text}" for code, text in sorted(codes.items()))))


def connecting(verb: F) -> F:
    """Give a verb the options that say which cluster."""
    path = click.Path(path_type=Path, dir_okay=False)
    where = "Default: KUBECONFIG, else the pod's service account, else ~/.kube/config."
    verb = _option("--context", metavar="NAME", help="Context of the kubeconfig.")(verb)
    return _option("--kubeconfig", metavar="FILE", type=path, help=f"How to reach the API server. {where}")(verb)


def formatted(verb: F) -> F:
    """Give a verb the option that says how its answer looks."""
    words = "Table for users (default), or json, yaml for programs."
    return _option("-o", "--output", type=click.Choice(FORMATS), help=words)(verb)


def _option(*names: str, **attributes: Any) -> Callable[[F], F]:  # noqa: ANN401 - click's
    """Return a decorator for an option whose value goes to `ctx.meta`, so that it may stand before or after the verb."""
    return click.option(*names, **attributes, expose_value=False, callback=_remember)


def _remember(ctx: click.Context, param: click.Parameter, value: object) -> None:
    if value is not None:
        ctx.meta[f"{_META}{param.name}"] = value


def tools() -> Tools:
    """Return the tools of this call."""
    found = click.get_current_context().find_object(Tools)
    return found or Tools()


def client() -> CliClient:
    """Return the cluster that the options say; raises `ClusterError` when no kubeconfig says where it is."""
    return tools().connect(kubeconfig(), context())


def kubeconfig() -> Path | None:
    """Return the value of --kubeconfig."""
    value: Path | None = click.get_current_context().meta.get(f"{_META}kubeconfig")
    return value


def context() -> str | None:
    """Return the value of --context."""
    value: str | None = click.get_current_context().meta.get(f"{_META}context")
    return value


def output_format() -> str:
    """Return the value of --output."""
    value: str = click.get_current_context().meta.get(f"{_META}output", "table")
    return value


def clean(text: str) -> str:
    """Return *text* on one line, with control characters shown as escapes."""
    shown = (" " if c.isspace() else c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return "".join(shown).rstrip()
