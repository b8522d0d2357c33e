"""Conditions of our objects, by the Kubernetes API conventions: their types, and the reasons that others act on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

READY: Final = "Ready"  # of an EncryptedNode: all its peers are protected
CLEANED: Final = "Cleaned"  # of an EncryptedNode: its agent has left nothing of its pairs in the kernel
COMPLETE: Final = "Complete"  # of a KeyRotation

JOINING: Final = "Joining"
LEAVING: Final = "Leaving"
EXCLUDED: Final = "Excluded"
NO_SESSION: Final = "NoSession"
NO_STATUS: Final = "NoStatus"
ON_THE_WAY: Final = frozenset({JOINING, LEAVING, NO_SESSION})  # reasons why a node is not Ready that pass by themselves


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition by the Kubernetes API conventions; *changed* is lastTransitionTime."""

    type: str
    status: bool | None
    reason: str
    message: str
    changed: datetime | None = None


def find(conditions: Iterable[Condition], kind: str) -> Condition | None:
    """Return the condition of type *kind*, None when there is none."""
    return next((condition for condition in conditions if condition.type == kind), None)
