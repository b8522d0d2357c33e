"""Node keys: shares of one symmetric polynomial per epoch (Blundo et al., CRYPTO '92).

Any two nodes compute the same secret from them, each from its own share and the other's public UID.

``f(x, y) = Σ a_ij x^i y^j`` with i, j in 0..63 and a_ij = a_ji, over GF(p), p = 2^255 - 19.

- the point of a node: ``u = SHA-512("wirecrypt/1 node" ‖ nodeUID in UTF-8)`` read big-endian, mod p;
- a coefficient: ``a_ij = HKDF-SHA512(ikm = seed, no salt, info = "wirecrypt/1 poly" ‖ min(i,j) ‖ max(i,j), 64 bytes)``
  read big-endian, mod p; min and max in 2 bytes each, big-endian. 512 bits are reduced, so the bias is below 2^-250;
- the share of node A: the 64 coefficients of ``f(u_A, y)``, that of y⁰ first, each in 32 bytes, big-endian: 2048 bytes;
- the pair's secret: ``S_AB = f(u_A, u_B)``, 32 bytes, big-endian.

This is integer arithmetic and not constant in time; it is the second lock: a flaw in it alone opens nothing.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from operator import mul
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from wirecrypt.errors import SecretError
from wirecrypt.model.secret import SecretBytes

PRIME: Final = 2**255 - 19
COEFFICIENTS: Final = 64  # degree 63 in each variable: up to 63 shares together say nothing about another pair
SEED_BYTES: Final = 32
SHARE_BYTES: Final = COEFFICIENTS * 32

_Matrix = list[list[int]]


def new_seed() -> SecretBytes:
    """Return a fresh 256-bit seed of an epoch."""
    return SecretBytes(secrets.token_bytes(SEED_BYTES))


def share(seed: SecretBytes, node_uid: str) -> SecretBytes:
    """Return the share of one node (2048 bytes); for several of one epoch take `shares`, which is far cheaper."""
    return shares(seed, (node_uid,))[node_uid]


def shares(seed: SecretBytes, node_uids: Iterable[str]) -> dict[str, SecretBytes]:
    """Return the share of each node by UID; the 2080 coefficients are derived from *seed* once.

    Raises `SecretError` for a seed that is not 32 bytes long or an empty UID.
    """
    matrix = _matrix(seed)
    return {uid: _share(matrix, _point(uid)) for uid in node_uids}


def pair_secret(own_share: SecretBytes, peer_uid: str) -> SecretBytes:
    """Return S_AB (32 bytes): the polynomial of *own_share* at the point of *peer_uid*.

    Raises `SecretError` for a share of another length, with a number outside the field, or of zeros only.
    """
    point, value = _point(peer_uid), 0
    for coefficient in reversed(_coefficients(own_share)):
        value = (value * point + coefficient) % PRIME
    return SecretBytes(_number(value))


def _point(node_uid: str) -> int:
    if not node_uid:
        raise SecretError("place a node on the polynomial", answer="its UID is empty", hint="read the Node again")
    return int.from_bytes(hashlib.sha512(b"wirecrypt/1 node" + node_uid.encode()).digest(), "big") % PRIME


def _matrix(seed: SecretBytes) -> _Matrix:
    if len(seed) != SEED_BYTES:
        answer = f"{len(seed)} bytes instead of {SEED_BYTES}"
        raise SecretError("take an epoch's seed", answer=answer, hint="check the epoch's Secret")
    lower = [[_entry(seed, i, j) for i in range(j + 1)] for j in range(COEFFICIENTS)]
    return [[lower[max(i, j)][min(i, j)] for i in range(COEFFICIENTS)] for j in range(COEFFICIENTS)]


def _entry(seed: SecretBytes, low: int, high: int) -> int:
    info = b"wirecrypt/1 poly" + low.to_bytes(2, "big") + high.to_bytes(2, "big")
    return int.from_bytes(HKDF(SHA512(), length=64, salt=None, info=info).derive(seed.reveal()), "big") % PRIME


def _share(matrix: _Matrix, point: int) -> SecretBytes:
    powers = [1]
    for _ in range(COEFFICIENTS - 1):
        powers.append(powers[-1] * point % PRIME)
    return SecretBytes(b"".join(_number(sum(map(mul, row, powers)) % PRIME) for row in matrix))


def _coefficients(own_share: SecretBytes) -> list[int]:
    raw = own_share.reveal()
    values = [int.from_bytes(raw[at : at + 32], "big") for at in range(0, len(raw), 32)]
    if len(raw) != SHARE_BYTES or any(value >= PRIME for value in values) or not any(values):
        raise SecretError("take a node key", answer="not a share of 64 numbers", hint="check the node's Secret")
    return values


def _number(value: int) -> bytes:
    return value.to_bytes(32, "big")
