"""The command itself: verbs, help, where options may stand, and errors as one line."""

import importlib
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.unit.cli.conftest import Line
from tests.unit.cli.fake_cli_client import encrypted, node_label
from wirecrypt.cli.main import EXITS, VERBS, cli
from wirecrypt.cli.tools import EXIT_TITLE, clean
from wirecrypt.errors import Unreachable

OWN = ("disable", "doctor", "enable", "rotate", "spi", "status")


@pytest.mark.parametrize("verb", OWN)
def test_every_verb_documents_its_exit_codes(verb: str) -> None:
    """The help of each verb ends with its exit codes."""
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    assert command.epilog
    assert EXIT_TITLE in command.epilog


def test_help_names_all_verbs_without_importing_them(wirecrypt: Line) -> None:
    """`--help` is quick: it imports neither agent nor kernel."""
    code = (
        "import sys; from wirecrypt.cli.main import cli; cli(['--help'], standalone_mode=False);"
        "sys.exit(any(m.startswith(('wirecrypt.agent', 'wirecrypt.kernel', 'kubernetes')) for m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(f"  {verb} " in done.stdout for verb in VERBS)
    assert all(f"  {code}" in done.stdout for code in EXITS)


def test_bare_command_is_status(wirecrypt: Line) -> None:
    """Without a verb the answer is that of `status`, options included."""
    wirecrypt.client.nodes = {"a": node_label("a")}
    assert wirecrypt("").output == wirecrypt("status").output
    assert wirecrypt("-o json").output == wirecrypt("status -o json").output


@pytest.mark.parametrize("line", ["--kubeconfig f --context c status", "status --kubeconfig f --context c"])
def test_connection_options_stand_before_or_after_the_verb(wirecrypt: Line, line: str) -> None:
    """As with kubectl; a plugin can only have them after its name."""
    assert wirecrypt(line).exit_code == 0
    assert wirecrypt.asked == [("f", "c")]


def test_errors_are_one_line_with_the_next_step(wirecrypt: Line) -> None:
    """An API server that does not answer: what was tried, the answer, the next step; no traceback; exit 1."""

    def unreachable() -> None:
        raise Unreachable("GET /api/v1/nodes", answer="refused\n\x1b[31mtwice", hint="check the address")

    wirecrypt.client.before_read = unreachable
    done = wirecrypt("status")
    assert done.exit_code == 1
    assert done.stderr == "error: GET /api/v1/nodes: refused \\x1b[31mtwice. Next: check the address\n"
    assert done.stdout == ""


def test_text_of_the_api_cannot_steer_the_terminal(wirecrypt: Line) -> None:
    """Escape sequences in an object are shown, not sent; markup is text."""
    wirecrypt.client.objects = {"a": encrypted("a", problems=("\x1b]0;x\x07 [bold]boo[/bold]",))}
    shown = wirecrypt("status").stdout
    assert "\x1b" not in shown
    assert "\\x1b]0;x\\x07 [bold]boo[/bold]" in shown
    assert clean("a\tb\r\nc") == "a b  c"


def test_unknown_verb_is_usage(wirecrypt: Line) -> None:
    """A verb that does not exist is wrong usage, exit 2."""
    assert wirecrypt("teleport").exit_code == 2


def test_own_verbs_can_be_imported() -> None:
    """The table of verbs names modules and commands that exist."""
    for verb in OWN:
        module, _, attribute = VERBS[verb][0].partition(":")
        assert isinstance(getattr(importlib.import_module(module), attribute), click.Command)


@pytest.mark.parametrize("content", [b"a: [b", b"hello", b"", b"\xff\xfe", b'{"clusters": []}', None])
def test_a_bad_kubeconfig_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    """A kubeconfig that is no YAML, no text, empty, half or missing: exit 1, its path, the next step."""
    file = tmp_path / "config"
    if content is not None:
        file.write_bytes(content)
    done = CliRunner().invoke(cli, ["--kubeconfig", str(file), "status"], catch_exceptions=False)
    (line,) = done.stderr.splitlines()
    assert done.exit_code == 1
    assert line.startswith(f"error: find the API server ({file}): ")
    assert "Next: name a kubeconfig" in line
