"""`wirecrypt rotate`: ask for new keys everywhere, watch them come, or take the request back while it may be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import click
from rich.live import Live

from wirecrypt.cli.output import console, emit, grouped, say
from wirecrypt.cli.tools import INTERRUPTED, TIMED_OUT, Duration, clean, client, connecting, exits, formatted, tools
from wirecrypt.cli.view import laggards, rotation_document, why
from wirecrypt.cli.waiting import PASSING, pause_after, pause_of
from wirecrypt.cluster.cli_client import CliClient
from wirecrypt.errors import ClusterError, InputError, NotFound, Unreachable
from wirecrypt.model.objects import EncryptedNode, KeyRotation, Phase
from wirecrypt.rotation.phases import FINISHED, current

_LONGEST: Final = 256
LISTED: Final = "`wirecrypt status` lists them"


@dataclass(frozen=True, slots=True)
class RotationProgress:
    """How far a rotation is: the object as last read, the nodes, the trouble in reading them, how long to wait for it."""

    rotation: KeyRotation
    nodes: Sequence[EncryptedNode] = ()
    trouble: str = ""
    pause: float = 0.0

    def lines(self) -> list[str]:
        """Return the stand in lines."""
        r = self.rotation
        phase = r.phase.value if r.phase else "New"
        epochs = f", epoch {r.from_epoch} to {r.to_epoch}" if r.to_epoch else ""
        head = f"{r.name}: {phase}{epochs}, {r.nodes_done} of {r.nodes_total} nodes done; {why(r)}"
        late = [f"  laggard {name}: {reason}" for name, reason in laggards(r, {e.name: e for e in self.nodes})]
        return [clean(line) for line in (head, *late, self.trouble) if line]


@click.command(
    epilog=exits(
        {
            0: "asked for (with --wait: complete; with --abort: will be aborted, with --wait: is; with --without: noted)",
            1: "the API server refused (an abort that comes too late, too); --wait: it was aborted or deleted",
            2: "wrong usage",
            3: "--wait: the time is over; the rotation goes on",
            130: "--wait: interrupted; the rotation goes on",
        }
    )
)
@click.option("--wait", is_flag=True, help="Show the progress, and return when it is finished.")
@click.option(
    "--abort",
    is_flag=False,
    flag_value="",
    metavar="[NAME]",
    help="Abort the running rotation, or the one of this name; possible only while it waits, or while keys are distributed.",
)
@click.option(
    "--without",
    multiple=True,
    metavar="NODE",
    help="Have the running rotation go on without a node that still holds it up after rotation.patience. It is cut off: its "
    "pairs are blocked, not in clear, until its label is taken off and set again. May be given more than once.",
)
@click.option("--timeout", type=Duration(), default="15m", show_default=True, help="How long --wait waits.")
@click.option("--reason", default="asked for by hand", show_default=True, help="Written into the KeyRotation.")
@connecting
@formatted
def rotate(timeout: float, reason: str, without: tuple[str, ...], *, wait: bool, abort: str | None) -> None:
    """Give all enabled nodes new keys, without loss: creates a KeyRotation, which the controller carries out.

    When one is running, the new one is queued behind it. Ctrl-C during --wait leaves the rotation running.
    """
    if not 0 < len(reason) <= _LONGEST:
        raise InputError("ask for a rotation", what="--reason", answer=f"not 1 to {_LONGEST} characters", hint="shorten it")
    if without and abort is not None:
        answer = "a rotation either goes on or is aborted"
        raise InputError("ask for a rotation", what="--without with --abort", answer=answer, hint="say one of them")
    cluster = client()
    rotation = _abort(cluster, abort) if abort is not None else _ask(cluster, reason, without)
    if not wait:
        emit(_document(RotationProgress(rotation)), list)
        return
    progress = _watch(cluster, rotation, timeout)
    emit(_document(progress), list)
    code = _verdict(progress, wanted=Phase.COMPLETE if abort is None else Phase.ABORTED)
    if code:
        raise click.exceptions.Exit(code)


def _ask(cluster: CliClient, reason: str, without: tuple[str, ...]) -> KeyRotation:
    return _exclude(cluster, without) if without else _request(cluster, reason)


def _request(cluster: CliClient, reason: str) -> KeyRotation:
    running = current(cluster.rotations())
    made = cluster.request_rotation(reason)
    say(f"keyrotation/{made.name} created")
    if running is not None:
        phase = running.phase.value if running.phase else "New"
        say(f"queued: {running.name} is running ({phase}, {running.nodes_done} of {running.nodes_total} nodes done)")
    return made


def _abort(cluster: CliClient, name: str) -> KeyRotation:
    """Ask to abort the rotation called *name*, without a name the running one; raises `NotFound`."""
    rotations = cluster.rotations()
    open_ = [r for r in rotations if r.name == name and r.phase not in FINISHED]
    chosen = next(iter(open_), None) if name else current(rotations)
    if chosen is None:
        answer = f"there is none called {name} that is not finished" if name else "none is running"
        raise NotFound("abort the rotation", answer=answer, hint="`wirecrypt status` shows what is going on")
    cluster.abort(chosen)
    say(f"keyrotation/{chosen.name} will be aborted")
    return chosen


def _exclude(cluster: CliClient, names: tuple[str, ...]) -> KeyRotation:
    """Ask to have the running rotation go on without *names*; raises `NotFound`, `InputError`, before anything is written."""
    rotation = current(cluster.rotations())
    if rotation is None or not rotation.to_epoch:
        raise NotFound(
            "go on without a node", answer="no rotation is running", hint="`wirecrypt status` shows what is going on"
        )
    known = {node.name for node in cluster.encrypted_nodes()}
    for name in names:
        if name not in known:
            raise InputError("go on without a node", what=name, answer="no node is encrypted under this name", hint=LISTED)
    cluster.exclude(rotation, names)
    for name in names:
        late = "holds it up now" if name in rotation.laggards else "does not hold it up now, and stays if it never does"
        say(f"keyrotation/{rotation.name} goes on without {name} once rotation.patience is over ({name} {late})")
    return rotation


def _watch(cluster: CliClient, rotation: KeyRotation, seconds: float) -> RotationProgress:
    """Show the progress until the rotation is finished or *seconds* are over; Ctrl-C ends the showing alone."""
    try:
        terminal = console(err=True)
        if not terminal.is_terminal:
            return _follow(cluster, rotation, seconds, _teller())
        with Live(console=terminal, auto_refresh=False) as live:
            return _follow(cluster, rotation, seconds, lambda lines: live.update(grouped(lines), refresh=True))
    except KeyboardInterrupt:
        hint = "`wirecrypt status` shows it, `wirecrypt rotate --abort` ends it while keys are distributed"
        click.echo(f"interrupted: {rotation.name} goes on; {hint}", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None


def _teller() -> Callable[[list[str]], None]:
    """Return what prints each line once it is new."""
    shown: set[str] = set()

    def print_new(lines: list[str]) -> None:
        for line in lines:
            if line not in shown:
                click.echo(line, err=True)
        shown.clear()
        shown.update(lines)

    return print_new


def _follow(cluster: CliClient, rotation: KeyRotation, seconds: float, show: Callable[[list[str]], None]) -> RotationProgress:
    clock = tools()
    began = clock.monotonic()
    end = began + seconds
    progress = RotationProgress(rotation)
    while True:
        progress = _look(cluster, progress)
        show(progress.lines())
        if progress.rotation.phase in FINISHED or clock.monotonic() >= end:
            return progress
        clock.sleep(min(max(progress.pause, pause_of(clock.monotonic() - began)), end - clock.monotonic()))


def _look(cluster: CliClient, before: RotationProgress) -> RotationProgress:
    """Return how far the rotation is now; an API server that is away or unwell is trouble and no end."""
    name = before.rotation.name
    try:
        now, nodes = cluster.rotation(name), cluster.encrypted_nodes()
    except PASSING as error:
        words = "does not answer" if isinstance(error, Unreachable) else "cannot answer now"
        trouble = f"the API server {words}, trying on: {error.answer}"
        return RotationProgress(before.rotation, before.nodes, trouble, pause_after(error))
    if now is None:
        answer = "it was deleted before it was finished"
        raise NotFound("follow the rotation", what=f"KeyRotation {name}", answer=answer, hint="`wirecrypt rotate` asks again")
    return RotationProgress(now, nodes)


def _verdict(progress: RotationProgress, *, wanted: Phase) -> int:
    phase = progress.rotation.phase
    if phase is wanted:
        return 0
    if phase not in FINISHED:
        click.echo(f"not finished in time; {progress.rotation.name} goes on, `wirecrypt status` shows it", err=True)
        return TIMED_OUT
    raise ClusterError(
        "wait for the rotation",
        what=f"KeyRotation {progress.rotation.name}",
        answer=f"it is {phase.value if phase else 'New'}: {why(progress.rotation)}",
        hint="`wirecrypt rotate` asks for another",
    )


def _document(progress: RotationProgress) -> dict[str, object]:
    return rotation_document(progress.rotation, {e.name: e for e in progress.nodes})
