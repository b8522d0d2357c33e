"""How public facts become bytes before they enter a derivation: one encoding for each type, and frames around each.

- text: UTF-8;
- an integer (epoch number, session number, lane): 8 bytes, big-endian, 0..2^64-1;
- an epoch id: its 16 bytes;
- a frame: the length in 4 bytes, big-endian, then the bytes.

Frames are concatenated. A length stands before each part, so two different lists of parts never give the same bytes.
"""

from __future__ import annotations

from typing import Final

from wirecrypt.errors import InputError

EPOCH_ID_BYTES: Final = 16
MAX_U64: Final = 2**64 - 1


def frames(*parts: bytes) -> bytes:
    """Return all *parts*, each after its length in 4 bytes, big-endian; injective over lists of parts."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def u64(value: int, *, what: str) -> bytes:
    """Return *value* in 8 bytes, big-endian; raises `InputError` naming *what* when it does not fit."""
    if not 0 <= value <= MAX_U64:
        raise InputError("encode a number", what=what, answer=f"{value} is not in 0..2^64-1", hint="check its source")
    return value.to_bytes(8, "big")


def epoch_id(text: str) -> bytes:
    """Return the 16 bytes of an epoch id given in hex; raises `InputError` for anything else."""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != EPOCH_ID_BYTES or len(text) != 2 * EPOCH_ID_BYTES:
        raise InputError("read an epoch id", answer="not 32 hex digits", hint="check the session or Secret")
    return value
