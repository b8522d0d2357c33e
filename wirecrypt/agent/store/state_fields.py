"""Reading of the agent's own files: a refusal names the file and the field, never the value, which may be a key.

A file begins with the checksum of all else that is in it, byte by byte: a digit that a bad disk or a hand changed would be as
good a key or number as the one that was written. It keeps no forger away; the file's mode does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Final, TypeVar

from wirecrypt.documents import Fields
from wirecrypt.errors import StateError

Made = TypeVar("Made")

CHECKSUM: Final = "checksum"
_HINT: Final = "see what is kept of it next to it, then remove that; the agent goes on as after the loss of the file"


def parse(place: str, content: bytes) -> Fields:
    """Return the document of *content*, in the file *place*; raises `StateError` when it is none, or has another's checksum.

    Whether it must have one is for the reader of its version to say.
    """

    def refusal(path: str, why: str) -> StateError:
        return StateError("read a state file", what=f"{place}.{path}" if path else place, answer=why, hint=_HINT)

    values = _json(content)
    if not isinstance(values, dict):
        raise refusal("", "no JSON object")
    top = Fields(values, refusal, secret=True, whole=True)
    if CHECKSUM in values and not _is_whole(content):
        top.refuse(CHECKSUM, "not that of the file: something in it was changed")
    return top


def by_version(place: str, top: Fields, readers: Mapping[int, Callable[[Fields], Made]]) -> Callable[[Fields], Made]:
    """Return the reader of the version that the document *top* has; raises `StateError` for an unknown one."""
    version = top.number("version")
    if version not in readers:
        hint = "run the agent that wrote it, or remove the file: that is the loss of it"
        answer = f"version {version} is not known"
        raise StateError("read a state file", what=place, answer=answer, hint=hint)
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
