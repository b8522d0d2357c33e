"""All that has a name and a meaning: reasons of objects and Events, counters of the guard and of the kernel."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Final

from wirecrypt.doctor.counters import COUNTERS
from wirecrypt.kernel.bpf.reasons import REASONS
from wirecrypt.model.conditions import Meaning, Reason

KINDS: Final[Mapping[str, Mapping[str, Meaning]]] = {
    "reason": {reason.value: reason.meaning for reason in Reason},
    "counter of the guard": REASONS,
    "counter of the kernel": COUNTERS,
}


def explained(name: str) -> list[tuple[str, str, Meaning]]:
    """Return kind, name and meaning of everything that is called *name*, whatever the case of its letters."""
    return [
        (kind, known, meaning)
        for kind, meanings in KINDS.items()
        for known, meaning in meanings.items()
        if known.casefold() == name.casefold()
    ]


def alike(name: str) -> list[str]:
    """Return what somebody who wrote *name* may have meant, the likeliest first."""
    known = {each.casefold(): each for meanings in KINDS.values() for each in meanings}
    return [known[found] for found in get_close_matches(name.casefold(), known)]
