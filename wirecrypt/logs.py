"""Log lines: one event in plain words, fields from a closed list, JSON unless a person is watching.

No key becomes text here: bytes are never shown, `SecretBytes` shows its fingerprint, and no local variable of a traceback
is. Libraries that log what they send (keys among it) at lower levels are held at WARNING, whatever level is asked for.
A field that is not in the list is dropped, and its name, not its value, is logged.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from wirecrypt.errors import ConfigError

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
STYLES: Final = ("auto", "json", "console")

# One name for one thing, everywhere: the keyword arguments of log calls.
FIELDS: Final = frozenset(
    {
        "action",  # what is done to an object: a word of the plan
        "address",  # an IP address or prefix
        "answer",  # what the other side said
        "attempt",  # 1 for the first
        "condition",  # type of a condition
        "count",  # how many of what the event says
        "epoch",  # number of an epoch
        "error",  # text of an error
        "fingerprint",  # of a key
        "flow",  # five-tuple of a packet
        "generation",  # epoch.lo.hi
        "kind",  # kind of an object or a datagram
        "lane",  # 0..15
        "link",  # name of a network link
        "mode",  # strict, permissive
        "node",  # name of a Node
        "object",  # name of any other object
        "path",  # of a file
        "peer",  # name of the other Node
        "phase",  # of a rotation
        "port",  # TCP or UDP
        "reason",  # why, in words or as a reason of the API
        "rotation",  # name of a KeyRotation
        "seconds",  # a duration
        "session",  # number of a session
        "spi",  # 0x…
        "state",  # of a pair or a node
        "version",  # of a program or document
    }
)
UNKNOWN: Final = "unknown_fields"
QUIET: Final = ("pyroute2", "kubernetes", "client", "urllib3")  # "client": kubernetes' own name for its package logger

_FRAME: Final = frozenset({"event", "level", "logger", "timestamp", "exc_info", "stack_info", "exception"})


class _Handler(logging.StreamHandler["TextIO"]):
    """The one handler of ours, so that a second `setup` replaces it and nobody else's."""


def setup(level: str = "info", style: str = "auto", *, stream: TextIO | None = None) -> None:
    """Send log lines of *level* and above to *stream* (standard error when not given), as JSON or for a console.

    ``auto`` is the console's form on a terminal and JSON elsewhere. Raises `ConfigError` for an unknown level or style.
    """
    if level not in LEVELS or style not in STYLES:
        hint = f"levels: {', '.join(LEVELS)}; formats: {', '.join(STYLES)}"
        raise ConfigError("set up logs", what=f"level {level}, format {style}", answer="unknown", hint=hint)
    target = stream or sys.stderr
    _configure()
    handler = _Handler(target)
    as_json = style == "json" or (style == "auto" and not target.isatty())
    handler.setFormatter(_formatter(as_json=as_json, colors=target.isatty()))
    handler.addFilter(_loud_enough)
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(LEVELS[level])
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def get(name: str) -> FilteringBoundLogger:
    """Return the logger of a module; before `setup` only warnings and errors are shown."""
    if not structlog.is_configured():
        _configure()
    return cast("FilteringBoundLogger", structlog.get_logger(name))


def _configure() -> None:
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_common(),
            _closed_list,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _common() -> list[Processor]:
    return [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _formatter(*, as_json: bool, colors: bool) -> logging.Formatter:
    transformer = structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=20)
    json: list[Processor] = [
        structlog.processors.ExceptionRenderer(transformer),
        _plain_values,
        structlog.processors.JSONRenderer(sort_keys=True, ensure_ascii=False),
    ]
    console: list[Processor] = [
        _plain_values,
        structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback),
    ]
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    processors = [remove, *(json if as_json else console)]
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=_common(), processors=processors)


def _loud_enough(record: logging.LogRecord) -> bool:
    """Hold the quiet libraries back also where one of them sets the level of its loggers itself."""
    return record.levelno >= logging.WARNING or record.name.split(".")[0] not in QUIET


def _closed_list(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    unknown = sorted(event.keys() - FIELDS - _FRAME)
    kept = {name: value for name, value in event.items() if name not in unknown}
    return {**kept, UNKNOWN: unknown} if unknown else kept


def _plain_values(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {name: value if name == "exc_info" else _plain(value) for name, value in event.items()}


def _plain(value: object) -> object:
    """Return *value* as numbers, text, lists and mappings; bytes become their count."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return f"(hidden, {len(value)} bytes)"
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(each) for key, each in value.items()}
    if isinstance(value, AbstractSet):
        return sorted(str(_plain(each)) for each in value)
    if isinstance(value, Sequence):
        return [_plain(each) for each in value]
    return str(value)
