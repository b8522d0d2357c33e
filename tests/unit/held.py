"""How much an object holds: the entries of every container that it reaches, by the way that leads there."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet

OURS = "wirecrypt."  # what is of tests stands for the outside, and is not looked into
CONTAINERS = (Mapping, AbstractSet, list, tuple, deque)


def held(thing: object) -> Counter[str]:
    """Return how many entries the containers behind *thing* have, by the attributes that lead there from its class."""
    found: Counter[str] = Counter()
    seen: set[int] = set()
    waiting: list[tuple[str, object]] = [(type(thing).__name__, thing)]
    while waiting:
        way, each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, CONTAINERS):
            found[way] += len(each)
            inner = [*each.keys(), *each.values()] if isinstance(each, Mapping) else list(each)
            waiting += [(way, one) for one in inner]
        elif type(each).__module__.startswith(OURS):
            waiting += [(f"{way}.{name}", value) for name, value in _attributes(each)]
    return found


def _attributes(thing: object) -> Iterator[tuple[str, object]]:
    names = {*getattr(thing, "__dict__", ()), *(n for c in type(thing).__mro__ for n in getattr(c, "__slots__", ()))}
    for name in sorted(names):
        if hasattr(thing, name):
            yield name, getattr(thing, name)


def grown(before: Counter[str], after: Counter[str]) -> dict[str, tuple[int, int]]:
    """Return what has more entries than before."""
    return {way: (before[way], count) for way, count in sorted(after.items()) if count > before[way]}
