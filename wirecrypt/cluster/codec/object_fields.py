"""Reading of API objects: fields that nobody asks for are let be, and a list or mapping that is missing is an empty one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wirecrypt.documents import Fields
from wirecrypt.errors import ObjectError


def fields_of(kind: str, raw: Mapping[str, Any], *, secret: bool = False) -> Fields:
    """Return the fields of a whole object; what is wrong in it is an `ObjectError`."""
    metadata = raw.get("metadata", {})
    name = metadata.get("name", "?") if isinstance(metadata, dict) else "?"

    def refusal(path: str, why: str) -> ObjectError:
        hint = "correct or delete the object; it is ignored until then"
        return ObjectError(f"read {kind} {name}", what=path, answer=why, hint=hint)

    return Fields(raw, refusal, secret=secret)
