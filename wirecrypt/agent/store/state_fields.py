"""Typed reading of JSON files: a refusal names the file and the field, never the value, which may be a key.

A file begins with the checksum of all else that is in it, byte by byte: a digit that a bad disk or a hand changed would be as
good a key or number as the one that was written. It keeps no forger away; the file's mode does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

from wirecrypt.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Made = TypeVar("Made")

CHECKSUM: Final = "checksum"
_HINT: Final = "see what is kept of it next to it, then remove that; the agent goes on as after the loss of the file"


@dataclass(frozen=True, slots=True, repr=False)
class StateFields:
    """One JSON object: *place* says where it stands (file and path in it), *values* what it holds.

    Every accessor raises `StateError` when the field is missing or of another type.
    """

    place: str
    values: Mapping[str, object]

    @classmethod
    def parse(cls, place: str, content: bytes) -> StateFields:
        """Return the object that *content* is; raises `StateError` when it is no JSON object, or has another's checksum.

        Whether it must have one is for the reader of its version to say.
        """
        top = cls.of(place, _json(content))
        if CHECKSUM in top.values and not _is_whole(content):
            top.refuse(CHECKSUM, "not that of the file: something in it was changed")
        return top

    @classmethod
    def of(cls, place: str, value: object) -> StateFields:
        """Return *value* as an object."""
        if not isinstance(value, dict):
            refuse(place, "no JSON object")
        return cls(place, value)

    def only(self, *names: str) -> StateFields:
        """Return this object if it has exactly these fields."""
        if self.values.keys() != set(names):
            refuse(self.place, f"the fields are not {', '.join(names)}")
        return self

    def number(self, name: str) -> int:
        """Return an integer of at least 0."""
        value = self._get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            self.refuse(name, "no natural number")
        return value

    def flag(self, name: str) -> bool:
        """Return true or false."""
        value = self._get(name)
        if not isinstance(value, bool):
            self.refuse(name, "neither true nor false")
        return value

    def text(self, name: str) -> str:
        """Return a string."""
        value = self._get(name)
        if not isinstance(value, str):
            self.refuse(name, "no text")
        return value

    def data(self, name: str, size: int) -> bytes:
        """Return *size* bytes that are written in hex."""
        value = self.made(name, bytes.fromhex)
        if len(value) != size:
            self.refuse(name, f"not {size} bytes in hex")
        return value

    def made(self, name: str, make: Callable[[str], Made]) -> Made:
        """Return what *make* makes of a string; its ValueError is a refusal, which does not carry it along."""
        text, found = self.text(name), []
        try:
            found.append(make(text))
        except ValueError:
            text = ""
        if not found:
            self.refuse(name, "not one of the possible values")
        return found[0]

    def texts(self, name: str, make: Callable[[str], Made]) -> tuple[Made, ...]:
        """Return what *make* makes of each string of a list."""
        listed = enumerate(self._list(name))
        return tuple(StateFields(self.place, {f"{name}[{n}]": v}).made(f"{name}[{n}]", make) for n, v in listed)

    def inner(self, name: str) -> StateFields:
        """Return an object inside this one."""
        return StateFields.of(f"{self.place}.{name}", self._get(name))

    def objects(self, name: str) -> Iterator[StateFields]:
        """Yield the objects of a list."""
        for index, value in enumerate(self._list(name)):
            yield StateFields.of(f"{self.place}.{name}[{index}]", value)

    def refuse(self, name: str, problem: str) -> NoReturn:
        """Raise `StateError` about the field *name*."""
        refuse(f"{self.place}.{name}", problem)

    def _get(self, name: str) -> object:
        if name not in self.values:
            self.refuse(name, "missing")
        return self.values[name]

    def _list(self, name: str) -> list[object]:
        value = self._get(name)
        if not isinstance(value, list):
            self.refuse(name, "no list")
        return value


def refuse(place: str, problem: str) -> NoReturn:
    """Raise `StateError` about *place*."""
    raise StateError("read a state file", what=place, answer=problem, hint=_HINT)


def by_version(top: StateFields, readers: Mapping[int, Callable[[StateFields], Made]]) -> Callable[[StateFields], Made]:
    """Return the reader of the version that the document *top* has; raises `StateError` for an unknown one."""
    version = top.number("version")
    if version not in readers:
        hint = "run the agent that wrote it, or remove the file: that is the loss of it"
        answer = f"version {version} is not known"
        raise StateError("read a state file", what=top.place, answer=answer, hint=hint)
    return readers[version]


def encode(content: Mapping[str, object]) -> bytes:
    """Return *content* as a document, the same for the same content, with its checksum in front."""
    return _with_checksum(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())


def _with_checksum(document: bytes) -> bytes:
    return _front(sha256(document).hexdigest()) + document[1:]


def _is_whole(content: bytes) -> bool:
    return content == _with_checksum(b"{" + content[len(_front(sha256().hexdigest())) :])


def _front(checksum: str) -> bytes:
    return f'{{"{CHECKSUM}":"{checksum}",'.encode()


def _json(content: bytes) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):  # the error carries the document: it must not be chained
        return None
