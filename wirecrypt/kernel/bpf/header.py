"""Read bpf/wirecrypt.h, the one definition of marks, map layouts and reasons, so that Python repeats none of it.

Strict on purpose: a declaration this parser does not understand is an error, never skipped. Known are ``#define NAME
number``, ``enum name { NAME = number, ... };`` and ``struct name { __u8|__u16|__u32|__u64 field[N]; ... };`` where N is a
number or a defined name; comments and the include guard are ignored.
"""

from __future__ import annotations

import ctypes
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from wirecrypt.errors import BpfError
from wirecrypt.kernel.bpf.source import HEADER

_TYPES: Final = {"__u8": ctypes.c_uint8, "__u16": ctypes.c_uint16, "__u32": ctypes.c_uint32, "__u64": ctypes.c_uint64}
_GUARD: Final = re.compile(r"#ifndef (\w+)\s+#define \1\s+(.*)#endif\s*\Z", re.DOTALL)
_COMMENT: Final = re.compile(r"/\*.*?\*/", re.DOTALL)
_NEXT: Final = re.compile(
    r"\s*(?:#define (?P<define>\w+) (?P<value>\w+)\n|(?P<kind>enum|struct) (?P<name>\w+) \{(?P<body>[^{}]*)\};)"
)
_CONSTANT: Final = re.compile(r"(\w+) = (\w+)")
_FIELD: Final = re.compile(r"(__u(?:8|16|32|64)) (\w+)(?:\[(\w+)\])?")


@dataclass(frozen=True, slots=True)
class SharedHeader:
    """The header, parsed: numbers by name (defines and enum constants), enums, structs, and each block's own text."""

    numbers: Mapping[str, int]
    enums: Mapping[str, Mapping[str, int]]
    structs: Mapping[str, type[ctypes.Structure]]
    blocks: Mapping[str, str]

    def layout(self, names: Iterable[str]) -> str:
        """Return 8 hex digits that change when one of these enums or structs does (comments and blanks do not count)."""
        text = "\n".join(self.blocks[name] for name in names)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


@cache
def header(path: Path = HEADER) -> SharedHeader:
    """Read and parse the header; raises `BpfError` when it cannot be read or says what is not understood."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BpfError("read the eBPF header", what=str(path), answer=str(error), hint="reinstall wirecrypt") from error
    return parse(text)


def parse(text: str) -> SharedHeader:
    """Parse the text of a header; raises `BpfError` at the first declaration that is not understood."""
    inside = _GUARD.fullmatch(_COMMENT.sub("", text).strip())
    if inside is None:
        raise _refuse("no include guard around everything")
    return _Parser().run(inside[2])


class _Parser:
    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.enums: dict[str, Mapping[str, int]] = {}
        self.structs: dict[str, type[ctypes.Structure]] = {}
        self.blocks: dict[str, str] = {}

    def run(self, text: str) -> SharedHeader:
        at = 0
        while text[at:].strip():
            match = _NEXT.match(text, at)
            if match is None:
                raise _refuse(text[at:].strip().splitlines()[0])
            self._take(match)
            at = match.end()
        return SharedHeader(
            MappingProxyType(self.numbers),
            MappingProxyType(self.enums),
            MappingProxyType(self.structs),
            MappingProxyType(self.blocks),
        )

    def _take(self, match: re.Match[str]) -> None:
        if match["define"]:
            self._number(match["define"], match["value"])
            return
        name, body = match["name"], match["body"]
        if match["kind"] == "enum":
            self.enums[name] = MappingProxyType(dict(self._constant(item) for item in _items(body, ",")))
            self.blocks[name] = repr(sorted(self.enums[name].items()))
        else:
            fields = [self._field(item) for item in _items(body, ";")]
            self.structs[name] = type(name, (ctypes.Structure,), {"_fields_": fields})
            self.blocks[name] = repr([(field, kind.__name__) for field, kind in fields])

    def _constant(self, item: str) -> tuple[str, int]:
        match = _CONSTANT.fullmatch(item)
        if match is None:
            raise _refuse(item)
        return match[1], self._number(match[1], match[2])

    def _field(self, item: str) -> tuple[str, type[Any]]:
        match = _FIELD.fullmatch(item)
        if match is None:
            raise _refuse(item)
        kind = _TYPES[match[1]]
        return match[2], (kind * self._value(match[3]) if match[3] else kind)

    def _number(self, name: str, text: str) -> int:
        if name in self.numbers:
            raise _refuse(f"{name} is defined twice")
        self.numbers[name] = self._value(text)
        return self.numbers[name]

    def _value(self, text: str) -> int:
        if text in self.numbers:
            return self.numbers[text]
        try:
            return int(text, 0)
        except ValueError as error:
            raise _refuse(f"{text} is no number") from error


def _items(body: str, separator: str) -> list[str]:
    return [" ".join(item.split()) for item in body.split(separator) if item.strip()]


def _refuse(what: str) -> BpfError:
    return BpfError("parse the eBPF header", what=what, answer="not understood", hint="see wirecrypt/kernel/bpf/header.py")
