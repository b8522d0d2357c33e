"""Session keys: the X25519 key pair of a session, whose private half never leaves the node (RFC 7748)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from wirecrypt.errors import SecretError
from wirecrypt.model.secret import SecretBytes

PUBLIC_BYTES: Final = 32
PRIVATE_BYTES: Final = 32


@dataclass(frozen=True, slots=True, repr=False)
class SessionKey:
    """One X25519 key pair; *public* is X (32 bytes). Its text form is a fingerprint of X; it is never pickled.

    The bytes of the private half go in by `load` and out by `store`, for the tmpfs file only.
    """

    _private: SecretBytes
    public: bytes = field(init=False)

    def __post_init__(self) -> None:
        if len(self._private) != PRIVATE_BYTES:
            answer = f"{len(self._private)} bytes instead of {PRIVATE_BYTES}"
            raise SecretError("load a session key", answer=answer, hint="make a new session")
        public = X25519PrivateKey.from_private_bytes(self._private.reveal()).public_key().public_bytes_raw()
        object.__setattr__(self, "public", public)  # the one way to complete a frozen value

    @classmethod
    def load(cls, private: SecretBytes) -> SessionKey:
        """Return the key pair of these 32 private bytes; raises `SecretError` for another length."""
        return cls(private)

    def store(self) -> SecretBytes:
        """Return the 32 private bytes, for the tmpfs file only."""
        return self._private

    def agree(self, peer_public: bytes) -> SecretBytes:
        """Return the X25519 result with *peer_public* (32 bytes).

        Raises `SecretError` for another length and for an all-zero result, i.e. a point of small order (RFC 7748, 6.1).
        """
        if len(peer_public) != PUBLIC_BYTES:
            raise SecretError("agree on a key", answer="the public key is not 32 bytes", hint=_HINT)
        private = X25519PrivateKey.from_private_bytes(self._private.reveal())
        try:
            result = private.exchange(X25519PublicKey.from_public_bytes(peer_public))
        except ValueError as error:  # what the library makes of an all-zero result
            raise SecretError("agree on a key", answer="a public key of small order", hint=_HINT) from error
        return SecretBytes(result)

    def __repr__(self) -> str:
        return f"SessionKey({SecretBytes(self.public).fingerprint})"


_HINT: Final = "the peer's session is refused; look at who wrote its NodePeer"


def new_session_key() -> SessionKey:
    """Return a fresh key pair."""
    return SessionKey(SecretBytes(X25519PrivateKey.generate().private_bytes_raw()))
