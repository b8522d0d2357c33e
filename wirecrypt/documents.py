"""Strict reading of documents: each getter returns a value of the asked type, or refuses with the place and what is wrong.

What a field holds is shown only where it cannot be a secret: such a value is in no message, and in no error behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final, NoReturn, TypeVar

from wirecrypt.errors import WirecryptError

T = TypeVar("T")
E = TypeVar("E", bound=Enum)
_SHOWN: Final = 80  # characters of a value in a message
_NO: Final = {str: "no text", int: "no whole number", bool: "neither true nor false", list: "no list", dict: "no mapping"}


@dataclass(frozen=True, slots=True, repr=False)
class Fields:
    """A mapping inside a document: *path* says where in it. *refusal* makes the error, of a path and what is wrong there.

    *secret*: no value is shown. *whole*: a list or mapping that is missing is refused as well; else it is an empty one.
    """

    raw: Mapping[str, Any]
    refusal: Callable[[str, str], WirecryptError]
    path: str = ""
    secret: bool = False
    whole: bool = False

    def only(self, *names: str) -> Fields:
        """Return this mapping if it has exactly these fields."""
        if self.raw.keys() != set(names):
            self.refuse("", f"the fields are not {', '.join(names)}")
        return self

    def has(self, key: str) -> bool:
        """Return whether the field is there and not null."""
        return self.raw.get(key) is not None

    def group(self, key: str) -> Fields:
        """Return the mapping in field *key*."""
        return self._inner(self._get(key, dict, None if self.whole else {}), key)

    def groups(self, key: str) -> tuple[Fields, ...]:
        """Return the mappings of the list in field *key*."""
        items = enumerate(self._list(key))
        return tuple(self._inner(self._typed(item, dict, f"{key}[{i}]"), f"{key}[{i}]") for i, item in items)

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text; without a *default* it has to be there."""
        value: str = self._get(key, str, default)
        return value

    def flag(self, key: str, *, default: bool | None = None) -> bool:
        """Return true or false; without a *default* it has to be there."""
        value: bool = self._get(key, bool, default)
        return value

    def number(self, key: str, default: int | None = None, *, low: int = 0, high: int = 2**63 - 1) -> int:
        """Return a whole number from *low* to *high*; without a *default* it has to be there."""
        value = self._get(key, int, default)
        if isinstance(value, bool) or not low <= value <= high:
            self.refuse(key, f"no whole number {low}..{high}")
        return int(value)

    def numbers(self, key: str) -> tuple[int, ...]:
        """Return a list of whole numbers, sorted."""
        items = self._list(key)
        if not all(isinstance(item, int) and not isinstance(item, bool) for item in items):
            self.refuse(key, "no list of whole numbers")
        return tuple(sorted(items))

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts in its order."""
        items = self._list(key)
        if not all(isinstance(item, str) for item in items):
            self.refuse(key, "no list of texts")
        return tuple(items)

    def mapping(self, key: str) -> dict[str, str]:
        """Return a mapping of texts to texts."""
        value = self.group(key).raw
        if not all(isinstance(v, str) for v in value.values()):
            self.refuse(key, "no mapping of texts")
        return dict(value)

    def data(self, key: str, size: int) -> bytes:
        """Return *size* bytes that are written in hex."""
        value = self.via(key, bytes.fromhex)
        if len(value) != size:
            self.refuse(key, f"not {size} bytes in hex")
        return value

    def each(self, key: str, read: Callable[[str], T]) -> tuple[T, ...]:
        """Return what *read* makes of each text of a list; its ValueError refuses the field."""
        return tuple(self._read(key, item, read) for item in self.texts(key))

    def via(self, key: str, read: Callable[[str], T]) -> T:
        """Return what *read* makes of the text; its ValueError refuses the field."""
        return self._read(key, self.text(key), read)

    def choice(self, key: str, enum: type[E]) -> E:
        """Return the member of *enum* whose value the text is."""
        return self._read(key, self.text(key), enum)

    def time(self, key: str) -> datetime:
        """Return a time of RFC 3339."""
        return self._read(key, self.text(key), _time)

    def refuse(self, key: str, why: str) -> NoReturn:
        """Raise the error that names the field *key*, or this mapping by ""."""
        raise self._refused(key, why)

    def _inner(self, raw: Mapping[str, Any], key: str) -> Fields:
        return Fields(raw, self.refusal, f"{self.path}{key}.", self.secret, self.whole)

    def _list(self, key: str) -> list[Any]:
        items: list[Any] = self._get(key, list, None if self.whole else [])
        return items

    def _get(self, key: str, kind: type, default: Any) -> Any:  # noqa: ANN401 - any JSON value
        value = self.raw.get(key)
        if value is None:
            if default is None:
                self.refuse(key, "missing")
            return default
        return self._typed(value, kind, key)

    def _typed(self, value: Any, kind: type, key: str) -> Any:  # noqa: ANN401 - any JSON value
        if not isinstance(value, kind):
            self.refuse(key, _NO[kind])
        return value

    def _read(self, key: str, text: str, read: Callable[[str], T]) -> T:
        try:
            return read(text)
        except ValueError as error:  # it carries the value: what is raised below has no trace of it
            why = "not one of the possible values" if self.secret else str(error)
        raise self._refused(key, why)

    def _refused(self, key: str, why: str) -> WirecryptError:
        shown = "" if self.secret or key not in self.raw else f": {str(self.raw[key])[:_SHOWN]!r}"
        return self.refusal(f"{self.path}{key}".rstrip("."), f"{why}{shown}")


def _time(text: str) -> datetime:
    value = datetime.fromisoformat(text)
    return value if value.tzinfo else value.replace(tzinfo=UTC)
