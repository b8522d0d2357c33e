"""Secret bytes that never become text by accident."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final, NoReturn

_DIGITS: Final = 12


class SecretBytes:
    """Hold key material; its only text form is a fingerprint.

    ``reveal()`` is the one way to the bytes, so that every use can be found by a search.
    The fingerprint is the first 48 bits of SHA-256 over a label and the bytes, in hex.
    """

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = bytes(value)

    def reveal(self) -> bytes:
        """Return the bytes themselves: for the kernel, a key derivation, or the tmpfs file only."""
        return self._value

    @property
    def fingerprint(self) -> str:
        """Return 12 hex digits that tell equal keys from different ones and say nothing else."""
        return hashlib.sha256(b"wirecrypt/1 fingerprint" + self._value).hexdigest()[:_DIGITS]

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretBytes) and hmac.compare_digest(self._value, other._value)

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"SecretBytes({self.fingerprint})"

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return repr(self)

    def __reduce__(self) -> NoReturn:
        msg = "SecretBytes is never pickled"
        raise TypeError(msg)
