"""From text to plain values, by YAML's safe loader made strict: whatever the text is, it is taken or refused with its place.

YAML lets a later key replace an earlier one in silence; here that is refused, for the reader of the document sees the
first and the agent would obey the second. What a scalar stands for is tried where it stands, so that a date that does not
exist is an error with a line. Depth is bounded before recursion does it.
"""

from __future__ import annotations

import reprlib
from collections.abc import Hashable
from typing import Any, Final

import yaml

from wirecrypt.errors import ConfigError

DEEPEST: Final = 16  # levels; the document itself has three
_LONGEST: Final = 120
_WRONG: Final = (ValueError, ArithmeticError, LookupError, AttributeError, TypeError)  # what constructors let through
_HINT: Final = "correct the field in the ConfigMap wirecrypt-config; docs/reference/configuration.md has them all"
_MERGE: Final = "tag:yaml.org,2002:merge"


def refusal(where: str, why: str) -> ConfigError:
    """Return the error that says *where* in the document is *why* no value."""
    return ConfigError("read the configuration", what=where, answer=why, hint=_HINT)


def load(text: str) -> Any:  # noqa: ANN401 - any YAML value
    """Return what *text* says; raises `ConfigError`."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a safe loader, made stricter
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        raise refusal(_line(where) if where else "document", f"not YAML: {_problem(error)}") from error


def shown(value: object) -> str:
    """Return *value* for a message: cut where it is long, deep, or a number of more digits than can be written."""
    return _BRIEF.repr(value)


def _problem(error: yaml.YAMLError) -> str:
    return getattr(error, "problem", None) or "unreadable"


def _line(mark: Any) -> str:  # noqa: ANN401 - PyYAML has no types
    return f"line {mark.line + 1}"


class _Loader(yaml.SafeLoader):
    """The safe loader that refuses keys that stand there twice, values that cannot be read, and depth."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self._depth >= DEEPEST:
            where = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise refusal(_line(where), f"nested more than {DEEPEST} levels deep")
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - PyYAML's
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if name in seen:
                raise refusal(_line(key.start_mark), f"{key.value[:_LONGEST]} stands there twice")
            if name and name[0] != _MERGE:
                seen.add(name)
        return super().construct_mapping(node, deep)  # type: ignore[arg-type]  # it refuses other nodes itself

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 - PyYAML's
        try:
            return super().construct_object(node, deep)
        except _WRONG as error:
            raise refusal(_line(node.start_mark), f"a value that cannot be read: {str(error)[:_LONGEST]}") from error


class _Brief(reprlib.Repr):
    """Short forms, whatever the value."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 2, _LONGEST, _LONGEST

    def repr_int(self, x: int, level: int) -> str:
        try:
            return super().repr_int(x, level)
        except ValueError:  # more digits than Python writes
            return f"a number of {x.bit_length()} bits"


_BRIEF: Final = _Brief()
