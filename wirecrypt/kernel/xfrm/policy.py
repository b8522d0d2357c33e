"""Policies and the policy table's settings as bytes.

Pure: no I/O. A policy decodes to a `Policy` only when writing that `Policy` would make the same one; any other is
`Foreign`. Layouts: struct xfrm_userpolicy_info, xfrm_userpolicy_id, xfrm_user_tmpl, xfrmu_spdhthresh of
include/uapi/linux/xfrm.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
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
    pack_mark,
    pack_selector,
    unpack_address,
    unpack_limits,
    unpack_mark,
    unpack_selector,
)
from wirecrypt.model.xfrm import Direction, Policy, PolicyAction, PolicyKey, SaLimits, Template
from wirecrypt.plan.thresholds import Thresholds

_INFO: Final = struct.Struct("=56s8Q4QII4B4x")
_TAIL: Final = struct.Struct("=4QII4B4x")
_ID: Final = struct.Struct("=56sIB3x")
_TEMPLATE: Final = struct.Struct("=16s4sB3xH2x16sI3BxIII")
_ANY_ALGORITHM: Final = 0xFFFFFFFF
_ALL_SETTINGS: Final = struct.pack("=I", 0xFFFFFFFF)
_IPV4_THRESHOLD: Final = 3  # XFRMA_SPD_IPV4_HTHRESH
_IPV6_THRESHOLD: Final = 4  # XFRMA_SPD_IPV6_HTHRESH
_NO_LIMITS: Final = SaLimits()
_USE: Final = range(SELECTOR_SIZE + 64, SELECTOR_SIZE + 96)  # struct xfrm_lifetime_cur: bytes, packets, and when
_KNOWN: Final = frozenset({Attribute.TMPL, Attribute.MARK, Attribute.POLICY_TYPE, Attribute.LASTUSED, Attribute.PAD})
_APART: Final = (Attribute.POLICY_TYPE, Attribute.SEC_CTX, Attribute.IF_ID)
_DIRECTIONS: Final = {Direction.IN: 0, Direction.OUT: 1, Direction.FWD: 2}
_NAMED: Final = {number: direction for direction, number in _DIRECTIONS.items()}
_VERDICTS: Final = {PolicyAction.ALLOW: 0, PolicyAction.BLOCK: 1}
_JUDGED: Final = {number: verdict for verdict, number in _VERDICTS.items()}


def add(policy: Policy) -> Request:
    """Return XFRM_MSG_NEWPOLICY, which fails when there is one of that name; nothing sends it, `update` does both."""
    return Request(Message.NEWPOLICY, CHANGE, _policy(policy))


def update(policy: Policy) -> Request:
    """Return XFRM_MSG_UPDPOLICY: makes the policy or replaces, in one step, the one of that name."""
    return Request(Message.UPDPOLICY, CHANGE, _policy(policy))


def delete(key: PolicyKey) -> Request:
    """Return XFRM_MSG_DELPOLICY for exactly this policy."""
    return Request(Message.DELPOLICY, CHANGE, _id(key))


def get(key: PolicyKey) -> Request:
    """Return XFRM_MSG_GETPOLICY for exactly this policy."""
    return Request(Message.GETPOLICY, GET, _id(key))


def dump() -> Request:
    """Return XFRM_MSG_GETPOLICY for all policies."""
    return Request(Message.GETPOLICY, DUMP, b"")


def set_thresholds(thresholds: Thresholds) -> Request:
    """Return XFRM_MSG_NEWSPDINFO: policies with prefixes at least this long are found by hash, others one by one."""
    ipv4 = attribute(_IPV4_THRESHOLD, bytes(thresholds[:2]))
    ipv6 = attribute(_IPV6_THRESHOLD, bytes(thresholds[2:]))
    return Request(Message.NEWSPDINFO, CHANGE, _ALL_SETTINGS + ipv4 + ipv6)


def get_thresholds() -> Request:
    """Return XFRM_MSG_GETSPDINFO."""
    return Request(Message.GETSPDINFO, GET, _ALL_SETTINGS)


def decode_thresholds(payload: bytes) -> Thresholds:
    """Return the thresholds in an answer to `get_thresholds`."""
    found = attributes(payload, len(_ALL_SETTINGS))
    ipv4, ipv6 = found[_IPV4_THRESHOLD], found[_IPV6_THRESHOLD]
    return ipv4[0], ipv4[1], ipv6[0], ipv6[1]


def decode(payload: bytes) -> Policy | Foreign:
    """Return the policy, or why no `Policy` is equal to it."""
    try:
        return _unpack(payload)
    except InexpressibleError as e:
        return Foreign(_describe(payload), str(e), _replaced_by(payload))


class Decoder:
    """Decodes one dump after another: a policy whose bytes are those of the one before, but for its use, is that value again.

    It keeps what the last dump had, and nothing else.
    """

    def __init__(self) -> None:
        self._before: dict[bytes, Policy | Foreign] = {}

    def all(self, payloads: Iterable[bytes]) -> list[Policy | Foreign]:
        """Return the policies of a dump, each as `decode` has it."""
        before, now, found = self._before, {}, []
        for payload in payloads:
            told = payload[: _USE.start] + payload[_USE.stop :]
            value = now[told] = before.get(told) or decode(payload)
            found.append(value)
        self._before = now
        return found


def _policy(policy: Policy) -> bytes:
    direction, verdict = _DIRECTIONS[policy.direction], _VERDICTS[policy.verdict]
    tail = _TAIL.pack(0, 0, 0, 0, policy.priority, 0, direction, verdict, 0, 0)
    return (
        pack_selector(policy.selector) + pack_limits(_NO_LIMITS) + tail + _templates(policy.templates) + pack_mark(policy.mark)
    )


def _id(key: PolicyKey) -> bytes:
    return _ID.pack(pack_selector(key.selector), 0, _DIRECTIONS[key.direction]) + pack_mark(key.mark)


def _templates(templates: tuple[Template, ...]) -> bytes:
    return attribute(Attribute.TMPL, b"".join(map(_template, templates))) if templates else b""


def _template(template: Template) -> bytes:
    return _TEMPLATE.pack(
        pack_address(template.dst),
        template.spi.to_bytes(SPI_BYTES),
        ESP,
        family(template.dst),
        pack_address(template.src),
        template.reqid,
        TUNNEL,
        0,
        template.optional,
        _ANY_ALGORITHM,
        _ANY_ALGORITHM,
        _ANY_ALGORITHM,
    )


def _unpack(payload: bytes) -> Policy:
    selector, *numbers = _INFO.unpack_from(payload)
    priority, _, direction, action, flags, share = numbers[12:]
    found = attributes(payload, _INFO.size)
    expect(direction in _NAMED, "belongs to a socket")
    expect(action in _JUDGED, f"has action {action}")
    foreign_attributes(found, _KNOWN)
    expect(not any(found.get(Attribute.POLICY_TYPE, b"")), "is a sub-policy")
    expect(flags == 0 and share == 0, "has flags or is shared")
    expect(unpack_limits(tuple(numbers[:8])) == _NO_LIMITS, "has limits")
    return Policy(
        direction=_NAMED[direction],
        selector=unpack_selector(selector),
        priority=priority,
        verdict=_JUDGED[action],
        templates=_unpack_templates(found),
        mark=unpack_mark(found),
    )


def _replaced_by(payload: bytes) -> PolicyKey | None:
    """Return the name by which a policy of ours would replace this one, None where ours would stand next to it.

    Two policies are the same to the kernel when direction, type, interface ID, selector, mark and security context are
    (net/xfrm/xfrm_policy.c, xfrm_policy_insert_list); ours have no interface ID, no context, and are of the main type.
    """
    selector, *numbers = _INFO.unpack_from(payload)
    found = attributes(payload, _INFO.size)
    direction = _NAMED.get(numbers[14])
    if direction is None or any(any(found.get(kind, b"")) for kind in _APART):
        return None
    try:
        return PolicyKey(direction, unpack_selector(selector), unpack_mark(found))
    except InexpressibleError:
        return None


def _unpack_templates(found: dict[int, bytes]) -> tuple[Template, ...]:
    return tuple(map(_unpack_template, _TEMPLATE.iter_unpack(found.get(Attribute.TMPL, b""))))


def _unpack_template(fields: tuple[bytes | int, ...]) -> Template:
    dst, spi, proto, af, src, reqid, mode, share, optional, *algorithms = fields
    expect(proto == ESP and mode == TUNNEL, "a template is not an ESP tunnel")
    expect(share == 0 and set(algorithms) == {_ANY_ALGORITHM}, "a template is shared or names algorithms")
    return Template(
        src=unpack_address(src, af),  # type: ignore[arg-type]  # struct cannot say which field is bytes
        dst=unpack_address(dst, af),  # type: ignore[arg-type]
        spi=int.from_bytes(spi),  # type: ignore[arg-type]
        reqid=int(reqid),
        optional=bool(optional),
    )


def _describe(payload: bytes) -> str:
    selector, *numbers = _INFO.unpack_from(payload)
    direction = _NAMED.get(numbers[14])
    try:
        text = str(unpack_selector(selector))
    except InexpressibleError:
        text = "with an unusual selector"
    return f"policy {direction.value if direction else 'socket'} {text} priority {numbers[12]}"
