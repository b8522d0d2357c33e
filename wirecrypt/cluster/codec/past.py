"""Whether the store still has the past that a copy was made of. Pure.

Versions of one kind are ordered (KEP-5504). What the store shows of an object at a version that the copy has passed, the copy
has shown: the same object, at the same version. If it has not, or if the store as a whole is at an earlier version, the store
was restored from a backup, and what the copy shows may never come to be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Past:
    """What a copy has seen: the newest *version*, "" for none, and the version of each object that is there, by name."""

    version: str
    objects: Mapping[str, str]

    def undone(self, version: str, items: Iterable[Mapping[str, Any]]) -> str:
        """Return, in words, why a store that is at *version* and shows *items* has another past; nothing if it has not."""
        if not self.version.isdigit():
            return ""
        if older(version, self.version):
            return f"it is at version {version}, and {self.version} was seen"
        for item in items:
            name, now = item["metadata"].get("name", ""), item["metadata"].get("resourceVersion", "")
            before = self.objects.get(name, "")
            if now != before and not older(self.version, now):
                was = f"was seen at {before}" if before else "was gone"
                return f"{name} is at version {now}, and {was} when the newest version was {self.version}"
        return ""


def changed_last(items: Iterable[Mapping[str, Any]]) -> str:
    """Return the name of the object with the newest version, "" where there is none."""
    versions = {i["metadata"].get("name", ""): i["metadata"].get("resourceVersion", "") for i in items}
    return max(versions, key=lambda name: int(versions[name]) if versions[name].isdigit() else 0, default="")


def older(version: str, than: str) -> bool:
    """Return whether *version* came before *than*; of what is no number nothing is known."""
    return version.isdigit() and than.isdigit() and int(version) < int(than)
