"""Strict reading of fields of an API object: each getter returns a value of the asked type or raises `ObjectError`.

The error names the object, the field's path, what is wrong and the next step. What a field holds is shown only where it
cannot be a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, NoReturn, TypeVar

from wirecrypt.errors import ObjectError

T = TypeVar("T")
E = TypeVar("E", bound=Enum)
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class ObjectFields:
    """A mapping inside an object: *name* says which object, *path* where in it; *secret* values are never shown."""

    raw: Mapping[str, Any]
    name: str
    path: str = ""
    secret: bool = False

    @classmethod
    def of(cls, kind: str, raw: Mapping[str, Any], *, secret: bool = False) -> ObjectFields:
        """Return the fields of a whole object."""
        name = raw.get("metadata", {}).get("name", "?") if isinstance(raw.get("metadata", {}), dict) else "?"
        return cls(raw, f"{kind} {name}", secret=secret)

    def has(self, key: str) -> bool:
        """Return whether the field is there and not null."""
        return self.raw.get(key) is not None

    def group(self, key: str) -> ObjectFields:
        """Return the mapping in field *key*, an empty one when it is missing."""
        return self._inner(self._get(key, dict, {}), key)

    def groups(self, key: str) -> tuple[ObjectFields, ...]:
        """Return the mappings of the list in field *key*."""
        items: list[Any] = self._get(key, list, [])
        return tuple(self._inner(self._typed(item, dict, f"{key}[{i}]"), f"{key}[{i}]") for i, item in enumerate(items))

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text; without a *default* it has to be there."""
        value: str = self._get(key, str, default)
        return value

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Return true or false."""
        value: bool = self._get(key, bool, default)
        return value

    def number(self, key: str, default: int | None = None, *, low: int = 0, high: int = 2**63 - 1) -> int:
        """Return a whole number from *low* to *high*."""
        value = self._get(key, int, default)
        if isinstance(value, bool) or not low <= value <= high:
            self.refuse(key, f"not a whole number {low}..{high}")
        return int(value)

    def numbers(self, key: str) -> tuple[int, ...]:
        """Return a list of whole numbers, sorted."""
        items = self._get(key, list, [])
        if not all(isinstance(item, int) and not isinstance(item, bool) for item in items):
            self.refuse(key, "not a list of whole numbers")
        return tuple(sorted(items))

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts in its order."""
        items = self._get(key, list, [])
        if not all(isinstance(item, str) for item in items):
            self.refuse(key, "not a list of texts")
        return tuple(items)

    def mapping(self, key: str) -> dict[str, str]:
        """Return a mapping of texts to texts."""
        value: dict[str, str] = self._get(key, dict, {})
        if not all(isinstance(v, str) for v in value.values()):
            self.refuse(key, "not a mapping of texts")
        return dict(value)

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

    def refuse(self, key: str, why: str, cause: Exception | None = None) -> NoReturn:
        """Raise the error that names object and field."""
        shown = "" if self.secret or key not in self.raw else f": {str(self.raw[key])[:_SHOWN]!r}"
        raise ObjectError(
            f"read {self.name}",
            what=f"{self.path}{key}",
            answer=f"{why}{shown}",
            hint="correct or delete the object; it is ignored until then",
        ) from cause

    def _inner(self, raw: Mapping[str, Any], key: str) -> ObjectFields:
        return ObjectFields(raw, self.name, f"{self.path}{key}.", self.secret)

    def _get(self, key: str, kind: type, default: Any) -> Any:  # noqa: ANN401 - any JSON value
        value = self.raw.get(key)
        if value is None:
            if default is None:
                self.refuse(key, "missing")
            return default
        return self._typed(value, kind, key)

    def _typed(self, value: Any, kind: type, key: str) -> Any:  # noqa: ANN401 - any JSON value
        if not isinstance(value, kind):
            self.refuse(key, f"not of type {kind.__name__}")
        return value

    def _read(self, key: str, text: str, read: Callable[[str], T]) -> T:
        try:
            return read(text)
        except ValueError as error:
            self.refuse(key, "not as it should be" if self.secret else str(error), None if self.secret else error)


def _time(text: str) -> datetime:
    value = datetime.fromisoformat(text)
    return value if value.tzinfo else value.replace(tzinfo=UTC)
