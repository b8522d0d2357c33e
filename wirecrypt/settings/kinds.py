"""Kinds of values that a field can have: how text of a document becomes a value, and what is allowed in words.

A kind gets what YAML made of the text and returns the value, or raises `ValueError` with the reason. YAML 1.1 reads a
bare ``off`` as false and ``on`` as true: kinds with these words take the booleans for them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address, ip_network
from typing import Any, Final, TypeVar

from wirecrypt.model.ranges import NOBODYS, inside, unfit_range
from wirecrypt.model.xfrm import Address, Network

E = TypeVar("E", bound=Enum)

_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZES: Final = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50}
_LINK_NAME: Final = 15  # bytes
_NO_UPLINKS: Final = ("auto", "lo")
_IPV4: Final = 4
_PORTS: Final = range(1, 65536)


@dataclass(frozen=True, slots=True)
class ValueKind:
    """How a value is read, the allowed values in words, and how a document says a value."""

    read: Callable[[Any], Any]
    allowed: str
    written: Callable[[Any], str] = json.dumps


def _word(raw: object) -> object:
    return {True: "on", False: "off"}.get(raw) if isinstance(raw, bool) else raw


def choice(enum: type[E]) -> ValueKind:
    """Return the kind whose values are the words of *enum*."""
    words = {member.value: member for member in enum}
    return ValueKind(lambda raw: _among(_word(raw), words), " or ".join(words), lambda member: str(member.value))


def _among(raw: object, words: dict[str, E]) -> E:
    if not isinstance(raw, str) or raw not in words:
        raise ValueError("not one of them")
    return words[raw]


def optional(word: str, value: object, kind: ValueKind) -> ValueKind:
    """Return *kind* with *word* as another allowed text, which stands for *value*."""
    return ValueKind(
        lambda raw: value if _word(raw) == word else kind.read(raw),
        f"{word}, or {kind.allowed}",
        lambda known: word if known == value else kind.written(known),
    )


def integer(low: int, high: int) -> ValueKind:
    """Return the kind of whole numbers from *low* to *high*."""
    return ValueKind(lambda raw: _within(raw, low, high), f"a whole number, {low} to {high}")


def apart(kind: ValueKind, *taken: int) -> ValueKind:
    """Return *kind* without the values *taken*."""
    words = ", ".join(map(str, sorted(set(taken))))
    return ValueKind(lambda raw: _free(kind.read(raw), taken), f"{kind.allowed}, but {words}")


def _free(value: int, taken: tuple[int, ...]) -> int:
    if value in taken:
        raise ValueError("wirecrypt has this port for something else")
    return value


def _within(raw: object, low: int, high: int) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int):
        raise ValueError("not a whole number")  # noqa: TRY004 - every refusal of a kind is a ValueError
    if not low <= raw <= high:
        raise ValueError("out of range")
    return raw


def duration(low: float, high: float) -> ValueKind:
    """Return the kind of durations in seconds from *low* to *high*; a unit s, m, h or d may follow the number."""
    words = f"a duration, {span(low)} to {span(high)}, such as 10s, 15m, 24h, 7d"
    return ValueKind(lambda raw: _bounded(_scaled(raw, _UNITS), low, high), words, span)


def size(low: int, high: int) -> ValueKind:
    """Return the kind of amounts from *low* to *high*; Ki, Mi, Gi, Ti or Pi may follow the number."""
    return ValueKind(lambda raw: int(_bounded(_scaled(raw, _SIZES), low, high)), f"an amount, {low} to {high}, such as 4Ti")


def _scaled(raw: object, units: dict[str, int]) -> float:
    if isinstance(raw, bool) or not isinstance(raw, str | int | float):
        raise ValueError("not a number with a unit")  # noqa: TRY004 - every refusal of a kind is a ValueError
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([A-Za-z]*)", str(raw))
    if match is None or match[2] not in units:
        raise ValueError("not a number with a unit")
    return float(match[1]) * units[match[2]]


def _bounded(value: float, low: float, high: float) -> float:
    if not low <= value <= high:
        raise ValueError("out of range")
    return value


def span(seconds: float) -> str:
    """Return *seconds* in the largest unit that needs no fraction."""
    for unit, factor in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % factor == 0:
            return f"{seconds / factor:g}{unit}"
    return f"{seconds:g}s"


def listing(item: ValueKind, most: int, *, least: int = 0) -> ValueKind:
    """Return the kind of lists of *least* to *most* different values of *item*; the value is a tuple."""
    many = f"{least} to {most}" if least else f"at most {most}"
    return ValueKind(lambda raw: _items(raw, item, range(least, most + 1)), f"a list of {many}, each {item.allowed}")


def _items(raw: object, item: ValueKind, many: range) -> tuple[Any, ...]:
    if not isinstance(raw, list):
        raise ValueError("not a list")  # noqa: TRY004 - every refusal of a kind is a ValueError
    if len(raw) not in many:
        raise ValueError(f"{len(raw)} entries")
    values = tuple(item.read(entry) for entry in raw)
    if len(set(values)) != len(values):
        raise ValueError("an entry stands there twice")
    return values


def _text(raw: object) -> str:
    if not isinstance(raw, str):
        raise ValueError("not a text")  # noqa: TRY004 - every refusal of a kind is a ValueError
    return raw


def _range(text: str) -> Network:
    """Return the prefix; an address alone would be taken for a range of one, which is hardly what was meant."""
    network = ip_network(text)
    if "/" not in text:
        sample = "10.0.0.0/8" if network.version == _IPV4 else "fd00::/16"
        raise ValueError(f"{text} has no prefix length: write one, as in {sample}, or {network} for this one address")
    if not network.prefixlen:
        raise ValueError(f"{network} is every address there is")
    if "%" in text or (why := unfit_range(network)):
        raise ValueError("a zone is one machine's" if "%" in text else why)
    return network


def _address(text: str) -> Address:
    """Return the address, by which a packet on the wire can have it."""
    if "%" in text:
        raise ValueError("a zone is one machine's")
    address = ip_address(text)
    if whose := inside(ip_network(address), NOBODYS):
        raise ValueError(f"{address} is in {whose}, which is no machine's own")
    return address


def _link(raw: object) -> str:
    """Return a name that the kernel would take (dev_valid_name), and that is no pattern and not the word for all."""
    name = _text(raw)
    fits = 0 < len(name.encode()) <= _LINK_NAME and name not in (".", "..") and not set(name) & set("/:")
    if not fits or any(c.isspace() for c in name):
        raise ValueError("not a link's name")
    if name in _NO_UPLINKS or set(name) & set("*?["):
        raise ValueError(f"{name} is no link that leads off the node: names are taken as they stand, and auto stands alone")
    return name


RANGE: Final = ValueKind(
    lambda raw: _range(_text(raw)),
    "an IP prefix such as 10.0.0.0/8 or fd00::/16: with its length, not 0, host bits zero, "
    "and not link-local, a group's or the loopback's",
)
ADDRESS: Final = ValueKind(lambda raw: _address(_text(raw)), "an IP address that a machine can have")
LINK: Final = ValueKind(_link, "a link's name of 1 to 15 characters")
PORT: Final = integer(_PORTS.start, _PORTS.stop - 1)
