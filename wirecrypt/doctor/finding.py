"""What doctor says: one sentence, how bad it is, the next step, and where to read on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

DOC: Final = "docs/reference/doctor.md"


class Severity(Enum):
    """How bad a finding is; a thing that could not be looked at is a warning."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. *side* is cluster or node, *check* names what was looked at and is the heading in the reference.

    *seen* is false for what could not be looked at.
    """

    side: str
    check: str
    severity: Severity
    sentence: str
    next_step: str = ""
    seen: bool = True

    @property
    def doc(self) -> str:
        """Return where to read on."""
        return f"{DOC}#{self.check}"


@dataclass(frozen=True, slots=True)
class Check:
    """Makes the findings of one check."""

    side: str
    name: str

    def ok(self, sentence: str) -> Finding:
        """Return that all is well."""
        return Finding(self.side, self.name, Severity.OK, sentence)

    def warning(self, sentence: str, next_step: str) -> Finding:
        """Return what is no fault yet, or could not be looked at."""
        return Finding(self.side, self.name, Severity.WARNING, sentence, next_step)

    def error(self, sentence: str, next_step: str) -> Finding:
        """Return what keeps traffic from being protected, or from flowing."""
        return Finding(self.side, self.name, Severity.ERROR, sentence, next_step)

    def unseen(self, why: str, next_step: str = "run doctor with the right to look") -> Finding:
        """Return that it could not be looked at."""
        return replace(self.warning(f"could not be looked at: {why}", next_step), seen=False)


def worst(findings: Iterable[Finding]) -> Severity:
    """Return the worst severity, OK for none."""
    order = list(Severity)
    return max((f.severity for f in findings), key=order.index, default=Severity.OK)
