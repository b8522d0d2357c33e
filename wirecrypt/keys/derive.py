"""Traffic and control keys of a generation, from both locks: the sessions' X25519 result and the pair's secret.

::

    salt = S_AB                                        # 32 bytes, `nodekey.pair_secret`
    ikm  = X25519(own x, peer X)                       # 32 bytes, `SessionKey.agree`
    info = frames("wirecrypt/1", use, epoch number, epoch id, sender, algorithm, lane,
                  lo: nodeUID, number, X,  hi: nodeUID, number, X)
    key  = HKDF-SHA256(ikm, salt, info, length)        # RFC 5869

*use* is the text ``esp`` (length 36: 32 bytes of key, 4 of salt, RFC 4106, RFC 7634) or ``control`` (length 32).
*sender* is the text ``lo`` or ``hi``: the end with the lower or the higher nodeID. *algorithm* is the name of the API
(``aes-256-gcm``, ``chacha20-poly1305``). *lane* of a control key is 0. Encodings of the rest: `encoding`.

Every fact that tells two SAs apart is in *info*, so no two of them have one key; both ends have the same *info*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from wirecrypt.errors import InputError, SecretError
from wirecrypt.keys.encoding import epoch_id, frames, u64
from wirecrypt.keys.sessionkey import PUBLIC_BYTES, SessionKey
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Epoch, Generation
from wirecrypt.model.spi import MAX_LANES
from wirecrypt.model.xfrm import Algorithm

Side = Literal["lo", "hi"]
Use = Literal["esp", "control"]

CONTROL_BYTES: Final = 32
SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class KeyEnd:
    """One end of a generation: the node's ID and UID, its session's number and public key (32 bytes)."""

    node_id: int
    node_uid: str
    number: int
    public: bytes

    def __post_init__(self) -> None:
        if len(self.public) != PUBLIC_BYTES or not self.node_uid:
            answer = "the public key is not 32 bytes or the UID is empty"
            raise SecretError("take an end of a pair", what=self.node_uid, answer=answer, hint="check its NodePeer")

    @property
    def encoded(self) -> tuple[bytes, bytes, bytes]:
        """Return the three parts that stand in *info*."""
        return self.node_uid.encode(), u64(self.number, what="session number"), self.public


@dataclass(frozen=True, slots=True)
class Terms:
    """All public facts of a generation's keys: epoch, algorithm, and the ends in the order of their nodeIDs."""

    epoch: Epoch
    algorithm: Algorithm
    lo: KeyEnd
    hi: KeyEnd

    def __post_init__(self) -> None:
        if self.lo.node_id >= self.hi.node_id or self.lo.node_uid == self.hi.node_uid:
            what = f"nodeIDs {self.lo.node_id} and {self.hi.node_id}"
            raise InputError("order a pair", what=what, answer="not two nodes in order", hint="build Terms by Terms.of")

    @classmethod
    def of(cls, epoch: Epoch, algorithm: Algorithm, *ends: KeyEnd) -> Terms:
        """Return the terms of two *ends* given in any order; raises `InputError` when both have one nodeID or UID."""
        lo, hi = sorted(ends, key=lambda end: end.node_id)
        return cls(epoch, algorithm, lo, hi)

    @property
    def generation(self) -> Generation:
        """Return the generation that these terms belong to."""
        return Generation(self.epoch.number, self.lo.number, self.hi.number)

    def info(self, use: Use, sender: Side, lane: int) -> bytes:
        """Return the HKDF info of one key (layout: the module's docstring)."""
        if not 0 <= lane < MAX_LANES or sender not in ("lo", "hi"):
            what = f"sender {sender}, lane {lane}"
            raise InputError("derive a key", what=what, answer="no such sender or lane", hint="lanes are 0..15")
        return frames(
            b"wirecrypt/1",
            use.encode(),
            u64(self.epoch.number, what="epoch number"),
            epoch_id(self.epoch.id),
            sender.encode(),
            self.algorithm.value.encode(),
            u64(lane, what="lane"),
            *self.lo.encoded,
            *self.hi.encoded,
        )


@dataclass(frozen=True, slots=True)
class PairKeys:
    """The keys of one generation, as one end derives them; *own* says which side this end is."""

    terms: Terms
    own: Side
    _agreed: SecretBytes
    _pair_secret: SecretBytes

    @property
    def peer(self) -> Side:
        """Return the other end's side."""
        return "hi" if self.own == "lo" else "lo"

    def traffic_key(self, sender: Side, lane: int) -> SecretBytes:
        """Return the bytes of the SA by which *sender* sends on *lane*, as many as the cipher takes: key, then salt."""
        return self._derive(self.terms.info("esp", sender, lane), self.terms.algorithm.cipher.key_bytes)

    def control_key(self, sender: Side) -> SecretBytes:
        """Return the 32 bytes under which *sender* authenticates its control datagrams of this generation."""
        return self._derive(self.terms.info("control", sender, 0), CONTROL_BYTES)

    def _derive(self, info: bytes, length: int) -> SecretBytes:
        kdf = HKDF(SHA256(), length=length, salt=self._pair_secret.reveal(), info=info)
        return SecretBytes(kdf.derive(self._agreed.reveal()))


def pair_keys(terms: Terms, key: SessionKey, pair_secret: SecretBytes) -> PairKeys:
    """Return the keys of a generation for the end whose session is *key*; *pair_secret* is S_AB (32 bytes).

    Raises `SecretError` when *key* is of neither end or of both, when the peer's key is a point of small order, and
    for a pair secret of another length.
    """
    if (terms.lo.public == key.public) == (terms.hi.public == key.public):
        hint = "the ledger or the published session does not belong to this key"
        raise SecretError("derive a pair's keys", what=str(terms.generation), answer="own end not found", hint=hint)
    if len(pair_secret) != SECRET_BYTES:
        answer = f"{len(pair_secret)} bytes instead of {SECRET_BYTES}"
        raise SecretError("derive a pair's keys", what="pair secret", answer=answer, hint="take it from pair_secret")
    own: Side = "lo" if terms.lo.public == key.public else "hi"
    peer = terms.hi if own == "lo" else terms.lo
    return PairKeys(terms, own, key.agree(peer.public), pair_secret)
