"""The reference page of the configuration and the commented default document, both made from the fields."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterator
from typing import Any, Final

from wirecrypt.settings.document import api_name
from wirecrypt.settings.fields import Settings
from wirecrypt.settings.kinds import ValueKind

_HEAD: Final = """\
# Configuration

One document, the key `config.yaml` of the ConfigMap `wirecrypt-config` in `wirecrypt-system`. Every field may be left
out. A field that does not exist, or a value that is not allowed, is refused with its path, the value and what is
allowed; a field that stands there twice, or text that no value can be made of, with its line. What ran before goes on
unchanged. This page is generated:
`python -m wirecrypt.settings > docs/reference/configuration.md`.

"""
_WIDTH: Final = 108


def page() -> str:
    """Return the reference page in Markdown."""
    return _HEAD + "\n".join(_entry(path, field) for path, field in _fields(Settings, ""))


def document() -> str:
    """Return the document of all defaults, each field commented out and explained."""
    return "".join(_lines(Settings, ""))


def _fields(cls: type, path: str) -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    for field in dataclasses.fields(cls):
        name = f"{path}{api_name(field.name)}"
        if "section" in field.metadata:
            yield from _fields(field.metadata["section"], f"{name}.")
        else:
            yield name, field


def _entry(path: str, field: dataclasses.Field[Any]) -> str:
    text = "\n".join(textwrap.wrap(field.metadata["doc"], _WIDTH, break_on_hyphens=False))
    allowed = field.metadata["kind"].allowed
    return f"## `{path}`\n\n{text}\n\n- default: `{default_text(field)}`\n- allowed: {allowed}\n"


def default_text(field: dataclasses.Field[Any]) -> str:
    """Return the default of *field* as a document would say it."""
    kind: ValueKind = field.metadata["kind"]
    return kind.written(field.default)


def _lines(cls: type, indent: str) -> Iterator[str]:
    """Yield prose as `# text` and fields as `#name: value`: taking the bare `#` away leaves a valid document."""
    for field in dataclasses.fields(cls):
        for line in textwrap.wrap(field.metadata["doc"], _WIDTH, break_on_hyphens=False):
            yield f"# {line}\n"
        if "section" in field.metadata:
            yield f"#{indent}{api_name(field.name)}:\n"
            yield from _lines(field.metadata["section"], f"{indent}  ")
        else:
            yield f"#{indent}{api_name(field.name)}: {default_text(field)}\n"
