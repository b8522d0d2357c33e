"""The command `wirecrypt`: its verbs are loaded when they are used, so that the agent carries none of the others."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import IO, Any, Final

import click

from wirecrypt import __version__, outputs
from wirecrypt.cli.tools import EXIT_TITLE, INTERRUPTED, clean, connecting, exits, formatted
from wirecrypt.errors import InputError, LabError, WirecryptError

VERBS: Final = {
    "agent": ("wirecrypt.cli.verbs.agent:agent", "What runs on every node (the DaemonSet starts it)."),
    "controller": ("wirecrypt.cli.verbs.controller:controller", "What turns labels into keys (the Deployment starts it)."),
    "disable": ("wirecrypt.cli.verbs.nodes:disable", "Take nodes out of encryption."),
    "doctor": ("wirecrypt.cli.verbs.doctor:doctor", "Find what is wrong with the cluster or this node, and the next step."),
    "enable": ("wirecrypt.cli.verbs.nodes:enable", "Encrypt the traffic between nodes."),
    "explain": ("wirecrypt.cli.verbs.explain:explain", "Say what a reason or a counter means, and what to do."),
    "lab": ("wirecrypt.cli.verbs.lab:lab", "Run a small cluster on this machine, to try things out."),
    "plan": ("wirecrypt.cli.verbs.plan:plan", "Show what the agent of this node would change, and why."),
    "rotate": ("wirecrypt.cli.verbs.rotate:rotate", "Give all enabled nodes new keys, without loss."),
    "spi": ("wirecrypt.cli.verbs.spi:spi", "Say whose an SPI is."),
    "status": ("wirecrypt.cli.verbs.status:status", "Show how far each node is, and the rotations in progress."),
    "verify": ("wirecrypt.cli.verbs.verify:verify", "Check on the wire that traffic is encrypted."),
}
LAB: Final = "lab"  # the verb whose package the wheel does not carry
EXITS: Final = {
    0: "done, or the answer is yes",
    1: "the API server or the kernel refused, or the answer is no",
    2: "wrong usage or input: nothing was changed",
    3: "--wait: the time is over; what was asked for goes on",
    outputs.UNWRITTEN: "the output could not be written; what was asked for may be done",
    130: "interrupted; what was asked for goes on",
    outputs.UNREAD: "whoever read the output has gone, as `head -1` does",
}


class Refusal(click.ClickException):
    """An error of ours as the last line on standard error; *code* is what the command exits with."""

    def __init__(self, error: WirecryptError, code: int = 1) -> None:
        super().__init__(clean(str(error)))
        self.exit_code = code  # type: ignore[misc]  # click reads it off the instance

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line."""
        click.echo(f"error: {self.message}", file=file, err=file is None)


class Verbs(click.Group):
    """A group whose commands are imported on first use, and whose errors are one line each."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        """Return all verbs that are installed."""
        return sorted(verb for verb in VERBS if verb != LAB or _has_lab())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        """Return the verb's command, None when there is no such verb."""
        if cmd_name not in VERBS:
            return None
        if cmd_name == LAB and not _has_lab():
            raise LabError("the lab is not installed", hint="install wirecrypt[lab], or run wirecrypt from a checkout")
        module, _, attribute = VERBS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs with their short help, without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, VERBS[verb][1]) for verb in self.list_commands(ctx)])

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's
        """Run the verb; a `WirecryptError` becomes a `Refusal`, one of input with exit code 2; Ctrl-C is exit code 130."""
        try:
            return super().invoke(ctx)
        except WirecryptError as error:
            raise Refusal(error, 2 if isinstance(error, InputError) else 1) from error
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            return ctx.exit(INTERRUPTED)


def _has_lab() -> bool:
    return importlib.util.find_spec("wirecrypt.lab") is not None


@click.group(
    cls=Verbs,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=exits(EXITS).replace(EXIT_TITLE, "Exit codes of all verbs (those of one verb alone are in its own help):"),
)
@click.version_option(__version__, prog_name="wirecrypt")
@connecting
@formatted
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Encrypt all traffic between Kubernetes nodes with the kernel's own IPsec.

    Without a verb: status.
    """
    if ctx.invoked_subcommand is None:
        status = cli.get_command(ctx, "status")
        if status is not None:
            ctx.invoke(status)


def main() -> None:
    """Run the command line, called `wirecrypt` or, as a plugin, `kubectl wirecrypt`."""
    plugin = Path(sys.argv[0]).name.startswith("kubectl-")
    outputs.run(lambda: cli.main(prog_name="kubectl wirecrypt" if plugin else "wirecrypt"))
