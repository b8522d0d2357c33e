"""Who else uses packet marks: rules of `ip rule`, nftables and iptables, read as the bits they write and compare.

A rule that writes our bits takes a packet's lane or a control datagram's SA away; one that compares them sees our marks
where it expects its own. Either is told with the rule's own text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

ALL: Final = 0xFFFFFFFF
# bits that well-known programs use, to name the likely owner of a rule
OWNERS: Final = (
    (0x00004000, "kube-proxy (masquerade)"),
    (0x00008000, "kube-proxy (drop)"),
    (0x00000539, "Istio"),
    (0x0000053A, "Istio"),
    (0x00000F00, "Cilium"),
    (0x00FF0000, "Tailscale or Calico"),
    (0xFFFF0000, "Calico"),
)
_MARK: Final = {"meta": {"key": "mark"}}
_OPTION: Final = re.compile(r"--(set-xmark|set-mark|mark|restore-mark|nfmask)(?: (0x[0-9a-f]+)(?:/(0x[0-9a-f]+))?)?")


@dataclass(frozen=True, slots=True)
class MarkUse:
    """One rule: where it stands, its text, the bits of the mark that it may change and those that it compares."""

    source: str
    text: str
    written: int = 0
    compared: int = 0

    @property
    def owner(self) -> str:
        """Return who it probably belongs to, empty when nobody is known for these bits."""
        bits = self.written | self.compared
        return next((name for mask, name in OWNERS if bits and bits & ~mask & ALL == 0), "")


def ip_rules(text: str) -> Iterator[MarkUse]:
    """Yield the uses in the output of `ip -j rule`."""
    for rule in json.loads(text or "[]"):
        if "fwmark" in rule:
            mask = int(rule.get("fwmask", hex(ALL)), 0)
            words = f"priority {rule.get('priority')} fwmark {rule['fwmark']}/{mask:#x} table {rule.get('table')}"
            yield MarkUse("ip rule", words, compared=mask)


def nft_rules(text: str) -> Iterator[MarkUse]:
    """Yield the uses in the output of `nft -j list ruleset`."""
    for item in json.loads(text or "{}").get("nftables", ()):
        rule = item.get("rule")
        if rule is None:
            continue
        written = compared = 0
        for statement in rule.get("expr", ()):
            written |= _written(statement.get("mangle"))
            compared |= _compared(statement.get("match"))
        if written or compared:
            where = f"table {rule.get('family')} {rule.get('table')} chain {rule.get('chain')} handle {rule.get('handle')}"
            yield MarkUse("nftables", where, written, compared)


def iptables_rules(text: str, source: str = "iptables") -> Iterator[MarkUse]:
    """Yield the uses in the output of `iptables-save`."""
    for line in text.splitlines():
        if not line.startswith("-A "):
            continue
        written = compared = 0
        for option, value, mask in _OPTION.findall(line):
            bits = int(mask or hex(ALL), 0)
            if option in ("set-xmark", "set-mark"):
                written |= bits | int(value, 0)
            elif option == "mark" and "--set-mark" not in line:
                compared |= bits
            elif option == "nfmask" and "--restore-mark" in line:
                written |= int(value, 0)
        if written or compared:
            yield MarkUse(source, line, written, compared)


def collisions(uses: Sequence[MarkUse], mask: int) -> Iterator[tuple[MarkUse, bool]]:
    """Yield the uses of bits of *mask*, each with whether it means these bits, or merely writes or compares whole marks."""
    for use in uses:
        if (use.written | use.compared) & mask:
            yield use, any(bits & mask and bits != ALL for bits in (use.written, use.compared))


def _written(mangle: Any) -> int:  # noqa: ANN401 - JSON
    """Return the bits that a mangle statement may change."""
    return _changed(mangle.get("value")) if mangle and mangle.get("key") == _MARK else 0


def _changed(value: Any) -> int:  # noqa: ANN401 - JSON
    """Return the bits in which an expression may differ from the mark that the packet had."""
    if value == _MARK:
        return 0
    if isinstance(value, dict) and len(value) == 1:
        (operation, operands) = next(iter(value.items()))
        if operation in ("|", "&", "^") and isinstance(operands, list) and isinstance(operands[-1], int):
            constant = ~operands[-1] & ALL if operation == "&" else operands[-1]
            inner = 0
            for operand in operands[:-1]:
                inner |= _changed(operand)
            return inner | constant
    return ALL


def _compared(match: Any) -> int:  # noqa: ANN401 - JSON
    """Return the bits that a match statement looks at."""
    left = match.get("left") if match else None
    if left == _MARK:
        return ALL
    if isinstance(left, dict) and "&" in left and left["&"][0] == _MARK and isinstance(left["&"][1], int):
        return int(left["&"][1])
    return 0
