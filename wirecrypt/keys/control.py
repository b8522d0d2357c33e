"""The MAC of control datagrams: HMAC-SHA-256 cut to 128 bits over all before it (RFC 2104, RFC 4868).

A datagram is ``head (176 bytes) ‖ zeros ‖ MAC (16 bytes)``. The MAC is checked before anything is parsed, because a
pod's packets come out of the same SAs. The key is that of the sender and the generation (`PairKeys.control_key`), so a
datagram reflected to its sender is refused. The key does not name the lane: the caller compares the lane, and the
generation, with the mark of the SA that the datagram came out of.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.constant_time import bytes_eq
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from wirecrypt.errors import DatagramError, SecretError
from wirecrypt.keys.datagram import ControlMessage, DatagramKind, decode, encode
from wirecrypt.keys.derive import CONTROL_BYTES
from wirecrypt.model.secret import SecretBytes

MIN_SIZE: Final = 256
MAX_SIZE: Final = 65507  # the largest UDP payload over IPv4
MAC_BYTES: Final = 16


def seal(message: ControlMessage, key: SecretBytes, size: int = MIN_SIZE) -> bytes:
    """Return the datagram of *message*, padded to *size* bytes (256..65507; an ANSWER is always 256).

    Raises `DatagramError` for what the layout cannot hold and `SecretError` for a key that is not 32 bytes.
    """
    fits = size == MIN_SIZE if message.kind is DatagramKind.ANSWER else MIN_SIZE <= size <= MAX_SIZE
    if not fits:
        raise DatagramError("write a control datagram", what=f"{size} bytes", answer="size not allowed", hint=_SIZES)
    body = encode(message).ljust(size - MAC_BYTES, b"\0")
    return body + _mac(body, key)


def open_(datagram: bytes, key: SecretBytes) -> ControlMessage:
    """Return the message of an authentic *datagram*; nothing of it is read before its MAC was found right.

    Raises `DatagramError`, which shows no byte of the content, for a wrong size, a wrong MAC and a malformed content;
    `SecretError` for a key that is not 32 bytes.
    """
    if not MIN_SIZE <= len(datagram) <= MAX_SIZE:
        what = f"{len(datagram)} bytes"
        raise DatagramError("read a control datagram", what=what, answer="size not allowed", hint=_SIZES)
    body, mac = datagram[:-MAC_BYTES], datagram[-MAC_BYTES:]
    if not bytes_eq(_mac(body, key), mac):
        hint = "a pod may have sent it; if it goes on between agents, look at both ends' sessions"
        raise DatagramError("read a control datagram", answer="not authentic", hint=hint)
    message = decode(body)
    if message.kind is DatagramKind.ANSWER and len(datagram) != MIN_SIZE:
        raise DatagramError("read a control datagram", answer="an answer of another size", hint=_SIZES)
    return message


_SIZES: Final = "a PROBE has 256 to 65507 bytes, an ANSWER 256"


def _mac(body: bytes, key: SecretBytes) -> bytes:
    if len(key) != CONTROL_BYTES:
        answer = f"{len(key)} bytes instead of {CONTROL_BYTES}"
        raise SecretError("authenticate a control datagram", answer=answer, hint="take PairKeys.control_key")
    mac = HMAC(key.reveal(), SHA256())
    mac.update(body)
    return mac.finalize()[:MAC_BYTES]
