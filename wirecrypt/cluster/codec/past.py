"""Whether the store still has the past that a copy was made of. Pure.

Versions of one kind are ordered (KEP-5504). What the store shows of an object at a version that the copy has passed, the copy
has shown: the same object, at the same version. If it has not, or if the store as a whole is at an earlier version, the store
was restored from a backup, and what the copy shows may never come to be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Past:
    """What a copy has seen, or a store shows: the newest *version*, "" for none, and the version of each object, by name."""

    version: str
    objects: Mapping[str, str]

    @classmethod
    def of(cls, version: str, items: Iterable[Mapping[str, Any]]) -> Self:
        """Return what a store says that is at *version* and shows *items*."""
        return cls(version, {i["metadata"].get("name", ""): i["metadata"].get("resourceVersion", "") for i in items})

    def undone(self, shown: Past) -> str:
        """Return, in words, why a store that shows this has another past; nothing if it has not."""
        if not self.version.isdigit():
            return ""
        if older(shown.version, self.version):
            return f"it is at version {shown.version}, and {self.version} was seen"
        for name, now in shown.objects.items():
            before = self.objects.get(name, "")
            if now != before and not older(self.version, now):
                was = f"was seen at {before}" if before else "was gone"
                return f"{name} is at version {now}, and {was} when the newest version was {self.version}"
        return ""

    @property
    def changed_last(self) -> str:
        """Return the name of the object with the newest version, "" where there is none."""
        numbers = {name: int(version) if version.isdigit() else 0 for name, version in self.objects.items()}
        return max(numbers, key=lambda name: numbers[name], default="")


def older(version: str, than: str) -> bool:
    """Return whether *version* came before *than*; of what is no number nothing is known."""
    return version.isdigit() and than.isdigit() and int(version) < int(than)
