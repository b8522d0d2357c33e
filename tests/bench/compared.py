"""The ways between two nodes that `scripts/bench throughput` compares, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

PLAIN, PRODUCT, BY_HAND, WIREGUARD = "plain", "wirecrypt", "ip xfrm by hand", "WireGuard"
STEERED: Final = ", steered"


@dataclass(frozen=True)
class Way:
    """What protects, with how many SAs each way, and whether received packets are spread over the processors."""

    name: str
    lanes: int = 1
    steering: bool = False

    def __str__(self) -> str:
        several = f", {self.lanes} SA{'s' if self.lanes > 1 else ''}" if self.name in {PRODUCT, BY_HAND} else ""
        return f"{self.name}{several}{STEERED if self.steering else ''}"


def ways(lanes: Sequence[int]) -> list[Way]:
    """Return what is compared, with these numbers of SAs."""
    several = [Way(PRODUCT, number, steering) for number in lanes for steering in (False, True)]
    return [Way(PLAIN), *several, *(Way(BY_HAND, number) for number in lanes), Way(WIREGUARD)]
