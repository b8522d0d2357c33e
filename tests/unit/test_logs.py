"""Log lines: one JSON object each, named fields, no key and no byte string in any of them."""

from __future__ import annotations

import ast
import io
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog

import wirecrypt
from tests.fakes.api import ApiServer
from tests.unit.controller.watched import Leader
from wirecrypt import logs
from wirecrypt.agent.view.configuration import Configuration
from wirecrypt.controller import Controller
from wirecrypt.errors import ConfigError
from wirecrypt.model.objects import ConfigDocument
from wirecrypt.model.secret import SecretBytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRET = SecretBytes(b"not to be seen by anybody at all")


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Catch the lines of a set-up at DEBUG; everything is put back afterwards."""
    root, names = logging.getLogger(), [logging.getLogger(name) for name in logs.QUIET]
    levels = root.level, [each.level for each in names]
    target = io.StringIO()
    logs.setup("debug", "json", stream=target)
    yield target
    root.setLevel(levels[0])
    for each, level in zip(names, levels[1], strict=True):
        each.setLevel(level)
    for handler in [each for each in root.handlers if type(each).__module__ == logs.__name__]:
        root.removeHandler(handler)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def assert_hidden(text: str) -> None:
    assert "not to be seen" not in text
    assert SECRET.reveal().hex() not in text
    assert "110, 111, 116" not in text


def test_a_line_is_one_json_object_with_its_fields(stream: io.StringIO) -> None:
    """Event, level, logger, time in UTC and the fields that were given."""
    logs.get("wirecrypt.agent").info("session made", session=5, peer="node-2")
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "session made", "level": "info", "logger": "wirecrypt.agent", "peer": "node-2", "session": 5}


def test_an_unknown_field_is_dropped_and_named(stream: io.StringIO) -> None:
    """A field outside the list never reaches the line; its name does, so that it is noticed."""
    logs.get("x").info("said", peer="node-2", private="abc")
    (line,) = lines(stream)
    assert line[logs.UNKNOWN] == ["private"]
    assert "abc" not in stream.getvalue()


@pytest.mark.K2
@pytest.mark.parametrize("style", ["json", "console"])
@pytest.mark.parametrize(
    "value",
    [SECRET, SECRET.reveal(), bytearray(SECRET.reveal()), [SECRET], {"a": {"b": SECRET.reveal()}}, (1, {SECRET.reveal()})],
    ids=["secret", "bytes", "bytearray", "list", "mapping", "set"],
)
def test_no_form_of_a_key_is_logged(stream: io.StringIO, style: str, value: object) -> None:
    """Secrets show a fingerprint, and byte strings their length, however deep they are, in either form."""
    logs.setup("debug", style, stream=stream)
    logs.get("x").error("said", object=value)
    assert "said" in stream.getvalue()
    assert_hidden(stream.getvalue())


@pytest.mark.K2
@pytest.mark.parametrize("style", ["json", "console"])
def test_a_traceback_shows_no_local_variable(stream: io.StringIO, style: str) -> None:
    """An error is logged with its type, text and places, and without what the functions held."""
    logs.setup("debug", style, stream=stream)

    def fails(key: bytes) -> None:
        copied = key.decode()
        raise ValueError(len(copied))

    try:
        fails(SECRET.reveal())
    except ValueError:
        logs.get("x").exception("failed")
    assert "ValueError" in stream.getvalue()
    assert "fails" in stream.getvalue()
    assert_hidden(stream.getvalue())


@pytest.mark.K2
@pytest.mark.parametrize("name", ["pyroute2", "pyroute2.netlink.nlsocket", "kubernetes.client.rest", "urllib3.connectionpool"])
def test_libraries_that_log_requests_stay_at_warning(stream: io.StringIO, name: str) -> None:
    """At DEBUG they log keys: they are held back, also when their own loggers are turned up."""
    library = logging.getLogger(name)
    before = library.level
    library.setLevel(logging.DEBUG)
    try:
        library.debug("request %s", SECRET.reveal())
        library.info("request %s", SECRET.reveal())
        library.warning("something is wrong")
    finally:
        library.setLevel(before)
    assert [line["event"] for line in lines(stream)] == ["something is wrong"]


def test_a_librarys_line_looks_like_ours(stream: io.StringIO) -> None:
    """A warning of a library is one JSON object with the same fields."""
    logging.getLogger("elsewhere").warning("odd: %s", 5)
    (line,) = lines(stream)
    assert (line["event"], line["level"], line["logger"]) == ("odd: 5", "warning", "elsewhere")


def test_the_level_is_kept(stream: io.StringIO) -> None:
    """Less than the level asked for is not written, and setting up again writes each line once."""
    logs.setup("warning", "json", stream=stream)
    logs.setup("warning", "json", stream=stream)
    log = logs.get("x")
    log.info("quiet")
    log.warning("loud")
    assert [line["event"] for line in lines(stream)] == ["loud"]


def test_auto_is_json_unless_a_person_watches(stream: io.StringIO) -> None:
    """A file gets JSON, a terminal lines for users."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    logs.setup("info", "auto", stream=stream)
    logs.get("x").info("said")
    assert lines(stream)[0]["event"] == "said"
    terminal = Terminal()
    logs.setup("info", "auto", stream=terminal)
    logs.get("x").info("said", peer="node-2")
    assert "said" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")


@pytest.mark.parametrize(("level", "style"), [("loud", "json"), ("info", "xml")])
def test_an_unknown_level_or_form_is_refused(level: str, style: str) -> None:
    """The error names what was asked for and what there is."""
    with pytest.raises(ConfigError, match=r"unknown.*debug.*console"):
        logs.setup(level, style)


def called_fields() -> Iterator[tuple[str, str]]:
    """Yield place and field name of every log call in the package."""
    for path in sorted(Path(wirecrypt.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner = node.func.value
            name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
            if name in ("log", "_log") and node.func.attr in ("debug", "info", "warning", "error", "exception", "bind"):
                yield from ((f"{path.name}:{node.lineno}", each.arg or "**") for each in node.keywords)


def test_every_log_call_in_the_package_uses_the_list() -> None:
    """Whoever needs a new field adds it to the list with its meaning."""
    unknown = [(place, name) for place, name in called_fields() if name not in logs.FIELDS | {"exc_info"}]
    assert unknown == []


def agent_reads(document: ConfigDocument) -> None:
    """Have an agent take a configuration, after one with other words about logs."""
    configuration = Configuration()
    for each in (ConfigDocument({"config.yaml": "logs: {level: warning}"}, "1"), document):
        configuration.read(each)


def controller_reads(document: ConfigDocument) -> None:
    """Have a controller do the same."""
    server = ApiServer(config=ConfigDocument({"config.yaml": "logs: {level: warning}"}, "1"))
    controller = Controller(server, Leader())
    controller.once()
    server.config = document
    controller.once()


@pytest.mark.parametrize("program", [agent_reads, controller_reads])
@pytest.mark.parametrize(
    ("text", "level"), [("logs: {level: error, format: console}", 40), ("logs: {level: debug}", 10), ("", 20)]
)
def test_the_configuration_says_what_is_logged(
    stream: io.StringIO, program: Callable[[ConfigDocument], None], text: str, level: int
) -> None:
    """As soon as it is read, and what says nothing of it means the default again."""
    program(ConfigDocument({"config.yaml": text}, "2"))
    root = logging.getLogger()
    (handler,) = [each for each in root.handlers if type(each).__module__ == logs.__name__]
    assert root.level == level
    handler.acquire()
    line = handler.format(logging.LogRecord("x", 50, "", 0, "said", None, None))
    handler.release()
    assert line.startswith("{") != ("console" in text)
    assert stream.getvalue() == ""
