"""How the API server keeps objects: each has a version, and a write or a deletion is of the version that was read.

Writes here are the controller's: they are counted, and the process that writes them may die after any.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from wirecrypt.errors import ClusterError, Conflict, NotFound, Unreachable

K = TypeVar("K")
T = TypeVar("T")


class Killed(Exception):
    """The process is dead."""


@dataclass
class Versions:
    """The counts: the newest *version*, the controller's *writes*, of which its process dies after *most*, anybody's *changes*.

    *down*: there is no answer.
    """

    version: int = 0
    writes: int = 0
    most: int = 2**31
    changes: int = 0
    down: bool = False

    def note(self) -> None:
        """Note that somebody but the controller wrote."""
        self.changes += 1

    def _write(self) -> None:
        if self.down:
            raise Unreachable("ask the API server", answer="nothing")
        if self.writes >= self.most:
            raise Killed
        self.writes += 1
        self.changes += 1

    def _next(self, value: T) -> T:
        self.version += 1
        return replace(value, resource_version=str(self.version))  # type: ignore[type-var]

    def _create(self, objects: dict[K, T], name: K, value: T) -> None:
        if name in objects:
            raise Conflict("POST", what=str(name), answer="AlreadyExists")
        self._write()
        objects[name] = self._next(value)

    def _update(self, objects: dict[str, T], old: T, rule: Callable[[T, T], str] = lambda *_: "", **changes: object) -> None:
        """Change the version *old* of an object, if *rule* says nothing against it."""
        name = old.name  # type: ignore[attr-defined]
        there = self._there(objects, name)
        same(there, old, by="resource_version")
        new = replace(there, **changes)  # type: ignore[type-var]
        if wrong := rule(there, new):
            raise ClusterError("PATCH", what=name, answer=wrong)
        self._write()
        objects[name] = self._next(new) if new != there else there

    def _put(self, objects: dict[K, T], name: K, value: T) -> None:
        """Create what has no version, else replace that version."""
        if not value.resource_version:  # type: ignore[attr-defined]
            self._create(objects, name, value)
            return
        same(self._there(objects, name), value, by="resource_version")
        self._write()
        objects[name] = self._next(value)

    def _delete(self, objects: dict[K, T], name: K, value: T, *, by: str = "resource_version") -> None:
        """Delete an object if it still is *value*; what is gone is no error."""
        if name in objects:
            same(objects[name], value, by=by)
        self._write()
        objects.pop(name, None)

    def _there(self, objects: dict[K, T], name: K) -> T:
        if name not in objects:
            raise NotFound("PATCH", what=str(name))
        return objects[name]


def same(there: object, read: object, *, by: str) -> None:
    """Refuse what is about another object, or another version of it, than the one that is there."""
    if getattr(there, by) != getattr(read, by):
        raise Conflict("PATCH", answer=f"the {by} is another")
