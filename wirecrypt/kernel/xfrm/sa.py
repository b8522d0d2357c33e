"""States (SAs) as bytes: requests to add, delete, get and list them, and what the kernel says of them.

Pure: no I/O. A state decodes to an `Sa` only when writing that `Sa` would make the same state; any other is `Foreign`.
Layouts: struct xfrm_usersa_info, xfrm_usersa_id, xfrm_algo_aead, xfrm_replay_state_esn of include/uapi/linux/xfrm.h.
Lifetimes: limits are compared before the packet is counted. ESN: RFC 4304; the window's bitmap is in 32-bit words.
"""

from __future__ import annotations

import struct
from typing import Final

from wirecrypt.kernel.xfrm.wire import (
    CHANGE,
    DUMP,
    ESP,
    GET,
    SELECTOR_SIZE,
    SPI_BYTES,
    TUNNEL,
    Attribute,
    Foreign,
    InexpressibleError,
    Message,
    Request,
    attribute,
    attributes,
    expect,
    family,
    foreign_attributes,
    pack_address,
    pack_limits,
    unpack_address,
    unpack_limits,
)
from wirecrypt.model.mark import Mark
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.xfrm import Algorithm, Sa, SaEntry, SaKey, SaUsage

AF_UNSPEC_FLAG: Final = 0x20  # XFRM_STATE_AF_UNSPEC
ESN_FLAG: Final = 0x80  # XFRM_STATE_ESN
FLAGS: Final = AF_UNSPEC_FLAG | ESN_FLAG

_INFO: Final = struct.Struct("=56s16s4sB3x16s8Q4Q3IIIH3B7x")
_HEAD: Final = struct.Struct("=56s16s4sB3x16s")
_TAIL: Final = struct.Struct("=4Q3IIIH3B7x")
_ID: Final = struct.Struct("=16s4sHBx")
_AEAD: Final = struct.Struct("=64sII")
_ESN: Final = struct.Struct("=6I")
_WORD: Final = 32
_NO_SELECTOR: Final = bytes(SELECTOR_SIZE)
_NO_FILTER: Final = attribute(Attribute.ADDRESS_FILTER, bytes(36))
_NO_SOURCE: Final = bytes(16)
_KNOWN: Final = frozenset(
    {
        Attribute.ALG_AEAD,
        Attribute.REPLAY_ESN_VAL,
        Attribute.SET_MARK,
        Attribute.SET_MARK_MASK,
        Attribute.LASTUSED,
        Attribute.PAD,
    }
)
_ALGORITHMS: Final = {a.cipher.kernel_name.encode(): a for a in Algorithm}
_PROTOCOLS: Final = {50: "esp", 51: "ah", 108: "comp", 43: "route2", 60: "hao"}


def add(sa: Sa) -> Request:
    """Return XFRM_MSG_NEWSA: fails with EEXIST when there is such a state."""
    return Request(Message.NEWSA, CHANGE, _state(sa))


def update(sa: Sa) -> Request:
    """Return XFRM_MSG_UPDSA; nothing sends it, for an SA of ours never changes (no nonce twice)."""
    return Request(Message.UPDSA, CHANGE, _state(sa))


def delete(key: SaKey) -> Request:
    """Return XFRM_MSG_DELSA for exactly this state."""
    return Request(Message.DELSA, CHANGE, _id(key) + attribute(Attribute.SRCADDR, _NO_SOURCE))


def get(key: SaKey) -> Request:
    """Return XFRM_MSG_GETSA for exactly this state."""
    return Request(Message.GETSA, GET, _id(key) + attribute(Attribute.SRCADDR, _NO_SOURCE))


def dump() -> Request:
    """Return XFRM_MSG_GETSA for all states."""
    return Request(Message.GETSA, DUMP, _NO_FILTER)


def decode(payload: bytes) -> SaEntry | Foreign:
    """Return the state and its use, or why no `Sa` is equal to it."""
    try:
        return _entry(payload)
    except InexpressibleError as e:
        return Foreign(_describe(payload), str(e))


def decode_expire(payload: bytes) -> tuple[SaKey, bool] | None:
    """Return which ESP state expired and whether hard (XFRM_MSG_EXPIRE), None for another protocol."""
    _, dst, spi, proto, *rest = _INFO.unpack_from(payload)
    if proto != ESP:
        return None
    return SaKey(unpack_address(dst, rest[18]), int.from_bytes(spi)), bool(payload[_INFO.size])


def _state(sa: Sa) -> bytes:
    head = _HEAD.pack(_NO_SELECTOR, pack_address(sa.dst), _spi(sa.spi), ESP, pack_address(sa.src))
    tail = _TAIL.pack(0, 0, 0, 0, 0, 0, 0, 0, sa.reqid, family(sa.dst), TUNNEL, 0, FLAGS)
    return head + pack_limits(sa.limits) + tail + _aead(sa) + _replay(sa.replay_window) + _set_mark(sa.set_mark)


def _aead(sa: Sa) -> bytes:
    key, cipher = sa.key.reveal(), sa.algorithm.cipher
    return attribute(Attribute.ALG_AEAD, _AEAD.pack(cipher.kernel_name.encode(), len(key) * 8, cipher.icv_bits) + key)


def _replay(window: int) -> bytes:
    """Return XFRMA_REPLAY_ESN_VAL of a new state: counters of zero; the bitmap may be left out and is zero then."""
    return attribute(Attribute.REPLAY_ESN_VAL, _ESN.pack(-(-window // _WORD), 0, 0, 0, 0, window))


def _set_mark(mark: Mark | None) -> bytes:
    if mark is None:
        return b""
    value = attribute(Attribute.SET_MARK, struct.pack("=I", mark.value))
    return value + attribute(Attribute.SET_MARK_MASK, struct.pack("=I", mark.mask))


def _id(key: SaKey) -> bytes:
    return _ID.pack(pack_address(key.dst), _spi(key.spi), family(key.dst), ESP)


def _spi(number: int) -> bytes:
    return number.to_bytes(SPI_BYTES)


def _entry(payload: bytes) -> SaEntry:
    selector, dst, spi, proto, src, *numbers = _INFO.unpack_from(payload)
    limits, (used_bytes, packets, *_), errors = tuple(numbers[:8]), numbers[8:12], numbers[12:15]
    _, reqid, af, mode, _, flags = numbers[15:]
    found = attributes(payload, _INFO.size)
    expect(proto == ESP, f"the protocol is {_PROTOCOLS.get(proto, proto)}, not esp")
    expect(mode == TUNNEL, "the mode is not tunnel")
    expect(flags == FLAGS, f"has flags 0x{flags:x}, not esn and af-unspec")
    foreign_attributes(found, _KNOWN)
    algorithm, key = _unpack_aead(found)
    expect(selector == _NO_SELECTOR, "has a selector")
    window, sequence = _unpack_replay(found)
    sa = Sa(
        src=unpack_address(src, af),
        dst=unpack_address(dst, af),
        spi=int.from_bytes(spi),
        reqid=reqid,
        algorithm=algorithm,
        key=key,
        set_mark=_unpack_set_mark(found),
        replay_window=window,
        limits=unpack_limits(limits),
    )
    outside, replays, integrity = errors
    return SaEntry(sa, SaUsage(used_bytes, packets, sequence, replays, outside, integrity))


def _unpack_aead(found: dict[int, bytes]) -> tuple[Algorithm, SecretBytes]:
    raw = found.get(Attribute.ALG_AEAD)
    if raw is None:
        raise InexpressibleError("has no AEAD")
    name, key_bits, icv_bits = _AEAD.unpack_from(raw)
    algorithm = _ALGORITHMS.get(name.rstrip(b"\0"))
    if algorithm is None:
        raise InexpressibleError("has another AEAD")
    expect(icv_bits == algorithm.cipher.icv_bits, f"the ICV has {icv_bits} bits")
    expect(key_bits == algorithm.cipher.key_bytes * 8, f"the key has {key_bits} bits")
    return algorithm, SecretBytes(raw[_AEAD.size : _AEAD.size + key_bits // 8])


def _unpack_replay(found: dict[int, bytes]) -> tuple[int, int]:
    """Return the window and the last sequence number: a state sends or receives, the other counter stays 0."""
    raw = found.get(Attribute.REPLAY_ESN_VAL)
    if raw is None:
        raise InexpressibleError("has no ESN counters")
    words, sent, received, sent_high, received_high, window = _ESN.unpack_from(raw)
    expect(words == -(-window // _WORD), "the bitmap is longer than the replay window")
    return window, max(sent_high << 32 | sent, received_high << 32 | received)


def _unpack_set_mark(found: dict[int, bytes]) -> Mark | None:
    value, mask = found.get(Attribute.SET_MARK), found.get(Attribute.SET_MARK_MASK)
    if value is None or mask is None:
        return None
    return Mark(*struct.unpack("=I", value), *struct.unpack("=I", mask))


def _describe(payload: bytes) -> str:
    _, dst, spi, proto, *rest = _INFO.unpack_from(payload)
    name = _PROTOCOLS.get(proto, proto)
    try:
        address = str(unpack_address(dst, rest[18]))
    except InexpressibleError:
        address = "an unknown address"
    return f"state to {address} proto {name} spi 0x{int.from_bytes(spi):08x}"
